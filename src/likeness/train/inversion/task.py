"""StellarNet as a task: mappers make words of a person's portrait, from which SDXL must draw that portrait again.

Source: StellarNet (arXiv:2312.06116v1), section on the baseline and supplement (design note stellar.md, 6): prompts of
Table 9, masked error, 0.01 x size of the words, LoRA of rank 4, learning rates 2e-6 and 1e-7, batches of 64, 23,000
steps on CelebAMask-HQ.
Differs: what the paper leaves open is decided as docs/stellarnet.md tells; decay acts on all that is trained.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, cast  # Any: identities are JSON; conditions of any SDXL

import torch
from jaxtyping import Bool, Float
from PIL import Image
from pydantic import Field
from torch import Tensor

from likeness.backbones.open import backbone_class, open_backbone
from likeness.backbones.pixels import to_pixels
from likeness.backbones.sdxl.backbone import SdxlBackbone
from likeness.backbones.sdxl.condition import SdxlText
from likeness.backbones.sdxl.picture_towers import PictureTowers, branch_of, on_black
from likeness.backbones.sdxl.picture_words import HIDDEN, InversionFacts, PictureWords, usual_depths
from likeness.backbones.sdxl.placed_words import PLACE, read_placed
from likeness.core.errors import ConfigError
from likeness.core.files import write_jsonl
from likeness.core.records import Case
from likeness.core.spec import Spec
from likeness.core.weights import resolve_weights, weights_facts
from likeness.objectives.inversion import Normalised, latent_mask, masked_error, word_size
from likeness.train.config import BaseTable, TrainConfig
from likeness.train.inversion.rows import DataTable, Portrait, Portraits, fitted, left_out_rows, portraits_of
from likeness.train.inversion.show import PROMPT, show_step
from likeness.train.pairs.step import autocast
from likeness.train.task import Draw, Progress, Step, Trainable
from likeness.train.trainable.words import WordsAndLora

PROMPTS = (
    *(f"{kind} photo of a {PLACE} person" for kind in ("portrait", "plain", "cropped")),
    *(f"{kind} photo of a {PLACE} person face" for kind in ("plain", "cropped", "high quality", "good", "plain")),
)
"""Source: Table 9, in which one stands twice and so is drawn twice as often."""


class WordsTable(BaseTable):
    """`base`: an SDXL. `image_encoder`, `image_encoder_2`: the CLIPs whose hidden states become words of its two text
    encoders, read at `depths` and `depths_2`, the most important one first (none given: those of ELITE).

    `hidden`, `layers`: of the MLPs; ELITE's have three layers. `scale_lr`: rates are multiplied by batch size,
    accumulation and processes, as ELITE's option does.
    """

    image_encoder: str = Field(default="openai/clip-vit-large-patch14", min_length=1)
    image_encoder_2: str = Field(default="laion/CLIP-ViT-bigG-14-laion2B-39B-b160k", min_length=1)
    depths: list[int] | None = Field(default=None, min_length=1)
    depths_2: list[int] | None = Field(default=None, min_length=1)
    hidden: int = Field(default=HIDDEN, ge=1)
    layers: int = Field(default=3, ge=1, le=4)
    scale_lr: bool = False


class StellarTable(WordsTable):
    """As a `WordsTable`. `rank`, `alpha`: of the LoRA, whose learning rate is `lora_rate` times the run's."""

    layers: int = Field(default=2, ge=1, le=4)
    rank: int = Field(default=4, ge=1)
    alpha: float = Field(default=4.0, gt=0)
    lora_rate: float = Field(default=0.05, gt=0)


class Stellar(Spec):
    """masked error + `word_weight` x size of the words.

    `normalised`: the error within the mask is divided by all cells of the grid, as the paper, or by those of the mask
    ("area"). `sum_branches`: sizes of the two encoders' words are added instead of averaged. `drop_words`: share of
    prompts without any word, for guidance. `legacy`: the pooled text as ELITE's code would read it.
    """

    kind: Literal["stellarnet"] = "stellarnet"
    normalised: Normalised = "pixels"
    word_weight: float = Field(default=0.01, ge=0)
    sum_branches: bool = False
    drop_words: float = Field(default=0.0, ge=0, le=1)
    legacy: bool = False


