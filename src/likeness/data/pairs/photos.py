"""Pairs of photographs (`likeness data dip --source photos`): a folder of subjects in, a pair set out, no model needed.

Two photographs of one subject give the reference and the preferred picture; the rejected one is the preferred with the
subject disrupted inside its mask. The folder holds run.json, pairs.jsonl, images/, masks/, rejected.jsonl (photographs
and attempts that were not kept, with the reason), summary.json, contact_sheet.png, and photos/ and chunks/: what is
finished. Photographs are prepared first, one part each, then pairs, CHUNK to a part.
Source: FocusDPO (arXiv:2509.01181v1), section 4.
Differs: the preferred picture is a photograph; without a model the rejected one is disrupted by arithmetic; no judge.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple  # Any: rows are JSON

import numpy as np
from PIL import Image

from likeness.core.errors import ConfigError, DataError
from likeness.core.files import read_json, write_json, write_jsonl
from likeness.core.hashing import file_sha256, json_sha256, pixels_sha256
from likeness.core.images import fit_reference, load_image
from likeness.core.jobs import Progress, run_jobs, unseen
from likeness.core.masks import covered_tokens, inside, load_mask
from likeness.core.pairs import PAIRS_NAME, pair_row
from likeness.core.runs import hold_run, open_run
from likeness.data.lint.findings import LintReport
from likeness.data.lint.pair import FEWEST_TOKENS, LARGEST_SHARE, SMALLEST_SHARE
from likeness.data.lint.run import lint_pairs
from likeness.data.pairs import PHOTO_LOSERS
from likeness.data.pairs.contact_sheet import write_contact_sheet
from likeness.data.pairs.parts import is_finished, write_part
from likeness.data.pairs.photo_folder import Caption, Photo, read_captions, read_photos, said_of
from likeness.data.pairs.photo_masks import GrabCut, LoadMasker, Masker
from likeness.data.pairs.photo_pairs import PhotoRecipe, PreparedPhoto, Refusal, Subjects, make_pair, png
from likeness.data.pairs.regeneration import LoadRegenerate, Regenerate

__all__ = ["PhotoSummary", "make_photo_pairs"]

VERSION = 1
"""Of the recipe: raised whenever equal settings would give other pairs."""
CHUNK, TOKEN = 24, 16
ProgressOf = Callable[[str], Progress]


class PhotoSummary(NamedTuple):
    """What a folder holds now. `reasons`: why photographs, attempts and pairs were refused -> how many."""

    folder: Path
    num_pairs: int
    num_asked: int
    num_photos: int
    num_subjects: int
    left_out: tuple[dict[str, str], ...]
    reasons: dict[str, int]
    lint: LintReport


@dataclass(frozen=True)
class _Plan:
    """All a worker process has to know."""

    folder: Path
    recipe: PhotoRecipe
    size: int
    photos: tuple[Photo, ...]
    captions: dict[str, Caption]
    masker: LoadMasker
    regenerate: LoadRegenerate | None


def make_photo_pairs(
    n: int,
    *,
    photos: Path | str,
    out: Path | str,
    seed: int = 0,
    size: int = 512,
    losers: str = "disrupted",
    masker: LoadMasker | None = None,
    captions: Path | None = None,
    workers: int = 1,
    regenerate: LoadRegenerate | None = None,
    progress: ProgressOf = lambda _: unseen,
) -> PhotoSummary:
    """The folder `out` holds up to `n` pairs of the photographs in `photos`, balanced over their subjects.

    Pair i depends on `seed`, i and the photographs, not on `n`, `workers` or interruptions; a run killed at any moment
    and started again ends with the same bytes. `size` is the longer side in px; smaller photographs keep theirs, and
    both sides become multiples of 16. `masker` (default GrabCut) is asked where no NAME.mask.png lies beside a
    photograph. `losers`: disrupted, regenerated (by `regenerate`, which it needs) or mixed (in turn).
    Raises: ConfigError for wrong settings; DataError when no subject has two usable photographs or no pair is kept;
    WeightsError; OutputError.
    """
    for name, value, least in (("n", n, 1), ("workers", workers, 1), ("size", size, 64)):
        if value < least:
            raise ConfigError(f"{name}: expected at least {least}, got {value}; raise it.")
    if losers not in PHOTO_LOSERS:
        raise ConfigError(f"losers: expected one of {', '.join(PHOTO_LOSERS)} for photographs, got {losers!r}.")
    if losers != "disrupted" and regenerate is None:
        raise ConfigError(f"losers: expected a model to regenerate with, got none for {losers!r}; pass one.")
    regenerate = regenerate if losers != "disrupted" else None
    found = read_photos(Path(photos))
    recipe = PhotoRecipe(seed, PHOTO_LOSERS[losers], regenerate.id if regenerate else None)
    masker, said = masker or GrabCut(), read_captions(captions)
    plan = _Plan(Path(out), recipe, size, found.photos, said, masker, regenerate)
    identity = _identity(plan, n=n)
    open_run(plan.folder, identity=identity)
    with hold_run(plan.folder):
        _prepare_missing(plan, workers=workers, progress=progress("preparing photographs"))
        subjects, dropped = _usable(plan)
        dropped = [_dropped(Path(row.where).name, "file", row.reason) for row in found.left_out] + dropped
        _require_subjects(subjects, dropped=dropped, photos=Path(photos))
        _make_missing(n, plan=plan, subjects=subjects, workers=workers, progress=progress("making pairs"))
        return _finish(n, plan=plan, subjects=subjects, dropped=dropped, identity=identity)


def _identity(plan: _Plan, *, n: int) -> dict[str, Any]:
    """What decides the bytes of the set; photographs and their texts count by content."""
    contents = [
        [photo.name, file_sha256(photo.path), photo.mask and file_sha256(photo.mask), said_of(photo, plan.captions)]
        for photo in plan.photos
    ]
    return {
        "kind": "dip",
        "version": VERSION,
        "source": "photos",
        "n": n,
        "size": plan.size,
        **asdict(plan.recipe),
        "losers": list(plan.recipe.losers),
        "masks": plan.masker.id,
        "num_photos": len(plan.photos),
        "photos_sha256": json_sha256(contents),
    }


# -- photographs -----------------------------------------------------------------------------------------------
def _photo_file(plan: _Plan, index: int) -> Path:
    return plan.folder / "photos" / f"{plan.photos[index].id}.json"


def _prepare_missing(plan: _Plan, *, workers: int, progress: Progress) -> None:
    total = len(plan.photos)
    missing = [i for i in range(total) if not is_finished(_photo_file(plan, i), folder=plan.folder)]
    progress(total - len(missing), total)
    jobs = run_jobs(missing, load=partial(_load_masker, plan), workers=workers, single_thread=True)
    for done, _ in enumerate(jobs, start=total - len(missing) + 1):
        progress(done, total)


def _load_masker(plan: _Plan, _: int) -> Callable[[int], None]:
    return partial(_prepare, plan=plan, masker=plan.masker())


def _prepare(index: int, *, plan: _Plan, masker: Masker) -> None:
    """The photograph's picture and mask, then its part: what is said of it, or why it is of no use."""
    photo = plan.photos[index]
    files: dict[str, bytes] = {}
    try:
        facts = {"photo": _prepared(photo, plan=plan, masker=masker, files=files).model_dump(mode="json")}
    except DataError as error:
        files, facts = {}, {"reason": str(error)}
    write_part(_photo_file(plan, index), folder=plan.folder, facts=facts, files=files)


