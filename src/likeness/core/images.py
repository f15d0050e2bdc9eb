"""Pictures in and out: the only loader of the package, and a PNG writer whose bytes repeat.

Loading answers every oddity of real folders once, here: orientation flags, palettes, transparency, 16-bit grey,
animations, print colours, damaged and absurdly large files.
"""

import io
import math
import struct
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

from likeness.core.errors import DataError
from likeness.core.files import atomic_write_bytes

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
OTHER_SUFFIXES = (".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jxl", ".tif", ".tiff")
"""Pictures that are not looked for in folders: converted to PNG, they are."""
MAX_SIDE = 20_000
"""Longest accepted side in px; larger files are refused before any pixel is decoded."""

# what Pillow raises while it opens, scans or decodes damaged files
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, KeyError, OverflowError)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_image(path: Path | str) -> Image.Image:
    """An upright RGB picture: orientation flag applied, transparency over white, 16-bit grey scaled to 8 bits.

    Colour profiles are not applied. Phone files of the MPO and HEIC kinds give their main picture; HEIC needs
    pillow-heif, which the extra likeness[heic] installs.
    Raises: DataError for a missing, empty, damaged or animated file, one that is no picture, CMYK or floating-point
    pixels, and for sides above MAX_SIDE or more pixels than Pillow's decompression-bomb limit.
    """
    path = Path(path)
    _require_content(path)
    kind = _phone_kind(path)
    if kind == "HEIC":
        _register_heic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                _require_still_picture(image, path=path)
                image.load()  # before the flag is read: Pillow turns TIFF files itself while it decodes them
                orientation = _orientation(image)
                upright = to_rgb(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        limit = f"at most {Image.MAX_IMAGE_PIXELS} pixels"
        raise DataError(f"{path}: expected {limit}, got more; shrink the picture.") from None
    except UnidentifiedImageError:
        if kind:
            raise DataError(f"{path}: expected a PNG, JPEG or WebP picture, got {kind}; {_ADVICE[kind]}.") from None
        raise DataError(f"{path}: expected a picture, got a file of another kind or a damaged header.") from None
    except DataError as error:
        raise error if str(path) in str(error) else DataError(f"{path}: {error}") from None
    except _DAMAGED as error:
        raise DataError(f"{path}: expected a whole picture, got a damaged one ({error}); replace it.") from error
    return upright.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else upright


_BRANDS = {
    "HEIC": {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"},
    "AVIF": {b"avif", b"avis"},
}
_ADVICE = {
    "HEIC": "pip install 'likeness[heic]' to read it as it is, or convert it to PNG",
    "AVIF": "pip install 'pillow>=11.3' to read it as it is, or convert it to PNG",
    "JPEG XL": "convert it to PNG",
}


def _phone_kind(path: Path) -> str:
    """HEIC, AVIF or JPEG XL by the first bytes of the file, which Pillow may not know; empty for anything else."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise DataError(f"{path}: expected a picture, got {error.strerror or error}; check the path.") from error
    if head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return "JPEG XL"
    if head[4:8] != b"ftyp":
        return ""
    main, others = head[8:12], {head[i : i + 4] for i in range(16, 64, 4)}
    named = (kind for brands in ({main}, others) for kind, known in _BRANDS.items() if known & brands)
    # mif1 and msf1 stand for both kinds: what is listed beside them decides
    return "AVIF" if main in (b"mif1", b"msf1") and others & _BRANDS["AVIF"] else next(named, "")


def _register_heic() -> None:
    """Pillow opens HEIC from now on, where pillow-heif is installed."""
    try:
        heif = import_module("pillow_heif")
    except ImportError:
        return
    heif.register_heif_opener()


def unread_pictures_in(folder: Path) -> list[Path]:
    """The files of a folder of pictures that are pictures by their name but of a kind that `pictures_in` leaves out."""
    return sorted(path for path in _inside(folder).iterdir() if path.suffix.lower() in OTHER_SUFFIXES)


def pictures_in(folder: Path) -> list[Path]:
    """The png, jpg and webp files of a folder of pictures by name, of its images/ where it has one."""
    return sorted(path for path in _inside(folder).iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def _inside(folder: Path) -> Path:
    return folder / "images" if (folder / "images").is_dir() else folder


def _require_content(path: Path) -> None:
    try:
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected a picture, got no readable file; check the path.") from error
    if not path.is_file():
        raise DataError(f"{path}: expected a picture, got a folder or device; name a file.")
    if size == 0:
        raise DataError(f"{path}: expected a picture, got an empty file; copy or download it again.")


def _require_still_picture(image: Image.Image, *, path: Path) -> None:
    if max(image.size) > MAX_SIDE:
        got = f"{image.width} x {image.height}"
        raise DataError(f"{path}: expected sides of at most {MAX_SIDE} px, got {got}; shrink the picture.")
    frames = int(getattr(image, "n_frames", 1))
    if frames > 1 and image.format not in ("MPO", "HEIF"):
        raise DataError(f"{path}: expected one still picture, got {frames} frames; export one of them.")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (*_DAMAGED, TypeError):
        return 1  # a damaged note about the picture is no reason to refuse the picture


def to_rgb(image: Image.Image) -> Image.Image:
    """The picture in plain 8-bit RGB, without side information; transparency is laid over white.

    16-bit grey is divided by 257, so that 65535 becomes 255.
    Raises: DataError for CMYK, Lab and floating-point pixels, whose conversion needs a choice we cannot make.
    """
    if image.mode in ("CMYK", "LAB", "F"):
        raise DataError(f"expected RGB, grey or palette pixels, got {image.mode}; convert the picture to RGB first.")
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.float64)
        grey_8bit = np.rint(np.clip(grey, 0, 65535) / 257).astype(np.uint8)
        return Image.fromarray(grey_8bit).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return _bare(Image.alpha_composite(white, rgba).convert("RGB"))
    return _bare(image.convert("RGB"))


def _bare(image: Image.Image) -> Image.Image:
    """A copy without Pillow's `info`, which would otherwise travel into saved files."""
    return Image.frombytes(image.mode, image.size, image.tobytes())


def save_png(image: Image.Image, path: Path | str, *, text: dict[str, str] | None = None) -> None:
    """The file is a whole PNG of `image` whose bytes depend on pixels and `text` only (same Pillow and zlib).

    Grey ("L") stays grey, everything else becomes RGB. `text` is kept as UTF-8 text chunks in sorted order.
    Raises: OutputError when the folder cannot be written, DataError for pixels `to_rgb` refuses.
    """
    plain = _bare(image) if image.mode == "L" and not image.has_transparency_data else to_rgb(image)
    chunks = PngImagePlugin.PngInfo()
    for key in sorted(text or {}):
        chunks.add_itxt(key, (text or {})[key])
    buffer = io.BytesIO()
    plain.save(buffer, format="PNG", pnginfo=chunks, compress_level=6)
    atomic_write_bytes(path, buffer.getvalue())


def png_text(path: Path | str) -> dict[str, str]:
    """The text chunks of a PNG, once all its pixels have been decoded without error.

    Raises: DataError when the file is missing, damaged or no PNG.
    """
    path = Path(path)
    _require_content(path)
    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.load()
            text: dict[str, str] = getattr(image, "text", {})
            return {str(key): str(value) for key, value in text.items()}
    except (*_DAMAGED, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: expected a whole PNG, got {error}; remove the file and run again.") from error


def png_notes(path: Path | str) -> dict[str, str]:
    """The text chunks of a PNG that stand before its pixels, of which none is decoded; {} for other pictures.

    Raises: DataError when the file is missing or damaged, or claims more pixels or text than a picture may have.
    """
    path = Path(path)
    _require_content(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=["PNG", "JPEG", "WEBP"]) as image:
                text: dict[str, str] = getattr(image, "text", {}) if image.format == "PNG" else {}
                return {str(key): str(value) for key, value in text.items()}
    except (*_DAMAGED, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        told = str(error).partition("\n")[0][:120]
        raise DataError(f"{path}: expected a whole picture, got {told}; replace it.") from error


def fit_reference(image: Image.Image, *, long_side: int, multiple: int) -> Image.Image:
    """The reference picture at the size the backbone reads: long side `long_side`, both sides multiples of `multiple`.

    The other side is truncated to whole px, then each side is centre-cropped down to a multiple.
    Source: UNO (arXiv:2504.02160), `preprocess_ref` of the public code, where multiple is 16.
    Differs: whole-number arithmetic, since int((512 / 49) * 49) is 511 in floating point and costs a square 16 px.
    Raises: DataError when the picture is so narrow that nothing would be left.
    """
    width, height = image.size
    longest = max(width, height)
    resized = (long_side * width // longest, long_side * height // longest)
    kept_width, kept_height = (side // multiple * multiple for side in resized)
    if not kept_width or not kept_height:
        limit = f"at least {multiple} px on the short side once the long side is {long_side}"
        raise DataError(f"reference image: expected {limit}, got {width} x {height}; crop it nearer to square.")
    left, top = (resized[0] - kept_width) // 2, (resized[1] - kept_height) // 2
    scaled = to_rgb(image).resize(resized, Image.Resampling.LANCZOS)
    return scaled.crop((left, top, left + kept_width, top + kept_height))


def fit_area(image: Image.Image, *, area: int, multiple: int) -> Image.Image:
    """The reference picture with at most `area` px, centre-cropped so that both sides are multiples of `multiple`.

    Source: diffusers 0.42 `Flux2ImageProcessor` and the references of `Flux2KleinPipeline`.
    Raises: DataError when the picture is so narrow that nothing would be left.
    """
    width, height = image.size
    scaled = to_rgb(image)
    if width * height > area:
        scale = (area / (width * height)) ** 0.5
        scaled = scaled.resize((int(width * scale), int(height * scale)), Image.Resampling.LANCZOS)
    kept = [side // multiple * multiple for side in scaled.size]
    if not all(kept):
        limit = f"at least {multiple} px on the short side at {area} px in all"
        raise DataError(f"reference image: expected {limit}, got {width} x {height}; crop it nearer to square.")
    left, top = ((side - part) // 2 for side, part in zip(scaled.size, kept, strict=True))
    return scaled.crop((left, top, left + kept[0], top + kept[1]))


def scale_to_area(image: Image.Image, *, area: int, multiple: int) -> Image.Image:
    """The whole reference picture at about `area` px, larger or smaller, each side rounded to a multiple.

    Source: diffusers 0.42 `QwenImageEditPlusPipeline` (`calculate_dimensions`).
    Raises: DataError when the picture is so narrow that nothing would be left.
    """
    ratio = image.width / image.height
    width = math.sqrt(area * ratio)
    sides = round(width / multiple) * multiple, round(width / ratio / multiple) * multiple
    if not all(sides):
        limit = f"at least {multiple // 2} px on the short side at {area} px in all"
        raise DataError(f"reference image: expected {limit}, got {image.width} x {image.height}; crop it.")
    return to_rgb(image).resize(sides, Image.Resampling.LANCZOS)
