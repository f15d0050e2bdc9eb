"""References without what surrounds their subject: for backbones that look at the subject alone.

Training and generation both ask `seen_reference`, so that a model is shown the same of a reference in both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable  # Any: each backbone has a model of its own options

from PIL import Image

from likeness.core.errors import DataError
from likeness.core.masks import inside, load_mask


@runtime_checkable
class CropsReferences(Protocol):
    """What a backbone has beside the contract when it can crop a reference to its subject."""

    def crop_reference(self, reference: Image.Image, mask: Image.Image, *, options: Any = None) -> Image.Image:
        """What the model is to see of the reference, by its own options. Raises: DataError for an empty mask."""
        ...


def seen_reference(model: object, image: Image.Image, *, mask: Path | None, options: Any = None) -> Image.Image:
    """What the model is shown of a reference: all of it without a mask, or where the model crops none.

    Raises: DataError for a mask that is unreadable, of another size, or empty.
    """
    if mask is None or not isinstance(model, CropsReferences):
        return image
    found = load_mask(mask, size=image.size, what="reference mask")
    try:
        return model.crop_reference(image, found, options=options)
    except DataError as error:
        raise DataError(f"reference mask {mask}: {error}") from error


def around_subject(image: Image.Image, mask: Image.Image) -> Image.Image:
    """The least box of the picture that holds the mask; what else lies in that box stays.

    Source: PatchDPO's script, which crops to a detector's box. Raises: DataError for a mask without a pixel inside.
    """
    box = Image.fromarray(inside(mask)).getbbox()
    if box is None:
        raise DataError("expected it to cover the subject, got no pixel inside; make it again or leave it out.")
    return image.crop(box)
