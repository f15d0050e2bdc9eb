"""Every generated table and picture of the README and docs/, by one command.

    python figures/all.py --list
    python figures/all.py                    # everything, in order; hours on two cores
    python figures/all.py --only cards commands
    python figures/all.py --quick            # small sizes in a copy of the pages, runs/figures-quick/pages

Interrupted? The same command again continues: what is finished is noted in OUT/finished.json, by command and embedded
weights, and each script resumes its own runs. `--quick` writes to the copy only and never to the pages themselves.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from likeness.core.files import atomic_write_text, read_json, write_json
from likeness.core.hashing import folder_sha256, json_sha256
from likeness.core.weights import embedded_folder

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("README.md", "docs", "figures", "tests/test_docs.py", "tests/benchmarks/test_cards.py")


class Part(NamedTuple):
    """What one run of a script writes. `{out}` in a command is the folder for runs.

    `writes` are files, or blocks of pages as page#block. With `printed` the one file is what the script prints. `needs`
    are parts whose runs it reads; `takes` is on two idle cores.
    """

    name: str
    command: str
    quick: str
    writes: tuple[str, ...]
    takes: str
    needs: tuple[str, ...] = ()
    printed: bool = False


TOP = "figures/pictures.py {out}/results --top"
CHECKS = "docs/pictures/run_errors.png", "docs/pictures/run_focus_by_t.png", "docs/pictures/run_maps.png"
PARTS = (
    Part("cards", "tests/benchmarks/test_cards.py", "tests/benchmarks/test_cards.py", ("docs/cards.md",), "seconds",
         printed=True),
    Part("commands", "tests/test_docs.py", "tests/test_docs.py", ("docs/commands.md",), "seconds", printed=True),
    Part("results", "figures/results.py --cases 192 --workers 2 --out {out}/results --write",
         "figures/results.py --cases 4 --workers 1 --out {out}/results --write",
         ("docs/results.json", "docs/results.md#numbers", "README.md#headline"), "1 to 2 hours"),
    Part("sdxl", "figures/results.py --model sdxl --cases 192 --workers 2 --out {out}/sdxl --write",
         "figures/results.py --model sdxl --cases 4 --workers 1 --out {out}/sdxl --write",
         ("docs/results_sdxl.json", "docs/backbones/sdxl-ip-adapter.md#numbers"), "1 hour"),
    Part("U-Net field", "figures/unet_field.py --pictures 160 --write", "figures/unet_field.py --pictures 4 --write",
         ("docs/unet_field.json", "docs/backbones/sdxl-ip-adapter.md#field"), "10 minutes"),
    Part("contact sheet", "figures/pictures.py {out}/results", "figures/pictures.py {out}/results",
         ("docs/pictures/contact_sheet.png",), "seconds", ("results",)),
    Part("first cases", f"{TOP} world-multi:0 world-multi:1 world-multi:2 world-multi:3", f"{TOP} world-multi:0",
         ("docs/pictures/readme.png",), "seconds", ("results",)),
    Part("demo", "figures/demo.py --out {out}/demo --write",
         "figures/demo.py --out {out}/demo --cases 4 --tuning-steps 2 --write",
         ("docs/demo.json", "README.md#demo"), "4 minutes"),
    Part("pages", "figures/screens.py {out}/demo", "figures/screens.py {out}/demo",
         ("docs/pictures/report.png", *CHECKS), "seconds; needs chromium", ("demo",)),
    Part("learning curve", "figures/learning_curve.py --stored", "figures/learning_curve.py --stored",
         ("docs/pictures/learning_curve.png",), "seconds, from docs/learning_curve.json; needs matplotlib"),
    Part("coverage", "figures/coverage.py --simulations 2000 --bootstrapped 300 --write",
         "figures/coverage.py --simulations 2 --bootstrapped 2 --write",
         ("docs/coverage.json", "docs/statistics.md#coverage"), "1 hour"),
    Part("trainings", "figures/coverage.py --trainings --simulations 400 --write",
         "figures/coverage.py --trainings --simulations 2 --write", ("docs/statistics.md#trainings",), "3 minutes"),
    Part("planted failures", "figures/planted.py --pairs 200 --write docs/metrics/several-subjects.md",
         "figures/planted.py --pairs 4 --write docs/metrics/several-subjects.md",
         ("docs/metrics/several-subjects.md#planted",), "10 minutes"),
    Part("contact", "figures/contact.py --pairs 96 --out {out}/contact --write",
         "figures/contact.py --pairs 6 --out {out}/contact --write",
         ("docs/contact.json", "docs/metrics/several-subjects.md#contact"), "5 minutes"),
    Part("metric failures", "figures/metric_failures.py", "figures/metric_failures.py",
         ("docs/pictures/faces_failures.webp", "docs/pictures/objects_failures.webp",
          "docs/pictures/several_subjects_failures.webp"), "1 minute"),
)  # fmt: skip


def listed() -> str:
    """What there is: name, how long it takes, what it writes, its command."""
    lines: list[str] = []
    for part in PARTS:
        after = f" (after {', '.join(part.needs)})" if part.needs else ""
        lines += [f"{part.name}: {part.takes}{after}", f"    python {part.command.format(out='OUT')}"]
        lines += [f"    writes {place}" for place in part.writes]
    return "\n".join(lines)


def chosen(names: Sequence[str] | None) -> list[Part]:
    """The parts of these names, or all, in their order. Raises: ValueError for another name."""
    known = {part.name: part for part in PARTS}
    if strangers := [name for name in names or () if name not in known]:
        raise ValueError(f"--only: expected names of {', '.join(known)}, got {strangers[0]}; see --list.")
    return [part for part in PARTS if not names or part.name in names]


def identity(command: str) -> str:
    """The hash of a command and of the embedded weights, which most numbers follow from."""
    return json_sha256([command, folder_sha256(embedded_folder())])


def copied_pages(folder: Path) -> Path:
    """A copy of pages and scripts, in which they write to each other; the scripts are always today's."""
    for name in COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_file():
            shutil.copyfile(source, target)
        elif name == "figures" or not target.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    if not (folder / "src").exists():
        (folder / "src").symlink_to(ROOT / "src")  # for what reads the package's own files; nothing writes there
    return folder


