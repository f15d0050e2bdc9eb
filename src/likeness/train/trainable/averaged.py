"""A moving reference policy: what is trained, held against its own average over the steps instead of the base model."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any  # JSON

from likeness.train.schedule import Ema
from likeness.train.task import Trainable


class AveragedReference:
    """A trainable whose reference policy is the exponential moving average of itself.

    The average starts as the untrained state and moves after each update: ref <- decay * ref + (1 - decay) * policy. A
    decay of 1 is a frozen reference policy.
    Source: Linear-DPO (arXiv:2605.21123) and its public training script. Differs: there the average moves before the
    update of a step, so it is one step behind this one.
    """

    def __init__(self, trainable: Trainable, *, decay: float) -> None:
        self._trainable, self.named = trainable, trainable.named
        self.average = Ema(self.named, decay=decay, warmed_up=False)

    def off(self) -> AbstractContextManager[None]:
        """Within it the network answers by the average."""
        return self.average.applied(self.named)

    def save(self, folder: Path, *, metadata: Mapping[str, Any]) -> None:
        """`folder` holds what is trained. Raises: OutputError."""
        self._trainable.save(folder, metadata=metadata)
