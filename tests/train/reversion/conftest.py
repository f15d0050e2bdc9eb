"""One model of each kind and one folder of exemplars per session."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_ms import build_tiny_ms
from tiny_reversion import padded_with_a_sign, write_exemplars
from tiny_sdxl import build_tiny_sdxl


@pytest.fixture(scope="session")
def sdxl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return padded_with_a_sign(build_tiny_sdxl(tmp_path_factory.mktemp("sdxl") / "sdxl"))


@pytest.fixture(scope="session")
def ms_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return padded_with_a_sign(build_tiny_ms(tmp_path_factory.mktemp("ms") / "ms"))


@pytest.fixture(scope="session")
def exemplars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_exemplars(tmp_path_factory.mktemp("exemplars") / "hugs")
