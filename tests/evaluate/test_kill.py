"""An evaluation killed again and again, also while it goes on, ends with the bytes of one that ran through."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fixture_types import Maker
from scripts import HELPERS, child_environment

from likeness.core.errors import DataError
from likeness.core.files import read_jsonl
from likeness.evaluate import evaluate_run, load_encoders

SCRIPT = HELPERS / "kill_evaluation.py"


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def killed(pictures: Path, cases: Path, weights: dict[str, str], features: Path, how: str) -> int:
    """How many evaluations died."""
    command = [sys.executable, str(SCRIPT), str(pictures), str(cases), json.dumps(weights), str(features), how]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout.split()[-1])


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_kills_change_no_byte(
    make_benchmark: Maker, make_pictures: Maker, weights: dict[str, str], tmp_path: Path, every: int
) -> None:
    """By SIGKILL and SIGINT, one in `every` of twenty; a third evaluation, from new features, gives the same bytes."""
    number = 12 if every == 1 else 6  # enough to be seen for so many to die of it
    benchmark = make_benchmark(num_cases=number, truth=True)
    pictures = make_pictures(num_cases=number, per_case=1)
    whole = shutil.copytree(pictures, tmp_path / "whole")
    cases = benchmark / "cases.jsonl"
    evaluate_run(whole, benchmark="small", cases=cases, encoders=load_encoders(weights), features=tmp_path / "other")
    assert killed(pictures, cases, weights, tmp_path / "features", str(every)) >= 15 // every
    for _ in range(2):
        evaluate_run(
            pictures, benchmark="small", cases=cases, encoders=load_encoders(weights), features=tmp_path / "features"
        )
        assert files_below(pictures / "evaluation") == files_below(whole / "evaluation")


def test_the_kills_would_find_files_written_in_place(
    make_benchmark: Maker, make_pictures: Maker, weights: dict[str, str], tmp_path: Path
) -> None:
    cases, pictures = make_benchmark(num_cases=3) / "cases.jsonl", make_pictures(num_cases=3, per_case=1)
    assert killed(pictures, cases, weights, tmp_path / "features", "torn") == 1
    scores = pictures / "evaluation" / "scores.jsonl"
    assert scores.is_file()
    with pytest.raises(DataError):
        read_jsonl(scores)


def test_a_changed_picture_is_looked_at_anew(
    make_benchmark: Maker, make_pictures: Maker, weights: dict[str, str], tmp_path: Path
) -> None:
    cases, pictures = make_benchmark(num_cases=4) / "cases.jsonl", make_pictures(num_cases=4, per_case=1)
    encoders = load_encoders(weights)
    evaluate_run(pictures, benchmark="small", cases=cases, encoders=encoders)
    before = files_below(pictures / "evaluation")
    shutil.copy(pictures / "case-3-0.png", pictures / "case-0-0.png")
    evaluate_run(pictures, benchmark="small", cases=cases, encoders=encoders)
    after = files_below(pictures / "evaluation")
    assert after != before
    evaluate_run(pictures, benchmark="small", cases=cases, encoders=encoders, features=tmp_path / "new")
    assert files_below(pictures / "evaluation") == after
