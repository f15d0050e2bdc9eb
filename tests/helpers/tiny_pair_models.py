"""A recipe of pairs from models whose every model is a tiny random one of the true class, and the folders of those.

As a program one run of it, to be killed: tiny_pair_models.py RECIPE OUT.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxFillPipeline, FluxPipeline, FluxTransformer2DModel
from tiny_encoders import write_grounding_dino, write_qwen_vl, write_sam2

from likeness.core.files import write_json
from likeness.pretrain.tiny_flux import build_tiny_flux

WORDS = ["a photo of a cat and a dog with a red collar and black ears on the beach in the snow plain grey background"]
SMALL: dict[str, Any] = {
    "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 32, "num_attention_heads": 2,
    "joint_attention_dim": 32, "pooled_projection_dim": 32, "axes_dims_rope": (4, 14, 14),
}  # fmt: skip
SIZES: dict[str, Any] = {
    "size": 96, "reference_size_single": 64, "reference_size_multi": 64, "default_steps": 2, "max_sequence_length": 32,
}  # fmt: skip


def build_flux(folder: Path) -> Path:
    """A small FluxPipeline folder that draws 96 px in two steps."""
    numbers = {
        "transformer": SMALL,
        "vae": {"block_out_channels": (8, 8, 16, 16), "norm_num_groups": 4},
        "clip": {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "projection_dim": 32},
        "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2},
        "likeness": SIZES,
    }
    return build_tiny_flux(folder, corpus=WORDS, config=numbers)


def build_fill(folder: Path, *, flux: Path) -> Path:
    """A FluxFillPipeline folder of the same small parts: masked latents and mask come in beside the latents."""
    parts: dict[str, Any] = FluxPipeline.from_pretrained(flux).components
    kept = {name: parts[name] for name in ("scheduler", "vae", "text_encoder", "tokenizer", "text_encoder_2")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = FluxTransformer2DModel(in_channels=384, out_channels=64, guidance_embeds=True, **SMALL)
    FluxFillPipeline(transformer=network, tokenizer_2=parts["tokenizer_2"], **kept).save_pretrained(folder)
    write_json(folder / "likeness.json", SIZES)
    return folder


def build_vlm(folder: Path) -> Path:
    """A small Qwen2.5-VL whose answers depend on what it sees."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    write_qwen_vl(folder)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(5)
        for name, tensor in model.named_parameters():
            if "norm" not in name:
                tensor.normal_(std=0.35)
    model.save_pretrained(folder)
    return folder


def build_models(folder: Path) -> dict[str, Path]:
    """Every model of the recipe below by what it does."""
    flux = build_flux(folder / "flux")
    return {
        "flux": flux,
        "fill": build_fill(folder / "fill", flux=flux),
        "detector": write_grounding_dino(folder / "detector"),
        "segmenter": write_sam2(folder / "segmenter"),
        "vlm": build_vlm(folder / "vlm"),
    }


def recipe_text(models: dict[str, Path], *, number: int = 16, inpaint: str = "fill", **changes: str) -> str:
    """The recipe, which is loose, since the models know nothing. `changes` replace whole values by their key."""
    fill = 'kind = "fill"\noptions = { steps = 2, guidance = 30.0 }'
    own = 'kind = "backbone"\noptions = { steps = 2 }'
    text = f"""
seed = 0
split = "train"

[records]
number = {number}
subset = "both"
scenes = ["on the beach", "in the snow"]
reference = "a photo of {{subject}} on plain grey background"
target_single = "{{subject}} {{scene}}"
target_multi = "{{subjects}} {{scene}}"
pair_single = "a {{class_name}} {{scene}}"
pair_multi = "{{class_names}} {{scene}}"

[[subjects]]
category = "animal"
class_name = "cat"
phrase = "a cat with black ears"

[[subjects]]
category = "object"
class_name = "dog"
phrase = "a dog with a red collar"

[generate]
model = "{models["flux"]}"
loras = []
dtype = "float32"
options = {{ size = 96, steps = 2 }}
reference_options = {{ size = 64, steps = 2 }}
num_gpus = 1.0
batch_size = 3

[locate]
detector = "{models["detector"]}"
segmenter = "{models["segmenter"]}"
words = "class_name"
threshold = 0.0
second = 1.0
least_area = 0.01
most_area = 0.9
most_overlap = 0.9
num_gpus = 0.5
batch_size = 2

[caption]
model = "{models["vlm"]}"
question = "What is the {{class_name}}?"
max_tokens = 6
num_gpus = 0.5
batch_size = 2

[inpaint]
{fill if inpaint == "fill" else own}
model = "{models["fill" if inpaint == "fill" else "flux"]}"
dtype = "float32"
strength = 1.0
dilation = 4
feather = 2
num_gpus = 1.0
batch_size = 2

[judge]
model = "{models["vlm"]}"
sure = 0.5
doubt = 0.5
least_mass = 0.0
num_gpus = 0.5
batch_size = 4

[gate]
preferred_min = 3
rejected_max = 2
"""
    for key, value in changes.items():
        lines = [f"{key} = {value}" if line.startswith(f"{key} =") else line for line in text.split("\n")]
        text = "\n".join(lines)
    return text


def make(recipe: Path, out: Path, **how: Any) -> Any:
    """One run of the recipe on the CPU."""
    from likeness.data.staged.model_pairs import make_model_pairs
    from likeness.data.staged.recipe import read_recipe
    from likeness.generate.pair_models import recipe_models

    read = read_recipe(recipe)
    painter, inpainter = recipe_models(read, device="cpu")
    return make_model_pairs(read, out=out, painter=painter, inpainter=inpainter, device="cpu", **how)


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))
