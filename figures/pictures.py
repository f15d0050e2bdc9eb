"""The pictures of the README from the runs that figures/results.py made.

    python figures/pictures.py runs/figures                       # docs/pictures/contact_sheet.png, unpicked
    python figures/pictures.py runs/figures --top world-multi:3 world-single:0   # docs/pictures/readme.png

The sheet shows the first 16 cases of world-single and of world-multi: references, the true picture, the generated one.
"""

import argparse
import json
from pathlib import Path
from typing import Any  # JSON

from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "pictures"
CELL, GAP, CAPTION = 128, 6, 16
FIRST = 16


def rows(run: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(case, sample) in case order."""
    cases = {row["id"]: row for row in map(json.loads, (run / "cases.jsonl").read_text().splitlines())}
    samples = map(json.loads, (run / "manifest.jsonl").read_text().splitlines())
    return [(cases[sample["case_id"]], sample) for sample in samples]


def strip(run: Path, case: dict[str, Any], sample: dict[str, Any], *, scale: int = 1) -> Image.Image:
    """References, true picture and generated picture of one case, side by side, with the prompt below."""
    paths = [run / subject["reference_image"] for subject in case["subjects"]][:2]
    pictures = [Image.open(path).convert("RGB") for path in paths]
    blank = Image.new("RGB", (CELL, CELL), "white")
    pictures += [blank] * (2 - len(pictures))
    pictures += [Image.open(run / "truth" / f"{case['id']}.png"), Image.open(run / sample["image"])]
    side = CELL * scale
    canvas = Image.new("RGB", (4 * side + 3 * GAP, side + CAPTION), "white")
    for i, picture in enumerate(pictures):
        canvas.paste(picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS), (i * (side + GAP), 0))
    ImageDraw.Draw(canvas).text((2, side + 2), sample["prompt"], fill=(60, 60, 66))
    return canvas


def grid(strips: list[Image.Image], *, columns: int) -> Image.Image:
    """Strips in reading order."""
    width, height = strips[0].size
    lines = -(-len(strips) // columns)
    sheet = Image.new("RGB", (columns * (width + 3 * GAP), lines * (height + GAP)), "white")
    for i, picture in enumerate(strips):
        sheet.paste(picture, (i % columns * (width + 3 * GAP), i // columns * (height + GAP)))
    return sheet


def main() -> None:
    """Writes the sheet, and with --top the picture at the top of the README."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--top", nargs="+", metavar="BENCHMARK:INDEX")
    options = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    if options.top:
        picked = [(options.runs / name, int(index)) for name, index in (top.split(":") for top in options.top)]
        strips = [strip(run, *rows(run)[index], scale=1) for run, index in picked]
        grid(strips, columns=2).save(OUT / "readme.png", optimize=True)
        return
    both = [options.runs / name for name in ("world-single", "world-multi")]
    grid([strip(run, *pair) for run in both for pair in rows(run)[:FIRST]], columns=2).save(
        OUT / "contact_sheet.png", optimize=True
    )


if __name__ == "__main__":
    main()
