"""Weights in the names of open_clip and of OpenAI's CLIP, as those of transformers' CLIPModel.

Both public formats name their tensors alike; query, key and value stand in one matrix, and the two projections are
applied from the right. What they do not hold is in `ClipHeads`: the number of attention heads, and which GELU.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple  # Any: stock classes

import torch
from torch import Tensor
from transformers import AutoTokenizer, CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from likeness.core.errors import WeightsError
from likeness.core.weights import resolve_processing
from likeness.encoders.base import short_reason

Tensors = Mapping[str, Tensor]

BLOCK = "resblocks."
IN_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
OUTSIDE = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "logit_scale": "logit_scale",
}
TRANSPOSED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
TOWERS = {"visual.transformer.": "vision_model.encoder.layers.", "transformer.": "text_model.encoder.layers."}
NOT_WEIGHTS = ("attn_mask", "context_length", "input_resolution", "vocab_size")
"""Constants that some files carry beside the weights."""


class ClipHeads(NamedTuple):
    """What the tensors of a CLIP do not tell: attention heads of both towers, and the activation.

    `activation` is "quick_gelu" for OpenAI's weights and what was tuned from them, "gelu" for those of open_clip.
    """

    vision: int
    text: int
    activation: str


VIT_L_14 = ClipHeads(vision=16, text=12, activation="quick_gelu")  # OpenAI's
VIT_H_14 = ClipHeads(vision=16, text=16, activation="gelu")  # open_clip's: heads of 80 in the vision tower
VIT_BIG_G_14 = ClipHeads(vision=16, text=20, activation="gelu")  # open_clip's: heads of 104 in the vision tower


def clip_tensors(tensors: Tensors) -> dict[str, Tensor]:
    """The same weights under the names of CLIPModel. Raises: WeightsError for a name that is no CLIP's."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name not in NOT_WEIGHTS:
            found |= _renamed(name, tensor)
    return found


