"""Stellar's data by its commands, from prompts over people to the cases of the benchmark."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders as tiny
from planted_portraits import PlantedFaces, people, write_celeba
from typer.testing import CliRunner

from likeness.benchmarks import benchmark_cases
from likeness.cli import app
from likeness.data.prompts.tagger import Word


def run(*words: str) -> Any:
    done = CliRunner().invoke(app, ["data", *words, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_prompts_and_people_become_the_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = tiny.write_sentence_t5(tmp_path / "t5")
    numbers = ["--candidates", "60", "-n", "8", "--people", "4", "--each", "2", "--validation-each", "1"]
    made = run("stellar-prompts", "--out", str(tmp_path / "prompts"), "--encoder", str(encoder), *numbers)
    assert (made["candidates"], made["kept"], made["sampled"], made["people"]) == (60, 40, 12, 8)
    assert made["encoder"].startswith("sentence t5@")
    monkeypatch.setattr("likeness.encoders.faces.FaceEncoder.load", lambda spec: PlantedFaces())
    rows = [*people(0, each=1, original=190_000), *people(9, each=1, original=170_000)]
    celeba, root = write_celeba(tmp_path / "celeba", rows), tmp_path / "root"
    arguments = ["--prompts", str(tmp_path / "prompts"), "--people", "4"]
    chosen = run("stellar-images", str(celeba), "--out", str(root), *arguments)
    assert chosen["left_out"] == []
    assert chosen["splits"]["test"]["people"] == chosen["splits"]["validation"]["people"] == 4
    cases = benchmark_cases("stellar", folder=tmp_path / "cases", data=root).cases
    assert len(cases) == 4 * 2 * 2
    lists = json.loads((tmp_path / "prompts" / "stellar_t.json").read_text())
    assert {case.prompt for case in cases if case.id.startswith("003-")} == {
        text.replace("{}", "a person") for text in lists["003"]["prompts"]
    }


def test_sets_of_prompts_become_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")

    def tagged(texts: Any) -> list[list[Word]]:
        return [[Word(word, "NOUN") for word in text.split()] for text in texts]

    monkeypatch.setattr("likeness.data.prompts.tagger.spacy_tagger", lambda: tagged)
    rng = np.random.default_rng(0)
    words = ["moon", "horse", "boat", "tree", "lamp", "river"]
    for name in ("a", "b"):
        lines = [f"{{}} near a {words[x]} and a {words[y]} {k}" for k, (x, y) in enumerate(rng.integers(0, 6, (14, 2)))]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    (tmp_path / "known.txt").write_text("moon\nhouse\n")
    sets = [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]
    out = ["--out", str(tmp_path / "page.html"), "--vocabulary", str(tmp_path / "known.txt")]
    plain = run("prompt-report", *sets, *out, "--words-only")
    assert plain["mixture"] is None
    assert [row["vocabulary"] for row in plain["coverage"]] == ["known", "known"]
    encoder = tiny.write_sentence_bert(tmp_path / "bert")
    found = run("prompt-report", *sets, *out, "--encoder", str(encoder))
    assert [row["n"] for row in found["mixture"]["likelihood"]] == [14, 14]
    assert json.loads(Path(found["numbers"]).read_text())["map"] == found["map"]
    assert "Nearest neighbours" in Path(found["page"]).read_text()


def test_the_form_and_what_comes_back(tmp_path: Path) -> None:
    form = run("prompt-form", "--out", str(tmp_path / "task.html"))
    answers = ["{} on the moon", "{} wearing a hat", "{} in a boat"]
    row = dict(zip(form["fields"], ("w", "t", "000", *answers), strict=True))
    assert all(f'name="{field}"' in (tmp_path / "task.html").read_text() for field in form["fields"])
    (tmp_path / "back.jsonl").write_text(json.dumps(row) + "\n")
    out = tmp_path / "stellar_h.json"
    found = run("prompt-check", str(tmp_path / "back.jsonl"), "--out", str(out))
    assert (found["num_prompts"], found["num_photos"], found["num_workers"]) == (2, 1, 1)
    assert json.loads(out.read_text()) == {"000": {"prompts": [answers[0], answers[2]]}}
    told = CliRunner().invoke(app, ["data", "prompt-check", str(tmp_path / "back.jsonl")]).stdout
    assert "back.jsonl:1: prompt_2: asks for clothes, glasses or jewellery (wearing)" in told
    assert "2 usable prompts for 1 photo, 1 fault." in told
