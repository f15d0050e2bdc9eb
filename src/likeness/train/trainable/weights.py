"""Parameters that a run trains themselves, without an adapter beside them."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable  # Any: JSON

import torch


@runtime_checkable
class Save(Protocol):
    """Writes what was trained into a folder, with `metadata` in the header."""

    def __call__(self, folder: Path, /, *, metadata: Mapping[str, Any]) -> None: ...


class TunedWeights:
    """Parameters of a network in fp32, and their values before training in main memory.

    `rate_shares`: learning rates by name as shares of the run's, where they differ.
    """

    def __init__(
        self,
        parameters: Mapping[str, torch.nn.Parameter],
        *,
        save: Save,
        rate_shares: Mapping[str, float] | None = None,
    ) -> None:
        self.named = list(parameters.items())
        self.rate_shares = dict(rate_shares or {})
        self._before = {name: p.detach().to("cpu", copy=True) for name, p in self.named}
        self._save = save
        for _, parameter in self.named:
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)

    @contextmanager
    def off(self) -> Generator[None, None, None]:
        """Within it the network answers as before training."""
        trained = {name: parameter.data for name, parameter in self.named}
        try:
            for name, parameter in self.named:
                parameter.data = self._before[name].to(parameter)
            yield
        finally:
            for name, parameter in self.named:
                parameter.data = trained[name]

    def save(self, folder: Path, *, metadata: Mapping[str, Any]) -> None:
        """`folder` holds it in a stock layout. Raises: OutputError."""
        self._save(folder, metadata=metadata)
