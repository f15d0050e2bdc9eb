"""From 177,000 candidates to 10,000 prompts with cached sentence features: processor seconds and peak memory.

    python benchmarks/perf/prompts.py [WIDTH [CANDIDATES]]

Features stand in for a sentence encoder's (all-MiniLM-L6-v2 has 384 numbers, Sentence-T5 768): sums of a random vector
per word, with noise, kept on disk and read again as the real ones are; 10,000 of them with noise are the reference. So
the steps after the encoder are measured, and the encoder is not. Counts processor time, so that other work on the
machine changes it little. The last lines are one JSON object per figure.
"""

import json
import resource
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from likeness.data.prompts.embedded import embedded
from likeness.data.prompts.files import sentence
from likeness.data.prompts.grammar import NUM_CANDIDATES, candidates
from likeness.data.prompts.sampling import furthest_points, largest_cosine, most_similar

WIDTH, NUM_PROMPTS, NUM_REFERENCES = 384, 10_000, 10_000
SECONDS_GOAL, MEMORY_GOAL_MB = 600.0, 3000.0
NOISE = 0.5


class WordSums:
    """Unit vectors of texts from random vectors of their words."""

    def __init__(self, width: int) -> None:
        self.id, self.width = f"sums of {width}", width
        self.words: dict[str, np.ndarray] = {}

    def read(self, texts: Sequence[str]) -> np.ndarray:
        rows = NOISE * np.random.default_rng(zlib.crc32("".join(texts).encode())).normal(size=(len(texts), self.width))
        for row, text in zip(rows, texts, strict=True):
            row += sum(map(self._word, text.split()))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def _word(self, word: str) -> np.ndarray:
        if word not in self.words:
            self.words[word] = np.random.default_rng(zlib.crc32(word.encode())).normal(size=self.width)
        return self.words[word]


class Clock:
    """Processor seconds by step, told on stderr as they pass."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.process_time()

    def lap(self, step: str) -> None:
        now = time.process_time()
        self.seconds[step] = now - self._last
        self._last = now
        print(f"{step}: {self.seconds[step]:.1f} s", file=sys.stderr, flush=True)


def measure(width: int, count: int) -> dict[str, float]:
    """Processor seconds by step, without writing the features."""
    clock, encoder = Clock(), WordSums(width)
    with tempfile.TemporaryDirectory() as folder:
        texts = [sentence(prompt.text) for prompt in candidates(count)]
        clock.lap("candidates")
        embedded(texts, encoder, store=Path(folder))
        clock.lap("features written (not counted)")
        del clock.seconds["features written (not counted)"]
        features = embedded(texts, encoder, store=Path(folder))
        clock.lap("cached features read")
    rng = np.random.default_rng(0)
    drawn = features[rng.permutation(len(features))[:NUM_REFERENCES]]
    reference = drawn + 0.02 * rng.normal(size=drawn.shape).astype(np.float32)
    reference /= np.linalg.norm(reference, axis=1, keepdims=True)
    kept = most_similar(largest_cosine(features, reference))
    clock.lap("filter")
    found = furthest_points(features[kept], min(NUM_PROMPTS, len(kept)))
    clock.lap("furthest points")
    assert len(set(found.places.tolist())) == len(found.places)
    assert (np.diff(found.radius) <= 0).all()
    return clock.seconds


def main() -> None:
    width, count = (int(word) for word in (*sys.argv[1:], *(str(WIDTH), str(NUM_CANDIDATES))[len(sys.argv) - 1 :]))
    seconds = sum(measure(width, count).values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    facts = {"better": "lower", "n": 1, "width": width, "candidates": count}
    print(json.dumps({"name": "prompts: processor seconds", "value": round(seconds, 1), "goal": SECONDS_GOAL, **facts}))
    print(json.dumps({"name": "prompts: peak MB", "value": round(peak), "goal": MEMORY_GOAL_MB, **facts}))


if __name__ == "__main__":
    main()
