"""An evaluation killed again and again ends with the bytes of one that ran through."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from fixture_types import Maker
from scripts import HELPERS, child_environment

from likeness.evaluate import evaluate_run, load_encoders

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
    evaluate_run(pictures, benchmark="small", cases=cases, encoders=load_encoders(weights))
    assert files_below(pictures / "evaluation") == files_below(whole / "evaluation")
