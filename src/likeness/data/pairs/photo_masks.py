"""What of a photograph is the subject: a mask that lies beside it, in a folder of its own, by GrabCut or by SAM 2.

GrabCut (Rother et al., SIGGRAPH 2004; OpenCV) takes the middle of the photograph for the subject and learns both colour
models from there. It fails where subject and background share their colours or the subject leaves the frame, and says
nothing of it. So it runs from several frames: a mask counts when two frames agree on it and it ends along neither.
Shapes: H x W pixels; masks are (H, W) bool, pictures (H, W, 3) uint8.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable  # Any: OpenCV has no types

import numpy as np
from jaxtyping import Bool, UInt8
from numpy.typing import NDArray
from PIL import Image

from likeness.core.errors import ConfigError, DataError, WeightsError
from likeness.core.hashing import folder_sha256, short
from likeness.core.masks import load_mask
from likeness.core.weights import resolve_weights

__all__ = ["GRABCUT", "SAM2", "FolderMasks", "GrabCut", "LoadMasker", "Masker", "Sam2Masks", "masker_named"]

GRABCUT, SAM2 = "grabcut", "sam2"
SIDE = 160  # px of the longer side that GrabCut sees
MARGINS = (0.04, 0.08, 0.12)  # of the sides, outside the frames
ITERATIONS = 4
LEAST_AGREEMENT = 0.75
"""Intersection over union of the masks from two frames."""
MOST_ALONG_FRAME = 0.2
"""Share of a mask's outline that may lie on its frame."""
OPENING = 5  # px, thinner parts and gaps are dropped
LEAST_PART = 0.2
"""Of the largest part's area: smaller parts are no subject."""


@runtime_checkable
class Masker(Protocol):
    """Finds the subject of one photograph at a time."""

    def __call__(self, image: Image.Image, /, *, name: str) -> Bool[np.ndarray, "H W"]:
        """What of `image` is the subject. Raises: DataError saying why it cannot be told."""
        ...


@runtime_checkable
class LoadMasker(Protocol):
    """Makes a masker in any process; it is sent there by pickle. `id` names model and settings."""

    @property
    def id(self) -> str: ...

    def __call__(self) -> Masker:
        """The masker. Raises: WeightsError for weights or a library that are not there."""
        ...


@dataclass(frozen=True)
class FolderMasks:
    """Masks supplied: FOLDER/SUBJECT/NAME.png for the photograph SUBJECT/NAME."""

    folder: Path

    @property
    def id(self) -> str:
        """By content, so that another folder of the same masks is the same."""
        return f"supplied @{short(folder_sha256(self.folder))}"

    def __call__(self) -> Masker:
        """The reader of the folder."""
        return self._read

    def _read(self, image: Image.Image, /, *, name: str) -> Bool[np.ndarray, "H W"]:
        path = self.folder / f"{name}.png"
        if not path.is_file():
            raise DataError(f"mask: expected {path}, found no such file; draw it.")
        return np.asarray(load_mask(path, size=image.size)) >= 128


# -- GrabCut ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class GrabCut:
    """Masks by OpenCV's GrabCut, from frames around the middle."""

    @property
    def id(self) -> str:
        """With the version and all settings. Raises: WeightsError without OpenCV."""
        settings = f"{SIDE} px, frames {MARGINS}, {ITERATIONS} iterations, opening {OPENING} px"
        return f"{GRABCUT}, OpenCV {_opencv().__version__}, {settings}"

    def __call__(self) -> Masker:
        """GrabCut on one thread. Raises: WeightsError without OpenCV."""
        _opencv()
        return grab_cut


def _opencv() -> Any:
    try:
        return import_module("cv2")
    except ImportError as error:
        wanted = f"--masks {GRABCUT}: expected OpenCV, got {error}"
        raise WeightsError(f"{wanted}; pip install 'likeness[faces]', or supply masks.") from error


def grab_cut(image: Image.Image, /, *, name: str) -> Bool[np.ndarray, "H W"]:
    """The subject in the middle of `image`. Raises: DataError where it cannot be told from the background."""
    scale = SIDE / max(image.size)
    width, height = (max(8, round(side * scale)) for side in image.size)
    pixels = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BOX))
    mask = _agreed(pixels)
    soft = Image.fromarray(mask).convert("L").resize(image.size, Image.Resampling.BILINEAR)
    return np.asarray(soft) >= 128


