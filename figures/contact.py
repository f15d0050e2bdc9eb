"""How well the three failures where subjects touch are told: thresholds chosen on validation, error rates on test.

    python figures/contact.py --pairs 96 --out runs/contact --write

A pair is two drawn subjects with a photo each, in one of the six relations that touch. `touching` is the true picture
of the relation, `apart` the same subjects beside each other, `mixed` the true picture in which each has the other's
looks within a disc around the joints that touch. `grown` is the true picture of subjects whose photos are drawn without
arms and legs, `limbless` the picture without them. The limit of each failure is the one with the best mean of both
shares that are told right, among those half-way between two values of the validation pairs; its error rates are those
of the test pairs, which are other people. Interrupted? The same command again continues;
two with `--split validation` and `--split test` share the work.
"""

import argparse
import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple  # Any: what an encoder sees is its own type; JSON
from unittest.mock import patch

import numpy as np
from blocks import fill_block
from numpy.typing import NDArray
from PIL import Image

from likeness.core.files import json_line, read_jsonl, write_json
from likeness.core.kinds import Split
from likeness.core.records import Case, Labels, Subject
from likeness.core.skeletons import LIMBS
from likeness.core.stats.intervals import Interval, wilson
from likeness.encoders import load_encoder
from likeness.metrics import METRICS
from likeness.metrics.base import Evidence, NotApplicableError, Seen, SubjectEvidence
from likeness.metrics.contact import CONTACTS, MIXED, NO_CONTACT, touching
from likeness.metrics.failures import FAILURES, GROWN, Failure
from likeness.world import character
from likeness.world.render import render, render_image, render_reference
from likeness.world.scenario import Scenario, sample_scenario

SIZE = 128
RELATIONS = ("shake_hands", "hold_hands", "high_five", "hug", "kiss", "back_to_back")
SPLITS: tuple[Split, ...] = ("validation", "test")
ENCODERS = {"subjects": "subjects", "joints": "subjects+pose"}
MIXED_RADIUS = 0.1
"""Of the disc, in shares of the picture's side."""
Pixels = NDArray[np.uint8]


class Kind(NamedTuple):
    """The pictures that have a failure, and those that do not."""

    failed: str
    sound: str


KINDS = {
    "limb_growth": Kind("grown", "limbless"),
    "no_contact": Kind("apart", "touching"),
    "confusion": Kind("mixed", "touching"),
}


class Line(NamedTuple):
    """A line of the table: a failure, of the relations that have these joints touch or of all, and its limit if any."""

    label: str
    failure: str
    touch: str
    limit: float | None


TOUCHES = tuple(dict.fromkeys(touch.kind for touch in CONTACTS))
LINES = (
    Line("limbs grew", "limb_growth", "", GROWN),
    *(Line(f"no contact: {kind}", "no_contact", kind, NO_CONTACT.get(kind)) for kind in TOUCHES),
    *(Line(f"mixed: {kind}", "confusion", kind, MIXED.get(kind)) for kind in TOUCHES),
)


# -- pictures --------------------------------------------------------------------------------------------------
@contextmanager
def without_limbs() -> Generator[None]:
    """Characters are drawn without arms and legs."""
    with patch.object(character, "arms", lambda _: ()), patch.object(character, "legs", lambda _: ()):
        yield


def scenario_of(number: int, split: Split) -> Scenario:
    """The pair in its relation."""
    drawn = sample_scenario(number, split=split, num_subjects=2, dressed=False)
    return replace(drawn, action=RELATIONS[number % len(RELATIONS)], zoom=1.0, crowd=1.0)


def case_of(scenario: Scenario) -> Case:
    """What the pair is asked for."""
    names = [who.class_name for who in scenario.identities]
    subjects = [Subject(id=f"{i}", class_name=name, reference_image=Path("x")) for i, name in enumerate(names)]
    return Case(id="a", prompt="a", subjects=tuple(subjects), labels=Labels(action=scenario.action))


def pictures(scenario: Scenario) -> dict[str, Pixels]:
    """By kind."""
    found = {
        "touching": render_image(scenario, size=SIZE),
        "apart": render_image(replace(scenario, action="together"), size=SIZE),
        "mixed": mixed(scenario),
    }
    with without_limbs():
        return found | {"limbless": render_image(scenario, size=SIZE)}


def mixed(scenario: Scenario) -> Pixels:
    """The true picture, around the joints that touch as if both had changed places."""
    picture, other = render(scenario, size=SIZE), replace(scenario, identities=scenario.identities[::-1])
    one, two = (subject.keypoints[:, :2] for subject in picture.labels.subjects)
    pairs = [(one[i], two[j]) for first, second in _both_ways(scenario) for i in first for j in second]
    x, y = np.mean(min(pairs, key=lambda pair: float(np.linalg.norm(pair[0] - pair[1]))), axis=0) * SIZE
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    disc = (columns - x) ** 2 + (rows - y) ** 2 <= (MIXED_RADIUS * SIZE) ** 2
    return np.where(disc[..., None], render_image(other, size=SIZE), picture.image)


