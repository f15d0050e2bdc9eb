"""A maker without weights: the picture is a hash of everything it was asked for, after a short sleep.

Lies beside the tests as a module of its own, so that spawned worker processes can import it by name.
"""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from likeness.backbones.flux.options import FluxOptions
from likeness.core.errors import DataError
from likeness.core.hashing import pixels_sha256

KNOWN = {"a", "cat", "dog", "and", "in", "the", "snow"}


class FakeMaker:
    """Keeps the rules of a backbone; `made` shows the order of calls."""

    def __init__(self, *, sleep: float, facts: str) -> None:
        self.sleep, self.facts = sleep, facts
        self.made: list[str] = []

    def generate(
        self,
        prompt: str,
        references: Sequence[Image.Image] = (),
        *,
        seed: int,
        options: FluxOptions | None = None,
    ) -> Image.Image:
        if "forbidden" in prompt:
            raise DataError("prompt: expected an allowed one, got a forbidden one; write another.")
        if "crash" in prompt:
            raise ZeroDivisionError("a bug in the maker")
        if "die" in prompt.split():
            import os

            os._exit(9)
        time.sleep(self.sleep)
        self.made.append(prompt)
        shown = [pixels_sha256(image) for image in references]
        asked = repr((prompt, shown, seed, options or FluxOptions(), self.facts))
        noise = hashlib.shake_256(asked.encode()).digest(3 * 24 * 24)
        return Image.frombytes("RGB", (24, 24), noise)

    def prompt_is_truncated(self, prompt: str) -> bool:
        return len(prompt.split()) > 50

    def unknown_words(self, prompt: str) -> list[str]:
        return [word for word in prompt.split() if word not in KNOWN]


def load(folder: Path, /, *, device: str, dtype: str) -> FakeMaker:
    return FakeMaker(sleep=0, facts=f"{(folder / 'model.txt').read_text()} {device} {dtype}")


vars(load)["options"] = FluxOptions  # checked before anything is loaded


def load_adapted(folder: Path, /, *, device: str, dtype: str, loras: tuple[Path, ...]) -> FakeMaker:
    return FakeMaker(sleep=0, facts="".join(lora.read_text() for lora in loras))


def load_slow(folder: Path, /, *, device: str, dtype: str) -> FakeMaker:
    return FakeMaker(sleep=0.02, facts="slow")


class Plain:
    """Reports nothing about prompts and has no model of its options: a colour comes as it was given."""

    def generate(
        self, prompt: str, references: Sequence[Image.Image] = (), *, seed: int, options: dict[str, str]
    ) -> Image.Image:
        return Image.new("RGB", (8, 8), options.get("colour", "red"))


def load_plain(folder: Path, /, *, device: str, dtype: str) -> Plain:
    return Plain()
