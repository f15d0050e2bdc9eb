"""Tiny encoders, written once per session."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """The module that writes tiny encoders."""
    spec = importlib.util.spec_from_file_location("tiny_encoders", Path(__file__).parent / "tiny_encoders.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def clip_folder(tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_clip(tmp_path_factory.mktemp("weights") / "tiny-clip")


@pytest.fixture(scope="session")
def vit_folder(tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_vit(tmp_path_factory.mktemp("weights") / "tiny-vit")


@pytest.fixture(scope="session")
def dinov2_folder(tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_dinov2(tmp_path_factory.mktemp("weights") / "tiny-dinov2")


@pytest.fixture
def images() -> list[Image.Image]:
    """Seven pictures of different sizes, landscape, portrait and square."""
    rng = np.random.default_rng(0)
    sizes = [(50, 37), (37, 50), (64, 64), (33, 90), (32, 32), (200, 120), (28, 28)]
    return [Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes]
