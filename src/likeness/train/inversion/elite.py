"""ELITE as two tasks in one: words of a picture with keys and values of cross-attention, then local tokens over them.

Without `model.inversion` a run learns the global mapping: all words of the whole picture, and the U-Net's to_k and to_v
of cross-attention; error over the picture + word_weight x size of the words. With the folder of such a run it learns
the local mapping over it, which stays as it is: the first word alone, error where the subject is + value_weight x size
of the local values.
Source: ELITE (arXiv:2302.13848) and its public code: three linear layers, 0.01 and 0.0001, rates 1e-6 and 1e-5 times
the batch of 16, texts of textual inversion.
Differs: SDXL for Stable Diffusion 1.4 (backbones/sdxl/elite.py); pictures are not flipped, turned or bent.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, cast  # Any: JSON; SDXL with whichever adapter

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from pydantic import Field
from torch import Tensor, nn

from likeness.backbones.sdxl.backbone import SdxlBackbone
from likeness.backbones.sdxl.concept import KEYS_VALUES, save_keys_values
from likeness.backbones.sdxl.elite import EliteOptions, LocalTokens
from likeness.backbones.sdxl.local_mapping import Local, LocalMapping
from likeness.backbones.sdxl.picture_words import CONFIG, WEIGHTS, InversionFacts, PictureWords, is_inversion
from likeness.backbones.sdxl.placed_words import PLACE, read_placed
from likeness.core.errors import ConfigError
from likeness.core.files import atomic_write_bytes
from likeness.core.hashing import file_sha256
from likeness.core.rng import seed_for
from likeness.core.spec import Spec
from likeness.core.weights import public_name
from likeness.objectives.inversion import masked_error, word_size
from likeness.train.config import BaseTable, TrainConfig
from likeness.train.inversion.rows import Portrait, Portraits
from likeness.train.inversion.subjects import SubjectsTable, subjects_of
from likeness.train.inversion.task import PortraitBatch, StellarNetTask, WordsTable
from likeness.train.pairs.step import autocast
from likeness.train.subjects.custom_diffusion import keys_values
from likeness.train.subjects.textual_inversion import TEMPLATES
from likeness.train.task import Draw, Step, Trainable
from likeness.train.trainable.weights import TunedWeights

NAME = "elite"
FILES = (WEIGHTS, CONFIG, KEYS_VALUES)
"""What a run of the global mapping leaves, and one of the local mapping copies."""


class EliteTable(WordsTable):
    """As a `WordsTable`. `inversion`: the folder of a run without it, over which the local mapping is learnt."""

    inversion: str | None = Field(default=None, min_length=1)


class EliteObjective(Spec):
    """`word_weight`: of the words' size, in the global mapping. `value_weight`: of the local values', in the local one.

    `drop_words`: share of prompts without any word, for guidance.
    """

    kind: Literal["elite"] = "elite"
    word_weight: float = Field(default=0.01, ge=0)
    value_weight: float = Field(default=0.0001, ge=0)
    drop_words: float = Field(default=0.0, ge=0, le=1)


class EliteBatch(NamedTuple):
    """Pictures with noise, times and prompts; what is read of the subjects' patches, and which are theirs."""

    pictures: PortraitBatch
    patches: list[Float[Tensor, "B L D"]]
    is_subject: Bool[Tensor, "B P"]


