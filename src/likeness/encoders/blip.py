"""ImageReward: a BLIP that reads a prompt and looks at a picture at once, and tells how people would like the picture.

Source: Xu et al., "ImageReward" (arXiv:2304.05977), v1.0: the state of the first token of BLIP's text encoder, which
attends to the picture, goes through a linear head and is standardised by the mean and deviation of the training set.
Differs: float32; transformers' BLIP instead of a copy of the original; the head is kept as the affine map that it is.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor
from transformers import AutoTokenizer, BlipTextConfig, BlipVisionConfig, BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from likeness.core.errors import WeightsError
from likeness.core.weights import resolve_processing
from likeness.encoders.affine import head_of, read_head, write_head
from likeness.encoders.base import PixelEncoder, encoder_id, in_batches, load_whole
from likeness.encoders.clip import seen_by
from likeness.encoders.open_clip import write_model, write_preprocessing
from likeness.encoders.reward import PairScore

MEAN, DEVIATION = 0.16717362830052426, 1.0333394966054072
"""Of the head's answers on ImageReward's training set; its published scores are standardised by them."""
MAX_TOKENS = 35
VISION, TEXT = "vision", "text"  # folders inside the encoder's

Tensors = Mapping[str, Tensor]


class ImageRewardEncoder(PixelEncoder):
    """A frozen ImageReward in float32; asked of a picture and a prompt, it answers a score."""

    wanted = ("ImageReward encoder", "a BlipVisionModel, a BlipTextModel, head.safetensors and a tokenizer")
    answer: ClassVar[Any] = PairScore

    def __init__(self, folder: Path, *, device: str, spec: str | Path) -> None:
        self.vision: BlipVisionModel = load_whole(BlipVisionModel, folder / VISION, device=device)
        self.text: BlipTextModel = load_whole(BlipTextModel, folder / TEXT, device=device, add_pooling_layer=False)
        self.processor = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.head = read_head(folder, width=self.text.config.hidden_size)
        self.device = device
        seen = f"{seen_by(self.processor)}, texts of {MAX_TOKENS} tokens"
        self.id = encoder_id("image_reward", spec=spec, folder=folder, preprocessing=seen)

    @torch.inference_mode()
    def ask(self, images: Sequence[Image.Image], texts: Sequence[str]) -> list[PairScore]:
        """The score of each picture for its text, independent of the other pairs."""
        distinct = {id(image): image for image in images}
        pixels = [self.pixel_values(image) for image in distinct.values()]
        seen = in_batches(pixels, self._look, device=self.device)
        place = {key: index for index, key in enumerate(distinct)}
        states = self._states(texts, seen=[seen[place[id(image)]] for image in images])
        rewards = (self.head(states) - MEAN) / DEVIATION
        return [PairScore(float(reward), self._is_longer(text)) for reward, text in zip(rewards, texts, strict=True)]

    def _look(self, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B N D"]:
        return self.vision(pixel_values=pixels).last_hidden_state

    def _is_longer(self, text: str) -> bool:
        return len(self.tokenizer(text, verbose=False)["input_ids"]) > MAX_TOKENS

    def _states(self, texts: Sequence[str], *, seen: Sequence[np.ndarray]) -> Float[np.ndarray, "N D"]:
        """The state of each text's first token, having attended to its picture."""
        tokens = self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=MAX_TOKENS, return_tensors="np"
        )
        ids, valid = tokens["input_ids"], tokens["attention_mask"]

        def read(rows: Int[Tensor, " B"]) -> Float[Tensor, "B D"]:
            chosen = rows.tolist()
            pictures = torch.from_numpy(np.stack([seen[row] for row in chosen])).to(self.device)
            outputs: Any = self.text(  # typed as a record or a tuple
                input_ids=torch.from_numpy(ids[chosen]).to(self.device),
                attention_mask=torch.from_numpy(valid[chosen]).to(self.device),
                encoder_hidden_states=pictures,
                encoder_attention_mask=torch.ones(pictures.shape[:-1], dtype=torch.long, device=self.device),
                is_decoder=False,
            )
            return outputs.last_hidden_state[:, 0]

        return in_batches([np.array(row) for row in range(len(texts))], read, device=self.device)


# -- from the published file ---------------------------------------------------------------------------------------
class BlipHeads(NamedTuple):
    """Attention heads of both towers, which the tensors do not tell."""

    vision: int
    text: int


IMAGE_REWARD = BlipHeads(vision=16, text=12)

