"""What backbones over the parts of a diffusers pipeline folder share: opening it, LoRAs, sizes, pixels, first noise.

Shapes: B pictures, C latent channels, h x w latent grid.
"""

from __future__ import annotations

import gc
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, runtime_checkable

import torch
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils.torch_utils import randn_tensor
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor

from likeness.backbones.base import BackboneFacts, TokenGrid, Watch
from likeness.backbones.folder import PartsOnDemand
from likeness.backbones.lora import add_changes, add_loras, layer_shapes
from likeness.backbones.lora_file import Find, LoraFile, read_lora
from likeness.core.errors import ConfigError, DataError, WeightsError
from likeness.core.records import Layout
from likeness.core.weights import resolve_weights


@runtime_checkable
class StockSettings(Protocol):
    """What the sampler needs of a folder's settings: px of a side, and denoising steps."""

    @property
    def size(self) -> int: ...
    @property
    def default_steps(self) -> int: ...


@runtime_checkable
class StockParts(Protocol):
    """What the sampler needs of a folder's parts: no property that would read one."""

    @property
    def stored(self) -> PartsOnDemand: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def scheduler(self) -> Any: ...
    @property
    def folder(self) -> Path: ...


PartsT = TypeVar("PartsT", bound=StockParts)
SettingsT = TypeVar("SettingsT", bound=StockSettings)


def stored_references(row: Mapping[str, Tensor], *, most: int) -> list[Tensor]:
    """What `prepare` named reference0, reference1 ... in a sample."""
    return [row[f"reference{number}"] for number in range(most) if f"reference{number}" in row]


def require_one_shape(references: Sequence[Sequence[Tensor]]) -> None:
    """Raises: DataError for samples whose references differ in number or size."""
    sizes = {tuple(tuple(latents.shape) for latents in row) for row in references}
    if len(sizes) != 1:
        raise DataError(f"collate: expected samples whose references have one set of sizes, got {sorted(sizes)}.")


def fitting_layout(layout: object, *, num_references: int) -> Layout | None:
    """The layout if it has a box for each reference. Raises: DataError."""
    if layout is None:
        return None
    if not isinstance(layout, Layout) or len(layout.boxes) != num_references:
        got = f"{len(layout.boxes)} boxes" if isinstance(layout, Layout) else type(layout).__name__
        wanted = f"layout: expected a box and a phrase for each of {num_references} references, got {got}"
        raise DataError(f"{wanted}; give them in the order of the references.")
    return layout


def unknown_weighting(kind: str) -> ConfigError:
    """The error for a weighting that no `error_weight` has."""
    return ConfigError(f"weighting: expected one of uniform, eps, elbo, got {kind!r}; choose one.")


