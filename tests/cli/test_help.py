"""Help answers at once, from a fresh process, without loading any heavy library."""

import resource
import subprocess
import sys

import pytest

from likeness import __version__

HEAVY = ("torch", "transformers", "diffusers", "skia", "matplotlib", "scipy", "pandas", "pyarrow", "numpy", "jinja2")


YARDSTICK = "import asyncio, email.mime.text, http.server, logging.config, sqlite3, unittest.mock, xml.dom.minidom"
"""A fair part of the standard library: 0.1 processor seconds on a fast machine."""
TIMES_THE_YARDSTICK = 9  # measured 3.4 to 4.6; torch alone takes 17


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "likeness", *arguments], capture_output=True, text=True, check=False)


def processor_seconds(*arguments: str) -> float:
    """Of a fresh Python with these arguments; on a busy machine the clock on the wall tells about the neighbours."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("words", [["--help"], ["generate", "--help"], ["world", "sample", "--help"]])
def test_help_is_a_matter_of_a_few_imports(words: list[str]) -> None:
    """Against a yardstick: seconds differ by four between the machines that ran this."""
    yardstick = min(processor_seconds("-c", YARDSTICK) for _ in range(3))
    taken = min(processor_seconds("-m", "likeness", *words) for _ in range(2))
    assert taken < TIMES_THE_YARDSTICK * yardstick
    assert "Usage" in run(*words).stdout


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
