"""The test files that take longest, so that two workers begin with them and end together.

A worker takes whole files (`--dist loadfile`). One that gets a long file last leaves the other idle; with the long
files first, the short ones even out the end. The numbers only order the files: a wrong one costs seconds and no test.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SECONDS = {
    "golden/test_golden.py": 39,
    "train/test_kill.py": 25,
    "train/test_processes.py": 25,
    "evaluate/test_kill.py": 22,
    "evaluate/test_seams.py": 22,
    "train/test_samples.py": 18,
    "test_pages.py": 16,
    "train/test_signals.py": 16,
    "generate/test_run.py": 14,
    "generate/test_flux_uno.py": 12,
    "train/plan/test_memory.py": 10,
    "contract/test_additions.py": 9,
    "evaluate/test_contract.py": 9,
    "metrics/test_planted.py": 9,
    "pretrain/test_detector.py": 8,
    "pretrain/test_faces.py": 6,
}
"""What each takes, in seconds of one core, 2026-11-26: from `pytest --durations=0`, or processor time where it was made
quicker since. Others take less."""


def heaviest_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The items in their order, but those of the heaviest files first. Raises: LookupError for a file that is gone."""
    if gone := [name for name in SECONDS if not (TESTS / name).is_file()]:
        raise LookupError(f"tests/helpers/heavy_files.py: expected files below tests/, got {gone}; correct the names.")
    seconds = {TESTS / name: number for name, number in SECONDS.items()}
    return sorted(items, key=lambda item: -seconds.get(item.path, 0))