class EliteTask(StellarNetTask):
    """The pictures of a config."""

    model: ClassVar[type[BaseTable]] = EliteTable
    data: ClassVar[type[Spec]] = SubjectsTable
    objectives: ClassVar[Mapping[str, Callable[[], type[Spec]]]] = {"elite": lambda: EliteObjective}
    noun: ClassVar[str] = "pictures"
    columns: Sequence[str] = ("loss", "error", "word_size", "value_size", "area", "t")
    label: ClassVar[str] = "ELITE"
    minimised: ClassVar[str] = "noise error, and the size of words or of local values"
    prompts: ClassVar[Sequence[str]] = tuple(each.format(PLACE) for each in TEMPLATES)
    shown_prompt: ClassVar[str] = f"a photo of a {PLACE}"
    subject: ClassVar[str] = "subject"

    def __init__(self, config: TrainConfig, *, model: Path, precision: torch.dtype) -> None:
        named = cast(EliteTable, config.model).inversion
        self._inversion = None if named is None else Path(named).expanduser()
        if self._inversion is not None and not (is_inversion(self._inversion) and self._has_all(self._inversion)):
            wanted = "model.inversion: expected the folder `inversion` of a run of ELITE without this key"
            raise ConfigError(f"{wanted}, got {self._inversion}; correct it.")
        super().__init__(config, model=model, precision=precision)
        self._local: LocalTokens | None = None
        self._mapping: LocalMapping | None = None

    @staticmethod
    def _has_all(folder: Path) -> bool:
        return all((folder / name).is_file() for name in FILES)

    def find_portraits(self) -> Portraits:
        """The rows. Raises: ConfigError, DataError, WeightsError."""
        return subjects_of(cast(SubjectsTable, self._table))

    def identity(self) -> dict[str, Any]:
        """As of StellarNet, and the global mapping that the local one is learnt over."""
        found = super().identity()
        if self._inversion is not None:
            digests = [file_sha256(self._inversion / name) for name in FILES]
            found["data"]["inversion"] = {"id": public_name(str(self._inversion)), "sha256": digests}
        return found

    # what is trained -------------------------------------------------------------------------------------------------

    def make_trainable(self, backbone: SdxlBackbone[Any, Any, Any]) -> Trainable:
        """The mappers of words with keys and values, or the local mapping. Raises: ConfigError, WeightsError."""
        facts = self.find_facts(backbone, kind="elite", legacy=False)
        return (
            self._global(backbone, facts) if self._inversion is None else self._over(self._inversion, backbone, facts)
        )

    def _global(self, backbone: SdxlBackbone[Any, Any, Any], facts: InversionFacts) -> TunedWeights:
        words = PictureWords.fresh(facts, init_seed=seed_for(self._config.train.seed, "words")).to(backbone.device)
        self._words = words

        def save(folder: Path, /, *, metadata: Mapping[str, Any]) -> None:
            folder.mkdir(parents=True, exist_ok=True)
            words.save(folder, metadata=metadata)
            save_keys_values(folder, backbone.network, metadata=metadata)

        return self._tuned({**_named("words", words), **keys_values(backbone.network)}, save=save)

    def _over(self, place: Path, backbone: SdxlBackbone[Any, Any, Any], facts: InversionFacts) -> TunedWeights:
        self._words = PictureWords.load(place).to(backbone.device)
        if self._words.facts != facts:
            wanted = f"[model]: expected encoders, depths and sizes as {place / CONFIG} tells them"
            raise ConfigError(f"{wanted}, got others; write down the same.")
        seed = seed_for(self._config.train.seed, "local")
        mapping = LocalMapping.fresh(facts, backbone.network, init_seed=seed).to(backbone.device)
        backbone.add_lora(place / KEYS_VALUES, name=NAME)
        assert self._towers is not None, "opened with the facts"
        self._local, self._mapping = LocalTokens(backbone, mapping, self._towers), mapping

        def save(folder: Path, /, *, metadata: Mapping[str, Any]) -> None:
            folder.mkdir(parents=True, exist_ok=True)
            for name in FILES:
                atomic_write_bytes(folder / name, (place / name).read_bytes())
            mapping.save(folder, metadata=metadata)

        return self._tuned(_named("local", mapping), save=save)

    def _tuned(self, named: Mapping[str, nn.Parameter], *, save: Any) -> TunedWeights:
        return TunedWeights(named, save=save, rate_shares=dict.fromkeys(named, self.rate_share()))

    # steps -----------------------------------------------------------------------------------------------------------

    def seen(self, portrait: Portrait) -> Image.Image:
        """All of the picture: the further words take what is behind the subject."""
        return portrait.image

    def batch(self, rows: Sequence[int], draws: Sequence[Draw], *, backbone: SdxlBackbone[Any, Any, Any]) -> Any:
        """Pictures with noise, times and prompts, and their patches. Raises: DataError for a damaged file."""
        shown = self.read(rows)
        pictures = self.batch_of(shown, draws, backbone=backbone)
        if self._local is None:
            return pictures
        return EliteBatch(pictures, *self._local.look([each.image for each in shown], [each.mask for each in shown]))

    def step(self, batch: Any, *, backbone: SdxlBackbone[Any, Any, Any], trainable: Trainable) -> Step:
        """The loss of the mapping that is learnt, a mean over pictures."""
        found = self._global_step(batch, backbone) if self._local is None else self._local_step(batch, backbone)
        loss, logged = found
        return Step(loss.mean(), {name: each.detach() for name, each in {"loss": loss, **logged}.items()})

    def _global_step(self, batch: PortraitBatch, backbone: Any) -> tuple[Tensor, dict[str, Tensor]]:
        assert self._words is not None, "made before"
        words = self._words(batch.states)
        prediction = self.predict(batch, words, backbone=backbone)
        target = backbone.target(batch.latents, batch.eps, batch.t)
        error = masked_error(prediction, target, torch.ones_like(batch.mask), normalised="pixels")
        size = word_size(words, summed=False)
        loss = error + self.objective.word_weight * size
        return loss, {"error": error, "word_size": size, "area": _area(batch), "t": batch.t}

    def _local_step(self, batch: EliteBatch, backbone: Any) -> tuple[Tensor, dict[str, Tensor]]:
        assert self._words is not None, "made before"
        assert self._mapping is not None, "made before"
        assert self._local is not None, "made before"
        pictures = batch.pictures
        with torch.no_grad():
            words = [own[:, :1] for own in self._words(pictures.states)]
        tokens = self._mapping(batch.patches, batch.is_subject)
        self._local.attention.told = Local(tokens, self._local.columns(pictures.prompts))
        prediction = self.predict(pictures, words, backbone=backbone)
        target = backbone.target(pictures.latents, pictures.eps, pictures.t)
        error = masked_error(prediction, target, pictures.mask, normalised="area")
        size = self._mapping.value_size(tokens)
        loss = error + self.objective.value_weight * size
        return loss, {"error": error, "value_size": size, "area": _area(pictures), "t": pictures.t}

    @torch.no_grad()
    def draw(self, portrait: Portrait, *, seed: int, backbone: SdxlBackbone[Any, Any, Any]) -> Image.Image:
        """A picture of the portrait's subject by the first word, and by the local mapping if that is learnt."""
        assert self._towers is not None, "drawn while it is trained"
        assert self._words is not None, "drawn while it is trained"
        words = [own[:, :1] for own in self._words(self._towers.look([self.seen(portrait)]))]
        text = read_placed(backbone.parts, [self.shown_prompt], words)
        told, own = {"embeds": text.embeds[0], "pooled": text.pooled[0]}, type(backbone.own_options())
        picture: Any = {"seed": seed, "options": own(size=self._table.size)}
        with autocast(cast(Any, backbone), self._precision):  # keys and values are trained in fp32
            if self._local is None:
                return backbone.paint(told, **picture)
            shown: Any = {"scale": EliteOptions().local_scale, **picture}
            return self._local.paint(told, self.shown_prompt, portrait.image, np.asarray(portrait.mask), **shown)


def _named(prefix: str, module: nn.Module) -> dict[str, nn.Parameter]:
    return {f"{prefix}.{name}": parameter for name, parameter in module.named_parameters()}


def _area(batch: PortraitBatch) -> Float[Tensor, " B"]:
    return batch.mask.float().mean(dim=(1, 2))
