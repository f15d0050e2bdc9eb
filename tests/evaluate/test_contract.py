"""What every metric of the table keeps, asked of a small benchmark and the encoders it needs."""

import json
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import pytest
import tiny_encoders as tiny
import tiny_faces
from PIL import Image
from seen import with_eyes

from likeness.core.records import Case, Subject, read_cases
from likeness.encoders import ENCODERS
from likeness.evaluate import load_encoders
from likeness.evaluate.eyes import Encoders, Wishes
from likeness.evaluate.measure import Panel
from likeness.metrics import METRICS
from likeness.metrics.base import Evidence, Measured, Metric, Status


@pytest.fixture(params=sorted(METRICS))
def metric(request: pytest.FixtureRequest) -> Metric:
    return METRICS[request.param]


FURTHER = {**tiny.FURTHER, **tiny_faces.FURTHER}
NEEDS_ONNX = ("faces", "face_attributes", "nsfw")


@pytest.fixture(scope="session")
def encoders(weights: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Encoders:
    """Those of all evaluation tests, and the further ones whose small weights can be written here."""
    folder = tmp_path_factory.mktemp("further")
    has_onnx = find_spec("onnx") and find_spec("onnxruntime")
    able = {name: write for name, write in FURTHER.items() if has_onnx or name not in NEEDS_ONNX}
    return load_encoders(weights | {name: str(write(folder / name)) for name, write in able.items()})


@pytest.fixture(autouse=True)
def can_be_measured(request: pytest.FixtureRequest, encoders: Encoders) -> None:
    """Skips a metric that needs an encoder whose optional library is absent."""
    if "metric" in request.fixturenames:
        needs: tuple[str, ...] = request.getfixturevalue("metric").facts.needs
        if absent := set(needs) - set(encoders):
            pytest.skip(f"needs {', '.join(sorted(absent))}, and so onnx and onnxruntime")


@pytest.fixture(scope="module")
def gathered() -> list[Evidence]:
    """Filled by the first test that asks for evidence."""
    return []


@pytest.fixture
def evidence(gathered: list[Evidence], request: pytest.FixtureRequest, encoders: Encoders) -> list[Evidence]:
    """Six cases, of one subject and of two in turn, a picture of each and the true one."""
    if not gathered:
        folder = request.getfixturevalue("make_benchmark")(truth=True)
        cases = read_cases(folder / "cases.jsonl").cases
        pictures = request.getfixturevalue("make_pictures")(per_case=1)
        truths = [folder / "truth" / f"{case.id}.png" for case in cases]

        def gather(panel: Panel) -> list[Evidence]:
            panel.declare(cases, name="all")
            return [
                panel.evidence(case, picture=pictures / f"{case.id}-0.png", truth=truth)
                for case, truth in zip(cases, truths, strict=True)
            ]

        gathered += with_eyes(gather, encoders)
    return gathered


def check(metric: Metric, found: Measured, case: Case) -> None:
    """A number inside the range, or none with a status and a note; one value per subject where the facts say so.

    What a rule excluded may be a number too, which the rule gives.
    """
    lowest, highest = metric.facts.range
    for value in (found.value, *found.per_subject):
        assert value.status in get_args(Status)
        assert value.measured == (value.status == "measured") or (metric.declares and value.status == "excluded")
        assert lowest <= value.value <= highest if value.measured else value.note
        json.dumps(value.to_json(), allow_nan=False)
    assert len(found.per_subject) == (len(case.subjects) if metric.facts.per_subject else 0)


def test_a_value_is_inside_its_range_or_says_why_there_is_none(
    metric: Metric, encoders: Encoders, evidence: list[Evidence]
) -> None:
    panel = Panel(Wishes(encoders), labelled=True)
    found = [panel.measure(metric, each) for each in evidence]
    for each, seen in zip(found, evidence, strict=True):
        check(metric, each, seen.case)
    assert any(each.value.measured for each in found), "no picture of the benchmark could be measured"


def test_a_value_follows_from_the_evidence_alone(metric: Metric, encoders: Encoders, evidence: list[Evidence]) -> None:
    panel = Panel(Wishes(encoders), labelled=True)
    forwards = [panel.measure(metric, each) for each in evidence]
    backwards = [panel.measure(metric, each) for each in evidence[::-1]][::-1]
    assert [each.value.to_json() for each in backwards] == [each.value.to_json() for each in forwards]


def test_a_case_without_subjects_or_labels_is_answered(metric: Metric, encoders: Encoders, tmp_path: Path) -> None:
    Image.new("RGB", (48, 48), "orange").save(tmp_path / "cat.png")
    cat = Subject(id="cat", class_name="cat", reference_image=tmp_path / "cat.png")
    for subjects in ((), (cat,)):
        case = Case(id="bare", prompt="a cat", subjects=subjects)
        own = {name: encoders[name] for name in metric.facts.needs}
        evidence = with_eyes(partial(Panel.evidence, case=case, picture=cat.reference_image), own)
        found = Panel(Wishes(encoders), labelled=True).measure(metric, evidence)
        check(metric, found, case)
        assert found.value.measured or found.value.status in ("not_applicable", "nothing_found")


def test_without_an_encoder_it_is_missing_and_says_which(
    metric: Metric, encoders: Encoders, evidence: list[Evidence]
) -> None:
    assert metric.facts.needs
    for name in metric.facts.needs:
        panel = Panel(Wishes({key: each for key, each in encoders.items() if key != name}), labelled=True)
        found = panel.measure(metric, evidence[1])
        check(metric, found, evidence[1].case)
        assert found.value.status == "missing"
        assert ENCODERS[name].noun in found.value.note


def test_facts_tell_what_a_reader_must_know(metric: Metric) -> None:
    facts = metric.facts
    assert facts.label
    assert facts.short
    assert facts.question.endswith("?")
    assert facts.unit
    assert facts.range[0] < facts.range[1]
    assert set(facts.needs) <= ENCODERS.keys()
    json.dumps(facts.shown(), allow_nan=False)