class PortraitBatch(NamedTuple):
    """B portraits with their noise, times and prompts; by branch and depth what the image encoders saw."""

    latents: Float[Tensor, "B C h w"]
    mask: Bool[Tensor, "B h w"]
    eps: Float[Tensor, "B C h w"]
    t: Float[Tensor, " B"]
    prompts: tuple[str, ...]
    states: list[list[Tensor]]


class StellarNetTask:
    """The portraits of a config."""

    model: ClassVar[type[BaseTable]] = StellarTable
    data: ClassVar[type[Spec]] = DataTable
    objectives: ClassVar[Mapping[str, Callable[[], type[Spec]]]] = {"stellarnet": lambda: Stellar}
    noun: ClassVar[str] = "portraits"
    product: ClassVar[str] = "inversion"
    time_laws: ClassVar[tuple[str, ...]] = SdxlBackbone.time_laws
    added: ClassVar[Sequence[str]] = ()
    by_t: ClassVar[Sequence[str]] = ("error",)
    label: ClassVar[str] = "StellarNet"
    prompts: ClassVar[Sequence[str]] = PROMPTS
    shown_prompt: ClassVar[str] = PROMPT
    subject: ClassVar[str] = "person"
    minimised: ClassVar[str] = "noise error of the person, and the size of words"
    columns: Sequence[str] = ("loss", "error", "word_size", "area", "t")
    reference_decay: float | None = None

    def __init__(self, config: TrainConfig, *, model: Path, precision: torch.dtype) -> None:
        self._config, self._precision = config, precision
        self._table, self._model = cast(DataTable, config.data), cast(WordsTable, config.model)
        self.objective: Any = config.objective
        _require_sdxl(model)
        if config.samples.every:
            wanted = "samples.every: expected 0, since pictures are drawn every train.log_maps_every steps"
            raise ConfigError(f"{wanted}, got {config.samples.every}; set it to 0.")
        self._encoders = tuple(resolve_weights(each) for each in self._encoder_names)
        self.portraits: Portraits = self.find_portraits()
        self._shape: tuple[int, ...] = ()
        self._towers: PictureTowers | None = None
        self._words: PictureWords | None = None

    @property
    def _encoder_names(self) -> tuple[str, str]:
        return self._model.image_encoder, self._model.image_encoder_2

    @classmethod
    def find(cls, config: TrainConfig, *, model: Path, precision: torch.dtype) -> "StellarNetTask":
        """The portraits of a config. Raises: ConfigError, DataError, WeightsError."""
        return cls(config, model=model, precision=precision)

    def find_portraits(self) -> Portraits:
        """The rows. Raises: ConfigError, DataError, WeightsError."""
        return portraits_of(self._table)

    # the network -----------------------------------------------------------------------------------------------------

    def open_network(self, folder: Path, *, device: str, precision: torch.dtype) -> SdxlBackbone[Any, Any, Any]:
        """The SDXL in `folder`. Raises: ConfigError for a size that it cannot draw, WeightsError."""
        backbone = cast(SdxlBackbone[Any, Any, Any], open_backbone(folder, device=device, dtype=precision))
        grid = backbone.grid(size=self._table.size)
        self._shape = tuple(backbone.noise_shape(grid))
        if self._config.train.gradient_checkpointing:
            backbone.network.enable_gradient_checkpointing()
        return backbone

    def make_trainable(self, backbone: SdxlBackbone[Any, Any, Any]) -> Trainable:
        """Mappers that fit its text encoders and the image encoders, and a LoRA."""
        table, train = cast(StellarTable, self._model), self._config.train
        facts, share = self.find_facts(backbone, kind="stellarnet", legacy=self.objective.legacy), self.rate_share()
        options: Any = {"rank": table.rank, "alpha": table.alpha, "seed": train.seed}
        rates: Any = {"mapper_share": share, "lora_share": share * table.lora_rate}
        trained = WordsAndLora(cast(Any, backbone), facts, **options, **rates)
        self._words = trained.words
        return trained

    def rate_share(self) -> float:
        """What learning rates are multiplied by."""
        from accelerate import PartialState

        train = self._config.train
        batch = train.batch_size * train.accumulation * PartialState().num_processes
        return float(batch) if self._model.scale_lr else 1.0

    def find_facts(self, backbone: SdxlBackbone[Any, Any, Any], *, kind: Any, legacy: bool) -> InversionFacts:
        """What the words are made by; the image encoders are opened. Raises: ConfigError, WeightsError."""
        table, parts = self._model, backbone.parts
        asked = (table.depths, table.depths_2)
        widths = [each.config.hidden_size for each in (parts.text_encoder, parts.text_encoder_2)]
        found = PictureTowers(self._encoders, [()] * 2, device=backbone.device, dtype=self._precision)
        depths = [
            usual_depths(config.num_hidden_layers) if own is None else tuple(own)
            for own, config in zip(asked, found.configs, strict=True)
        ]
        _require_same_number(depths)
        self._towers = found.at(depths)
        made = zip(self._encoder_names, depths, widths, found.configs, strict=True)
        branches = [branch_of(name, depths=own, word_width=width, config=c) for name, own, width, c in made]
        sizes: Any = {"hidden": table.hidden, "layers": table.layers}
        return InversionFacts(kind=kind, branches=(branches[0], branches[1]), **sizes, legacy=legacy)

    # rows ------------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.portraits)

    def identity(self) -> dict[str, Any]:
        """The portraits, the image encoders, and what pages say of the objective."""
        encoders = [weights_facts(*each) for each in zip(self._encoder_names, self._encoders, strict=True)]
        numbers = {"num_portraits": len(self), "num_left_out": len(self.portraits.left_out), "size": self._table.size}
        facts = {"label": self.label, "compares": False, "loss": self.minimised}
        data = {**self.portraits.facts(), **numbers, "image_encoders": encoders}
        return {"data": data, "objective": facts}

    def prepare(self, backbone: Any, *, is_main: bool, wait: Callable[[], None], progress: Progress) -> None:
        """Portraits are read and encoded when they are drawn: what two encoders see of one takes megabytes."""

    def cases(self, limit: int) -> Sequence[Case]:
        """None: pictures are drawn by `show`, since what the model is told is what is trained."""
        return []

    @property
    def shapes(self) -> Sequence[tuple[tuple[int, ...], ...]]:
        """Of the latents, with one more channel of noise, by which prompts are drawn."""
        channels, rows, columns = self._shape
        return [((channels + 1, rows, columns),)] * len(self)

    def batch(
        self, rows: Sequence[int], draws: Sequence[Draw], *, backbone: SdxlBackbone[Any, Any, Any]
    ) -> PortraitBatch:
        """Portraits with noise, times and prompts. Raises: DataError for a damaged file."""
        return self.batch_of(self.read(rows), draws, backbone=backbone)

    def read(self, rows: Sequence[int]) -> list[Portrait]:
        """Portraits as they are trained on. Raises: DataError for a damaged file."""
        return [fitted(self.portraits.read(row), size=self._table.size) for row in rows]

    def seen(self, portrait: Portrait) -> Image.Image:
        """What words are made of."""
        return on_black(portrait.image, portrait.mask)

    def batch_of(
        self, shown: Sequence[Portrait], draws: Sequence[Draw], *, backbone: SdxlBackbone[Any, Any, Any]
    ) -> PortraitBatch:
        """As `batch`, of portraits that were read."""
        assert self._towers is not None, "what is trained was made before"
        device, grid = backbone.device, self._shape[-2:]
        masks = torch.stack([torch.from_numpy(portrait.mask) for portrait in shown])
        return PortraitBatch(
            latents=backbone.encode(to_pixels([portrait.image for portrait in shown])).float(),
            mask=latent_mask(masks, grid=(grid[0], grid[1])).to(device),
            eps=torch.stack([draw.eps[:-1] for draw in draws]).to(device),
            t=torch.tensor([draw.t for draw in draws], device=device),
            prompts=tuple(
                prompt_of(draw.eps[-1], drop=self.objective.drop_words, prompts=self.prompts) for draw in draws
            ),
            states=self._towers.look([self.seen(portrait) for portrait in shown]),
        )

    def step(self, batch: Any, *, backbone: SdxlBackbone[Any, Any, Any], trainable: Trainable) -> Step:
        """The error where the person is + word_weight x size of the words, a mean over portraits."""
        wanted, t = self.objective, batch.t
        words = cast(WordsAndLora, trainable).words(batch.states)
        prediction = self.predict(batch, words, backbone=backbone, legacy=wanted.legacy)
        target = backbone.target(batch.latents, batch.eps, t)
        error = masked_error(prediction, target, batch.mask, normalised=wanted.normalised)
        size = word_size(words, summed=wanted.sum_branches)
        loss = error + wanted.word_weight * size
        logged = {"error": error, "word_size": size, "area": batch.mask.float().mean(dim=(1, 2)), "t": t}
        return Step(loss.mean(), {"loss": loss.detach(), **{name: each.detach() for name, each in logged.items()}})

    def predict(
        self,
        batch: PortraitBatch,
        words: Sequence[Tensor],
        *,
        backbone: SdxlBackbone[Any, Any, Any],
        legacy: bool = False,
    ) -> Float[Tensor, "B C h w"]:
        """The noise that is seen in the portraits with noise, the words being in their prompts."""
        x_t = backbone.noise(batch.latents, batch.eps, batch.t)
        with autocast(cast(Any, backbone), self._precision):
            text = read_placed(backbone.parts, batch.prompts, words, legacy=legacy)
            return backbone.predict(x_t, batch.t, condition_of(backbone, text)).float()

    def show(self, folder: Path, *, step: int, backbone: Any) -> None:
        """What was left out, and pictures of the first people by the words of this step."""
        if self.portraits.left_out and not (folder / "left_out.jsonl").is_file():
            write_jsonl(folder / "left_out.jsonl", left_out_rows(self.portraits.left_out))
        told: Any = {"prompt": self.shown_prompt, "subject": self.subject, "see": self.seen}
        numbers: Any = {"step": step, "size": self._table.size, "seed": self._config.train.seed}
        draw = partial(self.draw, backbone=backbone)
        show_step(folder, self.portraits, **numbers, **told, draw=draw)

    @torch.no_grad()
    def draw(self, portrait: Portrait, *, seed: int, backbone: SdxlBackbone[Any, Any, Any]) -> Image.Image:
        """A picture of the portrait's person by the words as they are now."""
        assert self._towers is not None, "drawn while it is trained"
        assert self._words is not None, "drawn while it is trained"
        words = self._words(self._towers.look([self.seen(portrait)]))
        text = read_placed(backbone.parts, [self.shown_prompt], words, legacy=self._words.facts.legacy)
        options = type(backbone.own_options())(size=self._table.size)
        return backbone.paint({"embeds": text.embeds[0], "pooled": text.pooled[0]}, seed=seed, options=options)


