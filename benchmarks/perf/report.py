"""A report of N pictures of 512 px: how long it takes, how large it is, how soon a browser shows it.

    python benchmarks/perf/report.py [N] [--keep FOLDER] [--workers N]

Writes a run of N cases (default 4,096) with photo-like pictures, which is gradients and noise by seed, and rows of an
evaluation. Builds its report by `--workers` processes (default: one per core), a second time unchanged, and as a single
file. With Debian's chromium and the extra `browser`, opens the page wide and narrow, and measures the first paint, what
of it is off-screen, and how long the index takes to open and to sort. The last lines are one JSON object per figure.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any  # playwright may be absent, so its types are not named

import numpy as np
from PIL import Image

from likeness.core.files import write_json, write_jsonl
from likeness.core.jobs import run_jobs
from likeness.report import Drawing, build_index, files_of

SIDE, SUBJECTS = 512, 64
PAGE_GOAL, PAINT_GOAL = 15e6, 3.0  # bytes, seconds
CHROMIUM = "/usr/bin/chromium"
TIMED = """(action) => new Promise((done) => {
  const start = performance.now(), seen = () => setTimeout(() => done((performance.now() - start) / 1000));
  (0, eval)(action);
  const wait = () => document.querySelector(".grid li") ? requestAnimationFrame(seen) : setTimeout(wait);
  wait();
})"""
METRICS = {"dino": ("Subject fidelity (DINO)", 0.3), "clip_t": ("Prompt fidelity (CLIP-T)", 0.2)}
ACTIONS = ("hugging a duck", "reading in the snow", "riding a bicycle", "asleep on a sofa", "under a red umbrella")


def photograph(seed: int, *, noise: np.ndarray) -> Image.Image:
    """A smooth picture of many colours under noise of 6 grey levels, as of a camera."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)).astype(np.int16)
    rolled = np.roll(noise, tuple(rng.integers(0, SIDE, 2).tolist()), axis=(0, 1))
    return Image.fromarray(np.clip(smooth + rolled, 0, 255).astype(np.uint8))


def taking(_: int) -> Callable[[tuple[int, Path]], None]:
    """How a worker takes photographs: (seed, file)."""
    noise = np.random.default_rng(0).normal(0, 6, (SIDE, SIDE, 3)).round().astype(np.int16)

    def take(job: tuple[int, Path]) -> None:
        if not job[1].exists():
            photograph(job[0], noise=noise).save(job[1], quality=95)

    return take


