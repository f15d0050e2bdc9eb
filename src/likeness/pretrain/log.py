"""The training log: one JSON line per report, appended, and a line for the person who watches."""

import json
import sys
import time
from pathlib import Path


class TrainLog:
    """Appends rows to `path` and prints them with the time left."""

    def __init__(self, path: Path, *, total: int, start: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._total, self._start, self._began = path, total, start, time.monotonic()

    def write(self, num_images_seen: int, **values: float) -> None:
        """One row; values are rounded to six significant digits."""
        elapsed = time.monotonic() - self._began
        row = {"num_images_seen": num_images_seen, **{k: float(f"{v:.6g}") for k, v in values.items()}}
        row["images_per_second"] = float(f"{(num_images_seen - self._start) / max(elapsed, 1e-9):.4g}")
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        left = (self._total - num_images_seen) / max(row["images_per_second"], 1e-9) / 60
        text = " ".join(f"{k}={v:.4g}" for k, v in row.items() if k != "num_images_seen")
        place = f"{self._path.stem} {num_images_seen}/{self._total}"
        print(f"{place} {text} left={left:.0f} min", file=sys.stderr, flush=True)
