"""Making the missing pictures, in this process, in several, or on a cluster.

Each worker loads the maker once and makes one picture at a time on one CPU thread, so a picture never depends on batch
size, order or the number of workers.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple  # Any: a maker without a model of its options takes what was given

from PIL import Image

from likeness.backbones.cropping import seen_reference
from likeness.backbones.options import Options
from likeness.core.errors import DataError
from likeness.core.files import require_shared
from likeness.core.images import load_image
from likeness.core.jobs import Engine, run_jobs
from likeness.core.records import Subject
from likeness.generate.makers import ImageMaker, MakerSpec, layout_asked, layout_placed, load_maker, notes_on
from likeness.generate.samples import PictureJob, write_picture

__all__ = ["Outcome", "Plan", "make_pictures"]


class Plan(NamedTuple):
    """What every worker knows: the run folder, how to load the maker, and the options of all pictures."""

    folder: Path
    maker: MakerSpec
    options: Options | dict[str, Any]


class Outcome(NamedTuple):
    """What became of a job: the maker's notes on its prompt, and "" or the reason why its input cannot be used."""

    refusal: str = ""
    notes: tuple[str, ...] = ()


def make_pictures(
    jobs: Sequence[PictureJob], *, plan: Plan, workers: int, engine: Engine | None = None
) -> Iterator[tuple[PictureJob, Outcome]]:
    """Samples in the order they are dealt with, each with its outcome.

    Raises: as `run_jobs`, LikenessError as the maker or the disk do.
    """
    gpus = float(plan.maker.device == "cuda")
    load = partial(_load, plan)
    return run_jobs(jobs, load=load, engine=engine, workers=workers, single_thread=True, gpus=gpus)


def _load(plan: Plan, worker: int) -> Callable[[PictureJob], Outcome]:
    """The maker, on a CUDA device of the worker's own where there are several. Raises: DataError for files unseen."""
    spec = plan.maker
    for path in (plan.folder, spec.folder, *spec.loras):
        require_shared(path)
    if spec.device == "cuda":
        import torch

        spec = spec._replace(device=f"cuda:{worker % torch.cuda.device_count()}")
    return partial(_make, maker=load_maker(spec), plan=plan)


_reference = lru_cache(maxsize=64)(load_image)


def _seen(subject: Subject, *, maker: ImageMaker, plan: Plan) -> Image.Image:
    mask = None if subject.mask is None else plan.folder / subject.mask
    return seen_reference(maker, _reference(plan.folder / subject.reference_image), mask=mask, options=plan.options)


def _make(job: PictureJob, *, maker: ImageMaker, plan: Plan) -> Outcome:
    prompt = job.case.prompt
    try:
        shown = [_seen(subject, maker=maker, plan=plan) for subject in job.case.subjects]
        notes = notes_on(prompt, maker=maker)
        placed = layout_asked(job.case, maker=maker)
        if job.placed is not None:
            asked: Any = {"maker": maker, "seed": job.seed, "options": plan.options}
            placed, found = layout_placed(job.case, job.placed, **asked)
            notes += found
        image = maker.generate(prompt, shown, seed=job.seed, options=plan.options, **placed)
    except DataError as error:
        return Outcome(refusal=str(error))
    write_picture(image, job, folder=plan.folder, notes=notes)
    return Outcome(notes=tuple(notes))
