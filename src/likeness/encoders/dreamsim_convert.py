"""DreamSim's published files as three stock models, the adapter merged into them.

Source: the ensemble of release v0.2.0-checkpoints of github.com/ssundaram21/dreamsim, as its package 0.2.1 reads it.
Both CLIPs come under the names of DINO's ViT: query, key and value in one matrix, a norm where DINO has a dropout
(`pos_drop`), and a projection applied from the right. One adapter of peft changes that one matrix in every block of
all three networks. DINO itself is not in the archive: the package takes it from torch.hub.
Differs: the adapter is added to the weights once, in float64, instead of at every pass. dino_vitb16_pretrain.pth is
not read: the package takes a projection head from it, which no feature of the ensemble goes through.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast  # Any: stock classes, JSON

from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, ViTConfig, ViTModel

from likeness.core.errors import DataError, WeightsError
from likeness.core.files import read_json
from likeness.core.weights import resolve_weights
from likeness.encoders.base import load_whole, short_reason
from likeness.encoders.checkpoint import read_checkpoint
from likeness.encoders.open_clip import write_model

Tensors = Mapping[str, Tensor]

HEADS = 12
"""Attention heads of all three ViT-B/16, which the tensors do not tell."""
PARTS = ("dino", "clip", "open_clip")
"""In the order of the ensemble, by which the adapter numbers them."""
ADAPTER = "ensemble_lora"
DINO_FILE = "dino_vitbase16_pretrain.pth"
"""What DINO's publisher and torch.hub call its weights."""


class Clip(NamedTuple):
    """Where one of the two CLIPs is, and its activation, which the tensors do not tell."""

    file: str
    activation: str


CLIPS = {
    "clip": Clip("clip_vitb16_pretrain.pth.tar", "quick_gelu"),
    "open_clip": Clip("open_clip_vitb16_pretrain.pth.tar", "gelu"),
}


class Names(NamedTuple):
    """What a stock class calls the tensors of DINO's ViT; those of a block stand below `blocks` and its number."""

    blocks: str
    attention: str
    inside: Mapping[str, str]
    outside: Mapping[str, str]


VIT = Names(
    blocks="layers.",
    attention="attention",
    inside={
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.proj": "attention.o_proj",
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
    },
    outside={
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
        "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
        "norm.weight": "layernorm.weight",
        "norm.bias": "layernorm.bias",
    },
)
CLIP = Names(
    blocks="vision_model.encoder.layers.",
    attention="self_attn",
    inside={
        "norm1": "layer_norm1",
        "norm2": "layer_norm2",
        "attn.proj": "self_attn.out_proj",
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
    },
    outside={
        "cls_token": "vision_model.embeddings.class_embedding",
        "pos_embed": "vision_model.embeddings.position_embedding.weight",
        "patch_embed.proj.weight": "vision_model.embeddings.patch_embedding.weight",
        "pos_drop.weight": "vision_model.pre_layrnorm.weight",
        "pos_drop.bias": "vision_model.pre_layrnorm.bias",
        "norm.weight": "vision_model.post_layernorm.weight",
        "norm.bias": "vision_model.post_layernorm.bias",
        "proj": "visual_projection.weight",
    },
)


def convert_dreamsim(source: Path, folder: Path, base: str) -> None:
    """`folder` holds the ensemble of the files in `source`, with the DINO of `base`. Raises: WeightsError."""
    write_dreamsim(source, folder=folder, heads=HEADS, base=base)


def write_dreamsim(source: Path, *, folder: Path, heads: int, base: str) -> None:
    """As `convert_dreamsim`, for any number of attention heads."""
    changes = read_adapter(source / ADAPTER)
    networks = {name: clip_tensors(_read(source / clip.file)) for name, clip in CLIPS.items()}
    dino = merged(dino_tensors(base), changes["dino"], names=VIT, part="dino")
    facts = {"dino": _facts(dino, VIT, heads=heads)}
    for part, tensors in networks.items():
        networks[part] = merged(tensors, changes[part], names=CLIP, part=part)
        facts[part] = _facts(networks[part], CLIP, heads=heads)
    if len({each["patch_size"] for each in facts.values()}) > 1:
        got = ", ".join(f"{part} with {each['patch_size']}" for part, each in facts.items())
        raise WeightsError(f"DreamSim: expected patches of one size, got {got} px; pass --base with DINO ViT-B/16.")
    config: Any = ViTConfig(**facts["dino"], layer_norm_eps=1e-6)
    write_model(ViTModel, config, dino, folder=folder / "dino", add_pooling_layer=False)
    for part, tensors in networks.items():
        width = len(tensors[CLIP.outside["proj"]])
        act = CLIPS[part].activation
        config = CLIPVisionConfig(**facts[part], projection_dim=width, hidden_act=act, layer_norm_eps=1e-5)
        write_model(CLIPVisionModelWithProjection, config, tensors, folder=folder / part)


