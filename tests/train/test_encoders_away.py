"""Encoders leave memory once the cache is made, and are not read at all when it is there."""

from pathlib import Path
from typing import Any

import pytest
from preference_runs import same, train

from likeness.backbones.flux import folder as opening


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts of a model in the order in which their weights were read."""
    parts: list[str] = []
    load = opening.load_model

    def spy(cls: Any, path: Path, **options: Any) -> Any:
        parts.append(path.name)
        return load(cls, path, **options)

    monkeypatch.setattr(opening, "load_model", spy)
    return parts


def test_a_complete_cache_needs_no_encoder(recipe: Path, tmp_path: Path, read: list[str]) -> None:
    train(recipe, tmp_path / "one")
    assert sorted(read) == ["text_encoder", "text_encoder_2", "transformer", "vae"]
    read.clear()
    train(recipe, tmp_path / "two")
    assert read == ["transformer"]
    assert same(tmp_path / "one", tmp_path / "two")


def test_encoders_are_gone_when_steps_are_made(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from likeness.train.loop import Training

    present: list[set[str]] = []
    step = Training.train_step

    def spy(self: Any, **options: Any) -> Any:
        present.append(set(self.backbone.parts.stored.present()))
        return step(self, **options)

    monkeypatch.setattr(Training, "train_step", spy)
    train(recipe, tmp_path / "run", "train.steps=2")
    assert present == [{"transformer"}] * 2


def test_pictures_on_the_way_read_only_what_decodes(recipe: Path, tmp_path: Path, read: list[str]) -> None:
    """Conditions are encoded with the pairs, and the autoencoder does not stay after the pictures."""
    asked = ("samples.every=1", "samples.limit=1", "train.steps=2")
    train(recipe, tmp_path / "run", *asked)
    assert sorted(read[:4]) == ["text_encoder", "text_encoder_2", "transformer", "vae"]
    assert read[4:] == ["vae"] * 3  # before the first step and after each of the two