VISUAL, TEXTUAL, HEAD = "blip.visual_encoder.", "blip.text_encoder.", "mlp.layers."
DROPPED = ("blip.itm_head.", "blip.vision_proj.", "blip.text_proj.", f"{TEXTUAL}embeddings.position_ids")
"""Of BLIP's other tasks, and a constant."""
IN_VISION = {
    "cls_token": "embeddings.class_embedding",
    "pos_embed": "embeddings.position_embedding",
    "patch_embed.proj.weight": "embeddings.patch_embedding.weight",
    "patch_embed.proj.bias": "embeddings.patch_embedding.bias",
    "norm.weight": "post_layernorm.weight",
    "norm.bias": "post_layernorm.bias",
}
IN_BLOCK = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.qkv": "self_attn.qkv",
    "attn.proj": "self_attn.projection",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def convert_image_reward(tensors: Tensors, folder: Path, base: str) -> None:
    """`folder` holds the ImageReward of these tensors, with the tokenizer of `base`. Raises: WeightsError."""
    write_image_reward(tensors, folder=folder, heads=IMAGE_REWARD, base=base)


def write_image_reward(tensors: Tensors, *, folder: Path, heads: BlipHeads, base: str) -> None:
    """As `convert_image_reward`, for any number of attention heads."""
    vision, text, rest = split_tensors(tensors)
    vision_config, text_config = blip_configs(vision, text, heads=heads)
    write_model(BlipVisionModel, vision_config, vision, folder=folder / VISION)
    write_model(BlipTextModel, text_config, text, folder=folder / TEXT, add_pooling_layer=False)
    write_head(head_of({name: tensor.double().numpy() for name, tensor in rest.items()}, prefix=HEAD), folder=folder)
    AutoTokenizer.from_pretrained(resolve_processing(base), local_files_only=True).save_pretrained(folder)
    write_preprocessing(vision_config, folder=folder)


def split_tensors(tensors: Tensors) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """What BlipVisionModel, BlipTextModel and the head get, by their names. Raises: WeightsError for other tensors."""
    vision: dict[str, Tensor] = {}
    text: dict[str, Tensor] = {}
    head: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith(DROPPED):
            continue
        if name.startswith(VISUAL):
            vision[_vision_name(name.removeprefix(VISUAL))] = tensor
        elif name.startswith(TEXTUAL):
            text[name.removeprefix(TEXTUAL)] = tensor
        elif name.startswith(HEAD):
            head[name] = tensor
        else:
            raise _foreign(name)
    return vision, text, head


def _vision_name(name: str) -> str:
    if name in IN_VISION:
        return IN_VISION[name]
    block, _, inner = name.removeprefix("blocks.").partition(".")
    module, _, kind = inner.rpartition(".")
    if name.startswith("blocks.") and module in IN_BLOCK:
        return f"encoder.layers.{block}.{IN_BLOCK[module]}.{kind}"
    raise _foreign(VISUAL + name)


def _foreign(name: str) -> WeightsError:
    return WeightsError(f"ImageReward: expected the names of ImageReward.pt, got a tensor {name}; give another file.")


def blip_configs(vision: Tensors, text: Tensors, *, heads: BlipHeads) -> tuple[BlipVisionConfig, BlipTextConfig]:
    """The architectures of both parts. Raises: WeightsError when a tensor that tells it is absent.

    The vision tower's normalisations have eps 1e-6, as in timm, unlike those of the class's default.
    """
    try:
        return _vision_config(vision, heads=heads.vision), _text_config(text, heads=heads.text)
    except KeyError as error:
        what = f"expected a tensor {error.args[0]}, got none of that name"
        raise WeightsError(f"ImageReward: {what}; give another file.") from None


def _vision_config(tensors: Tensors, *, heads: int) -> BlipVisionConfig:
    patch = tensors["embeddings.patch_embedding.weight"].shape[-1]
    middle, width = tensors["encoder.layers.0.mlp.fc1.weight"].shape
    return BlipVisionConfig(
        hidden_size=width,
        intermediate_size=middle,
        num_hidden_layers=_layers(tensors, "encoder.layers."),
        num_attention_heads=heads,
        image_size=round((tensors["embeddings.position_embedding"].shape[1] - 1) ** 0.5) * patch,
        patch_size=patch,
        layer_norm_eps=1e-6,
    )


def _text_config(tensors: Tensors, *, heads: int) -> BlipTextConfig:
    vocabulary, width = tensors["embeddings.word_embeddings.weight"].shape
    return BlipTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        encoder_hidden_size=tensors["encoder.layer.0.crossattention.self.key.weight"].shape[1],
        intermediate_size=tensors["encoder.layer.0.intermediate.dense.weight"].shape[0],
        num_hidden_layers=_layers(tensors, "encoder.layer."),
        num_attention_heads=heads,
        max_position_embeddings=tensors["embeddings.position_embeddings.weight"].shape[0],
    )


def _layers(tensors: Tensors, prefix: str) -> int:
    return len({name.removeprefix(prefix).partition(".")[0] for name in tensors if name.startswith(prefix)})
