"""A miniature model and a recipe over six pairs."""

from pathlib import Path

import preference_runs as runs
import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Sums must not depend on how threads split the work."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature model of preference runs."""
    return runs.write_model(tmp_path_factory.mktemp("model") / "flux")


@pytest.fixture
def recipe(tiny_flux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe over six pairs of its own; maps show one pair at one time, since they would be most of such a run."""
    from likeness.train.pairs import maps

    monkeypatch.setattr(maps, "TIMES", (0.5,))
    monkeypatch.setattr(maps, "NUM_PAIRS", 1)
    pairs = runs.write_pairs(tmp_path / "pairs", count=6)
    return runs.write_recipe(tmp_path / "run.toml", model=tiny_flux, pairs=pairs)
