"""What every encoder of the table keeps, asked of a tiny folder of each name."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import pytest
import tiny_encoders as tiny
import tiny_faces
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from likeness.core.errors import WeightsError
from likeness.core.plain import pack, unpack
from likeness.encoders import ENCODERS, load_encoder

TINY: dict[str, Callable[[Path], Path]] = {
    "clip": tiny.write_clip,
    "dino": tiny.write_vit,
    "probe": tiny.write_probe,
    "grounding_dino": tiny.write_grounding_dino,
    "pose": tiny.write_vitpose,
    "sam2": tiny.write_sam2,
    **tiny.FURTHER,
    **tiny_faces.FURTHER,
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
    for file in copy.rglob("*.onnx"):
        tiny_faces.edited_onnx(file, edit)
    return copy


QUESTIONS: dict[str, tuple[str, str]] = {
    "relations": ("a cat\ndogs\non\nunder", "dogs\na cat\non\nunder"),
    "pose": ("whole picture", "3 4 20 25.5"),
    "sam2": ("1 2 30 40", "3 4 20 25.5"),
}
"""Two texts for encoders that do not answer any text."""


def questions(name: str) -> tuple[str, str]:
    return QUESTIONS.get(name, ("a cat", "dogs"))


def observed(name: str, encoder: Any, image: Image.Image) -> Any:
    """What it sees of a picture, or answers about it; of an encoder that knows texts only, what it reads."""
    if hasattr(encoder, "look"):
        return encoder.look([image])[0]
    if not hasattr(encoder, "ask"):
        return encoder.read(questions(name)[:1])[0]
    return encoder.ask([image], questions(name)[:1])[0]


def unlike(image: Image.Image) -> Image.Image:
    return Image.fromarray(255 - np.asarray(image))


def repeatable(seen: Any) -> Any:
    """What an encoder saw or read, as something that can be compared."""
    return pack(seen)


def needs(encoder: Any, ability: str) -> Any:
    """The encoder's method, where it has that ability."""
    if not hasattr(encoder, ability):
        pytest.skip(f"it does not {ability}")
    return getattr(encoder, ability)


def test_the_facts_say_how_it_is_loaded_and_under_which_licence(name: str) -> None:
    facts = ENCODERS[name]
    assert callable(resolve_name(facts.load).load)
    assert facts.noun
    assert facts.reads
    assert facts.licence
    hub_ids = [part for spec in (facts.photo, facts.published) if spec for part in spec.split("+") if "/" in part]
    assert all(part.partition("@")[2] not in ("", "main") for part in hub_ids), "hub ids have a fixed revision"


def test_one_sight_per_picture_whatever_travels_with_it(encoder: Any, images: list[Image.Image]) -> None:
    look = needs(encoder, "look")
    together = [repeatable(seen) for seen in look(images)]
    assert len(together) == len(images)
    assert together == [repeatable(look([image])[0]) for image in images]
    assert together[::-1] == [repeatable(seen) for seen in look(images[::-1])]
    assert repeatable(look([unlike(images[0])])[0]) != together[0]


def test_one_answer_per_pair_whatever_travels_with_it(name: str, encoder: Any, images: list[Image.Image]) -> None:
    ask, texts = needs(encoder, "ask"), questions(name)
    pairs = [(image, text) for image in images[:3] for text in texts]
    together = [repeatable(each) for each in ask(*zip(*pairs, strict=True))]
    assert together == [repeatable(ask([image], [text])[0]) for image, text in pairs]
    assert together[::-1] == [repeatable(each) for each in ask(*zip(*pairs[::-1], strict=True))]
    assert together[0] != together[1], "the text makes a difference"
    assert repeatable(ask([unlike(images[0])], texts[:1])[0]) != together[0], "and so does the picture"


def test_what_is_seen_survives_the_store(name: str, encoder: Any, images: list[Image.Image]) -> None:
    seen = observed(name, encoder, images[0])
    kinds = {"look": "sight", "ask": "answer", "read": "reading"}
    kind = next(getattr(encoder, kind) for ability, kind in kinds.items() if hasattr(encoder, ability))
    assert repeatable(unpack(pack(seen), kind)) == repeatable(seen)


def test_a_picture_may_come_in_any_mode(name: str, encoder: Any, images: list[Image.Image]) -> None:
    grey = images[0].convert("L")
    assert repeatable(observed(name, encoder, grey)) == repeatable(observed(name, encoder, grey.convert("RGB")))


def test_texts_do_not_depend_on_their_neighbours(name: str, encoder: Any) -> None:
    assert hasattr(encoder, "read") == ("texts" in ENCODERS[name].reads)
    if not hasattr(encoder, "read"):
        return
    texts = ["a cat", "dogs"]
    together = [repeatable(seen) for seen in encoder.read(texts)]
    assert together == [repeatable(encoder.read([text])[0]) for text in texts]
    assert together[0] != together[1]


def test_looking_leaves_the_random_state_and_the_picture_alone(
    name: str, encoder: Any, images: list[Image.Image]
) -> None:
    before, state = images[0].tobytes(), torch.get_rng_state()
    observed(name, encoder, images[0])
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
