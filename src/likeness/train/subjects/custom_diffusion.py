"""Custom Diffusion: keys and values of cross-attention and a modifier token for each of one or several subjects.

Source: Kumari et al. (arXiv:2212.04488): section 3.1, "photo of a V* [class]", a regularisation set of 200 pictures,
learning rate 1e-5 x batch of 8, 250 steps for one subject and 500 for two.
Differs: class pictures are drawn by the model, as the paper's ablation has it, unless a folder is given (the paper
retrieves real ones); photos are not scaled at random.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal  # Any: JSON

from pydantic import BeforeValidator, Field
from torch import nn

from likeness.backbones.sdxl.concept import save_keys_values, save_words
from likeness.core.errors import ConfigError
from likeness.core.rows import list_of_one
from likeness.core.spec import Spec
from likeness.train.config import BaseTable
from likeness.train.subjects.photos import ClassTable
from likeness.train.subjects.task import PriorObjective, SubjectTask
from likeness.train.subjects.words import Sdxl, new_words
from likeness.train.trainable.weights import TunedWeights


class ModifierTable(BaseTable):
    """`initial_words`: the known word that each modifier token begins as, rare ones in the paper; else the class's."""

    initial_words: Annotated[list[str], BeforeValidator(list_of_one)] = Field(default_factory=list[str])


class CustomDiffusion(PriorObjective):
    """As a `PriorObjective`, in the paper's words."""

    kind: Literal["custom_diffusion"] = "custom_diffusion"
    prompt: str = "photo of a {}"


class CustomDiffusionTask(SubjectTask):
    """One subject or several, learnt together."""

    model: ClassVar[type[BaseTable]] = ModifierTable
    data: ClassVar[type[Spec]] = ClassTable
    objectives: ClassVar[Mapping[str, Callable[[], type[Spec]]]] = {"custom_diffusion": lambda: CustomDiffusion}
    label: ClassVar[str] = "Custom Diffusion"

    def make_trainable(self, network: Sdxl, /) -> TunedWeights:
        """Rows of the tokens, then to_k and to_v of all cross-attention. Raises: ConfigError, WeightsError."""
        table, tokens = self.config.model, [subject.token for subject in self.subjects]
        assert isinstance(table, ModifierTable), "the table was checked"
        initial = table.initial_words or [subject.class_word for subject in self.subjects]
        if len(initial) != len(tokens):
            wanted = f"model.initial_words: expected one for each of {len(tokens)} subjects, got {len(initial)}"
            raise ConfigError(f"{wanted}; correct it.")
        if self.config.train.gradient_checkpointing:
            network.network.enable_gradient_checkpointing()
        rows = new_words(network, tokens, initial_words=initial, num_vectors=1)

        def save(folder: Path, /, *, metadata: Mapping[str, Any]) -> None:
            save_words(folder, network.words.rows, metadata=metadata)
            save_keys_values(folder, network.network, metadata=metadata)

        return TunedWeights({**rows, **keys_values(network.network)}, save=save)


def keys_values(unet: Any) -> dict[str, nn.Parameter]:
    """to_k and to_v of every cross-attention of a U-Net, by their names."""
    found: dict[str, nn.Parameter] = {}
    for name in unet.attn_processors:
        place = name.removesuffix(".processor")
        attention = unet.get_submodule(place)
        if attention.is_cross_attention:
            found |= {f"{place}.{layer}.weight": getattr(attention, layer).weight for layer in ("to_k", "to_v")}
    return found
