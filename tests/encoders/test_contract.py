"""What every encoder of the table keeps, asked of a tiny folder of each name."""

import re
import shutil
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, cast

import numpy as np
import pytest
import tiny_encoders as tiny
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from likeness.core.errors import WeightsError
from likeness.encoders import ENCODERS, load_encoder

TINY: dict[str, Callable[[Path], Path]] = {
    "clip": tiny.write_clip,
    "dino": tiny.write_vit,
    "probe": tiny.write_probe,
    "subjects": tiny.write_subjects,
}
"""A small folder of each encoder."""


def test_every_encoder_has_a_tiny_folder() -> None:
    assert TINY.keys() == ENCODERS.keys()


@pytest.fixture(scope="module", params=sorted(TINY))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TINY[name](tmp_path_factory.mktemp("encoders") / name)


@pytest.fixture(scope="module")
def encoder(name: str, folder: Path) -> Any:
    return load_encoder(name, str(folder))


def damaged(folder: Path, place: Path, edit: Callable[[torch.Tensor], torch.Tensor]) -> Path:
    """A copy of the folder in which `edit` changed the first tensor of every file of weights."""
    copy = shutil.copytree(folder, place)
    for file in copy.rglob("*.safetensors"):
        tensors = load_file(file)
        first = min(key for key, tensor in tensors.items() if tensor.is_floating_point())
        save_file({**tensors, first: edit(tensors[first])}, file, metadata={"format": "pt"})
    return copy


def unlike(image: Image.Image) -> Image.Image:
    return Image.fromarray(255 - np.asarray(image))


def repeatable(seen: Any) -> Any:
    """What an encoder saw or read, as something that can be compared."""
    if is_dataclass(seen):
        return [repeatable(getattr(seen, field.name)) for field in fields(seen)]
    if isinstance(seen, tuple):
        return [repeatable(part) for part in cast(tuple[Any, ...], seen)]
    return seen.tolist() if isinstance(seen, np.ndarray) else seen


def test_the_facts_say_how_it_is_loaded_and_under_which_licence(name: str) -> None:
    facts = ENCODERS[name]
    assert callable(resolve_name(facts.load).load)
    assert facts.noun
    assert facts.reads
    assert facts.licence
    assert facts.photo is None or "@" in facts.photo, "published weights are named with their revision"


def test_one_sight_per_picture_whatever_travels_with_it(encoder: Any, images: list[Image.Image]) -> None:
    together = [repeatable(seen) for seen in encoder.look(images)]
    assert len(together) == len(images)
    assert together == [repeatable(encoder.look([image])[0]) for image in images]
    assert together[::-1] == [repeatable(seen) for seen in encoder.look(images[::-1])]
    assert repeatable(encoder.look([unlike(images[0])])[0]) != together[0]


def test_a_picture_may_come_in_any_mode(encoder: Any, images: list[Image.Image]) -> None:
    grey = images[0].convert("L")
    assert repeatable(encoder.look([grey])[0]) == repeatable(encoder.look([grey.convert("RGB")])[0])


def test_texts_do_not_depend_on_their_neighbours(name: str, encoder: Any) -> None:
    assert hasattr(encoder, "read") == ("texts" in ENCODERS[name].reads)
    if not hasattr(encoder, "read"):
        return
    texts = ["a cat", "dogs"]
    together = [repeatable(seen) for seen in encoder.read(texts)]
    assert together == [repeatable(encoder.read([text])[0]) for text in texts]
    assert together[0] != together[1]


def test_looking_leaves_the_random_state_and_the_picture_alone(encoder: Any, images: list[Image.Image]) -> None:
    before, state = images[0].tobytes(), torch.get_rng_state()
    encoder.look(images[:1])
    assert images[0].tobytes() == before
    assert torch.equal(torch.get_rng_state(), state)


def test_the_id_follows_the_weights_and_tells_no_path(name: str, encoder: Any, folder: Path, tmp_path: Path) -> None:
    assert load_encoder(name, str(shutil.copytree(folder, tmp_path / folder.name))).id == encoder.id
    other = damaged(folder, tmp_path / "other" / folder.name, lambda tensor: tensor + 0.25)
    assert load_encoder(name, str(other)).id != encoder.id
    assert str(folder.parent) not in encoder.id


def test_weights_that_cannot_be_had_are_told(name: str, folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    torn = damaged(folder, tmp_path / "torn", lambda tensor: tensor.flatten()[:1])
    for place in (empty, torn):
        with pytest.raises(WeightsError, match=rf"(?s){re.escape(str(place))}: expected .*, got .*; pass "):
            load_encoder(name, str(place))
    with pytest.raises(WeightsError, match="nowhere/at-all"):
        load_encoder(name, "nowhere/at-all")
