"""One tiny SD 1.5 folder per session."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_ssr import build_tiny_ssr

from likeness.backbones.sd15.ssr_encoder import Sd15SsrEncoder


@pytest.fixture(scope="session")
def ssr_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_ssr(tmp_path_factory.mktemp("ssr") / "ssr")


@pytest.fixture(scope="session")
def ssr(ssr_folder: Path) -> Sd15SsrEncoder:
    """Loaded once; tests must not change it."""
    return Sd15SsrEncoder.load(ssr_folder)
