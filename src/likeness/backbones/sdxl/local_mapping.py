"""ELITE's local mapping: tokens of a subject's patches, read by each cross-attention beside the text.

    out = attention(Q, K, V) + scale * A_w / max(A_w) * attention(Q, K_l, V_l)

K and V are those of the text, K_l and V_l are made of the patches by matrices of the layer's own, and A_w is what each
place gives to the word that stands for the subject. A token of a patch is the mean over depths of an MLP of the CLS
token plus another of the patch; outside the subject's mask tokens are 0.
Source: ELITE (arXiv:2302.13848), its public code for the sum, the names of tensors and where matrices begin.
Differs: the maximum of A_w is that of a picture, over its heads and places, and not of the batch.

Shapes: B pictures, P patches, D width of a hidden state, E width of the text, Q queries of a layer, C their width.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self  # Any: JSON; blocks of a UNet2DConditionModel

import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from likeness.backbones.lora import write_tensors
from likeness.backbones.sdxl.image_attention import in_heads
from likeness.backbones.sdxl.picture_words import InversionFacts, WordMapper
from likeness.backbones.sdxl.watch import watched_blocks
from likeness.core.errors import WeightsError
from likeness.core.weights import check_safetensors

LOCAL = "local.safetensors"
"""The mapping's file, beside the mappers of words."""


class LocalMapper(WordMapper):
    """The MLPs of a branch, giving a token for each patch."""

    def forward(self, states: Sequence[Float[Tensor, "B L D"]]) -> Float[Tensor, "B P E"]:
        """The tokens of pictures whose hidden states at each depth are given."""
        each = [
            self.get_submodule(f"mapping_{number}")(state[:, :1])
            + self.get_submodule(f"mapping_patch_{number}")(state[:, 1:])
            for number, state in enumerate(states)
        ]
        return torch.stack(each).mean(dim=0)


