"""The whole loop once: two runs, a study, raters, agree, pairs, lint, a short training, compare.

    python experiments/study_world/run.py --out runs/study-world

Both runs are of the embedded model, with 25 steps and with 6. The raters are simulated, but they answer over HTTP
as people do: `likeness study serve` shows them pages, and their taste is the world's truth. Of two pictures they
choose the one that is nearer to the true picture (root mean square over pixels), call them equal below 3% of
difference, and err in one answer of ten. Every step is a command of `likeness`.
"""

import argparse
import http.cookiejar
import json
import random
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any  # JSON

import numpy as np

from likeness.core.files import read_json, read_jsonl
from likeness.core.images import load_image
from likeness.study.design import read_study

EQUAL, ERRORS = 0.03, 0.1
RECIPE = Path(__file__).parents[2] / "recipes" / "dpo_world.toml"


def likeness(*words: object) -> dict[str, Any]:
    """What a command answers with --json."""
    command = [sys.executable, "-m", "likeness", *map(str, words), "--json"]
    print("$ likeness", *words, flush=True)
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


class Browser:
    """Pages over HTTP with cookies, without scripts."""

    def __init__(self) -> None:
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(jar)

    def get(self, url: str, form: dict[str, str] | None = None) -> str:
        """The page at a URL; a form is posted."""
        body = None if form is None else urllib.parse.urlencode(form).encode()
        return str(self._opener.open(url, body, timeout=60).read().decode())


class Taste:
    """How far each picture of the study is from the true picture of its case."""

    def __init__(self, study: Path, truth: Path) -> None:
        self._distance: dict[str, float] = {}
        for query in read_study(study).queries:
            true = np.asarray(load_image(truth / f"{query.case}.png"), dtype=float)
            for option in query.options:
                shown = np.asarray(load_image(study / "pictures" / option.picture), dtype=float)
                self._distance[option.picture] = float(np.sqrt(((true - shown) ** 2).mean()))

    def choose(self, pictures: list[str], rng: random.Random) -> str:
        """The place of the nearer one, "equal", or at times a mistake."""
        if rng.random() < ERRORS:
            return rng.choice(["0", "1", "equal"])
        one, other = (self._distance[name] for name in pictures)
        if abs(one - other) < EQUAL * max(one, other):
            return "equal"
        return "0" if one < other else "1"


def hidden(page: str, name: str) -> str:
    """The value of a hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, page
    return found[1]


def rate(link: str, base: str, taste: Taste, *, seed: int) -> None:
    """One rater, from the link to the last page."""
    browser, rng = Browser(), random.Random(seed)
    page = browser.get(link)
    page = browser.get(link, {"token": hidden(page, "token")})
    while 'data-item="' in page:
        pictures = re.findall(r'src="/pictures/([^"]+)" alt="picture', page)
        form = {"token": hidden(page, "token"), "item": hidden(page, "item"), "overall": taste.choose(pictures, rng)}
        page = browser.get(f"{base}/task", form)


def served(study: Path, port: int) -> subprocess.Popen[bytes]:
    """The study at a port, which answers."""
    command = [sys.executable, "-m", "likeness", "study", "serve", str(study), "--port", str(port)]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    for _ in range(600):
        try:
            Browser().get(f"http://127.0.0.1:{port}/")
        except OSError:
            time.sleep(0.2)
        else:
            return server
    raise SystemExit("the study does not answer")


def run(out: Path, *, cases: int, steps: int, port: int) -> dict[str, Any]:
    """All of it in a folder; what the log says."""
    runs = {"good": out / "good", "fast": out / "fast"}
    for name, denoising in (("good", 25), ("fast", 6)):
        likeness("generate", "--benchmark", "world-multi", "--limit", cases, "--steps", denoising, "--out", runs[name])
        likeness("evaluate", runs[name])
    study, base = out / "study", f"http://127.0.0.1:{port}"
    named = [f"{name}={folder}" for name, folder in runs.items()]
    made = likeness("study", "new", *named, "--votes", 3, "--per-rater", 8, "--out", study)
    server = served(study, port)
    try:
        likeness(
            "study",
            "export",
            study,
            "--to",
            "links",
            "--url",
            base,
            "--count",
            made["num_raters"],
            "--out",
            out / "links.csv",
        )
        taste = Taste(study, runs["good"] / "truth")
        for seed, line in enumerate((out / "links.csv").read_text(encoding="utf-8").splitlines()[1:]):
            rate(line.partition(",")[2], base, taste, seed=seed)
    finally:
        server.terminate()
        server.wait()
    agreed = likeness("study", "agree", study, "--out", out / "agree.json")
    pairs = likeness("study", "export", study, "--to", "pairs", "--out", out / "pairs")
    lint = likeness("data", "lint", out / "pairs")
    sets = [
        f"data.pairs={out / 'pairs'}",
        f"train.steps={steps}",
        f"train.save_every={steps}",
        "samples.every=0",
        "train.log_maps_every=50",
    ]
    trained = likeness("train", RECIPE, "--out", out / "dpo", *(word for text in sets for word in ("--set", text)))
    tuned = out / "tuned"
    likeness(
        "generate",
        "--benchmark",
        "world-multi",
        "--limit",
        cases,
        "--steps",
        6,
        "--lora",
        out / "dpo" / "lora",
        "--out",
        tuned,
    )
    likeness("evaluate", tuned)
    likeness("compare", f"fast={runs['fast']}", f"tuned={tuned}", "--out", out / "compared.html")
    return {"study": made, "agree": agreed, "pairs": pairs, "lint": lint, "train": trained}


def summary(out: Path, told: dict[str, Any]) -> str:
    """The numbers in a few lines."""
    agreed, compared = read_json(out / "agree.json"), read_json(out / "compared.json")
    question = agreed["questions"][0]
    count, errors = len(read_jsonl(out / "pairs" / "pairs.jsonl")), told["lint"]["num_errors"]
    rows = [f"{count} pairs of {question['kept']} majorities; lint {errors} errors"]
    rows.append(f"alpha {question['alpha']['value']:.2f}; majorities {question['majorities']}")
    rows += [f"{each['metric']}: tau-b {each['tau']}, n {each['n']}" for each in question["metrics"]]
    for metric in compared["metrics"]:
        difference = metric["differences"][0]
        rows.append(
            f"{metric['metric']}: tuned - fast {difference['mean']} ({difference['ci_low']} to {difference['ci_high']})"
        )
    return "\n".join(rows)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=24)
    parser.add_argument("--steps", type=int, default=50, help="of training")
    parser.add_argument("--port", type=int, default=8765)
    options = parser.parse_args()
    told = run(options.out, cases=options.cases, steps=options.steps, port=options.port)
    print(summary(options.out, told))


if __name__ == "__main__":
    main()