# -- the three networks --------------------------------------------------------------------------------------------
def dino_tensors(base: str) -> dict[str, Tensor]:
    """The weights of DINO by ViTModel's names: a folder or hub id in stock format, or a folder with DINO_FILE.

    Raises: WeightsError when there are none.
    """
    folder = resolve_weights(base)
    if (folder / DINO_FILE).is_file():
        return renamed(read_checkpoint(folder / DINO_FILE), VIT)
    try:
        model = load_whole(ViTModel, folder, device="cpu", add_pooling_layer=False)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        what = f"{base}: expected DINO ViT-B/16 as safetensors (ViTModel) or {DINO_FILE}, got {short_reason(error)}"
        raise WeightsError(f"{what}; pass --base FOLDER.") from error
    return dict(model.state_dict())


def clip_tensors(tensors: Tensors) -> dict[str, Tensor]:
    """A CLIP under the names of DINO's ViT, by those of CLIPVisionModelWithProjection.

    That class has no bias of the patches: it goes into their positions, to which it is added anyway. Raises:
    WeightsError for other tensors.
    """
    named = {name: tensor.detach().float() for name, tensor in tensors.items()}
    try:
        bias = named.pop("patch_embed.proj.bias")
        positions = named["pos_embed"].squeeze(0).clone()
        positions[1:] += bias
        inverted = {"pos_embed": positions, "cls_token": named["cls_token"].reshape(-1), "proj": named["proj"].T}
    except KeyError as error:
        raise _absent(error.args[0]) from None
    return renamed(named | inverted, CLIP)


