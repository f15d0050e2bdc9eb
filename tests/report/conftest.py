"""Hand-made run folders under tmp_path."""

from collections.abc import Callable
from pathlib import Path

import pytest
from report_runs import make_run


@pytest.fixture
def run_maker(tmp_path: Path) -> Callable[..., Path]:
    """make_run under tmp_path: run_maker("name", num_cases=...)."""
    return lambda name="run", **options: make_run(tmp_path / name, **options)
