"""The pages on Python and on extending are true: the examples run, and the toys stand there as they are tested."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from scripts import ROOT, child_environment

import likeness

OFFERED: list[str] = vars(likeness)["__all__"]  # given by lazy_loader
DOCS = ROOT / "docs"
TOYS = ROOT / "tests" / "contract" / "toys"


def blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_examples_run(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "\n".join(blocks(DOCS / "python.md"))]
    done = subprocess.run(
        command, cwd=tmp_path, env=child_environment(), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for name in ("cat.png", "run/report.html", "mine/images/mine-0.png", "tuned/report.html"):
        assert (tmp_path / name).is_file()


def test_every_name_is_on_the_page() -> None:
    page = (DOCS / "python.md").read_text(encoding="utf-8")
    assert [name for name in OFFERED if f"`{name}`" not in page] == []
    assert len(OFFERED) <= 16


def test_importing_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'numpy', 'PIL', 'pydantic', 'diffusers', 'transformers'}"
    program = f"import sys, likeness; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", sorted(TOYS.rglob("*.py")), ids=lambda path: path.stem)
def test_the_toys_stand_on_the_page(path: Path) -> None:
    assert path.read_text(encoding="utf-8") in blocks(DOCS / "extending.md")


def test_the_lines_stand_on_the_page() -> None:
    listed = [line for path in TOYS.glob("*/lines.toml") for line in tomllib.loads(path.read_text())["line"]]
    page = (DOCS / "extending.md").read_text(encoding="utf-8")
    toys = [line for line in listed if "flux" not in line["file"]]
    assert [line for line in toys if line["insert"].strip() not in page] == []