def _agreed(pixels: UInt8[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"]:
    """The mask of the first frame that an earlier one agrees with. Raises: DataError for the last reason against it."""
    height, width = pixels.shape[:2]
    earlier: list[Bool[np.ndarray, "h w"]] = []
    reason = "GrabCut found no subject"
    for margin in MARGINS:
        left, top = round(margin * width), round(margin * height)
        frame = (left, top, width - 2 * left, height - 2 * top)
        mask = _tidy(_cut(pixels, frame=frame))
        if not mask.any():
            continue
        if (along := _along_frame(mask, frame=frame)) > MOST_ALONG_FRAME:
            reason = f"GrabCut's mask ends at the frame it was given ({along:.0%} of its outline)"
            continue
        agreement = max((float((mask & other).sum() / (mask | other).sum()) for other in earlier), default=0.0)
        if agreement >= LEAST_AGREEMENT:
            return mask
        reason = f"GrabCut is unsure: masks from several frames overlap by {agreement:.2f} (IoU) at most"
        earlier.append(mask)
    raise DataError(f"{reason}; supply a mask.")


def _cut(pixels: UInt8[np.ndarray, "h w 3"], *, frame: tuple[int, int, int, int]) -> Bool[np.ndarray, "h w"]:
    """GrabCut started from a frame; its k-means draws from OpenCV's own random numbers, seeded here."""
    cv2 = _opencv()
    cv2.setNumThreads(1)
    cv2.setRNGSeed(0)
    labels, models = np.zeros(pixels.shape[:2], np.uint8), [np.zeros((1, 65)) for _ in range(2)]
    bgr = np.ascontiguousarray(pixels[..., ::-1])
    cv2.grabCut(bgr, labels, frame, *models, ITERATIONS, cv2.GC_INIT_WITH_RECT)
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)


def _tidy(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Without thin parts, holes and parts much smaller than the largest."""
    from scipy.ndimage import binary_closing, binary_fill_holes, binary_opening, label

    disk = np.hypot(*(np.indices((OPENING, OPENING)) - OPENING // 2)) <= OPENING / 2
    opened: NDArray[np.bool_] = np.asarray(binary_opening(mask, disk), bool)
    closed: NDArray[np.bool_] = np.asarray(binary_closing(opened, disk), bool)  # eats from the border of the picture
    parts = np.zeros(mask.shape, np.int32)
    label(opened | closed, output=parts)
    areas = np.bincount(parts.ravel())[1:]
    kept = np.flatnonzero(areas >= LEAST_PART * areas.max(initial=1)) + 1
    return np.asarray(binary_fill_holes(np.isin(parts, kept)), bool)


def _along_frame(mask: Bool[np.ndarray, "h w"], *, frame: tuple[int, int, int, int]) -> float:
    """The share of the outline that lies on the frame, within a pixel."""
    from scipy.ndimage import binary_erosion

    inside: NDArray[np.bool_] = np.asarray(binary_erosion(mask), bool)
    outline = mask & ~inside
    left, top, width, height = frame
    inner = np.zeros(mask.shape, bool)
    inner[top + 2 : top + height - 2, left + 2 : left + width - 2] = True
    return float((outline & ~inner).sum() / max(outline.sum(), 1))


# -- SAM 2 -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Sam2Masks:
    """Masks by SAM 2 of whatever fills the middle of the photograph; `weights` None means the published ones."""

    weights: str | None = None
    device: str = "auto"

    @property
    def id(self) -> str:
        """By the content of the weights. Raises: WeightsError where they are not there."""
        folder = resolve_weights(self._spec)
        return f"{SAM2} @{short(folder_sha256(folder))}, box {MARGINS[0]} inside the sides"

    @property
    def _spec(self) -> str:
        from likeness.encoders import ENCODERS

        return self.weights or str(ENCODERS["sam2"].published)

    def __call__(self) -> Masker:
        """The loaded model. Raises: WeightsError."""
        from likeness.core.devices import pick_device
        from likeness.encoders.pose import box_text
        from likeness.encoders.sam2 import Sam2Segmenter

        model = Sam2Segmenter.load(self._spec, device=pick_device(self.device))

        def find(image: Image.Image, /, *, name: str) -> Bool[np.ndarray, "H W"]:
            width, height = image.size
            left, top = MARGINS[0] * width, MARGINS[0] * height
            (found,) = model.ask([image], [box_text((left, top, width - left, height - top))])
            return found.mask

        return find


def masker_named(spec: str, *, device: str = "auto") -> GrabCut | Sam2Masks | FolderMasks:
    """`grabcut`, `sam2`, `sam2:WEIGHTS`, or a folder with SUBJECT/NAME.png. Raises: ConfigError for another word."""
    name, colon, weights = spec.partition(":")
    if spec == GRABCUT:
        return GrabCut()
    if name == SAM2 and (not colon or weights):
        return Sam2Masks(weights or None, device)
    if not Path(spec).is_dir():
        raise ConfigError(f"--masks: expected {GRABCUT}, {SAM2} or a folder, got {spec!r}; correct it.")
    return FolderMasks(Path(spec))
