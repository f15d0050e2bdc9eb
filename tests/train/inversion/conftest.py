"""A miniature SDXL, two miniature CLIPs, and a finished run."""

from pathlib import Path

import pytest
import torch
from tiny_stellar import write_stellar_recipe, write_weights

from likeness.train.run import tune


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Sums must not depend on how threads split the work."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def recipe(weights: Path, tmp_path: Path) -> Path:
    return write_stellar_recipe(tmp_path / "run.toml", weights=weights)


@pytest.fixture(scope="session")
def run(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of four steps; its image encoders are linked where generation looks for them."""
    folder = tmp_path_factory.mktemp("stellar")
    tune(write_stellar_recipe(folder / "run.toml", weights=weights), out=folder / "run", device="cpu")
    for name in ("first", "second"):
        (folder / "run" / "inversion" / name).symlink_to(weights / name)
    return folder / "run"
