"""What all encoders refuse."""

import shutil
from pathlib import Path

import pytest
import tiny_encoders as tiny
from safetensors.torch import load_file, save_file

from likeness.core.errors import WeightsError
from likeness.encoders import EncoderSet
from likeness.encoders.clip import ClipEncoder
from likeness.encoders.vit import VitEncoder


@pytest.mark.parametrize(
    ("write", "encoder", "lost"),
    [
        (tiny.write_clip, ClipEncoder, "visual_projection.weight"),
        (tiny.write_vit, VitEncoder, "layernorm.weight"),
        (tiny.write_dinov2, VitEncoder, "layernorm.weight"),
    ],
)
def test_missing_tensors_are_not_filled_with_random_numbers(
    tmp_path: Path, write: object, encoder: type[ClipEncoder | VitEncoder], lost: str
) -> None:
    folder = write(tmp_path / "whole")  # type: ignore[operator]
    encoder.load(folder)
    file = shutil.copytree(folder, tmp_path / "part") / "model.safetensors"
    tensors = load_file(file)
    del tensors[lost]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=rf"1 tensors of its architecture are missing, the first is .*{lost}"):
        encoder.load(tmp_path / "part")


def test_names_with_the_same_weights_share_one_encoder(tmp_path: Path) -> None:
    """RFS-C and clip_n read the same published CLIP by two names: it is in memory once."""
    weights, other = (str(tiny.write_clip(tmp_path / name)) for name in ("clip", "other"))
    encoders = EncoderSet({"clip_bigg14": weights, "relation_clip": weights, "clip": other})
    assert encoders["relation_clip"] is encoders["clip_bigg14"]
    assert encoders["clip"] is not encoders["clip_bigg14"]