class StockBackbone(ABC, Generic[PartsT, SettingsT]):
    """The parts of a folder, in stock classes; what their network is and which path it follows, a subclass says."""

    time_laws: ClassVar[tuple[str, ...]]
    features: ClassVar[tuple[str, ...]]
    network_part: ClassVar[str] = "transformer"
    """The name of the network among the parts."""
    facts: BackboneFacts
    parts: PartsT
    settings: SettingsT

    # what a subclass gives ---------------------------------------------------------------------------------------

    def __init__(self, parts: PartsT) -> None:
        """The backbone of the parts, which it keeps."""
        self.parts = parts
        self._device: torch.device | None = None

    @classmethod
    @abstractmethod
    def load_parts(cls, folder: Path, *, device: str, dtype: torch.dtype) -> PartsT:
        """All parts of the folder, frozen. Raises: WeightsError."""
        ...

    @classmethod
    @abstractmethod
    def sketch_parts(cls, folder: Path, *, dtype: torch.dtype) -> PartsT:
        """The parts by their configs alone. Raises: WeightsError."""
        ...

    @abstractmethod
    def blank_text(self) -> dict[str, Tensor]:
        """Empty tensors as `prepare` gives them of a prompt."""
        ...

    @abstractmethod
    def blank_reference(self, size: tuple[int, int]) -> Tensor:
        """An empty tensor as `prepare` gives it of a reference whose fitted size is (width, height)."""
        ...

    @classmethod
    @abstractmethod
    def empty_network(cls, folder: Path) -> Any:
        """The network of the folder without its weights. Raises: WeightsError."""
        ...

    @classmethod
    @abstractmethod
    def names(cls, layers: Mapping[str, object]) -> Find:
        """What the names in LoRA files mean on a network with `layers`."""
        ...

    @abstractmethod
    def fit_references(self, references: Sequence[Image]) -> list[Image]:
        """Reference images at the size the model reads."""
        ...

    @abstractmethod
    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        """Pixels of clean latents."""
        ...

    @abstractmethod
    def predict(self, x_t: Tensor, t: Tensor, condition: Any, watch: Watch | None = None) -> Tensor:
        """The velocity or the noise at `x_t`."""
        ...

    @abstractmethod
    def noise_shape(self, grid: TokenGrid) -> tuple[int, int, int]:
        """(C, h, w) of the latents of a picture on the grid."""
        ...

    # Any: each backbone has a model of its own options
    @abstractmethod
    def paint_batch(
        self,
        rows: Sequence[Mapping[str, Tensor]],
        *,
        seeds: Sequence[int],
        options: Any = None,
        unprompted: Sequence[Mapping[str, Tensor]] | None = None,
    ) -> list[Image]:
        """Pictures drawn at once, of rows that can be collated, each with its seed; those of `paint` up to rounding.

        `unprompted` is for each row what `prepare` gave for an empty prompt.
        Raises: ConfigError, DataError for rows that do not agree, WeightsError.
        """
        ...

    def paint(
        self,
        row: Mapping[str, Tensor],
        *,
        seed: int,
        options: Any = None,
        unprompted: Mapping[str, Tensor] | None = None,
    ) -> Image:
        """One picture of what `prepare` gave, `unprompted` for an empty prompt. Raises: as `paint_batch`."""
        empty = None if unprompted is None else [unprompted]
        return self.paint_batch([row], seeds=[seed], options=options, unprompted=empty)[0]

    # the folder --------------------------------------------------------------------------------------------------

    @classmethod
    def load(
        cls,
        spec: str | Path,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        loras: Sequence[str | Path] = (),
    ) -> Self:
        """The frozen backbone of an embedded name, a folder or a hub id, with adapters that all act.

        Parts are read when they are first needed.
        Raises: WeightsError listing missing parts, or naming the damaged file when that is read.
        """
        folder = resolve_weights(str(spec))
        backbone = cls(cls.load_parts(folder, device=device, dtype=dtype))
        for lora in loras:
            cls.read_lora(folder, lora)  # refused now, not when the network is first needed
        backbone.parts.stored.always(cls.network_part, lambda _: add_loras(backbone, loras))
        return backbone

    @classmethod
    def sketch(cls, folder: Path, *, dtype: torch.dtype) -> Self:
        """The backbone of the folder's configs, without weights or tokenizers. Raises: WeightsError."""
        return cls(cls.sketch_parts(folder, dtype=dtype))

    def blank(self, size: tuple[int, int], references: Sequence[Image] = ()) -> dict[str, Tensor]:
        """Empty tensors as `prepare` and `encode` give them, for a picture of `size` (width, height)."""
        shown = [self.blank_reference(image.size) for image in self.fit_references(references)]
        named = {f"reference{number}": tensor for number, tensor in enumerate(shown)}
        return {"latents": self.blank_latents(size), **self.blank_text(), **named}

    def blank_latents(self, size: tuple[int, int]) -> Tensor:
        """Empty latents of a picture of (width, height) px."""
        px = self.facts.px_per_token
        return torch.empty(self.noise_shape(TokenGrid(size[1] // px, size[0] // px)))

    @property
    def network(self) -> Any:
        """The transformer or U-Net; Any, since diffusers types its config as a dict."""
        return self.parts.stored.get(self.network_part)

    def encoders(self) -> Mapping[str, torch.nn.Module]:
        """Everything with weights but the network: text encoders, autoencoder and what else encodes."""
        stored = self.parts.stored
        return {name: stored.get(name) for name in stored.names if name != self.network_part}

    def put_encoders_away(self) -> None:
        """They leave memory, and are read from the folder again when they are needed."""
        self.parts.stored.put_away(but=self.network_part)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @classmethod
    def read_lora(cls, folder: Path, spec: str | Path) -> LoraFile:
        """What the LoRA would do to the transformer of the folder; loads no weights but those of the LoRA.

        Raises: WeightsError when it does not fit in full, or changes no layer.
        """
        return cls._read_lora(cls.empty_network(folder), spec)

    @classmethod
    def _read_lora(cls, network: torch.nn.Module, spec: str | Path) -> LoraFile:
        layers = layer_shapes(network)
        return read_lora(spec, layers=layers, find=cls.names(layers))

    def add_lora(self, spec: str | Path, *, name: str) -> None:
        """The transformer carries the LoRA as the frozen, active adapter `name`; docs/loras.md lists the layouts."""
        add_changes(self.network, self._read_lora(self.network, spec).changes, name=name)

    @property
    def device(self) -> torch.device:
        """Where it computes: where parts are read onto, or what `runs_on` said."""
        return self._device or self.parts.device

    def runs_on(self, device: torch.device) -> None:
        """From now on inputs go to `device`, wherever the weights wait."""
        self._device = device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of text embeddings and latents."""
        return self.parts.dtype

    def grid(self, *, size: int | None = None, width: int | None = None) -> TokenGrid:
        """The token grid of a picture `size` px high and `width` px wide (square by default).

        Raises: ConfigError when a side is not a positive multiple of the token's pixels.
        """
        height, patch_px = self.settings.size if size is None else size, self.facts.px_per_token
        sides = (height, height if width is None else width)
        if any(side < patch_px or side % patch_px for side in sides):
            raise ConfigError(f"size: expected multiples of {patch_px} px, got {sides}; round them.")
        return TokenGrid(sides[0] // patch_px, sides[1] // patch_px)

    def require_few(self, references: Sequence[Image]) -> None:
        """Raises: DataError for more references than the model takes."""
        if len(references) > (most := self.facts.max_references):
            raise DataError(f"references: expected at most {most}, got {len(references)}; leave some out.")

    # pixels ------------------------------------------------------------------------------------------------------

    def encode_exactly(self) -> None:
        """The VAE computes in fp32 from now on."""
        self.parts.stored.always("vae", lambda vae: vae.float())

    @torch.no_grad()
    def to_images(self, latents: Float[Tensor, "B C h w"]) -> list[Image]:
        """Decoded RGB pictures, rounded as diffusers rounds.

        Raises: WeightsError when the pixels are not finite; rounded, they would be a black picture.
        """
        pixels = self.decode(latents)
        if not pixels.isfinite().all():
            wanted = f"{self.parts.folder}: expected finite pixels, got NaN or infinity from the model"
            causes = "a file of it or of an adapter may be damaged, or its numbers too large for the dtype"
            raise WeightsError(f"{wanted} ({causes}); download it again, or try --dtype float32 or bfloat16.")
        processor = VaeImageProcessor(vae_scale_factor=self.facts.px_per_token)
        images: Any = processor.postprocess(pixels, output_type="pil")  # typed as one picture
        return images

    # sampling ----------------------------------------------------------------------------------------------------

    def initial_noise(self, seeds: Sequence[int], *, grid: TokenGrid) -> Float[Tensor, "B C h w"]:
        """Noise of one CPU generator per seed, so that neither device nor batch changes it; as diffusers draws."""
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        shape = (len(seeds), *self.noise_shape(grid))
        return randn_tensor(shape, generator=generators, device=self.device, dtype=self.dtype)

    def stack(self, tensors: Iterable[Tensor]) -> Tensor:
        """The tensors as rows on the network's device. Raises: DataError where they are of several shapes."""
        rows = list(tensors)
        if len(shapes := sorted({tuple(row.shape) for row in rows})) > 1:
            wanted = "collate: expected samples of one shape (a word with layers makes its text longer)"
            raise DataError(f"{wanted}, got {' and '.join(map(str, shapes))}; draw them apart.")
        return torch.stack(rows).to(self.device)
