"""Pairs from models (`likeness data dip --source models`): a recipe in, a pair set out, however often it was stopped.

The folder holds run.json, ledger.jsonl (what was done), pairs.jsonl, images/, masks/, rejected.jsonl (every record that
is no pair: the stage that rejected it and why, or the error in it and how often), summary.json and contact_sheet.png.
Source: FocusDPO (arXiv:2509.01181v1), section 4. Differs: open models; nobody is asked beside the judge.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple  # Any: rows are JSON

from likeness.core.errors import ConfigError, DataError
from likeness.core.files import write_json, write_jsonl
from likeness.core.hashing import json_sha256
from likeness.core.jobs import Engine, Progress, unseen
from likeness.core.pairs import PAIRS_NAME
from likeness.core.runs import grow_run, hold_run, open_run
from likeness.data.judging.vlm_judge import LoadVlmJudge
from likeness.data.lint.findings import LintReport
from likeness.data.lint.run import lint_pairs
from likeness.data.pairs.contact_sheet import write_contact_sheet
from likeness.data.pairs.regeneration import LoadRegenerate
from likeness.data.staged.caption import caption_stage
from likeness.data.staged.generate import LoadPainter, generate_stage
from likeness.data.staged.inpaint import inpaint_stage
from likeness.data.staged.judge import GATE, gate_stage, judge_stage
from likeness.data.staged.ledger import open_ledger
from likeness.data.staged.locate import TOKEN, locate_stage
from likeness.data.staged.models import CAPTIONER, DETECTOR, SEGMENTER, LoadEncoder
from likeness.data.staged.recipe import ModelRecipe
from likeness.data.staged.records import asked_of
from likeness.data.staged.run import Accounts, run_stages
from likeness.data.staged.stage import Asked, Stage

__all__ = ["ModelSummary", "StageModels", "make_model_pairs", "records_of", "stages_of"]

VERSION = 1
"""Of the recipe: raised whenever equal settings would give other pairs."""


@dataclass(frozen=True)
class StageModels:
    """What loads the models of the stages."""

    painter: LoadPainter
    inpainter: LoadRegenerate
    detector: LoadEncoder
    segmenter: LoadEncoder
    captioner: LoadEncoder
    judge: LoadVlmJudge

    def ids(self) -> dict[str, str]:
        """The models by what they do, as pairs and run.json tell of them."""
        return {
            "generator": self.painter.id,
            "detector": self.detector.id,
            "segmenter": self.segmenter.id,
            "captioner": self.captioner.id,
            "inpainter": self.inpainter.id,
            "judge": self.judge.id,
        }


class ModelSummary(NamedTuple):
    """What a folder holds now. `reasons`: stage and cause -> how many records ended there; failures among `failed`."""

    folder: Path
    num_pairs: int
    num_records: int
    num_rejected: int
    num_failed: int
    reasons: dict[str, int]
    ended: tuple[dict[str, Any], ...]
    lint: LintReport


def stages_of(
    recipe: ModelRecipe, *, painter: LoadPainter, inpainter: LoadRegenerate, device: str = "auto"
) -> tuple[list[Stage], StageModels]:
    """The six stages of a recipe, and its models. Raises: WeightsError for weights that are not there."""
    judged = recipe.judge
    models = StageModels(
        painter=painter,
        inpainter=inpainter,
        detector=LoadEncoder(DETECTOR, recipe.locate.detector, device),
        segmenter=LoadEncoder(SEGMENTER, recipe.locate.segmenter, device),
        captioner=LoadEncoder(CAPTIONER, recipe.caption.model, device),
        judge=LoadVlmJudge(judged.model, judged.sure, judged.doubt, judged.least_mass, device),
    )
    stages = [
        generate_stage(recipe.generate, load=models.painter),
        locate_stage(recipe.locate, detector=models.detector, segmenter=models.segmenter),
        caption_stage(recipe.caption, load=models.captioner),
        inpaint_stage(recipe.inpaint, load=models.inpainter),
        judge_stage(judged, load=models.judge),
        gate_stage(recipe.gate.thresholds, models=models.ids()),
    ]
    return stages, models


def records_of(recipe: ModelRecipe, *, limit: int | None = None) -> list[Asked]:
    """What is asked of the recipe's records, or of the first `limit` of them. Raises: ConfigError."""
    if limit is not None and limit < 1:
        raise ConfigError(f"limit: expected at least 1, got {limit}; raise it.")
    return [asked_of(recipe, index) for index in range(min(recipe.records.number, limit or recipe.records.number))]


