"""Help answers at once, from a fresh process, without loading any heavy library."""

import subprocess
import sys
import time

import pytest

from likeness import __version__

HEAVY = ("torch", "transformers", "diffusers", "skia", "matplotlib", "scipy", "pandas", "pyarrow", "numpy", "jinja2")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "likeness", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", [["--help"], ["generate", "--help"], ["world", "sample", "--help"]])
def test_help_takes_less_than_two_seconds(words: list[str]) -> None:
    start = time.perf_counter()
    result = run(*words)
    assert time.perf_counter() - start < 2  # measured 0.4 s on a busy two-core machine
    assert result.returncode == 0
    assert "Usage" in result.stdout


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    code = f"import sys, likeness.cli; print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_version_stands_on_stdout() -> None:
    assert run("--version").stdout.strip() == __version__


def test_errors_reach_the_shell_as_exit_code_2() -> None:
    result = run("report", "/nonexistent/run")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
