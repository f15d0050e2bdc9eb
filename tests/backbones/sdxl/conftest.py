"""One tiny SDXL folder per session, and the stock pipelines over it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stock_sdxl import add_stock_adapter, stock_pipeline
from tiny_ms import build_tiny_ms
from tiny_sdxl import build_tiny_sdxl

from likeness.backbones.sdxl.ip_adapter import SdxlIpAdapter
from likeness.backbones.sdxl.ms_diffusion import SdxlMsDiffusion


@pytest.fixture(scope="session")
def sdxl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_sdxl(tmp_path_factory.mktemp("sdxl") / "sdxl")


@pytest.fixture(scope="session")
def sdxl(sdxl_folder: Path) -> SdxlIpAdapter:
    """Loaded once; tests must not change it."""
    return SdxlIpAdapter.load(sdxl_folder)


@pytest.fixture(scope="session")
def plain(sdxl_folder: Path) -> Any:
    """The stock pipeline without the adapter."""
    return stock_pipeline(sdxl_folder)


@pytest.fixture(scope="session")
def stock(sdxl_folder: Path) -> Any:
    """The stock pipeline with the adapter."""
    made = stock_pipeline(sdxl_folder)
    add_stock_adapter(made, sdxl_folder)
    return made


@pytest.fixture(scope="session")
def ms_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_ms(tmp_path_factory.mktemp("ms") / "ms")


@pytest.fixture(scope="session")
def ms(ms_folder: Path) -> SdxlMsDiffusion:
    """Loaded once; tests must not change it."""
    return SdxlMsDiffusion.load(ms_folder)
