"""How long a study takes: pages under raters who all come at once, and `agree` of many votes.

    python benchmarks/perf/study.py pages --raters 200
    python benchmarks/perf/study.py agree --votes 100000

`pages` serves a study of two drawn runs with `likeness study serve` in a process of its own; each rater is a thread
here that reads a page, waits `--think` seconds, and answers. Measured are percentiles of a page, and the processor time
that the server took per request. `agree` measures all that `likeness study agree` computes, of simulated votes on one
question with 13 metrics. The last lines are one JSON object per figure, as README.md says.
"""

import argparse
import json
import random
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))


class Rater:
    """One browser with one connection; `times` are seconds per page."""

    def __init__(self, port: int, times: list[float]) -> None:
        self._port, self._times, self._cookie = port, times, ""

    def ask(self, path: str, form: dict[str, str] | None = None) -> str:
        """The page at a path, redirects followed; raises OSError where the server is gone."""
        for _ in range(5):
            begun = time.perf_counter()
            connection = HTTPConnection("127.0.0.1", self._port, timeout=60)
            headers = {"Cookie": self._cookie, "Content-Type": "application/x-www-form-urlencoded"}
            connection.request("POST" if form else "GET", path, urlencode(form) if form else None, headers)
            answer = connection.getresponse()
            body = answer.read().decode()
            connection.close()
            self._times.append(time.perf_counter() - begun)
            if cookie := answer.getheader("set-cookie"):
                self._cookie = cookie.partition(";")[0]
            if answer.status != 303:
                return body
            path, form = str(answer.getheader("location")), None
        raise AssertionError("too many redirects")


def hidden(page: str, name: str) -> str:
    """The value of a hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, page[:2000]
    return found[1]


def rate(path: str, rater: Rater, *, think: float, seed: int) -> None:
    """From the link to the last page."""
    rng = random.Random(seed)
    time.sleep(rng.random() * think)
    page = rater.ask(path, {"token": hidden(rater.ask(path), "token")})
    while 'data-item="' in page:
        time.sleep(think * (0.5 + rng.random()))
        form = {
            "token": hidden(page, "token"),
            "item": hidden(page, "item"),
            "overall": rng.choice(["0", "1", "equal"]),
        }
        page = rater.ask("/task", form)


def pages(*, raters: int, think: float, port: int) -> dict[str, float]:
    """Percentiles in ms, and the server's processor time per request in ms."""
    from study_runs import study_runs

    from likeness.study.build import Wanted, new_study
    from likeness.study.store import open_store
    from likeness.study.web import links_of, open_site

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        runs = study_runs(folder / "runs", names=("a", "b"), num_cases=40)
        new_study(runs, folder / "study", wanted=Wanted(votes=raters // 4, per_rater=10))
        store = open_store(folder / "study/votes.sqlite")
        links = links_of(open_site(folder / "study", store), "http://127.0.0.1", count=raters)["personal"]
        command = [sys.executable, "-m", "likeness", "study", "serve", str(folder / "study"), "--port", str(port)]
        server = subprocess.Popen([*command, "--joins-per-minute", "10000"], stderr=subprocess.DEVNULL)
        _wait(port)
        times: list[float] = []
        begun = time.perf_counter()
        threads = [
            threading.Thread(
                target=rate, args=(urlsplit(link).path, Rater(port, times)), kwargs={"think": think, "seed": k}
            )
            for k, link in enumerate(links)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall = time.perf_counter() - begun
        server.terminate()
        server.wait()
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        votes = len(store.votes())
        store.close()
    p50, p95, p99 = np.percentile(np.array(times) * 1000, [50, 95, 99])
    own = (used.ru_utime + used.ru_stime) * 1000 / len(times)
    told = {"requests": len(times), "votes": votes, "wall_seconds": wall, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99}
    return {**told, "server_processor_ms_per_request": own}


def _wait(port: int) -> None:
    for _ in range(600):
        try:
            Rater(port, []).ask("/")
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit("the server does not answer")


def agree_time(votes: int) -> dict[str, float]:
    """Seconds for the whole of `agree`, without reading the votes."""
    from simulated_raters import World, simulate

    from likeness.study.agree import Scores, agree
    from likeness.study.design import Study

    study = simulate(World(), seed=0, num_queries=votes // 3)
    rng = np.random.default_rng(0)
    names = [f"metric{k}" for k in range(13)]
    values = {
        key: {name: float(v) for name, v in zip(names, rng.random(13), strict=True)} for key in study.scores.values
    }
    design = Study(name="s", kind="overall", title="t", queries=tuple(study.queries.values()))
    wall, own = time.perf_counter(), time.process_time()
    found = agree(design, study.ballots, scores=Scores(values, dict.fromkeys(names, True)))
    return {
        "votes": found["questions"][0]["votes"],
        "seconds": time.perf_counter() - wall,
        "processor_seconds": time.process_time() - own,
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pages", "agree"))
    parser.add_argument("--raters", type=int, default=200)
    parser.add_argument("--think", type=float, default=4.0, help="seconds")
    parser.add_argument("--port", type=int, default=8766)
    parser.add_argument("--votes", type=int, default=100_000)
    options = parser.parse_args()
    if options.what == "pages":
        told = pages(raters=options.raters, think=options.think, port=options.port)
    else:
        told = agree_time(options.votes)
    goals = {"p95_ms": 100, "processor_seconds": 20, "seconds": 20}
    for name, value in told.items():
        row = {
            "name": f"{options.what}_{name}",
            "value": round(value, 3),
            "goal": goals.get(name),
            "better": "lower",
            "n": 1,
        }
        print(json.dumps(row))


if __name__ == "__main__":
    main()
