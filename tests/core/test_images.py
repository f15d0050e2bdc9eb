"""The only loader: every oddity of real picture files, and a writer whose bytes repeat."""

import re
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, UnidentifiedImageError

from likeness.core.errors import DataError, OutputError
from likeness.core.images import MAX_SIDE, fit_reference, load_image, png_text, save_png, to_rgb


def corners() -> Image.Image:
    """5 x 3 px, every pixel different, so that each of the eight orientations looks different."""
    pixels = np.arange(45, dtype=np.uint8).reshape(3, 5, 3) * 5
    return Image.fromarray(pixels)


def png_claiming(path: Path, *, width: int, height: int) -> None:
    """A PNG whose header claims a size and which holds hardly any pixel data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 10)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def frames() -> list[Image.Image]:
    return [Image.new("RGB", (8, 8), color) for color in ("red", "green", "blue")]


def animated(path: Path, kind: str) -> None:
    first, *rest = frames()
    first.save(path, format=kind, save_all=True, append_images=rest, duration=50)


def truncated(path: Path, kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, format=kind)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "no readable file"),
    "folder": (lambda path: path.mkdir(), "folder"),
    "zero bytes": (lambda path: path.write_bytes(b""), "empty file"),
    "text": (lambda path: path.write_text("not a picture"), "another kind"),
    "png signature only": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), "expected a picture"),
    "truncated png": (lambda path: truncated(path, "PNG"), "damaged"),
    "truncated jpeg": (lambda path: truncated(path, "JPEG"), "damaged"),
    "truncated webp": (lambda path: truncated(path, "WEBP"), "expected a"),
    "wide": (lambda path: png_claiming(path, width=100_000, height=1), f"at most {MAX_SIDE} px, got 100000 x 1"),
    "tall": (lambda path: png_claiming(path, width=3, height=20_001), f"at most {MAX_SIDE} px, got 3 x 20001"),
    "many pixels": (lambda path: png_claiming(path, width=19_000, height=19_000), "pixels, got more"),
    "some more pixels": (lambda path: png_claiming(path, width=10_000, height=10_000), "pixels, got more"),
    "no pixels behind the header": (lambda path: png_claiming(path, width=64, height=64), "damaged"),
    "animated gif": (lambda path: animated(path, "GIF"), "3 frames"),
    "animated webp": (lambda path: animated(path, "WEBP"), "3 frames"),
    "animated png": (lambda path: animated(path, "PNG"), "3 frames"),
    "cmyk jpeg": (lambda path: Image.new("CMYK", (8, 8)).save(path, format="JPEG"), "CMYK"),
    "float tiff": (lambda path: Image.new("F", (8, 8)).save(path, format="TIFF"), "got F"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files_are_data_errors_that_name_the_file(tmp_path: Path, kind: str) -> None:
    make, message = BAD_FILES[kind]
    path = tmp_path / "reference.png"
    make(path)
    with pytest.raises(DataError, match=message) as caught:
        load_image(path)
    assert str(caught.value).count(str(path)) == 1
    assert "\n" not in str(caught.value)


def test_name_that_no_file_system_accepts_is_a_data_error() -> None:
    with pytest.raises(DataError):
        load_image("a\0b.png")
    with pytest.raises(DataError):
        load_image("x" * 5000)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_orientation_equals_imageops(tmp_path: Path, orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo"
    corners().save(path, format=kind, exif=exif)
    with Image.open(path) as image:
        expected = ImageOps.exif_transpose(image).convert("RGB")
    assert np.array_equal(np.asarray(load_image(path)), np.asarray(expected))
    assert load_image(path).size == ((5, 3) if orientation <= 4 else (3, 5))


def test_orientation_6_by_hand(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored picture must be turned clockwise to stand upright
    corners().save(tmp_path / "x.png", exif=exif)
    expected = np.rot90(np.asarray(corners()), k=-1)
    assert np.array_equal(np.asarray(load_image(tmp_path / "x.png")), expected)


def test_nonsense_orientation_leaves_the_picture_alone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 99
    corners().save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(np.asarray(load_image(tmp_path / "x.png")), np.asarray(corners()))


def test_alpha_is_laid_over_white(tmp_path: Path) -> None:
    rgba = np.array([[[0, 0, 0, 255], [0, 0, 0, 0], [200, 0, 100, 51]]], dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "x.png")
    # 51/255 = 0.2: 0.2 * 200 + 0.8 * 255 = 244, 0.8 * 255 = 204, 0.2 * 100 + 0.8 * 255 = 224
    assert np.asarray(load_image(tmp_path / "x.png")).tolist() == [[[0, 0, 0], [255, 255, 255], [244, 204, 224]]]


def test_grey_with_alpha_and_transparent_colour(tmp_path: Path) -> None:
    Image.fromarray(np.array([[[10, 255], [10, 0]]], dtype=np.uint8)).save(tmp_path / "la.png")
    assert np.asarray(load_image(tmp_path / "la.png"))[0].tolist() == [[10] * 3, [255] * 3]
    Image.fromarray(np.array([[3, 9]], dtype=np.uint8)).save(tmp_path / "l.png", transparency=9)
    assert np.asarray(load_image(tmp_path / "l.png"))[0].tolist() == [[3] * 3, [255] * 3]


def test_palette_and_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "p.png")
    assert np.asarray(load_image(tmp_path / "p.png"))[0].tolist() == [[10, 20, 30], [200, 100, 50]]
    image.save(tmp_path / "t.png", transparency=0)
    assert np.asarray(load_image(tmp_path / "t.png"))[0].tolist() == [[255] * 3, [200, 100, 50]]


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 257, 32896, 65535]], dtype=np.uint16)).save(tmp_path / "x.png")
    assert np.asarray(load_image(tmp_path / "x.png"))[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "BMP", "TIFF", "JPEG"])
def test_still_pictures_of_other_kinds_load(tmp_path: Path, kind: str) -> None:
    Image.new("RGB", (8, 6), "white").save(tmp_path / "x", format=kind)
    image = load_image(tmp_path / "x")
    assert (image.mode, image.size) == ("RGB", (8, 6))
    assert np.asarray(image).min() >= 254


def test_black_and_white_becomes_rgb() -> None:
    assert np.asarray(to_rgb(Image.new("1", (2, 2), 1))).tolist() == [[[255] * 3] * 2] * 2


def test_saved_bytes_repeat_and_text_comes_back(tmp_path: Path) -> None:
    noisy = corners()
    noisy.info.update(dpi=(300, 300), icc_profile=b"x" * 200, comment="made today")
    save_png(noisy, tmp_path / "a.png", text={"likeness": '{"prompt":"ünï 猫"}', "b": "2"})
    save_png(corners(), tmp_path / "b.png", text={"b": "2", "likeness": '{"prompt":"ünï 猫"}'})
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert png_text(tmp_path / "a.png") == {"likeness": '{"prompt":"ünï 猫"}', "b": "2"}
    assert np.array_equal(np.asarray(load_image(tmp_path / "a.png")), np.asarray(corners()))


def test_very_long_text_comes_back(tmp_path: Path) -> None:
    prompt = "word " * 10_000
    save_png(corners(), tmp_path / "x.png", text={"likeness": prompt})
    assert png_text(tmp_path / "x.png")["likeness"] == prompt


def test_grey_stays_grey(tmp_path: Path) -> None:
    save_png(Image.new("L", (4, 4), 9), tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        assert image.mode == "L"


def test_text_of_a_damaged_png_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    save_png(Image.fromarray(noise), path, text={"likeness": "{}"})
    whole = path.read_bytes()
    for kept in (0, 20, 200, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:kept])
        with pytest.raises(DataError):
            png_text(path)
    corners().save(path, format="JPEG")
    with pytest.raises(DataError, match="whole PNG"):
        png_text(path)


def test_saving_under_a_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        save_png(corners(), tmp_path / "file" / "x.png")


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((512, 512), (512, 512)),
        ((1000, 500), (512, 256)),
        ((500, 1000), (256, 512)),
        ((300, 200), (512, 336)),  # 512 * 200 // 300 = 341, down to 21 * 16 = 336
        ((49, 49), (512, 512)),  # int((512 / 49) * 49) would be 511 and lose 16 px
        ((100, 3125), (16, 512)),  # 512 * 100 // 3125 = 16
    ],
)
def test_fit_reference_by_hand(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fit_reference(Image.new("RGB", size), long_side=512, multiple=16).size == expected


def test_fit_reference_crops_the_centre() -> None:
    columns = np.repeat(np.arange(21, dtype=np.uint8)[None, :, None] * 10, 32, axis=0).repeat(3, axis=2)
    fitted = fit_reference(Image.fromarray(columns), long_side=32, multiple=16)
    assert fitted.size == (16, 32)  # 21 -> 16 with (21 - 16) // 2 = 2 columns cut on the left
    assert np.asarray(fitted)[0, :, 0].tolist() == [10 * column for column in range(2, 18)]


def test_fit_reference_refuses_a_sliver() -> None:
    with pytest.raises(DataError, match=r"at least 16 px .* got 1000 x 20"):
        fit_reference(Image.new("RGB", (1000, 20)), long_side=512, multiple=16)


def box(*brands: bytes) -> bytes:
    """The first box of an ISO media file: main brand, version, other brands. Source: ISO/IEC 14496-12, 4.3."""
    data = b"ftyp" + brands[0] + b"\0\0\0\0" + b"".join(brands[1:])
    return struct.pack(">I", len(data) + 4) + data + b"\0" * 64


PHONES: dict[str, tuple[bytes, str]] = {
    "iPhone": (box(b"heic", b"mif1", b"heic"), "got HEIC; pip install 'likeness[heic]'"),
    "generic main brand": (box(b"mif1", b"mif1", b"heic"), "got HEIC; pip install 'likeness[heic]'"),
    "JPEG XL": (b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0" * 20, "got JPEG XL; convert it to PNG"),
    "AVIF": (box(b"avif", b"mif1", b"avif"), "got AVIF; pip install 'pillow>=11.3'"),
    "AVIF under a generic main brand": (box(b"mif1", b"avif"), "got AVIF; pip install 'pillow>=11.3'"),
}


@pytest.mark.parametrize("kind", PHONES)
def test_kinds_that_pillow_does_not_read_are_named_with_what_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise UnidentifiedImageError

    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # not installed
    monkeypatch.setattr(Image, "open", unknown)  # a Pillow without AVIF
    data, said = PHONES[kind]
    path = tmp_path / "photo.heic"
    path.write_bytes(data)
    with pytest.raises(DataError, match=re.escape(f"{path}: expected a PNG, JPEG or WebP picture, {said}")):
        load_image(path)


def test_a_heic_is_read_where_its_library_is_installed(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    pixels = np.zeros((64, 96, 3), dtype=np.uint8)
    pixels[:, 48:] = (200, 40, 40)
    heif.from_pillow(Image.fromarray(pixels)).save(tmp_path / "photo.heic", quality=-1)
    found = np.asarray(load_image(tmp_path / "photo.heic")).astype(int)
    assert found.shape == pixels.shape
    assert np.abs(found - pixels)[:, [*range(40), *range(56, 96)]].max() <= 8  # chroma is halved at the edge