def run(part: Part, command: str, *, pages: Path) -> None:
    """Runs a part's script among the pages. Raises: CalledProcessError when it fails."""
    where = os.pathsep.join([str(Path(str(embedded_folder())).parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *command.split()],
        cwd=pages,
        env=os.environ | {"PYTHONPATH": where},
        check=True,
        text=True,
        stdout=subprocess.PIPE if part.printed else None,
    )
    if part.printed:
        atomic_write_text(pages / part.writes[0], done.stdout)


def main() -> None:
    """Lists, or runs what is not finished yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="what there is, and end")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these, whether they are finished or not")
    parser.add_argument("--quick", action="store_true", help="small sizes, in a copy of the pages")
    parser.add_argument("--out", type=Path, help="folder for runs (default: runs/figures, or runs/figures-quick)")
    options = parser.parse_args()
    if options.list:
        print(listed())
        return
    out = (options.out or ROOT / "runs" / ("figures-quick" if options.quick else "figures")).resolve()
    pages = copied_pages(out / "pages") if options.quick else ROOT
    notes = out / "finished.json"
    finished: dict[str, str] = read_json(notes) if notes.is_file() else {}
    for part in chosen(options.only):
        command = (part.quick if options.quick else part.command).format(out=out)
        if not options.only and finished.get(part.name) == identity(command):
            print(f"{part.name}: finished before", flush=True)
            continue
        begun = time.monotonic()
        print(f"== {part.name}: python {command}", flush=True)
        run(part, command, pages=pages)
        finished[part.name] = identity(command)
        write_json(notes, finished)
        print(f"{part.name}: {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