def _prepared(photo: Photo, *, plan: _Plan, masker: Masker, files: dict[str, bytes]) -> PreparedPhoto:
    """Raises: DataError for a photograph that cannot be read or whose subject cannot be told or located."""
    image = load_image(photo.path)
    if photo.mask is not None:
        mask, how = inside(load_mask(photo.mask, size=image.size)), "supplied beside the photograph"
    else:
        mask, how = masker(image, name=photo.name), plan.masker.id
    side = min(plan.size, max(image.size))
    picture = fit_reference(image, long_side=side, multiple=TOKEN)
    fitted = inside(fit_reference(Image.fromarray(mask).convert("L"), long_side=side, multiple=TOKEN))
    box = _require_mask(fitted)
    said = said_of(photo, plan.captions)
    paths = f"images/{photo.id}.png", f"masks/{photo.id}.png"
    files |= {paths[0]: png(np.asarray(picture)), paths[1]: png(fitted)}
    width, height = picture.size
    shares = (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
    sources = said.sources | {"mask": how, "box": "the mask's", "size": "the photograph's, scaled and cropped"}
    return PreparedPhoto(
        id=photo.id,
        subject=photo.subject,
        image=paths[0],
        mask=paths[1],
        size=picture.size,
        box=shares,
        prompt=said.prompt,
        class_name=said.class_name,
        category=said.category,
        sources=sources,
    )


def _require_mask(mask: Any) -> tuple[int, int, int, int]:
    """The box in px. Raises: DataError for a mask that lint would find too small or too large."""
    covered, tokens = covered_tokens(mask, token=TOKEN)
    share, box = float(mask.mean()), Image.fromarray(mask).getbbox()
    if box is None or share < SMALLEST_SHARE or covered < FEWEST_TOKENS:
        wanted = f"a mask over at least {SMALLEST_SHARE:.0%} of the picture and {FEWEST_TOKENS} tokens of {TOKEN} px"
        raise DataError(f"expected {wanted}, got {share:.1%} and {covered}; crop nearer, or raise --size.")
    if covered > LARGEST_SHARE * tokens:
        raise DataError(f"expected a mask over at most {LARGEST_SHARE:.0%} of the tokens, got {covered} of {tokens}.")
    return box


def _usable(plan: _Plan) -> tuple[Subjects, list[dict[str, str]]]:
    """Subjects with two photographs or more, and the photographs that are of no use; copies count once."""
    dropped: list[dict[str, str]] = []
    groups: dict[str, list[PreparedPhoto]] = {}
    seen: dict[str, str] = {}
    for index, photo in enumerate(plan.photos):
        part = read_json(_photo_file(plan, index))
        if "reason" in part:
            dropped.append(_dropped(photo.name, "photo", part["reason"]))
            continue
        prepared = PreparedPhoto.of_row(part["photo"])
        digest = pixels_sha256(load_image(plan.folder / prepared.image))
        if other := seen.get(digest):
            dropped.append(_dropped(photo.name, "copy", f"expected another picture than {other}, got the same."))
            continue
        seen[digest] = photo.name
        groups.setdefault(photo.subject, []).append(prepared)
    for subject in [name for name, photos in groups.items() if len(photos) < 2]:
        dropped.append(_dropped(subject, "subject", "expected two usable photographs of the subject, got one."))
        del groups[subject]
    return groups, dropped


def _dropped(where: str, cause: str, reason: str) -> dict[str, str]:
    return {"where": where, "cause": cause, "reason": reason}


def _require_subjects(subjects: Subjects, *, dropped: Sequence[dict[str, str]], photos: Path) -> None:
    if not subjects:
        first = f"; first: {dropped[0]['where']}: {dropped[0]['reason']}" if dropped else "."
        raise DataError(f"{photos}: expected a subject with two usable photographs, got none{first}")


# -- pairs -----------------------------------------------------------------------------------------------------
def _chunk_file(folder: Path, number: int) -> Path:
    return folder / "chunks" / f"{number:06d}.json"


def _make_missing(n: int, *, plan: _Plan, subjects: Subjects, workers: int, progress: Progress) -> None:
    chunks = [range(first, min(first + CHUNK, n)) for first in range(0, n, CHUNK)]
    files = [_chunk_file(plan.folder, number) for number in range(len(chunks))]
    missing = [number for number, file in enumerate(files) if not is_finished(file, folder=plan.folder)]
    done = n - sum(len(chunks[number]) for number in missing)
    progress(done, n)
    load = partial(_load_maker, plan, subjects, chunks)
    for number, _ in run_jobs(missing, load=load, workers=workers, single_thread=True):
        done += len(chunks[number])
        progress(done, n)


def _load_maker(plan: _Plan, subjects: Subjects, chunks: Sequence[range], _: int) -> Callable[[int], None]:
    regenerate = plan.regenerate() if plan.regenerate else None
    return partial(_make_and_write, plan=plan, subjects=subjects, chunks=chunks, regenerate=regenerate)


def _make_and_write(
    number: int, *, plan: _Plan, subjects: Subjects, chunks: Sequence[range], regenerate: Regenerate | None
) -> None:
    make = partial(make_pair, recipe=plan.recipe, subjects=subjects, folder=plan.folder, regenerate=regenerate)
    made = [make(index) for index in chunks[number]]
    refusals: list[Refusal] = [refusal for item in made for refusal in item.refusals]
    rows = [pair_row(item.pair, folder=Path()) for item in made if item.pair is not None]
    facts = {"pairs": rows, "refusals": [_dropped(*refusal) for refusal in refusals]}
    files = {name: data for item in made for name, data in item.files.items()}
    write_part(_chunk_file(plan.folder, number), folder=plan.folder, facts=facts, files=files)


# -- tables ----------------------------------------------------------------------------------------------------
def _finish(
    n: int, *, plan: _Plan, subjects: Subjects, dropped: list[dict[str, str]], identity: dict[str, Any]
) -> PhotoSummary:
    chunks = [read_json(_chunk_file(plan.folder, number)) for number in range(-(-n // CHUNK))]
    rows = [row for chunk in chunks for row in chunk["pairs"]]
    refused = [*dropped, *(row for chunk in chunks for row in chunk["refusals"])]
    write_jsonl(plan.folder / "rejected.jsonl", refused)
    if not rows:
        raise DataError(f"{plan.folder}: expected at least one pair, got none; see its rejected.jsonl.")
    write_jsonl(plan.folder / PAIRS_NAME, rows)
    write_contact_sheet(rows, folder=plan.folder, path=plan.folder / "contact_sheet.png")
    lint = lint_pairs(plan.folder, token=TOKEN)
    reasons = dict(sorted(Counter(row["cause"] for row in refused).items()))
    num_photos = sum(len(photos) for photos in subjects.values())
    done = PhotoSummary(plan.folder, len(rows), n, num_photos, len(subjects), tuple(dropped), reasons, lint)
    write_json(plan.folder / "summary.json", _facts(done, rows, subjects=subjects, identity=identity))
    return done


def _facts(
    done: PhotoSummary, rows: list[dict[str, Any]], *, subjects: Subjects, identity: dict[str, Any]
) -> dict[str, Any]:
    filled = ("class_name", "prompt", "category", "mask", "box", "size", "rejected")
    disruptions = [subject["disruption"] for row in rows for subject in row["subjects"]]
    return {
        "run_sha256": json_sha256(identity),
        "num_pairs": done.num_pairs,
        "num_asked": done.num_asked,
        "num_photos": done.num_photos,
        "num_subjects": done.num_subjects,
        "photos_by_subject": {name: len(photos) for name, photos in subjects.items()},
        "refused_for": done.reasons,
        "categories": _count(row["category"] for row in rows),
        "kinds": _count(item["kind"] for item in disruptions),
        "strengths": _count(str(item["strength"]) for item in disruptions),
        "filled": {key: _count(str(row["models"][key]) for row in rows) for key in filled},
        "least_colour_difference": min(item["colour_difference"] for item in disruptions),
        "lint": {"num_errors": done.lint.num_errors, "by_code": done.lint.facts()["by_code"], "held": done.lint.held},
        "human_scores": 0,
        "judge": None,
    }


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