class LocalMapping(nn.Module):
    """`mapper`, which reads the first branch of `facts`, and to_k and to_v of every cross-attention of a U-Net.

    Tensors are named as in ELITE's code, behind `mapper.` those of the mapper.
    """

    def __init__(self, facts: InversionFacts, unet: Any) -> None:
        super().__init__()
        branch = facts.branches[0].model_copy(update={"word_width": unet.config.cross_attention_dim})
        self.mapper = LocalMapper(branch, hidden=facts.hidden, layers=facts.layers)
        for name, block in watched_blocks(unet).items():
            for layer in ("to_k", "to_v"):
                own = getattr(block.attn2, layer)
                self.add_module(_name(name, layer), nn.Linear(own.in_features, own.out_features, bias=False))

    @classmethod
    def fresh(cls, facts: InversionFacts, unet: Any, *, init_seed: int) -> Self:
        """A mapper drawn from the seed alone, and the U-Net's own keys and values."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(init_seed)
            made = cls(facts, unet)
        for name, block in watched_blocks(unet).items():
            for layer, own in zip((block.attn2.to_k, block.attn2.to_v), made.pair_of(name), strict=True):
                own.weight.data = layer.weight.detach().to("cpu", torch.float32, copy=True)
        return made

    @classmethod
    def load(cls, folder: Path, facts: InversionFacts, unet: Any) -> Self:
        """The frozen mapping of a folder, on the CPU. Raises: WeightsError for damage or another U-Net's."""
        path = folder / LOCAL
        check_safetensors(path)
        with torch.device("meta"):
            made = cls(facts, unet)
        try:
            made.load_state_dict(load_file(path), assign=True)
        except (RuntimeError, SafetensorError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            wanted = f"{path}: expected the local mapping of this model and of the words beside it"
            raise WeightsError(f"{wanted}, got {reason}; name the model that it was trained on.") from error
        return made.eval().requires_grad_(False)

    def save(self, folder: Path, *, metadata: Mapping[str, Any]) -> None:
        """`folder` holds LOCAL, with `metadata` in its header. Raises: OutputError."""
        tensors = {name: value.detach().float().cpu().contiguous() for name, value in sorted(self.state_dict().items())}
        write_tensors(folder / LOCAL, tensors, metadata=metadata)

    def forward(self, states: Sequence[Float[Tensor, "B L D"]], mask: Bool[Tensor, "B P"]) -> Float[Tensor, "B P E"]:
        """The tokens of the subject's patches; the others are 0."""
        return self.mapper(states) * mask[..., None]

    def pair_of(self, block: str) -> tuple[nn.Module, nn.Module]:
        """to_k and to_v of a block of the U-Net."""
        return self.get_submodule(_name(block, "to_k")), self.get_submodule(_name(block, "to_v"))

    def value_size(self, tokens: Float[Tensor, "B P E"]) -> Float[Tensor, " B"]:
        """Mean absolute value of a picture's local values, and of those the mean over layers."""
        values = [module(tokens).float() for name, module in self.named_children() if name.endswith("to_v")]
        return torch.stack([each.abs().mean(dim=(1, 2)) for each in values]).mean(dim=0)


def _name(block: str, layer: str) -> str:
    return f"{block}.attn2".replace(".", "_") + f"_{layer}"


class Local(NamedTuple):
    """What the layers read: tokens, which columns of the text are the subject's word, and the scale (lambda)."""

    tokens: Float[Tensor, "B P E"]
    columns: Bool[Tensor, "B T"]
    scale: float = 1.0


class LocalAttention:
    """The local attention of a U-Net, which from now on adds what `told` says in each pass; None: nothing.

    It stays in force after a pass, for layers that checkpointing runs again.
    """

    def __init__(self, unet: Any, mapping: LocalMapping) -> None:
        self.told: Local | None = None
        self._seen: dict[str, dict[str, Tensor]] = {}
        for name, block in watched_blocks(unet).items():
            attention = block.attn2
            for layer in ("to_q", "to_k"):
                getattr(attention, layer).register_forward_hook(self._keep(name, layer))
            attention.to_out[0].register_forward_pre_hook(self._add(name, attention, *mapping.pair_of(name)))

    def _keep(self, name: str, layer: str) -> Callable[[Any, Any, Tensor], None]:
        def hook(_module: Any, _args: Any, output: Tensor) -> None:
            if self.told is not None:
                self._seen.setdefault(name, {})[layer] = output

        return hook

    def _add(self, name: str, attention: Any, to_k: nn.Module, to_v: nn.Module) -> Callable[[Any, Any], Any]:
        def hook(_module: Any, args: tuple[Tensor]) -> tuple[Tensor] | None:
            if self.told is None:
                return None
            tokens, columns, scale = self.told
            seen = self._seen.pop(name)
            query, text = (in_heads(attention, seen[layer]) for layer in ("to_q", "to_k"))
            key, value = (in_heads(attention, layer(tokens).to(query.dtype)) for layer in (to_k, to_v))
            found = local_attention(query, text, key, value, columns=columns.to(query.device))
            return (args[0] + scale * found.transpose(1, 2).flatten(2).to(args[0].dtype),)

        return hook


def local_attention(
    query: Float[Tensor, "B heads Q c"],
    text: Float[Tensor, "B heads T c"],
    key: Float[Tensor, "B heads P c"],
    value: Float[Tensor, "B heads P c"],
    *,
    columns: Bool[Tensor, "B T"],
) -> Float[Tensor, "B heads Q c"]:
    """A_w / max(A_w) * attention(Q, K_l, V_l), `text` being the text's keys; 0 where no column is a word."""
    logits = (query @ text.mT).float() / query.shape[-1] ** 0.5
    focus = (logits.softmax(dim=-1) * columns[:, None, None].float()).sum(dim=-1)
    focus = focus / focus.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    return functional.scaled_dot_product_attention(query, key, value) * focus[..., None].to(query.dtype)