def make_model_pairs(
    recipe: ModelRecipe,
    *,
    out: Path | str,
    painter: LoadPainter,
    inpainter: LoadRegenerate,
    device: str = "auto",
    limit: int | None = None,
    workers: int = 1,
    engine: Engine | None = None,
    retry_failed: bool = False,
    progress: Callable[[str], Progress] = lambda _: unseen,
) -> ModelSummary:
    """The folder `out` holds every record of the recipe that came through all stages as a pair.

    Record i depends on the recipe's seed, subjects, scenes and models, and on i, not on how many records there are, on
    batches, workers or interruptions: stopped at any moment and started again, it ends with the same set. A larger
    `limit` or number of records lets the set grow. `painter` and `inpainter` load the recipe's models for `generate`
    and `inpaint`.
    Raises: ConfigError; WeightsError; OutputError; DataError when no record became a pair.
    """
    asked = records_of(recipe, limit=limit)
    stages, models = stages_of(recipe, painter=painter, inpainter=inpainter, device=device)
    folder, identity = Path(out), _identity(recipe, models, stages=stages, number=len(asked))
    grow_run(folder, identity=identity, key="num_records", may_grow=lambda old: old < len(asked))
    open_run(folder, identity=identity)
    with hold_run(folder), open_ledger(folder) as ledger:
        how: dict[str, Any] = {"workers": workers, "engine": engine, "retry_failed": retry_failed}
        accounts = run_stages(asked, stages=stages, folder=folder, ledger=ledger, progress=progress, **how)
        return _finish(accounts, recipe=recipe, folder=folder, identity=identity)


def _identity(recipe: ModelRecipe, models: StageModels, *, stages: Sequence[Stage], number: int) -> dict[str, Any]:
    """What decides the bytes of the set: no batch, share of a GPU or worker does."""
    asked = recipe.model_dump(mode="json", include={"seed", "split", "records", "subjects"})
    del asked["records"]["number"]
    return {
        "kind": "dip",
        "version": VERSION,
        "source": "models",
        "num_records": number,
        **asked,
        "models": models.ids(),
        "stages": {stage.name: stage.settings for stage in stages},
    }


def _finish(accounts: Accounts, *, recipe: ModelRecipe, folder: Path, identity: dict[str, Any]) -> ModelSummary:
    rows = [record.facts[GATE]["pair"] for record in accounts.finished]
    ended = [_row(end._asdict()) for end in accounts.ended]
    write_jsonl(folder / "rejected.jsonl", ended)
    if not rows:
        first = f"; first: {ended[0]['where']}: {ended[0]['reason']}" if ended else ""
        raise DataError(f"{folder}: expected at least one pair, got none; see its rejected.jsonl{first}")
    write_jsonl(folder / PAIRS_NAME, rows)
    write_contact_sheet(rows, folder=folder, path=folder / "contact_sheet.png")
    lint = lint_pairs(folder, token=TOKEN, thresholds=recipe.gate.thresholds)
    failed = sum(row["outcome"] == "failed" for row in ended)
    reasons = _count(row["cause"] for row in ended)
    numbers = len(rows), len(rows) + len(ended), len(ended) - failed, failed
    done = ModelSummary(folder, *numbers, reasons, tuple(ended), lint)
    write_json(folder / "summary.json", _facts(done, rows, identity=identity))
    return done


def _row(end: dict[str, Any]) -> dict[str, Any]:
    """A record that is no pair, as rejected.jsonl tells of it."""
    how = f"{end['stage']}: {end['cause']}"
    return {"where": end["record"], "cause": how, **{key: end[key] for key in ("reason", "outcome", "stage", "tries")}}


def _facts(done: ModelSummary, rows: list[dict[str, Any]], *, identity: dict[str, Any]) -> dict[str, Any]:
    filled = ("prompt", "category", "class_name", "mask", "box", "size", "rejected", "inpaint_caption")
    return {
        "run_sha256": json_sha256(identity),
        "num_pairs": done.num_pairs,
        "num_records": done.num_records,
        "num_rejected": done.num_rejected,
        "num_failed": done.num_failed,
        "refused_for": done.reasons,
        "subsets": _count(row["subset"] for row in rows),
        "categories": _count(row["category"] for row in rows),
        "filled": {key: _count(str(row["models"][key]) for row in rows) for key in filled},
        "lint": {"num_errors": done.lint.num_errors, "by_code": done.lint.facts()["by_code"], "held": done.lint.held},
        "human_scores": 0,
        "judge": identity["models"]["judge"],
        "thresholds": identity["stages"][GATE]["thresholds"],
    }


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
