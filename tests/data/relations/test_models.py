"""Examples that a generator makes: tiny models of the true classes, and a stub that shows what is asked of it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders as tiny
from PIL import Image

from likeness.backbones.flux.options import FluxOptions
from likeness.backbones.open import open_backbone
from likeness.core.errors import ConfigError, DataError
from likeness.core.files import read_jsonl
from likeness.core.skeletons import COCO
from likeness.data.relations import models
from likeness.data.relations.look import LoadLook, Look, look_named
from likeness.data.relations.models import Draw, make_model_relations
from likeness.data.relations.read import read_relations
from likeness.generate.pictures import LoadPictures
from likeness.pretrain.tiny_flux import build_tiny_flux

NUMBERS = {
    "transformer": {"num_layers": 1, "num_single_layers": 1},
    "vae": {"block_out_channels": (8, 8, 8, 8), "sample_size": 32},
    "likeness": {"size": 32, "reference_size_single": 32, "reference_size_multi": 32, "default_steps": 2},
}


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "flux"
    return build_tiny_flux(folder, corpus=["a photo of cat dog is hugging in the park"], config=NUMBERS)


@pytest.fixture(scope="module")
def look(tmp_path_factory: pytest.TempPathFactory) -> LoadLook:
    folder = tmp_path_factory.mktemp("look")
    tiny.write_owlv2(folder / "owl")
    tiny.write_vitpose(folder / "pose", keypoints=COCO)
    return look_named(detector=f"owl:{folder / 'owl'}", segmenter="box", pose=str(folder / "pose"), device="cpu")


def test_tiny_models_of_the_true_classes_make_examples(flux: Path, look: LoadLook, tmp_path: Path) -> None:
    """FLUX with UNO, OWLv2 and ViTPose; the pictures are those that the backbone draws from the record."""
    draw = LoadPictures(str(flux), options={"steps": 1}, device="cpu", dtype="float32")
    asked: dict[str, Any] = {"draw": draw, "look": look, "actions": ("hug",), "subjects": ("cat", "dog")}
    made = make_model_relations(2, out=tmp_path / "set", **asked)
    examples = read_relations(made.folder).examples
    assert [example.id for example in examples] == ["hug-models-0-000000", "hug-models-0-000001"]
    backbone = open_backbone(flux, device="cpu", dtype="float32")
    options = FluxOptions(steps=1)
    for example in examples:
        assert example.predicate == "hugging"
        words = [subject.phrase for subject in example.subjects]
        assert example.prompt.startswith(f"A {words[0]} is hugging a {words[1]} ")
        references: list[Image.Image] = []
        for word, subject in zip(words, example.subjects, strict=True):
            alone = f"a photo of a {word}, the whole body is seen, plain background"
            references.append(backbone.generate(alone, seed=example.seeds[f"reference {word}"], options=options))
            assert (np.asarray(references[-1]) == np.asarray(Image.open(subject.reference.image))).all()
        target = backbone.generate(example.prompt, references, seed=example.seeds["target"], options=options)
        assert (np.asarray(target) == np.asarray(Image.open(example.target))).all()
        assert example.sources["target"] == draw.id
        assert draw.id.startswith("flux@")
        assert draw.id.endswith("; steps 1; cpu float32")


def test_options_that_the_backbone_lacks_are_told_before_anything_is_drawn(
    flux: Path, look: LoadLook, tmp_path: Path, unchecked: None
) -> None:
    draw = LoadPictures(str(flux), options={"colour": 1}, device="cpu")
    with pytest.raises(ConfigError, match="colour: expected an option among"):
        make_model_relations(1, out=tmp_path / "set", draw=draw, look=look)
    assert not (tmp_path / "set").exists()


@dataclass(frozen=True)
class StubDraw:
    """Pictures that are a hash of what was asked for."""

    id: str = "stub"

    def __call__(self) -> Draw:
        return stub_picture


def stub_picture(prompt: str, references: Sequence[Image.Image] = (), *, seed: int) -> Image.Image:
    shown = [reference.tobytes() for reference in references]
    return Image.frombytes("RGB", (16, 16), hashlib.shake_256(repr((prompt, shown, seed)).encode()).digest(768))


class Fussy(Look):
    """Finds nobody in pictures that begin with a dark pixel."""

    def subjects(self, image: Image.Image, phrases: Sequence[str], **more: Any) -> Any:
        if np.asarray(image)[0, 0].mean() < 100:
            raise DataError(f"{phrases[0]}: expected a light picture, got a dark one; draw another.")
        return super().subjects(image, phrases, **more)


@dataclass(frozen=True)
class LoadFussy:
    look: LoadLook
    id: str = "fussy"

    @property
    def sources(self) -> dict[str, str]:
        return self.look.sources

    def __call__(self) -> Look:
        return Fussy(**vars(self.look()))


def test_what_is_not_found_is_drawn_again_and_listed(look: LoadLook, tmp_path: Path) -> None:
    made = make_model_relations(6, out=tmp_path / "set", draw=StubDraw(), look=LoadFussy(look), subjects=("cat", "dog"))
    rows = read_jsonl(made.folder / "rejected.jsonl")
    examples = read_relations(made.folder).examples
    assert made.num_examples == len(examples) < 6
    attempts = {example.id: example.seeds["attempt"] for example in examples}
    assert max(attempts.values()) > 0
    lost = {row["where"].split()[0] for row in rows} - set(attempts)
    assert len(lost) == 6 - len(examples)
    listed = [row["where"] for row in rows]
    expected = [
        f"{name} attempt {k}" for name in (*attempts, *lost) for k in range(attempts.get(name, models.MAX_ATTEMPTS))
    ]
    assert sorted(listed) == sorted(expected)
    assert {row["cause"] for row in rows} == {"not found"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"n": 0}, "n: expected at least 1"),
        ({"subjects": ("cat", "cat")}, "expected two different words or more, got cat, cat"),
        ({"actions": ("guitar",)}, "expected one of chess, .*, got 'guitar'"),
        ({"actions": ("yodel",)}, "got 'yodel'"),
    ],
)
def test_wrong_settings_are_told(settings: dict[str, Any], said: str, look: LoadLook, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"n": 1} | settings
    with pytest.raises(ConfigError, match=said):
        make_model_relations(asked.pop("n"), out=tmp_path / "set", draw=StubDraw(), look=look, **asked)
