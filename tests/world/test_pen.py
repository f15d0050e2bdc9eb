"""The pen without its library: one readable error instead of a traceback."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from likeness.core.errors import LikenessError
from likeness.world.skia_advice import SKIA_FIX

SRC = Path(__file__).parents[2] / "src"


def test_a_skia_that_cannot_load_is_an_error_with_the_packages_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skia", None)  # makes `import skia` fail
    monkeypatch.delitem(sys.modules, "likeness.world.pen", raising=False)
    with pytest.raises(LikenessError) as caught:
        importlib.import_module("likeness.world.pen")
    assert str(caught.value).startswith("drawing: expected the library skia, got ")
    assert "apt-get install libgl1 libegl1" in SKIA_FIX
    assert str(caught.value).endswith(f"; {SKIA_FIX}.")


def test_a_command_that_draws_ends_with_2_and_says_what_to_install(tmp_path: Path) -> None:
    program = "import sys; sys.modules['skia'] = None; from likeness.cli import main; main()"
    line = [sys.executable, "-c", program, "world", "sample", "1", "--out", str(tmp_path / "out")]
    done = subprocess.run(line, capture_output=True, text=True, env={"PYTHONPATH": str(SRC)}, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "apt-get install libgl1 libegl1" in done.stderr