def _renamed(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """One tensor under its new name, or under three where query, key and value are one matrix."""
    if name in OUTSIDE:
        return {OUTSIDE[name]: tensor}
    if name in TRANSPOSED:
        return {TRANSPOSED[name]: tensor.T.contiguous()}
    tower = next((tower for tower in TOWERS if name.startswith(tower + BLOCK)), None)
    if tower is not None:
        number, _, inner = name.removeprefix(tower + BLOCK).partition(".")
        return _in_block(f"{TOWERS[tower]}{number}.", inner, tensor) or _unknown(name)
    return _unknown(name)


def _in_block(place: str, inner: str, tensor: Tensor) -> dict[str, Tensor]:
    module, _, kind = inner.rpartition(".")
    if module in IN_BLOCK:
        return {f"{place}{IN_BLOCK[module]}.{kind}": tensor}
    if inner in ("attn.in_proj_weight", "attn.in_proj_bias"):
        kind = inner.removeprefix("attn.in_proj_")
        parts = zip("qkv", tensor.chunk(3), strict=True)
        return {f"{place}self_attn.{part}_proj.{kind}": each.contiguous() for part, each in parts}
    return {}


def _unknown(name: str) -> dict[str, Tensor]:
    raise WeightsError(f"CLIP weights: expected the names of open_clip, got a tensor {name}; give another file.")


def clip_config(tensors: Tensors, *, heads: ClipHeads) -> CLIPConfig:
    """The architecture of the weights, under open_clip's names. Raises: WeightsError when one that tells it is absent.

    Beginning and end of a text are the last two tokens of the vocabulary, as in every public CLIP.
    """
    with _told(tensors):
        vocabulary = tensors["token_embedding.weight"].shape[0]
        embedding: int = tensors["text_projection"].shape[1]
        text = _tower(tensors, "transformer.", heads=heads.text) | {
            "hidden_act": heads.activation,
            "projection_dim": embedding,
            "vocab_size": vocabulary,
            "max_position_embeddings": tensors["positional_embedding"].shape[0],
            "bos_token_id": vocabulary - 2,
            "eos_token_id": vocabulary - 1,
            "pad_token_id": vocabulary - 1,
        }
        return CLIPConfig(vision_config=_vision(tensors, heads), text_config=text, projection_dim=embedding)


@contextmanager
def _told(tensors: Tensors) -> Generator[None]:
    """Raises: WeightsError naming a tensor that was looked for and is absent."""
    try:
        yield
    except KeyError as error:
        what = f"expected a tensor {error.args[0]}, got {len(tensors)} others"
        raise WeightsError(f"CLIP weights: {what}; give a file of open_clip or OpenAI's CLIP.") from None


def _vision(tensors: Tensors, heads: ClipHeads) -> dict[str, Any]:
    patches, conv = tensors["visual.positional_embedding"].shape[0] - 1, tensors["visual.conv1.weight"]
    return _tower(tensors, "visual.transformer.", heads=heads.vision) | {
        "hidden_act": heads.activation,
        "projection_dim": tensors["visual.proj"].shape[1],
        "patch_size": conv.shape[-1],
        "image_size": round(patches**0.5) * conv.shape[-1],
    }


def _tower(tensors: Tensors, tower: str, *, heads: int) -> dict[str, object]:
    blocks = {name.removeprefix(tower + BLOCK).partition(".")[0] for name in tensors if name.startswith(tower + BLOCK)}
    middle, width = tensors[f"{tower}{BLOCK}0.mlp.c_fc.weight"].shape
    return {
        "hidden_size": width,
        "intermediate_size": middle,
        "num_hidden_layers": len(blocks),
        "num_attention_heads": heads,
    }


def write_clip(tensors: Tensors, *, folder: Path, heads: ClipHeads, base: str) -> None:
    """`folder` is a stock CLIP folder of weights under open_clip's names, with the tokenizer of `base`.

    Its preprocessing is that of every public CLIP: short side to 224 (bicubic), centre crop, CLIP's mean and std.
    Raises: WeightsError for other tensors than a CLIP's.
    """
    config = clip_config(tensors, heads=heads)
    tokenizer = AutoTokenizer.from_pretrained(resolve_processing(base), local_files_only=True)
    write_model(CLIPModel, config, clip_tensors(tensors), folder=folder)
    write_preprocessing(config.vision_config, folder=folder)
    tokenizer.save_pretrained(folder)


def write_vision_tower(tensors: Tensors, *, folder: Path, heads: ClipHeads) -> None:
    """`folder` is a stock CLIPVisionModelWithProjection with its preprocessing, of the picture tower of these weights.

    `tensors` have open_clip's names and may be a whole CLIP's: its text tower is left. Raises: WeightsError for other
    tensors than a CLIP's.
    """
    named = clip_tensors(tensors)
    own = {name: named[name] for name in named if name.startswith(("vision_model.", "visual_projection."))}
    with _told(tensors):
        config = CLIPVisionConfig(**_vision(tensors, heads))
    write_model(CLIPVisionModelWithProjection, config, own, folder=folder)
    write_preprocessing(config, folder=folder)


def write_preprocessing(vision: Any, *, folder: Path) -> None:
    """`folder` gets the preprocessor config of every public CLIP, for pictures of the size in the tower's config."""
    size = int(vision.image_size)
    crop = {"height": size, "width": size}
    CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size=crop).save_pretrained(folder)


def write_model(kind: Any, config: Any, tensors: Tensors, *, folder: Path, **options: Any) -> None:
    """`folder` holds exactly these weights as a stock model. Raises: WeightsError when some are absent or too many."""
    with torch.device("meta"):
        model = kind(config, **options)
    try:
        model.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        what = f"{kind.__name__}: expected all its tensors and no others, got {short_reason(error)}"
        raise WeightsError(f"{what}; give another file.") from error
    model.save_pretrained(folder)
