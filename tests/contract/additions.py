"""Toy additions to a copy of the package, and how many files each touches.

    python tests/contract/additions.py

prints the table. A toy is a folder of `toys/`: its Python files are new files of `src/likeness` at the same place, and
`lines.toml` names the lines that go into files already there. The files touched are counted by comparing the trees.
"""

import shutil
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
TOYS = HERE / "toys"
PACKAGE = HERE.parents[1] / "src" / "likeness"
LIMITS = {"metric": 2, "encoder": 2, "benchmark": 2, "objective": 2, "backbone": 2, "task": 2, "option": 1}
"""Files that an addition may touch, itself included."""


class Touched(NamedTuple):
    """Files of the package that an addition creates or changes, and the lines it adds to them."""

    files: tuple[str, ...]
    lines: int


def copy_package(folder: Path) -> Path:
    """A copy of the package in `folder`/likeness, to be found with `folder` on the path; the weights are linked."""
    target = folder / "likeness"
    shutil.copytree(PACKAGE, target, ignore=shutil.ignore_patterns("__pycache__", "assets"))
    (target / "assets").symlink_to(PACKAGE / "assets")
    return target


def add(toy: str, package: Path) -> None:
    """The copy of the package has the toy. Raises: LookupError when a line's place is not found exactly once."""
    for source in (TOYS / toy).rglob("*.py"):
        target = package / source.relative_to(TOYS / toy)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    listed = TOYS / toy / "lines.toml"
    for line in tomllib.loads(listed.read_text())["line"] if listed.is_file() else []:
        path = package / line["file"]
        text = path.read_text()
        if text.count(line["after"]) != 1:
            raise LookupError(f"{listed}: {line['after']!r} stands {text.count(line['after'])} times in {path.name}")
        path.write_text(text.replace(line["after"], f"{line['after']}{line['insert']}"))


def touched(toy: str) -> Touched:
    """What adding the toy to the package as it is changes."""
    with tempfile.TemporaryDirectory() as folder:
        package = copy_package(Path(folder))
        before = _lines_of(package)
        add(toy, package)
        after = _lines_of(package)
    changed = sorted(name for name, lines in after.items() if before.get(name) != lines)
    return Touched(tuple(changed), sum(len(after[name]) - len(before.get(name, [])) for name in changed))


def _lines_of(package: Path) -> dict[str, list[str]]:
    return {path.relative_to(package).as_posix(): path.read_text().splitlines() for path in package.rglob("*.py")}


def main() -> int:
    """Prints the table; 1 when an addition touches more files than it may."""
    counts = {toy: touched(toy) for toy in LIMITS}
    print("| addition | files | at most | lines | which |\n|---|---|---|---|---|")
    for toy, found in counts.items():
        print(f"| {toy} | {len(found.files)} | {LIMITS[toy]} | {found.lines} | {', '.join(found.files)} |")
    return int(any(len(found.files) > LIMITS[toy] for toy, found in counts.items()))


if __name__ == "__main__":
    sys.exit(main())
