"""Words made of a picture (dynamic textual inversion): what they are made by, and the folder that keeps it.

Each of SDXL's two text encoders has a picture encoder of its own. Hidden states of that, at five depths, become five
words: word k is an MLP of the CLS token at depth k plus the mean over the patches of another MLP.
Source: StellarNet (arXiv:2312.06116v1), supplement; ELITE (arXiv:2302.13848) for depths, their order, norm and
activation of the MLPs, and the names of their tensors (design note stellar.md, 6.2). StellarNet itself is unreleased.

Shapes: B pictures, K words of a branch, L tokens of a picture (CLS first), D their width, E width of a word.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self  # Any: JSON of a header

import torch
from jaxtyping import Float
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from likeness.core.errors import WeightsError
from likeness.core.files import atomic_write_bytes, read_json, write_json
from likeness.core.rows import Frozen, readable_mistakes
from likeness.core.weights import check_safetensors

WEIGHTS, CONFIG = "inversion.safetensors", "inversion.json"
"""The MLPs, and how they are used; beside them lies a LoRA in diffusers' layout."""
BRANCHES = ("text_encoder", "text_encoder_2")
"""The text encoders that get words, as their folders are called."""
NUM_DEPTHS, HIDDEN = 5, 1024


def usual_depths(num_layers: int) -> tuple[int, ...]:
    """Hidden states that become words, the last one first: ELITE's 24, 4, 8, 12, 16 of 24, in the same shares.

    Source: ELITE's public code. Decided for the larger encoder, of which the paper says nothing: 48, 8, 16, 24, 32.
    """
    return (num_layers, *(round(num_layers * sixths / 6) for sixths in range(1, NUM_DEPTHS)))


class Branch(Frozen):
    """A picture encoder (its name and hash), which hidden states of it are read, and the widths D and E."""

    encoder: str
    sha256: str
    depths: tuple[int, ...]
    width: int
    word_width: int


class InversionFacts(Frozen):
    """What the words are made by: a branch for each text encoder, and the hidden width and the layers of an MLP.

    `legacy`: the pooled text is read where the prompt would end if each S* were one token, as ELITE's code would.
    """

    kind: Literal["stellarnet", "elite"] = "stellarnet"
    branches: tuple[Branch, Branch]
    hidden: int = HIDDEN
    layers: int = 2
    legacy: bool = False

    @property
    def num_words(self) -> int:
        """K."""
        return len(self.branches[0].depths)


class WordMapper(nn.Module):
    """The MLPs of a branch as ELITE names them: `mapping_k` for the CLS token, `mapping_patch_k` for the patches."""

    def __init__(self, branch: Branch, *, hidden: int, layers: int) -> None:
        super().__init__()
        self.num_words = len(branch.depths)
        for number in range(self.num_words):
            for kind in ("mapping", "mapping_patch"):
                made = _mlp(branch.width, branch.word_width, hidden=hidden, layers=layers)
                self.add_module(f"{kind}_{number}", made)

    def forward(self, states: Sequence[Float[Tensor, "B L D"]]) -> Float[Tensor, "B K E"]:
        """The words of pictures whose hidden states at each depth are given."""
        words = [
            self.get_submodule(f"mapping_{number}")(state[:, 0])
            + self.get_submodule(f"mapping_patch_{number}")(state[:, 1:]).mean(dim=1)
            for number, state in enumerate(states)
        ]
        return torch.stack(words, dim=1)


def _mlp(width: int, out: int, *, hidden: int, layers: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for _ in range(layers - 1):
        parts += [nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.LeakyReLU()]
        width = hidden
    return nn.Sequential(*parts, nn.Linear(width, out))


class PictureWords(nn.Module):
    """The mappers of both branches, named as the text encoders are."""

    def __init__(self, facts: InversionFacts) -> None:
        super().__init__()
        self.facts = facts
        for name, branch in zip(BRANCHES, facts.branches, strict=True):
            self.add_module(name, WordMapper(branch, hidden=facts.hidden, layers=facts.layers))

    @classmethod
    def fresh(cls, facts: InversionFacts, *, init_seed: int) -> Self:
        """Mappers drawn from the seed alone, by torch's usual law."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(init_seed)
            return cls(facts)

    def forward(self, states: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """(B, K, E) for each text encoder, of what each picture encoder saw."""
        return [self.get_submodule(name)(seen) for name, seen in zip(BRANCHES, states, strict=True)]

    def save(self, folder: Path, *, metadata: Mapping[str, Any]) -> None:
        """`folder` holds WEIGHTS and CONFIG, with `metadata` in the latter. Raises: OutputError."""
        tensors = {name: value.detach().float().cpu().contiguous() for name, value in sorted(self.state_dict().items())}
        atomic_write_bytes(folder / WEIGHTS, save(tensors))
        write_json(folder / CONFIG, {**self.facts.model_dump(mode="json"), "made": dict(metadata)})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The frozen mappers of a folder, on the CPU. Raises: WeightsError."""
        facts, path = read_facts(folder), folder / WEIGHTS
        check_safetensors(path)
        with torch.device("meta"):
            made = cls(facts)
        try:
            made.load_state_dict(load_file(path), assign=True)
        except (RuntimeError, SafetensorError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise WeightsError(
                f"{path}: expected the tensors that {CONFIG} tells, got {reason}; train again."
            ) from error
        return made.eval().requires_grad_(False)


def is_inversion(place: Path) -> bool:
    """Whether an adapter's folder makes words of pictures."""
    return place.is_dir() and (place / WEIGHTS).is_file()


def read_facts(folder: Path) -> InversionFacts:
    """CONFIG of a folder. Raises: WeightsError."""
    path = folder / CONFIG
    wanted = f"{path}: expected what `likeness train recipes/stellarnet.toml` wrote"
    if not path.is_file():
        raise WeightsError(f"{wanted}, got no such file; name the folder `inversion` of a run.")
    found = read_json(path)
    try:
        row = {key: value for key, value in found.items() if key != "made"}
        return InversionFacts.model_validate_json(json.dumps(row))
    except (ValidationError, AttributeError) as error:
        reason = readable_mistakes(error) if isinstance(error, ValidationError) else "no JSON object."
        raise WeightsError(f"{wanted}, got {reason} Train again.") from error
