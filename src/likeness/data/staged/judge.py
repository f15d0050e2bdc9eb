"""Stages 5 and 6: ten questions about every subject of both pictures, and the gate that keeps a pair or not.

The gate also looks at the pair as `data lint` does: what lint would call an error does not come into the set.
Source: FocusDPO (arXiv:2509.01181v1), section 4 and its appendix. Differs: nobody is asked beside the model.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any  # JSON

from likeness.core.jobs import always
from likeness.core.pairs import (
    PairReference,
    PairSubject,
    PictureScore,
    PreferencePair,
    QualityScores,
    pair_row,
    with_files,
)
from likeness.data.judging.gate import Thresholds, refuse_preferred, refuse_rejected
from likeness.data.judging.judges import Answers, Judge, LoadJudge, SubjectView
from likeness.data.judging.vlm_judge import cropped
from likeness.data.lint.findings import CODES
from likeness.data.lint.pair import PairRules, load_pair, pair_findings
from likeness.data.staged.caption import CAPTION
from likeness.data.staged.generate import GENERATE, preferred_name, reference_name
from likeness.data.staged.inpaint import INPAINT, prior_name, rejected_name
from likeness.data.staged.locate import LOCATE, TOKEN, mask_name, reference_mask_name
from likeness.data.staged.recipe import JudgeTable
from likeness.data.staged.stage import Made, Record, Rejection, Stage, Work, on_worker

__all__ = ["GATE", "JUDGE", "gate_stage", "judge_stage"]

JUDGE, GATE = "judge", "gate"


def judge_stage(table: JudgeTable, *, load: LoadJudge) -> Stage:
    """The stage with its judge."""
    return Stage(JUDGE, {"judge": load.id}, partial(_load, load), table.batch_size, table.num_gpus)


def _load(load: LoadJudge, worker: int) -> Work:
    return partial(_judge, judge=on_worker(load, worker=worker)())


def _judge(record: Record, *, judge: Judge) -> Made:
    """Ten answers per subject for the preferred picture, then for the rejected one at the same places."""
    found: dict[str, list[Answers]] = {}
    for name, file in (("preferred", preferred_name(record.id)), ("rejected", rejected_name(record.id))):
        found[name] = judge.answer(_views(record, file))
    return Made({name: [list(answers) for answers in each] for name, each in found.items()})


def _views(record: Record, file: str) -> list[SubjectView]:
    located, picture = record.facts[LOCATE], record.pixels(file)
    views: list[SubjectView] = []
    for place, subject in enumerate(record.asked["subjects"]):
        reference = record.pixels(reference_name(record.id, place))
        shown = cropped(reference, tuple(located["references"][place]["box"]))
        box = tuple(located["subjects"][place]["box"])
        views.append(SubjectView(picture, subject["category"], box, reference=shown))
    return views


# -- gate ------------------------------------------------------------------------------------------------------
def gate_stage(thresholds: Thresholds, *, models: dict[str, str]) -> Stage:
    """The stage that needs no model; `models` are the ids of those before, by stage, for the pairs."""
    settings = {"thresholds": thresholds._asdict(), "models": models}
    return Stage(GATE, settings, always(partial(_gate, thresholds=thresholds, models=models)), batch_size=8)


def _gate(record: Record, *, thresholds: Thresholds, models: dict[str, str]) -> Made | Rejection:
    pair = _pair(record, models=models)
    if refused := refuse_preferred(pair.qa.preferred, thresholds=thresholds):
        return Rejection("preferred", refused)
    if refused := refuse_rejected(pair.qa.rejected, disrupted=pair.disrupted, thresholds=thresholds):
        return Rejection("rejected", refused)
    there = with_files(pair, lambda _, path: record.folder / path)
    rules = PairRules(tolerance=0, token=TOKEN, thresholds=thresholds, encode=None)
    for found in pair_findings(load_pair(there), rules=rules):
        if CODES[found.code].severity == "error":
            return Rejection(found.code, found.what)
    return Made({"pair": pair_row(pair, folder=Path())})


def _pair(record: Record, *, models: dict[str, str]) -> PreferencePair:
    asked, located, judged = record.asked, record.facts[LOCATE], record.facts[JUDGE]
    subjects = tuple(_subject(record, place, models=models) for place in range(len(asked["subjects"])))
    disrupted = next(index for index, subject in enumerate(subjects) if subject.disrupted)
    drawn, redrawn = record.facts[GENERATE]["seeds"], record.facts[INPAINT]["seeds"]
    return PreferencePair(
        id=record.id,
        subset=asked["subset"],
        category=asked["subjects"][disrupted]["category"],
        prompt=asked["prompt"],
        references=tuple(_reference(record, place) for place in range(len(located["references"]))),
        preferred=Path(preferred_name(record.id)),
        rejected=Path(rejected_name(record.id)),
        subjects=subjects,
        prior_mask=Path(prior_name(record.id)),
        size=tuple(record.facts[GENERATE]["size"]),
        seeds={**drawn, **{f"inpaint_{place}": seed for place, seed in redrawn.items()}},
        models=_origins(models),
        qa=QualityScores(preferred=_score(judged["preferred"]), rejected=_score(judged["rejected"])),
        split=asked["split"],
    )


def _origins(models: dict[str, str]) -> dict[str, str | None]:
    """Where every field of the pair comes from."""
    detected = f"{models['detector']}, then {models['segmenter']}"
    return {
        **models,
        "preferred": models["generator"],
        "reference": models["generator"],
        "rejected": f"{models['inpainter']}, pasted into the preferred picture",
        "mask": detected,
        "box": "the mask's",
        "size": "the preferred picture's",
        "prompt": "recipe",
        "category": "recipe",
        "class_name": "recipe",
        "inpaint_caption": models["captioner"],
        "human_scores": None,
    }


def _reference(record: Record, place: int) -> PairReference:
    subject = record.asked["subjects"][place]
    return PairReference(
        image=Path(reference_name(record.id, place)),
        mask=Path(reference_mask_name(record.id, place)),
        phrase=subject["phrase"],
        category=subject["category"],
        class_name=subject["class_name"],
        id=subject["id"],
    )


def _subject(record: Record, place: int, *, models: dict[str, str]) -> PairSubject:
    subject, located, made = record.asked["subjects"][place], record.facts[LOCATE], record.facts[INPAINT]
    disruption: dict[str, Any] = {"kind": "redraw", "difficulty": 2, "source": models["inpainter"]}
    disruption |= {name: made[name] for name in ("reach", "apart", "changed_share")}
    found = located["subjects"][place]
    return PairSubject(
        phrase=subject["phrase"],
        reference_index=place,
        mask=Path(mask_name(record.id, place)),
        box=tuple(found["box"]),
        detection_score=found["score"],
        disrupted=subject["disrupted"],
        disruption=disruption if subject["disrupted"] else None,
        inpaint_caption=record.facts[CAPTION]["captions"].get(str(place)),
        id=subject["id"],
    )


def _score(answers: Sequence[Sequence[bool | None]]) -> PictureScore:
    return PictureScore(judge=tuple(map(tuple, answers)))
