"""An evaluation killed again and again ends with the bytes of one that ran through."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fixture_types import Maker
from scripts import HELPERS, child_environment

from likeness.evaluate import evaluate_run, load_encoders
from likeness.metrics import METRICS

SCRIPT = HELPERS / "kill_evaluation.py"


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_twenty_kills_change_no_byte(
    make_benchmark: Maker, make_pictures: Maker, weights: dict[str, str], tmp_path: Path
) -> None:
    benchmark, pictures = make_benchmark(num_cases=12, truth=True), make_pictures(num_cases=12, per_case=1)
    whole = shutil.copytree(pictures, tmp_path / "whole")
    cases = benchmark / "cases.jsonl"
    evaluate_run(whole, benchmark="small", cases=cases, encoders=load_encoders(weights))
    command = [sys.executable, str(SCRIPT), str(pictures), str(cases), json.dumps(weights)]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) >= 15  # the last of twenty may find the work done
    evaluate_run(pictures, benchmark="small", cases=cases, encoders=load_encoders(weights), batch_size=1)
    assert files_below(pictures / "evaluation") == files_below(whole / "evaluation")


def test_parts_of_other_inputs_are_not_used(
    make_benchmark: Maker, make_pictures: Maker, weights: dict[str, str]
) -> None:
    benchmark, pictures = make_benchmark(num_cases=4), make_pictures(num_cases=4, per_case=1)
    encoders = load_encoders(weights)
    settings: dict[str, Any] = {
        "benchmark": "small",
        "cases": benchmark / "cases.jsonl",
        "encoders": encoders,
        "batch_size": 1,
    }

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise Stop

    with pytest.raises(Stop):
        evaluate_run(pictures, **settings, progress=stop)
    assert len(list((pictures / "evaluation" / "parts").rglob("*.jsonl"))) == 2
    shutil.copy(pictures / "case-3-0.png", pictures / "case-0-0.png")  # the picture changed between the two runs
    evaluate_run(pictures, **settings)
    after = files_below(pictures / "evaluation")
    shutil.rmtree(pictures / "evaluation")
    evaluate_run(pictures, **settings)
    assert files_below(pictures / "evaluation") == after


def test_parts_without_a_new_metric_are_not_used(
    make_benchmark: Maker,
    make_pictures: Maker,
    weights: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    benchmark, pictures = make_benchmark(num_cases=2), make_pictures(num_cases=2, per_case=1)
    settings: dict[str, Any] = {
        "benchmark": "small",
        "cases": benchmark / "cases.jsonl",
        "encoders": load_encoders(weights),
    }

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 1:
            raise Stop

    with pytest.raises(Stop):
        evaluate_run(pictures, **settings, batch_size=1, progress=stop)
    facts = replace(METRICS["leakage"].facts, name="toy")
    monkeypatch.setitem(METRICS, "toy", replace(METRICS["leakage"], facts=facts))
    evaluate_run(pictures, **settings, batch_size=1)
    rows = [json.loads(line) for line in (pictures / "evaluation" / "scores.jsonl").read_text().splitlines()]
    assert ["toy" in row["values"] for row in rows] == [True, True]