def condition_of(backbone: SdxlBackbone[Any, Any, Any], text: SdxlText) -> Any:
    """The condition of prompts alone, with their gradient."""
    rows = zip(text.embeds, text.pooled, strict=True)
    return backbone.collate([{"embeds": embeds, "pooled": pooled} for embeds, pooled in rows])


def prompt_of(noise: Float[Tensor, "h w"], *, drop: float, prompts: Sequence[str] = PROMPTS) -> str:
    """A prompt of these, all alike, or the empty one with the probability `drop`, by the first two numbers."""
    chosen, dropped = (0.5 * math.erfc(-float(each) / math.sqrt(2)) for each in noise.flatten()[:2])
    if dropped < drop:
        return ""
    return prompts[min(int(chosen * len(prompts)), len(prompts) - 1)]


def _require_sdxl(model: Path) -> None:
    kind = backbone_class(model)
    if not issubclass(kind, SdxlBackbone):
        wanted = "model.base: expected a folder of SDXL, whose two text encoders get the words"
        raise ConfigError(f"{wanted}, got {kind.__name__}; name another.")


def _require_same_number(depths: Sequence[Sequence[int]]) -> None:
    if len({len(each) for each in depths}) > 1:
        got = " and ".join(str(len(each)) for each in depths)
        raise ConfigError(f"model.depths: expected as many as model.depths_2, got {got}; give both the same number.")
