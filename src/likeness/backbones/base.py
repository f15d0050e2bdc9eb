"""The contract every backbone keeps; epsilon- and flow-prediction hide behind it.

Shapes: B pictures, C latent channels, h x w latent grid, L target tokens, D width of a layer.
Time: `t` lies in [0, 1]; t = 1 is pure noise, t = 0 the clean picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, Self, TypeVar, runtime_checkable

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor, nn

    from likeness.backbones.lora_file import LoraFile

ConditionT = TypeVar("ConditionT")

FEATURES: tuple[str, ...] = ("attention_input", "block_output", "attention_output", "query", "key")
# What a `Watch` may see of each layer: the normalised and modulated tokens that enter attention; the residual stream
# behind the block; what attention adds; queries or keys after their norm, before rope (all heads joined). Where picture
# and references meet in cross-attention, the references' tokens are what stands opposite these (sdxl/watch.py).


class TokenGrid(NamedTuple):
    """Rows and columns of a picture in tokens, `px_per_token` pixels each."""

    rows: int
    columns: int


@runtime_checkable
class TextMaps(Protocol):
    """What was seen of one pass: `maps` gives, per layer, (B, h, w), the share of text attention the words get."""

    def maps(self) -> list[Tensor]:
        """A mean over heads and over the words' tokens, 0 where there are none; with the gradient of the pass."""
        ...


@runtime_checkable
class ShowsText(Protocol):
    """What a backbone has besides, whose network reads the prompt in cross-attention that can be looked at."""

    def word_columns(self, prompt: str, words: str) -> Tensor:
        """(T,) bool: the tokens that `words` of the prompt became; none where it does not hold them."""
        ...

    def text_attention(self, words: Tensor, *, grid: TokenGrid) -> AbstractContextManager[TextMaps]:
        """Within it one `predict` on latents of `grid` is watched for the tokens `words` (B, T)."""
        ...


@runtime_checkable
class LearnsWords(Protocol):
    """What a backbone has besides, whose text encoders take rows for new words."""

    def add_words(self, spec: str | Path) -> None:
        """Prompts may hold the words that lie at `spec`, if any do. Raises: WeightsError."""
        ...


@runtime_checkable
class ReadsLocalTokens(Protocol):
    """What a backbone has besides that can read local tokens of references (backbones/local_tokens.py).

    `local_tokens`: whether `prepare` now makes any.
    """

    reads_local_tokens: ClassVar[bool]
    local_tokens: bool

    def tune_injection(self) -> nn.Module:
        """The injection, whose parameters training may change: from now on `collate` applies it, with gradient.

        `prepare` then also gives what it reads. Raises: ConfigError for an injection without parameters; WeightsError.
        """
        ...


@dataclass(frozen=True)
class BackboneFacts:
    """What callers need to know of an open backbone instead of its class.

    `kind` is its key in BACKBONES. `px_per_token` divides the sides of every picture; a token
    is `latents_per_token` cells of the latent grid wide and high. `adapter_targets` matches in full
    the names of the layers that a LoRA tunes, `adapter_prefix` stands before them in stock LoRA files.
    `tokens_per_reference` is how many tokens a reference has that lie nowhere in its picture (a resampler's); None for
    one token per `px_per_token` square of it. `reads_layout`: `prepare` and `generate` take a layout with a box and a
    phrase for each reference (`core.records.Layout`), read one or both, and do without one.
    """

    kind: str
    prediction: Literal["velocity", "noise"]
    px_per_token: int
    latents_per_token: int
    max_references: int
    adapter_targets: str
    adapter_prefix: Literal["transformer", "unet"]
    tokens_per_reference: int | None = None
    reads_layout: bool = False


@runtime_checkable
class Watch(Protocol):
    """Sees `features`, one of FEATURES, of the image tokens in every layer during one forward pass.

    With `detached` the tokens carry no gradient. Without it they belong to the graph of the pass; under gradient
    checkpointing such a watch may keep the tokens but must compute with them only after `predict` has returned, since
    layers run again in the backward pass, unwatched.
    """

    features: str
    detached: bool

    def __call__(self, layer: str, target_tokens: Tensor, reference_tokens: list[Tensor], grid: TokenGrid, /) -> None:
        """Receive the tokens of `layer`: target (B, L, D) on `grid` and one (B, Li, D) per reference image.

        In a U-Net the grid differs from layer to layer.
        """
        ...