def _both_ways(scenario: Scenario) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    touch = touching(case_of(scenario))
    one, other = touch.one("ap10k"), touch.other("ap10k")
    return [(one, other), (other, one)]


def photos(scenario: Scenario, number: int) -> list[Pixels]:
    """One of each subject."""
    return [render_reference(who, seed=10 * number, size=SIZE) for who in scenario.identities]


# -- readings --------------------------------------------------------------------------------------------------
def readings(number: int, split: Split, encoders: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """By failure and kind of picture, the reading or why there is none; and the limbs of the photos."""
    scenario = scenario_of(number, split)
    drawn, usual = pictures(scenario), photos(scenario, number)
    with without_limbs():
        bare = photos(scenario, number)
    images = [Image.fromarray(each) for each in (*drawn.values(), *usual, *bare)]
    looks = {name: encoder.look(images) for name, encoder in encoders}
    sights: list[Seen] = [{name: some[i] for name, some in looks.items()} for i in range(len(images))]
    seen = dict(zip(drawn, sights, strict=False))
    with_limbs, without = sights[len(drawn) : len(drawn) + 2], sights[len(drawn) + 2 :]
    case = case_of(scenario)
    row: dict[str, Any] = {"split": split, "number": number, "relation": scenario.action}
    for failure in FAILURES:
        is_growth = failure.name == "limb_growth"
        of_kind = {"grown": seen["touching"]} | seen
        for kind in KINDS[failure.name]:
            given = evidence(case, of_kind[kind], without if is_growth else with_limbs)
            row[f"{failure.name}.{kind}"] = read(failure, given)
    row["photos"] = {name: list(map(limb_scores, own)) for name, own in (("with", with_limbs), ("without", without))}
    row["scenes"] = {"with": limb_scores(seen["touching"]), "without": limb_scores(seen["limbless"])}
    return row


def limb_scores(sight: Seen) -> list[list[float]]:
    """Of each body, the least score of root, joint and end of each limb."""
    return [[float(b.scores[list(limb)].min()) for limb in LIMBS["ap10k"]] for b in sight["joints"].bodies]


def evidence(case: Case, picture: Seen, own: Sequence[Seen]) -> Evidence:
    """A picture of the case, whose subjects have one photo each."""
    subjects = zip(case.subjects, own, strict=True)
    return Evidence(case, picture, {}, tuple(SubjectEvidence(who, (photo,), photo) for who, photo in subjects))


def read(failure: Failure, given: Evidence) -> float | str:
    """The distance, the share of the colour or the limbs that grew; or why there is none."""
    measured = METRICS[failure.metric].measure(given)
    value = failure.reading(measured, given.case) if failure.name == "limb_growth" else measured.value
    return value.value if value.measured else value.note


def read_all(pairs: int, splits: Sequence[Split], *, out: Path) -> list[dict[str, Any]]:
    """The rows of all pairs of the splits, those that are kept in OUT/SPLIT.jsonl and the others."""
    out.mkdir(parents=True, exist_ok=True)
    paths = {split: out / f"{split}.jsonl" for split in splits}
    rows = {split: read_jsonl(path) if path.is_file() else [] for split, path in paths.items()}
    missing: list[tuple[Split, int]] = [
        (split, number) for split in splits for number in range(len(rows[split]), pairs)
    ]
    encoders = [(name, load_encoder(name, weights)) for name, weights in ENCODERS.items()] if missing else []
    for split, number in missing:
        rows[split].append(readings(number, split, encoders))
        with paths[split].open("a", encoding="utf-8") as file:
            file.write(json_line(rows[split][-1]))
    return [row for some in rows.values() for row in some[:pairs]]


# -- limits and errors -----------------------------------------------------------------------------------------
def values(rows: Sequence[dict[str, Any]], key: str) -> NDArray[np.float64]:
    """The readings of a kind that were measured."""
    return np.array([row[key] for row in rows if not isinstance(row[key], str)], dtype=np.float64)


def right(failed: NDArray[np.float64], sound: NDArray[np.float64], *, limit: float) -> float:
    """The mean of both shares that are told right."""
    return float(((failed >= limit).mean() + (sound < limit).mean()) / 2)


def best_limit(failed: NDArray[np.float64], sound: NDArray[np.float64]) -> float:
    """Half-way between two readings: where the mean of both shares told right is largest; the middle of equals."""
    known = np.unique([*failed, *sound])
    limits = (known[:-1] + known[1:]) / 2
    shares = np.array([right(failed, sound, limit=limit) for limit in limits])
    return float(np.median(limits[shares == shares.max()]))


def auc(failed: NDArray[np.float64], sound: NDArray[np.float64]) -> float:
    """The share of (failed, sound) pairs in which the failed one reads higher; ties count half."""
    gaps = failed[:, None] - sound[None]
    return float(((gaps > 0) + 0.5 * (gaps == 0)).mean())


def share(wrong: NDArray[np.bool_]) -> Interval:
    """Of how many; NaN of none."""
    return wilson(float(wrong.mean()) if len(wrong) else np.nan, len(wrong))


def numbers(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """By line: the limit that validation gives, the one in force, and the errors of both on test."""
    cases = {action: case_of(scenario_of(number, "test")) for number, action in enumerate(RELATIONS)}
    return {line.label: _numbers(line, [row for row in rows if _is_of(line, cases[row["relation"]])]) for line in LINES}


def _is_of(line: Line, case: Case) -> bool:
    """Whether the case has the joints of the line touch; of a line for all joints, whether it can fail so."""
    if line.touch:
        return touching(case).kind == line.touch
    try:
        next(failure for failure in FAILURES if failure.name == line.failure).require(case)
    except NotApplicableError:
        return False
    return True


def _numbers(line: Line, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    failed, sound = (
        {split: values([r for r in rows if r["split"] == split], f"{line.failure}.{each}") for split in SPLITS}
        for each in KINDS[line.failure]
    )
    found: dict[str, Any] = {"limit": line.limit, "best_limit": None, "right": None}
    limits = {} if line.limit is None else {"in_force": line.limit}
    if len(failed["validation"]) and len(sound["validation"]):
        at = found["best_limit"] = limits["at_best"] = best_limit(failed["validation"], sound["validation"])
        found["right"] = right(failed["validation"], sound["validation"], limit=at)
    for name, at in limits.items():
        missed, alarms = share(failed["test"] < at), share(sound["test"] >= at)
        found[name] = {"missed": told(missed), "false_alarm": told(alarms)}
    if len(failed["test"]) and len(sound["test"]):
        found["auc"] = auc(failed["test"], sound["test"])
    total = sum(row["split"] == "test" for row in rows)
    kinds = zip(KINDS[line.failure], (failed, sound), strict=True)
    return found | {"not_measured": {name: [total - len(some["test"]), total] for name, some in kinds}}


def told(interval: Interval) -> dict[str, Any]:
    """For JSON: null in place of NaN."""
    return {k: v if v == v else None for k, v in interval._asdict().items() if k in ("mean", "ci_low", "ci_high", "n")}


# -- what is written -------------------------------------------------------------------------------------------
def table(found: dict[str, Any]) -> str:
    """The numbers in Markdown, a line each; errors are of the limit in force, else of that of validation."""
    lines = [
        "| failure | limit | validation: limit | right | test: AUC | missed | false alarms "
        "| not measured: failed, sound |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for label, own in found.items():
        unread = ", ".join(f"{count} of {total}" for count, total in own["not_measured"].values())
        errors = own.get("in_force") or own.get("at_best") or {}
        cells = [_cell(errors[name]) if errors else "not measured" for name in ("missed", "false_alarm")]
        limits = [_number(own["limit"], "g"), *(_number(own.get(k), ".3f") for k in ("best_limit", "right", "auc"))]
        lines.append(f"| {label} | {' | '.join([*limits, *cells])} | {unread} |")
    return "\n".join(lines)


def _number(value: float | None, form: str) -> str:
    return "none" if value is None else format(value, form)


def _cell(one: dict[str, Any]) -> str:
    if not one["n"]:
        return "not measured"
    return f"{one['mean']:.3f} [{one['ci_low']:.3f}, {one['ci_high']:.3f}] n {one['n']}"


def main() -> None:
    """Draws, measures, prints; writes the page and the numbers beside it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=96, help="of each split")
    parser.add_argument("--out", type=Path, default=Path("runs/contact"))
    parser.add_argument("--split", choices=SPLITS, help="only measure the pairs of this one")
    parser.add_argument("--write", action="store_true", help="docs/contact.json and the block of its page")
    options = parser.parse_args()
    rows = read_all(options.pairs, [options.split] if options.split else SPLITS, out=options.out)
    if options.split:
        return
    found = numbers(rows)
    print(json.dumps(found, indent=1))
    if options.write:
        docs = Path(__file__).resolve().parent.parent / "docs"
        write_json(docs / "contact.json", found)
        fill_block(docs / "metrics" / "several-subjects.md", "contact", f"{table(found)}\n")


if __name__ == "__main__":
    main()
