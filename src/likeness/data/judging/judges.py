"""Who answers the ten questions: the protocol of a judge, and the one that reads attributes with the embedded probe.

A judge by vision-language model or by people is one more class with `id` and `answer`, and one more `LoadJudge`.
Shapes: S side of a picture in px, B subjects per forward pass.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from likeness.core.errors import DataError, MeasurementError
from likeness.core.kinds import Category
from likeness.data.judging.questions import QUESTIONS, Question, applies
from likeness.encoders.base import encoder_id, weights_folder

if TYPE_CHECKING:
    from likeness.encoders.probe import AttributeProbe

__all__ = ["Answers", "Judge", "LoadJudge", "LoadProbeJudge", "ProbeJudge", "SubjectView"]

Answers = tuple[bool | None, ...]
"""Ten answers: True favourable, False unfavourable, None where the judge is not sure."""

SURE = 0.5
"""Probability from which the probe's reading counts as seen."""
DOUBT = 0.2
"""Probability up to which a value counts as absent."""
BATCH = 8  # always full, padded if need be, so that a reading never depends on what else is read


class SubjectView(NamedTuple):
    """One subject of one picture, and what it should look like.

    `picture` (S, S, 3) uint8; `box` and `head` in shares of the side; `wanted` are the exact attributes of the
    reference as far as this view can show them ("none" where hidden), None where nobody knows; `reference` is a photo.
    """

    picture: NDArray[np.uint8]
    category: Category
    box: tuple[float, float, float, float]
    head: tuple[float, float] | None = None
    wanted: Mapping[str, str] | None = None
    reference: NDArray[np.uint8] | None = None


@runtime_checkable
class Judge(Protocol):
    """Compares subjects with their references; equal views get equal answers, whatever else is asked."""

    @property
    def id(self) -> str:
        """Kind, name and content hash."""
        ...

    def answer(self, views: Sequence[SubjectView]) -> list[Answers]:
        """Ten answers per view, to `QUESTIONS[view.category]` in order."""
        ...


@runtime_checkable
class LoadJudge(Protocol):
    """Loads a judge in any process; it is sent there by pickle. `id` is the loaded judge's, known beforehand."""

    @property
    def id(self) -> str: ...

    def __call__(self) -> Judge:
        """The loaded judge."""
        ...


@dataclass(frozen=True)
class LoadProbeJudge:
    """Loads the judge of the drawn world from an embedded name or a folder. Raises: WeightsError."""

    probe: str = "probe"

    @property
    def id(self) -> str:
        """The probe's name and hash with the two confidence limits."""
        limits = f"sure {SURE:g}, doubt {DOUBT:g}"
        return encoder_id("probe judge", spec=self.probe, folder=weights_folder(self.probe), preprocessing=limits)

    def __call__(self) -> Judge:
        """The judge with its probe in memory."""
        from likeness.encoders.probe import AttributeProbe

        return ProbeJudge(AttributeProbe.load(self.probe), judge_id=self.id)


class ProbeJudge:
    """Answers by what the attribute probe reads in the window of the head, whose place the world knows exactly.

    A question is answered False where some evidence speaks against the reference (the wanted value is at most DOUBT
    probable), True where all evidence speaks for it (at least SURE), else None. The gate counts None against keeping,
    in preferred and rejected pictures alike, so that a misreading costs a pair and never lets a wrong one through.
    """

    def __init__(self, probe: AttributeProbe, *, judge_id: str) -> None:
        self._probe, self.id = _fused(probe), judge_id

    def answer(self, views: Sequence[SubjectView]) -> list[Answers]:
        """Ten answers per view. Raises: MeasurementError for a view without head or attributes."""
        for view in views:
            if view.head is None or view.wanted is None:
                raise MeasurementError(
                    "ProbeJudge: expected views with head and attributes, as the drawn world gives them, got one "
                    "without; use a judge that looks at the reference picture."
                )
        firsts = range(0, len(views), BATCH)
        readings = [reading for first in firsts for reading in self._read(views[first : first + BATCH])]
        return [
            tuple(_answer(question, view.wanted or {}, reading) for question in QUESTIONS[view.category])
            for view, reading in zip(views, readings, strict=True)
        ]

    def _read(self, views: Sequence[SubjectView]) -> list[dict[str, dict[str, float]]]:
        """Attribute -> {value: probability} of up to B views."""
        import torch

        from likeness.encoders.probe import crops, pixel_values

        config, device = self._probe.config, next(self._probe.parameters()).device
        padded = [*views, *([views[-1]] * (BATCH - len(views)))]
        pixels = torch.stack([pixel_values(Image.fromarray(view.picture), size=config.image_size) for view in padded])
        heads = torch.tensor([view.head for view in padded])
        with torch.inference_mode():
            windows = crops(
                pixels.to(device), picture=torch.arange(BATCH).to(device), heads=heads.to(device), config=config
            )
            logits = self._probe.read_crops(windows.contiguous(memory_format=torch.channels_last))
            tables = {name: rows.double().softmax(1).tolist() for name, rows in logits.items()}
        return [
            {name: dict(zip(config.attributes[name], rows[index], strict=True)) for name, rows in tables.items()}
            for index in range(len(views))
        ]


def _answer(question: Question, wanted: Mapping[str, str], reading: dict[str, dict[str, float]]) -> bool | None:
    if not question.evidence:
        return True if max(reading["species"].values()) >= SURE else None
    names = [name for name in question.evidence if applies(name, wanted)]
    for name in names:
        if wanted[name] not in reading.get(name, {}):
            what = f"expected a probe that knows {name} {wanted[name]!r}, got one without"
            raise DataError(f"ProbeJudge: {what}; train it.")
    support = [reading[name][wanted[name]] for name in names]
    if any(probability <= DOUBT for probability in support):
        return False
    return True if all(probability >= SURE for probability in support) else None


def _fused(probe: AttributeProbe) -> AttributeProbe:
    """A copy whose reader has each normalisation folded into its convolution: half the time, logits equal to 1e-5."""
    import torch
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    fast = copy.deepcopy(probe).eval()
    for layer in fast.reader.modules():
        convolution, normalization = getattr(layer, "convolution", None), getattr(layer, "normalization", None)
        if isinstance(convolution, nn.Conv2d) and isinstance(normalization, nn.BatchNorm2d):
            layer.convolution, layer.normalization = fuse_conv_bn_eval(convolution, normalization), nn.Identity()
    fast.reader.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] an overload torch leaves out
    return fast
