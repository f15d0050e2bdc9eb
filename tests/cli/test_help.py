"""Help answers at once, from a fresh process, without loading any heavy library."""

import resource
import subprocess
import sys

import pytest

from likeness import __version__

HEAVY = ("torch", "transformers", "diffusers", "skia", "matplotlib", "scipy", "pandas", "pyarrow", "numpy", "jinja2")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "likeness", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", [["--help"], ["generate", "--help"], ["world", "sample", "--help"]])
def test_help_takes_less_than_one_second(words: list[str]) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = run(*words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # processor seconds: on a busy machine the clock on the wall tells about the neighbours
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1  # measured 0.3
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
