"""What all encoders refuse."""

import shutil
from pathlib import Path

import pytest
import tiny_encoders as tiny
from safetensors.torch import load_file, save_file

from likeness.core.errors import WeightsError
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
