"""Hashes cover all of the content and nothing else."""

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from likeness.core.errors import DataError
from likeness.core.hashing import beginnings_sha256, file_sha256, folder_sha256, json_sha256, pixels_sha256, short


def test_file_hash_is_sha256_of_every_byte(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000  # over 1 MB, so that nothing like "the first 10 kB" passes
    (tmp_path / "x").write_bytes(data)
    (tmp_path / "y").write_bytes(data[:-1] + b"\x00")
    assert file_sha256(tmp_path / "x") == hashlib.sha256(data).hexdigest()
    assert file_sha256(tmp_path / "x") != file_sha256(tmp_path / "y")


def test_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        file_sha256(tmp_path / "x")


def test_pixels_hash_ignores_the_file_format_but_not_the_shape(tmp_path: Path) -> None:
    image = Image.effect_mandelbrot((12, 8), (-2, -1, 1, 1), 20).convert("RGB")
    image.save(tmp_path / "x.png")
    image.save(tmp_path / "x.bmp")
    loaded = [Image.open(tmp_path / name) for name in ("x.png", "x.bmp")]
    assert {pixels_sha256(each) for each in loaded} == {pixels_sha256(image)}
    flat = Image.new("RGB", (4, 6), 7)
    assert pixels_sha256(flat) != pixels_sha256(Image.new("RGB", (6, 4), 7))
    by_hand = hashlib.sha256(b"RGB 4 6\0" + b"\x07\x00\x00" * 24).hexdigest()
    assert pixels_sha256(flat) == by_hand


def test_json_hash_ignores_key_order_only() -> None:
    assert json_sha256({"a": 1, "b": 2}) == json_sha256({"b": 2, "a": 1})
    assert json_sha256([1, 2]) != json_sha256([2, 1])
    assert json_sha256({}) == hashlib.sha256(b"{}").hexdigest()


def test_hashes_of_beginnings_are_those_of_the_shorter_lists() -> None:
    rows = [{"id": "é"}, [1, None], "x", {}]
    assert list(beginnings_sha256(rows)) == [json_sha256(rows[:count]) for count in (1, 2, 3)]
    assert list(beginnings_sha256(rows[:1])) == list(beginnings_sha256([])) == []


def test_json_hash_of_half_a_surrogate_pair_is_a_data_error() -> None:
    with pytest.raises(DataError, match=r"expected Unicode text, got .*caf\\udce9"):
        json_sha256({"class_name": "caf\udce9"})


def test_folder_hash_sees_names_and_contents(tmp_path: Path) -> None:
    def folder(name: str, files: dict[str, str]) -> str:
        for file, text in files.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(text)
        return folder_sha256(tmp_path / name)

    first = folder("one", {"a": "1", "sub/b": "2"})
    assert first == folder("same", {"sub/b": "2", "a": "1", ".cache/x": "no", "__pycache__/y": "no", ".DS_Store": ""})
    assert first == folder("measured", {"a": "1", "sub/b": "2", "sub/calibration.json": "{}"})
    assert first != folder("renamed", {"a": "1", "sub/c": "2"})
    assert first != folder("changed", {"a": "1", "sub/b": "3"})
    assert first != folder("swapped", {"a": "2", "sub/b": "1"})
    assert short(first) == first[:12]


def test_empty_or_missing_folder_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="empty"):
        folder_sha256(tmp_path)
    with pytest.raises(DataError, match="expected a folder"):
        folder_sha256(tmp_path / "none")
