"""The attention field: how much each target token resembles each reference while the network works.

Shapes: B rows, R references, L target tokens, Li tokens of reference i, D network width.
"""

import re
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from likeness.core.errors import ConfigError, DataError, MeasurementError

Similarity = Literal["cosine", "squared_norm"]
SIMILARITIES: tuple[str, ...] = get_args(Similarity)
_EPS = 1e-6  # of the cosine


def _mean_weights(mask: Bool[Tensor, "B Li"]) -> Float[Tensor, "B 1 Li"]:
    """Weights whose sum over tokens is the mean inside the mask; an empty mask means all tokens."""
    inside = torch.where(mask.any(dim=1, keepdim=True), mask, True).float()
    return (inside / inside.sum(dim=1, keepdim=True))[:, None]


class FieldCollector:
    """A backbone's `Watch` that keeps the mean over layers of cosine(target token, pooled reference), nothing else.

    Serves one forward pass. Only the first `num_rows` rows are looked at: put the preferred pictures there. Each
    reference is the mean of its tokens inside `reference_masks[i]` (num_rows, Li); an empty mask means all of them.
    `layers` (a regular expression for the whole name) chooses layers; `center` subtracts the mean target token first;
    `features` are what it asks the backbone to show. Scores lie on `grid` (rows, columns): those of a layer on another
    grid, as a U-Net has them, are resized bilinearly; None stands for the grid that all layers share. `similarity`
    "squared_norm" is Eq. 2 as printed: the inner product over the squared norm of the target token, which favours short
    tokens.
    Source: FocusDPO (arXiv:2509.01181) Eqs. 2-3.
    Differs: cosine, where Eq. 2 prints a division by the squared norm; its figure labels the step as cosine.
    Raises: DataError, ConfigError for masks or a pattern that cannot be used.
    """

    def __init__(
        self,
        num_rows: int,
        reference_masks: Sequence[Bool[Tensor, "B _"]],
        *,
        center: bool = False,
        layers: str | None = None,
        features: str = "attention_input",
        grid: tuple[int, int] | None = None,
        similarity: str = "cosine",
    ) -> None:
        rows = {mask.shape[0] for mask in reference_masks}
        if rows != {num_rows}:
            got = f"{len(reference_masks)} masks with {sorted(rows)} rows"
            raise DataError(f"FieldCollector: expected one mask of {num_rows} rows per reference, got {got}; add them.")
        if similarity not in SIMILARITIES:
            raise ConfigError(f"similarity: expected one of {', '.join(SIMILARITIES)}, got {similarity!r}; choose one.")
        self.num_rows, self.features, self.detached = num_rows, features, True
        self._similarity = similarity
        self._weights = [_mean_weights(mask) for mask in reference_masks]
        self._center, self._grid = center, grid
        try:
            self._pattern = None if layers is None else re.compile(layers)
        except re.error as error:
            wanted = f"layers: expected a regular expression, got {layers!r} ({error})"
            raise ConfigError(f"{wanted}; correct it.") from error
        self._seen: set[str] = set()
        self._sum: Tensor | None = None

    @property
    def num_layers(self) -> int:
        """How many layers the mean is over so far."""
        return len(self._seen)

    @torch.no_grad()
    def __call__(
        self, layer: str, target_tokens: Tensor, reference_tokens: Sequence[Tensor], grid: tuple[int, int], /
    ) -> None:
        """Add one layer: target (B, L, D), which lies on `grid`, and per reference (B, Li, D), B >= num_rows.

        Raises: DataError when tokens and masks disagree; MeasurementError for a layer that was seen before.
        """
        if self._pattern is not None and not self._pattern.fullmatch(layer):
            return
        if layer in self._seen:
            raise MeasurementError(f"FieldCollector: expected one pass, got {layer} twice; make a new one per pass.")
        got, expected = [t.shape[1] for t in reference_tokens], [weights.shape[-1] for weights in self._weights]
        if got != expected:
            raise DataError(f"FieldCollector: expected references of {expected} tokens, got {got}; check their masks.")
        self._seen.add(layer)
        with torch.autocast(target_tokens.device.type, enabled=False):  # bf16 scores would tie
            cosines = self._resized(self._cosines(target_tokens, reference_tokens), tuple(grid))
        self._sum = cosines if self._sum is None else self._sum.add_(cosines)

    def _cosines(self, target_tokens: Tensor, reference_tokens: Sequence[Tensor]) -> Float[Tensor, "B R L"]:
        self._weights = [weights.to(target_tokens.device) for weights in self._weights]
        target = target_tokens[: self.num_rows].float()
        means = [w @ tokens[: self.num_rows].float() for w, tokens in zip(self._weights, reference_tokens, strict=True)]
        pooled = torch.cat(means, dim=1)
        if self._center:
            mean = target.mean(dim=1, keepdim=True)
            target, pooled = target - mean, pooled - mean
        lengths = torch.linalg.vector_norm(target, dim=-1)[:, None].clamp_min(_EPS)
        if self._similarity == "squared_norm":
            return pooled @ target.mT / lengths.square()
        return functional.normalize(pooled, dim=-1, eps=_EPS) @ target.mT / lengths

    def _resized(self, scores: Float[Tensor, "B R l"], grid: tuple[int, ...]) -> Float[Tensor, "B R L"]:
        if self._grid is None or grid == self._grid:
            return scores
        picture = scores.unflatten(2, grid)
        return functional.interpolate(picture, self._grid, mode="bilinear", align_corners=False).flatten(2)

    def scores(self) -> Float[Tensor, "B R L"]:
        """Mean cosine of every target token (of the first `num_rows` rows) with every reference, without gradient.

        Raises: MeasurementError when no layer was seen.
        """
        if self._sum is None:
            wanted = "any layer" if self._pattern is None else f"a layer named {self._pattern.pattern!r}"
            raise MeasurementError(f"FieldCollector: expected {wanted}, got none; pass it as `watch` to predict.")
        return self._sum / len(self._seen)
