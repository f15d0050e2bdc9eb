"""Several things that one run changes together: each keeps its parameters, its file and how it is switched off."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any  # JSON

import torch

from likeness.train.task import Trainable


class Joined:
    """The parameters of all parts, in the order of the parts, whose names differ."""

    def __init__(self, parts: Sequence[Trainable]) -> None:
        self._parts = tuple(parts)
        self.named: list[tuple[str, torch.nn.Parameter]] = [each for part in self._parts for each in part.named]
        assert len(dict(self.named)) == len(self.named), "two parts call a parameter by one name"

    @contextmanager
    def off(self) -> Generator[None, None, None]:
        """Within it the network answers as before training: all parts are off."""
        with ExitStack() as stack:
            for part in self._parts:
                stack.enter_context(part.off())
            yield

    def save(self, folder: Path, *, metadata: Mapping[str, Any]) -> None:
        """`folder` holds the files of all parts, each with the metadata. Raises: OutputError."""
        for part in self._parts:
            part.save(folder, metadata=metadata)