def renamed(tensors: Tensors, names: Names) -> dict[str, Tensor]:
    """The weights of a ViT under a stock class's names, in float32. Raises: WeightsError for a name that is none."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        found |= _renamed(name, tensor.detach().float().contiguous(), names=names)
    return found


def _renamed(name: str, tensor: Tensor, *, names: Names) -> dict[str, Tensor]:
    """One tensor under its new name, or under three where query, key and value are one matrix."""
    if name in names.outside:
        return {names.outside[name]: tensor}
    inner = re.fullmatch(r"blocks\.(\d+)\.(.+)\.(weight|bias)", name)
    if inner is not None:
        number, module, kind = inner.groups()
        if module == "attn.qkv":
            rows = zip("qkv", tensor.tensor_split(3), strict=True)
            return {_query(names, number, part, kind): each.contiguous() for part, each in rows}
        if module in names.inside:
            return {f"{names.blocks}{number}.{names.inside[module]}.{kind}": tensor}
    raise WeightsError(f"DreamSim: expected the names of DINO's ViT, got a tensor {name}; give the published file.")


def _query(names: Names, number: int | str, part: str, kind: str) -> str:
    return f"{names.blocks}{number}.{names.attention}.{part}_proj.{kind}"


def _absent(name: object) -> WeightsError:
    return WeightsError(f"DreamSim: expected a tensor {name}, got none of that name; give the published file.")


def _facts(tensors: Tensors, names: Names, *, heads: int) -> dict[str, Any]:
    """The architecture that a network's weights, by a stock class's names, tell."""
    try:
        positions, patches = (tensors[names.outside[name]] for name in ("pos_embed", "patch_embed.proj.weight"))
        middle, width = tensors[f"{names.blocks}0.{names.inside['mlp.fc1']}.weight"].shape
    except KeyError as error:
        raise _absent(error.args[0]) from None
    return {
        "hidden_size": width,
        "intermediate_size": middle,
        "num_hidden_layers": len(_blocks(tensors, names)),
        "num_attention_heads": heads,
        "patch_size": patches.shape[-1],
        "image_size": math.isqrt(positions.shape[-2] - 1) * patches.shape[-1],
    }


def _blocks(tensors: Tensors, names: Names) -> set[int]:
    return {int(name.removeprefix(names.blocks).partition(".")[0]) for name in tensors if name.startswith(names.blocks)}


# -- the adapter ---------------------------------------------------------------------------------------------------
_OTHER_SUMS = (
    *("use_rslora", "use_dora", "use_qalora", "lora_bias", "rank_pattern", "alpha_pattern", "modules_to_save"),
    *("enable_lora", "layer_replication", "target_parameters", "trainable_token_indices"),
)
"""Settings of peft by which the weights would not be W + alpha / r * B A, or by which others would change too."""
_CHANGE = re.compile(r"base_model\.model\.extractor_list\.(\d)\.model\.blocks\.(\d+)\.attn\.qkv\.lora_([AB])\.weight")


def read_adapter(folder: Path) -> dict[str, dict[int, Tensor]]:
    """What an adapter of peft adds to the fused weight of each block of each of PARTS: alpha / r * B A, (3 D, D).

    In float64. Raises: WeightsError for settings that peft would sum otherwise, unknown names, and matrices that do not
    fit.
    """
    rank, alpha = _rank_and_alpha(folder / "adapter_config.json")
    files = [folder / f"adapter_model.{end}" for end in ("safetensors", "bin")]
    file = next((file for file in files if file.is_file()), files[0])
    halves: dict[str, dict[int, dict[str, Tensor]]] = {part: {} for part in PARTS}
    for name, tensor in _read(file).items():
        found = _CHANGE.fullmatch(name)
        if found is None or int(found[1]) >= len(PARTS):
            what = f"{file}: expected changes of attn.qkv in the {len(PARTS)} networks, got a tensor {name}"
            raise WeightsError(f"{what}; give the ensemble of v0.2.0-checkpoints.")
        halves[PARTS[int(found[1])]].setdefault(int(found[2]), {})[found[3]] = tensor.double()

    def change(part: str, number: int) -> Tensor:
        return alpha / rank * _product(halves[part][number], rank=rank, where=f"{file}: {part} {number}")

    return {part: {number: change(part, number) for number in blocks} for part, blocks in halves.items()}


def _product(pair: Tensors, *, rank: int, where: str) -> Tensor:
    if set(pair) != {"A", "B"} or (pair["A"].shape[0], pair["B"].shape[-1]) != (rank, rank):
        got = " and ".join(f"lora_{half} {tuple(pair[half].shape)}" for half in sorted(pair))
        raise WeightsError(f"{where}: expected lora_A and lora_B of rank {rank}, got {got}; download it again.")
    return pair["B"] @ pair["A"]


def _rank_and_alpha(file: Path) -> tuple[int, float]:
    """Raises: WeightsError for an adapter of another kind."""
    _require(file)
    try:
        config: object = read_json(file)
    except DataError as error:
        raise WeightsError(str(error)) from error
    settings = cast(dict[str, Any], config) if isinstance(config, dict) else {}
    rank, alpha = settings.get("r"), settings.get("lora_alpha")
    other = [key for key in _OTHER_SUMS if settings.get(key)]
    is_plain = not other and settings.get("peft_type") == "LORA" and settings.get("bias", "none") == "none"
    if isinstance(rank, int) and rank > 0 and isinstance(alpha, int | float) and math.isfinite(alpha) and is_plain:
        return rank, alpha
    shown = {key: settings.get(key) for key in ("peft_type", "bias", "r", "lora_alpha", *other)}
    what = f"{file}: expected a plain LoRA of peft with r and lora_alpha, got {shown}"
    raise WeightsError(f"{what}; give the ensemble of v0.2.0-checkpoints.")


def merged(tensors: Tensors, changes: Mapping[int, Tensor], *, names: Names, part: str) -> dict[str, Tensor]:
    """The weights with each block's change added to its query, key and value, in float32.

    Raises: WeightsError unless there is a change for every block and no other, of its shape.
    """
    blocks = _blocks(tensors, names)
    if set(changes) != blocks:
        got = f"none for {sorted(blocks - changes.keys())} and some for {sorted(changes.keys() - blocks)}"
        what = f"{ADAPTER}: expected a change for each block of {part}, got {got}"
        raise WeightsError(f"{what}; give the ensemble of v0.2.0-checkpoints.")
    found = dict(tensors)
    for number, change in changes.items():
        for letter, rows in zip("qkv", change.tensor_split(3), strict=True):
            name = _query(names, number, letter, "weight")
            if name not in found:
                raise _absent(name)
            if found[name].shape != rows.shape:
                what = f"expected changes of {tuple(found[name].shape)}, got {tuple(rows.shape)}"
                raise WeightsError(f"{ADAPTER}: {part} {number}: {what}; give files of one release, and its DINO.")
            found[name] = (found[name].double() + rows).float()
    return found


def _read(file: Path) -> dict[str, Tensor]:
    _require(file)
    return read_checkpoint(file)


def _require(file: Path) -> None:
    """Raises: WeightsError for a file of the ensemble that is not there."""
    if not file.is_file():
        what = f"{file.name}: expected it in the archive, got none"
        raise WeightsError(f"{what}; give dreamsim_ensemble_checkpoint.zip of v0.2.0-checkpoints, or its folder.")