@runtime_checkable
class Backbone(Protocol[ConditionT]):
    """A frozen or trainable generator of pictures from a prompt and reference images.

    Everything here works for B >= 1 pictures of one size with references of one size. `x0`, `x_t`, `eps` and
    predictions are latents (B, C, h, w), `t` is (B,) or a scalar tensor.
    """

    time_laws: ClassVar[tuple[str, ...]]
    """What `draw_t` draws from, the usual one first."""
    features: ClassVar[tuple[str, ...]]
    """Those of FEATURES that a `Watch` may ask for, the usual one first."""
    facts: BackboneFacts

    @property
    def network(self) -> nn.Module:
        """The part that training changes."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in outside of autocast, whatever its weights are kept in."""
        ...

    @classmethod
    def load(cls, spec: str | Path, *, device: str, dtype: torch.dtype, loras: Sequence[str | Path]) -> Self:
        """The frozen backbone of a folder, with adapters that all act; parts may be read when first needed.

        Raises: WeightsError.
        """
        ...

    @classmethod
    def sketch(cls, folder: Path, *, dtype: torch.dtype) -> Self:
        """The backbone of the configs in a folder, without weights or tokenizers: its parts lie on the meta device.

        Shapes and counts are those of the loaded one. Raises: WeightsError.
        """
        ...

    def blank(self, size: tuple[int, int], references: Sequence[Image] = ()) -> dict[str, Tensor]:
        """Empty tensors of the shape and type of what `prepare` gives for references of these sizes, without encoders.

        "latents" are those of a picture of `size` (width, height). Raises: DataError as `prepare`.
        """
        ...

    def encoders(self) -> Mapping[str, nn.Module]:
        """The parts that `put_encoders_away` puts away, by name; those not in memory are read."""
        ...

    @classmethod
    def layers_of(cls, folder: Path) -> tuple[str, ...]:
        """The names that a watch on the folder's network is told, in the order of a pass; loads no weights."""
        ...

    def fit_references(self, references: Sequence[Image]) -> list[Image]:
        """Reference images at the size the model reads. Raises: DataError for more than `max_references`."""
        ...

    def prepare(self, prompt: str, references: Sequence[Image] = (), *, layout: object = None) -> dict[str, Tensor]:
        """The condition of one sample as named tensors without a batch axis, without gradient, fit for the disk.

        Raises: DataError for references or a layout that the model cannot use.
        """
        ...

    def collate(self, rows: Sequence[Mapping[str, Tensor]], *, guidance: float | None = None) -> ConditionT:
        """The condition of B samples on the network's device, from what `prepare` gave for each; other keys are left.

        Raises: DataError for samples that cannot share a batch.
        """
        ...

    def draw_t(self, generator: torch.Generator, *, grid: tuple[int, int], law: str) -> float:
        """A time for training on a picture of `grid` (rows and columns in tokens), by one of the `time_laws`.

        Raises: ConfigError for another law.
        """
        ...

    def noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t: the clean latents `x0` carried to time `t` along the model's path, with noise `eps`."""
        ...

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What a perfect `predict` answers at `noise(x0, eps, t)`: a velocity or the noise itself."""
        ...

    def clean(self, x_t: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """The estimate of x0 that lies in the prediction at `x_t`: x0 itself where the prediction is the target."""
        ...

    def error_weight(self, t: Tensor, kind: str) -> Tensor:
        """By what a squared error of `predict` at `t` (B,) is multiplied, (B,) in fp32.

        "uniform": 1, the loss that the model was trained with. "eps": what makes it the squared error of the noise.
        "elbo": what makes it the density in t of the variational bound (DDPM, arXiv:2006.11239; VDM, arXiv:2107.00630).
        Raises: ConfigError for another kind.
        """
        ...

    def predict(self, x_t: Tensor, t: Tensor, condition: ConditionT, watch: Watch | None = None) -> Tensor:
        """The network's answer at `x_t`, same shape; `watch` sees it work, layer by layer.

        Each layer is reported once per call, also when gradient checkpointing runs it again later.
        Raises: ConfigError for a watch of features that are none of `features`.
        """
        ...

    def encode_exactly(self) -> None:
        """From now on latents are encoded in fp32, whatever the network computes in."""
        ...

    def put_encoders_away(self) -> None:
        """Text encoders, image encoders and autoencoder leave memory; each is read again when it is next needed.

        Nothing else changes: answers are the same before and after.
        """
        ...

    def encode(self, pixels: Tensor) -> Tensor:
        """Clean latents (B, C, h, w) of pixels (B, 3, H, W) in [-1, 1]; deterministic."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels (B, 3, H, W), about [-1, 1], of clean latents (B, C, h, w)."""
        ...

    # Any: each backbone has a model of its own options, a subclass of `Options`
    def generate(self, prompt: str, references: Sequence[Image] = (), *, seed: int, options: Any = None) -> Image:
        """One picture; the same arguments give the same pixels on the same machine. None: the model's own options."""
        ...

    def paint(
        self,
        row: Mapping[str, Tensor],
        *,
        seed: int,
        options: Any = None,
        unprompted: Mapping[str, Tensor] | None = None,
    ) -> Image:
        """The picture that `generate` makes, from what `prepare` gave: no encoder is needed, only what decodes.

        `unprompted` is what `prepare` gave for an empty prompt and the same references, for the guidance of models that
        are guided; without it they encode that prompt now, or refuse if an encoder would look at the references, too.
        """
        ...

    @classmethod
    def read_lora(cls, folder: Path, spec: str | Path) -> LoraFile:
        """What the LoRA of a file, folder or hub id does to the network of the folder, whose weights are not loaded.

        Raises: WeightsError when it does not fit in full, or changes no layer.
        """
        ...

    def add_lora(self, spec: str | Path, *, name: str) -> None:
        """The network carries the LoRA of a file, folder or hub id as the frozen adapter `name`.

        Raises: WeightsError as `read_lora` does.
        """
        ...
