"""What the baselines share: photos and class pictures as latents, prompts, noise, and the loss of a step.

Shapes: B photos of a batch, C latent channels, h x w latent grid.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast  # Any: identities are JSON; conditions of either SDXL

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from pydantic import Field, field_validator
from torch import Tensor
from torch.nn import functional

from likeness.backbones.open import open_backbone
from likeness.backbones.pixels import to_pixels
from likeness.backbones.sdxl.backbone import SdxlBackbone
from likeness.core.errors import ConfigError
from likeness.core.masks import inside
from likeness.core.records import Case
from likeness.core.rng import seed_for
from likeness.core.spec import Spec
from likeness.objectives.subject import prior_preservation_loss, subject_errors
from likeness.train.config import BaseTable, TrainConfig
from likeness.train.pairs.step import autocast
from likeness.train.subjects.classes import draw_class, drawn_folder, drawn_pictures
from likeness.train.subjects.photos import (
    ClassTable,
    LearntSubject,
    PhotoTable,
    facts,
    find_subjects,
    folder_pictures,
    square,
)
from likeness.train.subjects.words import Sdxl
from likeness.train.task import Draw, Progress, Step, Trainable


class SubjectObjective(Spec):
    """`masked`: only what belongs to the subject counts, by masks of all photos."""

    masked: bool = False


class PriorObjective(SubjectObjective):
    """`prior_weight`: lambda of the class pictures, 0 for none. `prompt`: {} is "token class", or the class alone."""

    prior_weight: float = Field(default=1.0, ge=0)
    prompt: str

    @field_validator("prompt")
    @classmethod
    def _has_a_place(cls, prompt: str) -> str:
        if prompt.count("{}") != 1:
            raise ValueError(f"expected a text with one {{}}, got {prompt!r}; write a photo of {{}}")
        return prompt


class Noised(NamedTuple):
    """Pictures with their prompts, noise and times; `weight` is where errors count, None for everywhere."""

    x0: Float[Tensor, "B C h w"]
    eps: Float[Tensor, "B C h w"]
    t: Float[Tensor, " B"]
    prompts: tuple[str, ...]
    weight: Float[Tensor, "B h w"] | None = None


class SubjectBatch(NamedTuple):
    """Photos of subjects and, where the prior counts, a picture of the class of each."""

    photos: Noised
    prior: Noised | None


class _Row(NamedTuple):
    """A photo as it is trained on."""

    subject: int
    latents: Float[Tensor, "C h w"]
    weight: Float[Tensor, "h w"] | None


class SubjectTask(ABC):
    """Subjects of a config; a method says which prompts name them and what is trained."""

    model: ClassVar[type[BaseTable]]
    data: ClassVar[type[Spec]]
    objectives: ClassVar[Mapping[str, Callable[[], type[Spec]]]]
    label: ClassVar[str]
    noun: ClassVar[str] = "photos"
    time_laws: ClassVar[tuple[str, ...]] = SdxlBackbone.time_laws
    added: ClassVar[Sequence[str]] = ()
    by_t: ClassVar[Sequence[str]] = ()
    columns: Sequence[str] = ("loss", "error", "prior", "t")
    reference_decay: float | None = None
    product: str = "lora"
    draws_samples: bool = False
    """Whether pictures of a prompt that was encoded before the training show what was learnt."""

    def __init__(self, config: TrainConfig, *, model: Path, precision: torch.dtype) -> None:
        self.config, self.folder, self.precision = config, model, precision
        self.table, self.objective = cast(PhotoTable, config.data), cast(SubjectObjective, config.objective)
        if not self.draws_samples:
            require_no_samples(config)
        self.prior_weight = self.objective.prior_weight if isinstance(self.objective, PriorObjective) else 0.0
        self.subjects: tuple[LearntSubject, ...] = find_subjects(self.table)
        if self.objective.masked and any(photo.mask is None for each in self.subjects for photo in each.photos):
            what = "objective.masked: expected NAME.mask.png beside all photos, got some without"
            raise ConfigError(f"{what}; add them, or set it to false.")
        self._rows: list[_Row] = []
        self._classes: list[list[Tensor]] = []

    @classmethod
    def find(cls, config: TrainConfig, *, model: Path, precision: torch.dtype) -> "SubjectTask":
        """The photos of a config. Raises: ConfigError, DataError."""
        return cls(config, model=model, precision=precision)

    # what a method gives ---------------------------------------------------------------------------------------------

    @abstractmethod
    def make_trainable(self, network: Any, /) -> Trainable:
        """What the run changes of the backbone. Raises: ConfigError."""
        ...

    def prompt(self, subject: LearntSubject, *, seed: int) -> str:
        """What a photo of the subject is called, where `seed` chooses among several."""
        return self._text(f"{subject.token} {subject.class_word}")

    def class_prompt(self, subject: LearntSubject) -> str:
        """What a picture of its class is called."""
        return self._text(subject.class_word)

    def _text(self, named: str) -> str:
        assert isinstance(self.objective, PriorObjective), "other methods have prompts of their own"
        return self.objective.prompt.format(named)

    def condition(self, prompts: Sequence[str], *, backbone: Sdxl) -> Any:
        """What the U-Net is told of the prompts: as they are read now, with gradient to learnt words."""
        return read_prompts(prompts, backbone=backbone)

    # rows ------------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return sum(len(subject.photos) for subject in self.subjects)

    def identity(self) -> dict[str, Any]:
        """The photos by their pixels, and what pages say of the method."""
        told = {"label": self.label, "compares": False, "loss": "noise error of photos of the subject and of its class"}
        return {"data": {**facts(self.table, self.subjects), "num_photos": len(self)}, "objective": told}

    def open_network(self, folder: Path, *, device: str, precision: torch.dtype) -> Sdxl:
        """The frozen SDXL of the folder. Raises: ConfigError for another model, or a size that it cannot draw."""
        return open_sdxl(folder, size=self.table.size, device=device, precision=precision)

    def prepare(self, backbone: Sdxl, *, is_main: bool, wait: Callable[[], None], progress: Progress) -> None:
        """Every process encodes all pictures; the main one draws those of classes. Raises: DataError, OutputError."""
        if self.prior_weight:
            self._classes = [
                [picture_latents(backbone, square(image, size=self.table.size)) for image in images]
                for images in self._class_pictures(backbone, is_main=is_main, wait=wait, progress=progress)
            ]
        for number, subject in enumerate(self.subjects):
            for photo in subject.photos:
                latents = picture_latents(backbone, photo.image)
                weight = _weight(photo.mask, latents) if self.objective.masked and photo.mask is not None else None
                self._rows.append(_Row(number, latents, weight))

    def _class_pictures(
        self, backbone: Sdxl, *, is_main: bool, wait: Callable[[], None], progress: Progress
    ) -> list[list[Image.Image]]:
        table = cast(ClassTable, self.table)
        if table.class_pictures:
            return [folder_pictures(folder) for folder in table.class_pictures]
        options: dict[str, Any] = {"size": table.size, "seed": self.config.train.seed, "backbone": backbone}
        prompts, count = [self.class_prompt(subject) for subject in self.subjects], table.num_class_pictures
        folders = {prompt: drawn_folder(prompt, model=self.folder, **options) for prompt in prompts}
        if is_main:
            for prompt, folder in folders.items():
                draw_class(prompt, count=count, folder=folder, progress=progress(f"drawing {prompt}"), **options)
        wait()
        return [drawn_pictures(folders[prompt], count=count) for prompt in prompts]

    def cases(self, limit: int) -> Sequence[Case]:
        """Each subject by its token, without a reference."""
        prompts = [self.prompt(subject, seed=0) for subject in self.subjects]
        seed = self.config.train.seed
        return [
            Case(id=f"subject-{number}", prompt=prompt, seed=seed_for(seed, "samples", number))
            for number, prompt in enumerate(prompts[:limit])
        ]

    @property
    def shapes(self) -> Sequence[tuple[tuple[int, ...], ...]]:
        """Of the latents, which agree."""
        return [(tuple(row.latents.shape),) for row in self._rows]

    # a step ----------------------------------------------------------------------------------------------------------

    def batch(self, rows: Sequence[int], draws: Sequence[Draw], *, backbone: Sdxl) -> SubjectBatch:
        """The photos with their noise, times and prompts; each with a picture of its class where the prior counts."""
        chosen, device = [self._rows[row] for row in rows], backbone.device
        who = [self.subjects[row.subject] for row in chosen]
        photos = Noised(
            torch.stack([row.latents for row in chosen]).to(device),
            torch.stack([draw.eps for draw in draws]).to(device),
            torch.tensor([draw.t for draw in draws], device=device),
            tuple(self.prompt(each, seed=draw.seed) for each, draw in zip(who, draws, strict=True)),
            _stacked([row.weight for row in chosen], device=device),
        )
        return SubjectBatch(photos, self._prior(chosen, draws, backbone=backbone) if self._classes else None)

    def _prior(self, chosen: Sequence[_Row], draws: Sequence[Draw], *, backbone: Sdxl) -> Noised:
        law, latents, eps, times = self.config.train.t_sampler or self.time_laws[0], [], [], []
        for row, draw in zip(chosen, draws, strict=True):
            pictures, generator = self._classes[row.subject], torch.Generator()
            generator.manual_seed(seed_for("prior", draw.seed))
            latents.append(pictures[int(torch.randint(len(pictures), (), generator=generator))])
            grid = (latents[-1].shape[1], latents[-1].shape[2])
            times.append(backbone.draw_t(generator, grid=grid, law=law))
            eps.append(torch.randn(latents[-1].shape, generator=generator))
        device = backbone.device
        prompts = tuple(self.class_prompt(self.subjects[row.subject]) for row in chosen)
        return Noised(
            torch.stack(latents).to(device), torch.stack(eps).to(device), torch.tensor(times, device=device), prompts
        )

    def step(self, batch: SubjectBatch, *, backbone: Sdxl, trainable: Trainable) -> Step:
        """The noise error of the photos, plus prior_weight x that of the class pictures."""
        error = self._errors(batch.photos, backbone=backbone)
        loss, logged = error, {"error": error.detach(), "t": batch.photos.t}
        if batch.prior is not None:
            prior = self._errors(batch.prior, backbone=backbone)
            loss = prior_preservation_loss(error, prior, prior_weight=self.prior_weight)
            logged["prior"] = prior.detach()
        return Step(loss.mean(), {"loss": loss.detach(), **logged})

    def _errors(self, noised: Noised, *, backbone: Sdxl) -> Float[Tensor, " B"]:
        return noise_errors(noised, backbone=backbone, precision=self.precision, read=self.condition)

    def show(self, folder: Path, *, step: int, backbone: Sdxl) -> None:  # noqa: B027 - no method must
        """Nothing: the numbers of the log and the pictures say what there is."""


def require_one(subjects: Sequence[LearntSubject]) -> None:
    """Raises: ConfigError where a method that learns one subject is given several."""
    if len(subjects) != 1:
        wanted = f"data.photos: expected one subject, got {len(subjects)}"
        raise ConfigError(f"{wanted}; train each alone, or use custom_diffusion.")


def require_no_samples(config: TrainConfig) -> None:
    """Raises: ConfigError where a method whose prompts change is to draw pictures on the way."""
    if config.samples.every:
        wanted = "samples.every: expected 0 for a method that learns words, or all weights, whose prompts change"
        raise ConfigError(f"{wanted}, got {config.samples.every}; set it to 0.")


def open_sdxl(folder: Path, *, size: int, device: str, precision: torch.dtype) -> Sdxl:
    """The frozen SDXL of the folder. Raises: ConfigError for another model, or a size that it cannot draw."""
    backbone = open_backbone(folder, device=device, dtype=precision)
    if not isinstance(backbone, SdxlBackbone):
        raise ConfigError(
            f"model.base: expected SDXL, whose text and U-Net these methods tune, got {type(backbone).__name__}; "
            "name sdxl or a folder of it."
        )
    backbone.grid(size=size)
    return backbone


def read_prompts(prompts: Sequence[str], *, backbone: Sdxl) -> Any:
    """The condition of the prompts as they are read now, with gradient to learnt words."""
    text = backbone.read_text(prompts)
    rows = [{"embeds": embeds, "pooled": pooled} for embeds, pooled in zip(text.embeds, text.pooled, strict=True)]
    return backbone.collate(rows)


def noise_errors(
    noised: Noised, *, backbone: Sdxl, precision: torch.dtype, read: Callable[..., Any] = read_prompts
) -> Float[Tensor, " B"]:
    """The noise error of each picture, where `read(prompts, backbone=...)` gives the condition."""
    x_t = backbone.noise(noised.x0, noised.eps, noised.t)
    with autocast(backbone, precision):
        condition = read(noised.prompts, backbone=backbone)
        prediction = backbone.predict(x_t, noised.t, condition).float()
    return subject_errors(prediction, backbone.target(noised.x0, noised.eps, noised.t), noised.weight)


@torch.no_grad()
def picture_latents(backbone: Sdxl, image: Image.Image) -> Float[Tensor, "C h w"]:
    """The picture as the autoencoder has it, fp32, in main memory."""
    return backbone.encode(to_pixels([image]))[0].float().cpu()


def _weight(mask: Image.Image, latents: Float[Tensor, "C h w"]) -> Float[Tensor, "h w"]:
    """The share of each cell that the mask covers."""
    covered = torch.from_numpy(np.asarray(inside(mask), dtype=np.float32))
    return functional.interpolate(covered[None, None], latents.shape[1:], mode="area")[0, 0]


def _stacked(weights: Sequence[Tensor | None], *, device: torch.device) -> Tensor | None:
    kept = [weight for weight in weights if weight is not None]
    return torch.stack(kept).to(device) if kept else None
