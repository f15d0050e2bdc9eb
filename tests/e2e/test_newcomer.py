"""A newcomer types every command of the README, in order, as printed, beside a copy of the recipes."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from scripts import ROOT, child_environment

AWAY = "black-forest-labs/FLUX.1-dev"  # published weights: not here


def commands() -> list[str]:
    """The `likeness` lines of the README without comments, but for those that need published weights."""
    lines = re.findall(
        r"^    (?:\.venv/bin/)?(likeness .*)$", (ROOT / "README.md").read_text("utf-8"), flags=re.MULTILINE
    )
    return [line.partition(" #")[0].rstrip() for line in lines if AWAY not in line]


def promised(line: str) -> list[str]:
    """The files or folders that `--out` of a line names."""
    return re.findall(r"--out (\S+)", line)


def test_the_readme_has_the_whole_loop() -> None:
    words = {" ".join(line.split()[1:3]) for line in commands()}
    assert {"world portrait", "generate --prompt", "generate --benchmark", "data dip", "data lint"} <= words
    assert {line.split()[1] for line in commands()} >= {"doctor", "evaluate", "report", "train"}


@pytest.mark.slow
def test_every_command_of_the_readme_works_as_printed(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    for line in commands():
        command = line.replace("likeness", f"{sys.executable} -m likeness", 1)
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=child_environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}"
        assert [name for name in promised(line) if not (tmp_path / name).exists()] == [], line
    pages = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.html"))
    assert {"both.html", "hug/report.html", "runs/focus/report.html", "runs/multi/report.html"} <= set(pages)
    assert all("</html>" in (tmp_path / page).read_text("utf-8") for page in pages)
