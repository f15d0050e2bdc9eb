"""A miniature CLIP and a recipe over drawn pictures."""

from pathlib import Path
from typing import Any

import pytest
import tiny_encoders as tiny
import torch
from tiny_local import write_recipe


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Sums must not depend on how threads split the work."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_clip(tmp_path_factory.mktemp("weights") / "tiny-clip")


@pytest.fixture
def recipe(clip: Path, tmp_path: Path) -> Any:
    return write_recipe(tmp_path / "run.toml", base=clip)
