"""The comparison of relations without references: what each method is told, what is right, and the sums."""

import json
from pathlib import Path
from typing import Any

import pytest
from scripts import load_script

from likeness.core.files import read_json


@pytest.fixture(scope="module")
def run() -> Any:
    return load_script("experiments/relation_inversion/run.py")


def test_methods_differ_in_the_verb_alone(run: Any, tmp_path: Path) -> None:
    asked = run.asked_of("hug", pictures=2, out=tmp_path)
    for each in asked:
        told = {method: run.prompt_of(each, method=method) for method in run.METHODS}
        assert told["verb"] == told["lora"] == each.prompt
        assert told["word"].replace("<R>", "hugging") == each.prompt == told["untrained"].replace(" and ", " hugging ")
        assert all(f"a {name}" in each.prompt.lower() or f"an {name}" in each.prompt.lower() for name in each.classes)
        assert each.truth.is_file()
        assert len(each.subjects) == 2


def test_a_picture_is_right_where_the_first_relation_wins(run: Any) -> None:
    assert run.is_right((1.0, 0.9, -3.0))
    assert not run.is_right((0.9, 1.0))
    assert not run.is_right((1.0, 1.0))
    assert not run.is_right(())


def test_shares_and_paired_differences(run: Any) -> None:
    """Eight pictures of eight pairs of subjects, two relations; a word that is right where "and" is, and three more."""
    asked = [run.Asked(f"p{i}", "", "", ("cat", "dog"), frozenset({f"a{i}", f"b{i}"}), Path("p.png")) for i in range(8)]
    right = {name: {f"p{i}": i < count for i in range(8)} for name, count in
             {"verb": 8, "untrained": 2, "word": 5, "lora": 7, "truth": 8}.items()}  # fmt: skip
    found = run.summary(right, asked, relations={f"p{i}": "hug" if i % 2 else "chase" for i in range(8)})
    assert found["shares"]["word"]["mean"] == pytest.approx(5 / 8)
    assert found["shares"]["verb"]["ci_low"] < 1.0 == found["shares"]["verb"]["ci_high"]
    interval = found["differences"]["word - untrained"]["interval"]
    assert interval["mean"] == pytest.approx(3 / 8)
    assert found["differences"]["lora - verb"]["interval"]["mean"] == pytest.approx(-1 / 8)


def test_what_cannot_be_computed_is_null(run: Any) -> None:
    asked = [run.Asked("p", "", "", ("cat", "dog"), frozenset({"a", "b"}), Path("p.png"))]
    found = run.summary({name: {"p": True} for name in (*run.METHODS, "truth")}, asked, relations={"p": "hug"})
    assert found["differences"]["word - verb"]["interval"]["ci_low"] is None
    json.dumps(found, allow_nan=False)


def test_what_was_judged_is_kept(run: Any, tmp_path: Path) -> None:
    class Scorer:
        asked: list[list[str]] = []  # noqa: RUF012 - of one test

        def ask(self, images: Any, texts: list[str]) -> list[Any]:
            self.asked.append(texts)
            return [type("Answer", (), {"log_odds": (1.0, 0.0)})() for _ in images]

    asked = run.asked_of("hug", pictures=1, out=tmp_path)
    told: Any = {"relation": "hug", "kept": tmp_path / "right.json", "scorer": Scorer()}
    for _ in range(2):
        assert run.judged(asked, [asked[0].truth], **told) == {asked[0].id: True}
    assert read_json(tmp_path / "right.json") == {asked[0].id: True}
    ((text,),) = Scorer.asked
    lines = text.split("\n")
    assert lines[0].endswith(asked[0].classes[0])
    assert lines[1:3] == [asked[0].classes[1], "hugging"]
    assert len(lines) == len(set(lines)) == 2 + len(run.TWO_SUBJECT_ACTIONS) + 1
    assert lines[-1] == "next to"
