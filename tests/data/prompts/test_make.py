"""Prompts made, kept features, and the benchmark that reads them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from likeness.benchmarks import benchmark_cases
from likeness.core.errors import ConfigError, DataError
from likeness.core.files import read_json, read_jsonl
from likeness.data.prompts import embedded as store_module
from likeness.data.prompts.embedded import embedded
from likeness.data.prompts.files import read_lists, read_prompts, sentence
from likeness.data.prompts.make import make_prompts, own_reference

SMALL: dict[str, Any] = {"num_candidates": 600, "num_prompts": 12, "people": 4, "each": 3}


def test_what_is_written_follows_from_settings_and_seed(sums: Any, tmp_path: Path) -> None:
    made = make_prompts(tmp_path / "a", encoder=sums, store=tmp_path / "store", validation_each=1, seed=2, **SMALL)
    assert made.counts == {"candidates": 600, "kept": 400, "sampled": 16, "people": 8}
    before = sums.num_read
    make_prompts(tmp_path / "b", encoder=sums, store=tmp_path / "store", validation_each=1, seed=2, **SMALL)
    assert sums.num_read == before, "features of known texts are read from the disk"
    make_prompts(tmp_path / "c", encoder=sums, store=tmp_path / "store", validation_each=1, seed=3, **SMALL)
    names = ["objects.txt", "prompts.jsonl", "stellar_t.json", "summary.json"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == names
    contents = [[(tmp_path / run / name).read_bytes() for name in names] for run in "abc"]
    assert contents[0] == contents[1] != contents[2]


def test_people_share_no_prompt_and_all_are_sampled(sums: Any, tmp_path: Path) -> None:
    made = make_prompts(tmp_path, encoder=sums, store=tmp_path / "store", validation_each=1, **SMALL)
    lists = read_lists(tmp_path / "stellar_t.json")
    assert list(lists) == ["000", "001", "002", "003", "200", "201", "202", "203"]
    rows = read_jsonl(tmp_path / "prompts.jsonl")
    given = [text for who in lists.values() for text in who["prompts"]]
    assert sorted(given) == sorted(row["prompt"] for row in rows)
    assert {row["prompt"] for row in rows[:12]} == {
        t for who, some in lists.items() if who < "200" for t in some["prompts"]
    }
    radii = [row["radius"] for row in rows]
    assert radii == sorted(radii, reverse=True)
    assert min(row["similarity"] for row in rows) >= made.summary["least_similarity"]
    assert made.summary["reference"] == "reference.txt"
    assert made.summary["num_references"] == len(read_prompts(own_reference()).texts) == 100


def test_the_benchmark_reads_what_was_made(sums: Any, tmp_path: Path) -> None:
    made = make_prompts(tmp_path / "made", encoder=sums, store=tmp_path / "store", **SMALL)
    for who, lists in read_lists(made.folder / "stellar_t.json").items():
        home = tmp_path / "root" / who
        home.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(home / "0.jpg")
        (home / "prompts_t.json").write_text(json.dumps(lists))
    cases = benchmark_cases("stellar", folder=tmp_path / "never", data=tmp_path / "root").cases
    rows = {sentence(row["prompt"]): row for row in read_jsonl(made.folder / "prompts.jsonl")}
    assert len(cases) == len(rows) == 12
    for case in cases:
        row = rows[case.prompt]
        assert list(case.labels.detectables) == row["detectables"]
        assert [list(triplet) for triplet in case.labels.triplets] == row["relations"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"num_prompts": 13}, "expected from 3 to 12"),
        ({"num_prompts": 2}, "expected from 3 to 12"),
        ({"people": 201}, "1 to 200, got 201"),
        ({"num_candidates": 11}, "at least 12, got 11"),
        ({"num_candidates": 17}, "at most 12 prompts, those that passed the filter, got 16"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(sums: Any, tmp_path: Path, change: dict[str, int], told: str) -> None:
    settings: dict[str, Any] = SMALL | change
    with pytest.raises(ConfigError, match=told):
        make_prompts(tmp_path, encoder=sums, store=tmp_path, validation_each=1, **settings)
    assert not (tmp_path / "stellar_t.json").exists()


def test_features_are_kept_in_parts_and_in_the_order_asked(
    sums: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "SHARD", 4)
    texts = [f"text {k}" for k in range(10)]
    told: list[tuple[int, int]] = []
    found = embedded(texts, sums, store=tmp_path, progress=lambda *seen: told.append(seen))
    assert np.array_equal(found, sums.read(texts))
    assert told == [(0, 10), (4, 10), (8, 10), (10, 10)]
    assert len(list(tmp_path.rglob("*.safetensors"))) == 3
    mixed = ["text 7", "new", "text 7", "text 0", "new"]
    before = sums.num_read
    assert np.array_equal(embedded(mixed, sums, store=tmp_path), sums.read(mixed))
    assert sums.num_read == before + 1 + len(mixed)


def test_an_interrupted_reading_keeps_what_it_finished(
    sums: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "SHARD", 3)
    whole = sums.read

    def stops(texts: Any) -> Any:
        if sums.num_read >= 6:
            raise KeyboardInterrupt
        return whole(texts)

    sums.read = stops
    texts = [f"text {k}" for k in range(9)]
    with pytest.raises(KeyboardInterrupt):
        embedded(texts, sums, store=tmp_path)
    sums.read, sums.num_read = whole, 0
    assert np.array_equal(embedded(texts, sums, store=tmp_path), whole(texts))
    assert sums.num_read == 3 + 9


def test_another_encoder_has_features_of_its_own_and_damage_is_told(sums: Any, tmp_path: Path) -> None:
    embedded(["a", "b"], sums, store=tmp_path)
    (file,) = tmp_path.rglob("*.safetensors")
    sums.id = "another"
    assert embedded(["a"], sums, store=tmp_path).shape == (1, 12)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2
    sums.id = "sums of 12"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(DataError, match="delete the file"):
        embedded(["a"], sums, store=tmp_path)
    with pytest.raises(DataError, match="at least one text"):
        embedded([], sums, store=tmp_path / "none")


def test_sets_are_read_from_every_form(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\n two  words\n")
    (tmp_path / "b.json").write_text('["one", "two"]')
    (tmp_path / "c.json").write_text('{"000": {"prompts": ["{} runs"]}, "001": {"prompts": ["{} sits", "{} eats"]}}')
    (tmp_path / "d.jsonl").write_text('{"prompt": "one", "seed": 1}\n{"prompt": "two"}\n')
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "stellar_t.json").write_text('{"000": {"prompts": ["{} runs"]}}')
    (tmp_path / "e" / "stellar_h.json").write_text('{"000": {"prompts": ["{} laughs"]}}')
    assert read_prompts(tmp_path / "a.txt").people == {"": ("one", "two words")}
    assert read_prompts(tmp_path / "b.json").texts == ("one", "two")
    assert read_prompts(tmp_path / "c.json").people == {"000": ("{} runs",), "001": ("{} sits", "{} eats")}
    assert read_prompts(tmp_path / "d.jsonl").texts == ("one", "two")
    assert read_prompts(tmp_path / "e").people == {"000": ("{} runs", "{} laughs")}


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", "\n", "at least one prompt"),
        ("a.csv", "x", "rename or convert it"),
        ("a.json", '[1, "x"]', "prompt 0: expected text"),
        ("a.json", '{"000": 3}', "000: expected an object with prompts"),
        ("a.jsonl", '{"text": "x"}', "prompt 0: expected text"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, content: str, told: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=told):
        read_prompts(tmp_path / name)


def test_a_file_of_people_must_number_them(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('{"007": {"prompts": ["{} runs"]}}')
    assert list(read_lists(tmp_path / "t.json")) == ["007"]
    (tmp_path / "t.json").write_text('{"7": {"prompts": ["{} runs"]}}')
    with pytest.raises(DataError, match="got others"):
        read_lists(tmp_path / "t.json")
    assert read_json(tmp_path / "t.json")["7"]
