"""What a recipe asks of a model that draws a region anew: losers of the policy's own hand.

The recipe knows only these two; `likeness.generate.inpaint` implements them with the backbone.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["LoadRegenerate", "Regenerate", "RegenerationJob"]


class RegenerationJob(NamedTuple):
    """Draw `region` (S, S) bool of `picture` (S, S, 3) uint8 anew, after `prompt` and these `references`.

    The references are those of the picture but for the subjects to be disrupted, whose own are wrong or left out.
    """

    picture: NDArray[np.uint8]
    region: NDArray[np.bool_]
    prompt: str
    references: tuple[Image.Image, ...]
    seed: int


@runtime_checkable
class Regenerate(Protocol):
    """Makes one picture at a time; equal jobs give equal pixels, whatever was made before."""

    def __call__(self, job: RegenerationJob, /) -> NDArray[np.uint8]:
        """The (S, S, 3) picture; outside the region it need not be exact, since the recipe pastes."""
        ...


@runtime_checkable
class LoadRegenerate(Protocol):
    """Loads the model in any process; it is sent there by pickle. `id` names model and settings."""

    @property
    def id(self) -> str: ...

    def __call__(self) -> Regenerate:
        """The loaded model."""
        ...