def write_run(folder: Path, *, count: int, workers: int) -> Path:
    """A run of `count` cases of SUBJECTS subjects, measured by METRICS."""
    jobs = [(index, folder / "images" / f"{index}.jpg") for index in range(count)]
    jobs += [(count + index, folder / "references" / f"{index}.jpg") for index in range(min(SUBJECTS, count))]
    for name in ("images", "references"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for _ in run_jobs(jobs, load=taking, workers=workers, ahead=8):
        pass
    rng = np.random.default_rng(1)
    cases, manifest, scores = [], [], []
    for index in range(count):
        case_id, owner = f"case-{index:05d}", index % SUBJECTS
        prompt = f"a cat with a striped scarf {ACTIONS[index % 5]}, number {index}"
        subject = {"id": f"cat-{owner}", "class_name": "cat", "reference_image": f"references/{owner}.jpg"}
        cases.append({"id": case_id, "prompt": prompt, "subjects": [subject]})
        row = {"id": f"{case_id}-0", "case_id": case_id, "k": 0, "image": f"images/{index}.jpg", "prompt": prompt}
        manifest.append(row | {"seed": index, "references": [], "model": {"id": "made-up"}})
        values = {name: {"value": float(rng.normal(middle, 0.05)), "note": ""} for name, (_, middle) in METRICS.items()}
        scores.append(row | {"subjects": [subject["id"]], "group": subject["id"], "values": values})
    write_jsonl(folder / "cases.jsonl", cases)
    write_jsonl(folder / "manifest.jsonl", manifest)
    write_jsonl(folder / "evaluation" / "scores.jsonl", scores)
    write_json(folder / "evaluation" / "summary.json", summary_of(scores))
    return folder


def summary_of(scores: list[dict[str, Any]]) -> dict[str, Any]:
    """The summary of made-up scores: their means, and a floor that one in six lies below."""
    facts, rows = {}, []
    for place, (name, (label, middle)) in enumerate(METRICS.items()):
        order = dict.fromkeys(("headline", "ranks", "compared"), place)
        facts[name] = {"name": name, "column": "", "label": label, "short": name, "shown_as": "number", "card": False}
        facts[name] |= {"higher_is_better": True, **order}
        mean = statistics.fmean(row["values"][name]["value"] for row in scores)
        for kind, value in (("generated", mean), ("floor", middle - 0.05), ("ceiling", middle + 0.2)):
            row = {"row": kind, "metric": name, "mean": value, "ci_low": value - 0.01, "ci_high": value + 0.01}
            counts = {"n": len(scores), "n_subjects": min(SUBJECTS, len(scores)), "missing": 0}
            rows.append(row | counts | {"unit": "cosine", "higher_is_better": True, "reason": ""})
    return {"benchmark": "made-up", "inputs_sha256": "", "metrics": facts, "rows": rows}


def opened(page: Path) -> Iterator[dict[str, Any]]:
    """What a browser measures of a page, wide and narrow; nothing where there is none."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return
    if shutil.which(CHROMIUM) is None:
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for width, height in ((1280, 800), (390, 844)):
            view = browser.new_page(viewport={"width": width, "height": height})
            yield {"width": width, **measured(view, page)}
            view.close()
        browser.close()


def measured(view: Any, page: Path) -> dict[str, Any]:
    """Seconds to the first paint, to the open index and to a sorted one; pixels that lie off-screen to the right."""
    view.goto(page.as_uri())
    view.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
    paint = view.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000")
    steps = {
        "open": "document.querySelector('[data-index] > summary').click()",
        "sort": "(() => { const one = document.querySelector('[name=sort]'); one.selectedIndex = 2; "
        "one.dispatchEvent(new Event('input', { bubbles: true })); })()",
    }
    took = {f"{name}_s": view.evaluate(TIMED, action) for name, action in steps.items()}
    off_screen = view.evaluate("document.documentElement.scrollWidth - innerWidth")
    return {"paint_s": paint, **took, "off_screen_px": off_screen, "cells": view.locator(".grid li").count()}


def figures(folder: Path, *, count: int, workers: int) -> Iterator[dict[str, Any]]:
    """The measurements, one after the other."""
    run = folder / "run"
    if not (run / "evaluation" / "summary.json").is_file():
        write_run(run, count=count, workers=workers)
    page, drawing = run / "report.html", Drawing(workers=workers)
    for name in ("first", "again"):
        start = time.perf_counter()
        build_index([run], out=page, drawing=drawing)
        yield {"name": f"seconds of a report, {name}", "value": time.perf_counter() - start, "n": count}
    beside = [path.stat().st_size for path in files_of(page).iterdir()] if files_of(page).is_dir() else []
    yield {"name": "bytes of the page", "value": page.stat().st_size, "goal": PAGE_GOAL, "better": "lower", "n": count}
    yield {"name": "bytes beside it", "value": sum(beside), "n": len(beside)}
    single = folder / "single.html"
    build_index([run], out=single, drawing=Drawing(single_file=True))
    size = single.stat().st_size
    yield {"name": "bytes of a single file", "value": size, "goal": PAGE_GOAL, "better": "lower", "n": count}
    for found in opened(page):
        width = found.pop("width")
        goals = {"paint_s": PAINT_GOAL, "off_screen_px": 0}
        for name, value in found.items():
            goal = {"goal": goals[name], "better": "lower"} if name in goals else {}
            yield {"name": f"{name} at {width} px", "value": value, **goal, "n": count}


def main() -> None:
    """Prints the figures as they come."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=4096)
    parser.add_argument("--keep", type=Path, help="a folder for the run and its page, used again when it is there")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for figure in figures(options.keep or Path(temporary), count=options.count, workers=options.workers):
            print(json.dumps(figure), flush=True)


if __name__ == "__main__":
    main()
