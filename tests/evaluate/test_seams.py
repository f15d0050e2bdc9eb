"""Values depend on neither batches, order, workers nor copies; each distinct picture is seen once."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fixture_types import Maker

from likeness.core.errors import ConfigError
from likeness.core.files import read_jsonl
from likeness.evaluate import Encoders, evaluate_run, load_encoders


def rows_of(pictures: Path) -> dict[str, Any]:
    return {row["id"]: row for row in read_jsonl(pictures / "evaluation" / "scores.jsonl")}


def bytes_of(pictures: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (pictures / "evaluation").iterdir()}


def test_workers_change_no_byte(
    make_benchmark: Maker, make_pictures: Maker, weights: dict[str, str], tmp_path: Path
) -> None:
    cases, pictures = make_benchmark(num_cases=9) / "cases.jsonl", make_pictures(num_cases=9)
    found: list[dict[str, bytes]] = []
    for workers in (1, 2, 3):
        features = tmp_path / str(workers)
        encoders = load_encoders(weights)
        evaluate_run(pictures, benchmark="small", cases=cases, encoders=encoders, workers=workers, features=features)
        found.append(bytes_of(pictures))
    assert found[1] == found[0]
    assert found[2] == found[0]


@pytest.mark.parametrize("kept", [1, 7, 8, 9])
def test_a_sample_is_worth_the_same_in_any_company(
    make_benchmark: Maker, make_pictures: Maker, encoders: Encoders, tmp_path: Path, kept: int
) -> None:
    """One picture alone, one batch less one, a whole one, one more; the last cases first."""
    benchmark, pictures = make_benchmark(num_cases=12, multi=False), make_pictures(num_cases=12, per_case=1)
    listed = benchmark / "cases.jsonl"
    settings: dict[str, Any] = {"benchmark": "small", "encoders": encoders, "bounds": False}
    evaluate_run(pictures, **settings, cases=listed, features=tmp_path / "all")
    whole = rows_of(pictures)
    lines = listed.read_text().splitlines(keepends=True)[::-1][:kept]
    (benchmark / "some.jsonl").write_text("".join(lines))
    evaluate_run(pictures, **settings, cases=benchmark / "some.jsonl", features=tmp_path / "some")
    some = rows_of(pictures)
    assert len(some) == kept
    assert all(row == whole[name] for name, row in some.items())


def test_copies_are_seen_once_and_score_alike(
    make_benchmark: Maker, make_pictures: Maker, encoders: Encoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark, pictures = make_benchmark(num_cases=2), make_pictures(num_cases=2, per_case=1)
    for k in range(1, 6):
        shutil.copy(pictures / "case-0-0.png", pictures / f"case-0-{k}.png")
    looked: Counter[str] = Counter()
    for name in ("clip", "dino", "probe"):
        encoder = encoders[name]

        def look(images: Any, *, real: Any = encoder.look, name: str = name) -> Any:
            looked[name] += len(images)
            return real(images)

        monkeypatch.setattr(encoder, "look", look)
    evaluate_run(pictures, benchmark="small", cases=benchmark / "cases.jsonl", encoders=encoders)
    assert looked == {"clip": 2 + 9, "dino": 2 + 9, "probe": 2}  # three subjects with three photos each
    rows = [row for row in rows_of(pictures).values() if row["case_id"] == "case-0"]
    assert len(rows) == 6
    assert all(row["values"] == rows[0]["values"] for row in rows)
    looked.clear()
    evaluate_run(pictures, benchmark="small", cases=benchmark / "cases.jsonl", encoders=encoders)
    assert not looked


def test_encoders_that_have_no_name_stay_in_this_process(
    make_benchmark: Maker, make_pictures: Maker, encoders: Encoders
) -> None:
    with pytest.raises(ConfigError, match="workers: expected 1 with these encoders, got 2"):
        evaluate_run(
            make_pictures(),
            benchmark="small",
            cases=make_benchmark() / "cases.jsonl",
            encoders=dict(encoders),
            workers=2,
        )
