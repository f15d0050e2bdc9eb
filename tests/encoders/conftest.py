"""Tiny encoders, written once per session."""

from pathlib import Path

import numpy as np
import pytest
import tiny_encoders as tiny
from PIL import Image


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_clip(tmp_path_factory.mktemp("weights") / "tiny-clip")


@pytest.fixture(scope="session")
def vit_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_vit(tmp_path_factory.mktemp("weights") / "tiny-vit")


@pytest.fixture(scope="session")
def dinov2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_dinov2(tmp_path_factory.mktemp("weights") / "tiny-dinov2")


@pytest.fixture
def images() -> list[Image.Image]:
    """Eleven pictures of different sizes, landscape, portrait and square: a whole batch and a padded one."""
    rng = np.random.default_rng(0)
    sizes = [(50, 37), (37, 50), (64, 64), (33, 90), (32, 32), (200, 120), (28, 28)]
    sizes += [(31, 64), (90, 33), (48, 48), (60, 61)]
    return [Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes]
