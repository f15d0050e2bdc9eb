"""The three kinds of pairs: equal backgrounds, the same scene redrawn, another scene.

`dip` are pairs as `likeness data dip` makes them: nothing differs but the disrupted subjects. `elsewhere` puts the
rejected picture into a scene that the prompt does not name (../elsewhere.py). `redrawn` lies between them and is what
two samples of one model for one prompt look like: the rejected picture answers the same prompt and shows the same wrong
identities as in `dip`, but was drawn from another seed, so that poses, places and scenery differ, and nothing in it
contradicts the prompt. Where the loser of `dip` is drawn by the world, so is this one; where the base model repainted
it, the base model draws this one whole, from the references of the wrong identities.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any  # JSON

import world_runs
from elsewhere import move_pairs
from PIL import Image

from likeness.core.errors import DataError
from likeness.core.files import read_jsonl, write_jsonl
from likeness.core.images import save_png
from likeness.core.jobs import Progress, run_jobs, unseen
from likeness.core.kinds import Split
from likeness.core.rng import seed_for
from likeness.world.identity import Identity
from likeness.world.scenario import Scenario, sample_scenario

KINDS = ("dip", "redrawn", "elsewhere")
Row = dict[str, Any]


def build_kind(
    kind: str, *, plan: Mapping[str, Any], base: str, place: Path, workers: int, progress: Progress = unseen
) -> None:
    """`place`/`kind` holds the pairs, and so does `place`/dip, from which the other kinds are made.

    What `progress` raises ends the work, which the next call continues.
    """
    table = plan["pairs"]
    world_runs.build_pairs(table, base=base, out=place / "dip", workers=workers, progress=progress)
    if kind == "redrawn":
        redraw_pairs(place / "dip", out=place / kind, table=table, base=base, workers=workers, progress=progress)
    elif kind == "elsewhere":
        move_pairs(place / "dip", out=place / kind, split=table["split"], hard=table["hard"])


def redraw_pairs(
    pairs: Path, *, out: Path, table: Mapping[str, Any], base: str, workers: int, progress: Progress = unseen
) -> None:
    """`out` is the pair set `pairs` but for the rejected pictures, which are other samples of the same prompts.

    Left alone where it exists; pictures drawn before a kill are kept.
    """
    if out.is_dir():
        return
    part, rows = out.with_name(f"{out.name}.part"), read_jsonl(pairs / "pairs.jsonl")
    ignored = shutil.ignore_patterns("cache", "chunks", "*-rejected*")
    if not part.is_dir():
        fresh = part.with_name(f"{part.name}.tmp")
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(pairs, fresh, copy_function=os.link, ignore=ignored)
        fresh.rename(part)
    missing = [row for row in rows if not (part / row["rejected"]).is_file()]
    load = partial(_redrawer, part, dict(table), base)
    for done, _ in enumerate(run_jobs(missing, load=load, workers=workers, single_thread=True), start=1):
        progress(len(rows) - len(missing) + done, len(rows))
    (part / "pairs.jsonl").unlink()  # a link to the original
    write_jsonl(part / "pairs.jsonl", [redrawn_row(row) for row in rows])
    part.rename(out)


def redrawn_row(row: Row) -> Row:
    """The row without what was true of the old rejected picture only: where its subjects are, how far they reach."""
    subjects = [
        {
            **{key: value for key, value in subject.items() if key != "rejected_mask"},
            "disruption": subject["disruption"]
            and {key: value for key, value in subject["disruption"].items() if key not in ("reach", "apart")},
        }
        for subject in row["subjects"]
    ]
    return {**row, "subjects": subjects}


def scenarios(row: Row, *, split: Split, hard: bool) -> tuple[Scenario, Scenario]:
    """The scenario of the preferred picture, and that of the redrawn rejected one.

    Raises: DataError for a row that is not of this world.
    """
    shown = sample_scenario(
        row["seeds"]["scenario"], split=split, num_subjects=len(row["subjects"]), hard=hard, dressed=False
    )
    people = tuple(_impostor(who, subject) for who, subject in zip(shown.identities, row["subjects"], strict=True))
    return shown, replace(shown, identities=people, seed=seed_for("redrawn", row["id"]) % 2**31)


def _impostor(who: Identity, subject: Row) -> Identity:
    """Whom the rejected picture shows in the place of `who`."""
    if who.id != subject["id"]:
        raise DataError(f"pair of {subject['id']}: expected {who.id} by its seed, got another; make the pairs anew.")
    changed = subject["disruption"]["changed"] if subject["disrupted"] else {}
    return replace(who, **{name: new for name, (_, new) in changed.items()})


def _redrawer(place: Path, table: Mapping[str, Any], base: str, _: int) -> Callable[[Row], None]:
    """Draws the rejected picture of a row into `place`; the model is loaded when it is first needed."""
    models: list[Any] = []

    def redraw(row: Row) -> None:
        _, wrong = scenarios(row, split=table["split"], hard=table["hard"])
        source = next(s["disruption"]["source"] for s in row["subjects"] if s["disrupted"])
        if source == "drawn":
            from likeness.world.render import render_image

            image = Image.fromarray(render_image(wrong, size=row["size"][0]))
        else:
            if not models:
                models.append(_opened(base, steps=table["steps"]))
            model, options = models[0]
            references = _references(row, wrong, place=place)
            image = model.generate(row["prompt"], references, seed=wrong.seed, options=options)
        save_png(image, place / row["rejected"])

    return redraw


def _opened(base: str, *, steps: int) -> tuple[Any, Any]:
    """The model, and its own options with that many denoising steps."""
    from likeness.backbones.open import kind_of, open_backbone, options_of
    from likeness.core.weights import resolve_weights

    return open_backbone(base), options_of(kind_of(resolve_weights(base)))(steps=steps)


def _references(row: Row, wrong: Scenario, *, place: Path) -> list[Image.Image]:
    """Photos of whom the rejected picture is to show, in the poses of the pair's own."""
    from likeness.world.render import render_reference

    sizes = [Image.open(place / reference["image"]).width for reference in row["references"]]
    return [
        Image.fromarray(render_reference(who, seed=row["seeds"][f"reference-{i}"], size=size))
        for i, (who, size) in enumerate(zip(wrong.identities, sizes, strict=True))
    ]
