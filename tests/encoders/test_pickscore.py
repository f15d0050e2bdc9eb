"""PickScore: as published without tokenizer and preprocessor config, which come from the CLIP it was tuned from."""

from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import tiny_encoders as tiny
from PIL import Image

from likeness.core.errors import WeightsError
from likeness.core.weights import resolve_processing
from likeness.encoders import clip, load_encoder
from likeness.encoders.pickscore import PickScoreEncoder


def as_published(folder: Path) -> Path:
    """Only config.json and model.safetensors."""
    for path in tiny.write_pickscore(folder).iterdir():
        if path.name not in {"config.json", "model.safetensors"}:
            path.unlink()
    return folder


def test_what_the_folder_lacks_comes_from_the_named_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: list[Image.Image]
) -> None:
    asked: list[str] = []

    def resolve(spec: str) -> Path:
        asked.append(spec)
        return tmp_path / "base"

    monkeypatch.setattr(clip, "resolve_processing", resolve)
    whole = load_encoder("pickscore", str(tiny.write_pickscore(tmp_path / "whole")))
    assert asked == []
    tiny.write_clip(tmp_path / "base")
    encoder = load_encoder("pickscore", str(as_published(tmp_path / "published")))
    assert asked == [PickScoreEncoder.processing]
    assert f"tokenizer of {PickScoreEncoder.processing}" in encoder.id
    np.testing.assert_array_equal(encoder.look(images[:1]), whole.look(images[:1]))
    np.testing.assert_array_equal(encoder.read(["a cat"])[0].vector, whole.read(["a cat"])[0].vector)


def test_another_clip_borrows_nothing(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="image processor"):
        load_encoder("clip", str(as_published(tmp_path / "bare")))


def test_of_a_hub_id_only_texts_are_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patterns: list[list[str]] = []

    def download(hub_id: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        assert (hub_id, revision) == ("owner/name", "abc")
        patterns.append(allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert resolve_processing("owner/name@abc") == tmp_path
    assert patterns == [["*.json", "*.txt", "*.model"]]
    assert resolve_processing(str(tmp_path)) == tmp_path
    assert len(patterns) == 1
    with pytest.raises(WeightsError, match="an existing folder"):
        resolve_processing("nowhere at all")
