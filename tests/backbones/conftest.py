"""One tiny FLUX folder per session."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from likeness.backbones.flux.uno import FluxUno
from likeness.pretrain.tiny_flux import build_tiny_flux

CORPUS = [
    "A cat is hugging a duck in the forest.",
    "Two dogs play high-five, near the sea",
    "A red fox with blue spots is waving on the beach.",
]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Batched and single arithmetic must not differ by the way threads split the work."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def corpus() -> list[str]:
    """The sentences whose words the tiny model knows."""
    return CORPUS


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny FLUX with two double and three single blocks, so that its UNO LoRA has 28 tensors."""
    numbers = {"transformer": {"num_single_layers": 3}, "likeness": {"reference_size_multi": 64}}
    return build_tiny_flux(tmp_path_factory.mktemp("tiny") / "flux", corpus=CORPUS, config=numbers)


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> FluxUno:
    """The tiny FLUX, loaded once; tests must not change it."""
    return FluxUno.load(tiny_folder)
