"""The card of the metric `clarity`: does it tell true pictures from the same ones damaged?"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from likeness.encoders.probe import AttributeProbe
from likeness.metrics.clarity import clarity_of
from likeness.pretrain.cards.numbers import Card, grouped_auc, share
from likeness.world.render import Rendering

Pixels = NDArray[np.uint8]
BLURS = (1.0, 2.0)
"""Deviations of the Gaussian blur in px."""
NOISE = 16.0
"""Deviation of the noise in grey levels of 255."""


def clarity_card(probe: AttributeProbe, pictures: Sequence[Rendering], *, autoencoded: Sequence[Pixels]) -> Card:
    """The mean over true pictures and over each kind of damage, with the AUC of true against damaged pictures.

    A picture in which nobody is found counts as 0. The interval resamples pictures, each with its damaged self.
    """
    true = [picture.image for picture in pictures]
    damaged = {
        "autoencoded": autoencoded,
        **{f"blurred_by_{radius:g}_px": [blurred(image, radius) for image in true] for radius in BLURS},
        "noised": [noised(image, seed=i) for i, image in enumerate(true)],
    }
    clear = _clarities(probe, true, pictures)
    names = ["+".join(s.id for s in picture.labels.subjects) for picture in pictures]
    kinds = {kind: _clarities(probe, images, pictures) for kind, images in damaged.items()}
    return {
        "true": share(clear, names),
        **{kind: share(values, names) for kind, values in kinds.items()},
        "auc": {kind: grouped_auc(clear, values, groups=(names, names)) for kind, values in kinds.items()},
    }


def _clarities(probe: AttributeProbe, images: Sequence[Pixels], pictures: Sequence[Rendering]) -> list[float]:
    read = [probe.look([Image.fromarray(image)])[0].subjects for image in images]
    counts = [len(picture.labels.subjects) for picture in pictures]
    return [clarity_of(subjects[:count]) or 0.0 for subjects, count in zip(read, counts, strict=True)]


def blurred(image: Pixels, radius: float) -> Pixels:
    """The image after a Gaussian blur."""
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def noised(image: Pixels, *, seed: int) -> Pixels:
    """The image with Gaussian noise, cut to 0 ... 255."""
    noise = np.random.default_rng(seed).normal(0, NOISE, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
