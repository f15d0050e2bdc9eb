"""DreamBooth: the U-Net learns one subject under a rare token, and keeps its class by its own pictures of that.

Source: Ruiz et al. (arXiv:2208.12242): equation 2, "a [token] [class]", about 1,000 steps at 5e-6 for Stable Diffusion
and as many class pictures; LoRA as in diffusers' SDXL script (rank 4, learning rate 1e-4, attention).
Differs: text encoders stay frozen; times count alike.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal  # Any: conditions of either SDXL; JSON

import torch
from pydantic import Field

from likeness.backbones.lora import write_tensors
from likeness.core.files import atomic_write_bytes
from likeness.core.rng import seed_for
from likeness.core.spec import Spec
from likeness.train.config import BaseTable, TrainConfig
from likeness.train.subjects.photos import ClassTable
from likeness.train.subjects.task import PriorObjective, SubjectTask, require_one
from likeness.train.subjects.words import Sdxl
from likeness.train.task import Trainable
from likeness.train.trainable.lora import LoraAdapter
from likeness.train.trainable.weights import TunedWeights

TARGETS = r".*attn[12]\.(to_[qkv]|to_out\.0)"
"""Self- and cross-attention, without what reads references."""
UNET_NAME = "diffusion_pytorch_model.safetensors"


class TunedTable(BaseTable):
    """`tune`: a "lora" of `rank` and `alpha` on attention, or the whole "unet"."""

    tune: Literal["lora", "unet"] = "lora"
    rank: int = Field(default=4, ge=1, le=4096)
    alpha: float = Field(default=4.0, gt=0)


class DreamBooth(PriorObjective):
    """As a `PriorObjective`, in the paper's words."""

    kind: Literal["dreambooth"] = "dreambooth"
    prompt: str = "a {}"


class DreamBoothTask(SubjectTask):
    """One subject."""

    model: ClassVar[type[BaseTable]] = TunedTable
    data: ClassVar[type[Spec]] = ClassTable
    objectives: ClassVar[Mapping[str, Callable[[], type[Spec]]]] = {"dreambooth": lambda: DreamBooth}
    label: ClassVar[str] = "DreamBooth"

    def __init__(self, config: TrainConfig, *, model: Path, precision: torch.dtype) -> None:
        assert isinstance(config.model, TunedTable), "the table was checked"
        self.tuned = config.model
        self.draws_samples = self.tuned.tune == "lora"
        self.product = self.tuned.tune
        super().__init__(config, model=model, precision=precision)
        require_one(self.subjects)
        self._told: dict[str, dict[str, torch.Tensor]] = {}

    def prepare(self, backbone: Sdxl, **others: Any) -> None:
        """As of a `SubjectTask`; the two prompts are encoded, since no text encoder changes."""
        super().prepare(backbone, **others)
        for subject in self.subjects:
            for prompt in (self.prompt(subject, seed=0), self.class_prompt(subject)):
                self._told[prompt] = {name: tensor.cpu() for name, tensor in backbone.prepare(prompt).items()}

    def condition(self, prompts: Sequence[str], *, backbone: Sdxl) -> Any:
        """As encoded before the training."""
        return backbone.collate([self._told[prompt] for prompt in prompts])

    def make_trainable(self, network: Sdxl, /) -> Trainable:
        """The new LoRA, or all weights of the U-Net but those that read references."""
        unet: Any = network.network
        if self.config.train.gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        if self.tuned.tune == "lora":
            seed = seed_for(self.config.train.seed, "adapter")
            return LoraAdapter(network, rank=self.tuned.rank, alpha=self.tuned.alpha, init_seed=seed, targets=TARGETS)
        own = {name: p for name, p in unet.named_parameters() if not _reads_references(name)}

        def save(folder: Path, /, *, metadata: Mapping[str, Any]) -> None:
            config = self.folder / "unet" / "config.json"
            atomic_write_bytes(folder / config.name, config.read_bytes())
            write_tensors(folder / UNET_NAME, own, metadata=metadata)

        return TunedWeights(own, save=save)


def _reads_references(name: str) -> bool:
    """Whether a parameter is of an adapter for references, which is no part of the stock U-Net."""
    return ".processor." in name or name.startswith("encoder_hid_proj.")
