"""A complete SDXL pipeline folder with an IP-Adapter-Plus, small enough for one CPU core and stock in every file.

`StableDiffusionXLPipeline.from_pretrained(folder)` opens it like SDXL, and
`pipe.load_ip_adapter(folder, subfolder="ip_adapter", weight_name=ADAPTER, image_encoder_folder=None)` adds the adapter.
The embedded CLIP is its image encoder and its second text encoder, and it has the embedded FLUX's latents.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likeness.core.files import replaced_folder, write_json
from likeness.pretrain.adapter_format import fresh_adapter

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPVisionModelWithProjection

ADAPTER = "ip-adapter-plus_tiny.safetensors"
TEXT_LENGTH = 40  # tokens; the world's longest sentence has 30

Numbers = Mapping[str, Any]  # keyword arguments of a stock config: their types are the config's affair

_HEAD = 32
_TIME_WIDTH = 32  # of each of the six numbers that SDXL is told of the picture's size and cut
_UNET: Numbers = {
    "layers_per_block": 1, "sample_size": 16, "in_channels": 16, "out_channels": 16, "use_linear_projection": True,
    "addition_embed_type": "text_time", "addition_time_embed_dim": _TIME_WIDTH,
}  # fmt: skip
_TEXT: Numbers = {
    "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
    "projection_dim": 128, "max_position_embeddings": 77,
}  # fmt: skip
_RESAMPLER: Numbers = {"width": 128, "heads": 2, "tokens": 16}
_SCHEDULER: Numbers = {  # SDXL's betas; its steps end at the last one, as few steps need it
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
    "prediction_type": "epsilon", "timestep_spacing": "trailing",
}  # fmt: skip


def sdxl_vae(folder: Path) -> AutoencoderKL:
    """The autoencoder of `folder` with the shift of its latents moved into its weights.

    SDXL's pipeline scales latents but does not shift them, so the two 1x1 convolutions that SDXL's autoencoder has at
    its waist do it: latents and pictures are those of the original.
    """
    import torch
    from diffusers import AutoencoderKL

    old = AutoencoderKL.from_pretrained(folder)
    changes = {"use_quant_conv": True, "use_post_quant_conv": True, "shift_factor": None, "force_upcast": False}
    new: Any = AutoencoderKL.from_config({**old.config, **changes})  # annotated without its convolutions
    new.load_state_dict(old.state_dict(), strict=False)
    channels, shift = int(old.config["latent_channels"]), float(old.config["shift_factor"])
    with torch.no_grad():
        for convolution in (new.quant_conv, new.post_quant_conv):
            weight = torch.eye(convolution.out_channels)[..., None, None]
            convolution.weight.copy_(weight)
            convolution.bias.zero_()
        new.quant_conv.bias[:channels] = -shift  # means; the deviations behind them stay
        new.post_quant_conv.bias.fill_(shift)
    return new.eval()


def save_sdxl_vae(source: Path, target: Path) -> None:
    """Writes `sdxl_vae(source)` as the folder `target`."""
    vae = sdxl_vae(source)
    with replaced_folder(target) as fresh:
        vae.save_pretrained(fresh)


def _unet(changes: Numbers, *, text_width: int, pooled_width: int) -> UNet2DConditionModel:
    """A U-Net with cross-attention at every resolution, in heads of 32 channels."""
    from diffusers import UNet2DConditionModel

    channels: list[int] = list(changes["block_out_channels"])
    heads: Any = [width // _HEAD for width in channels]  # in diffusers the name and the type of another thing
    return UNet2DConditionModel(
        **{**_UNET, **changes},
        down_block_types=("CrossAttnDownBlock2D",) * len(channels),
        up_block_types=("CrossAttnUpBlock2D",) * len(channels),
        attention_head_dim=heads,
        cross_attention_dim=text_width,
        projection_class_embeddings_input_dim=pooled_width + 6 * _TIME_WIDTH,
    )


# Any, here and below: a CLIPModel or a config of it, which transformers types as one of many
def _text_encoder(clip: Any) -> CLIPTextModel:
    """A random one that reads the ids of the CLIP's tokenizer."""
    from transformers import CLIPTextConfig, CLIPTextModel

    ids = {key: getattr(clip.config.text_config, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return CLIPTextModel(CLIPTextConfig(vocab_size=clip.config.text_config.vocab_size, **ids, **_TEXT))


def _halves(clip: Any) -> tuple[CLIPTextModelWithProjection, CLIPVisionModelWithProjection]:
    """The text and the image side of a CLIP as the networks that SDXL and IP-Adapter keep them in."""
    from transformers import (
        CLIPTextConfig,
        CLIPTextModelWithProjection,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

    width = {"projection_dim": clip.config.projection_dim}
    text = CLIPTextModelWithProjection(CLIPTextConfig(**{**clip.config.text_config.to_dict(), **width}))
    vision = CLIPVisionModelWithProjection(CLIPVisionConfig(**{**clip.config.vision_config.to_dict(), **width}))
    state = clip.state_dict()
    for half in (text, vision):
        half.load_state_dict({name: state[name] for name in half.state_dict()})
    return text, vision


def build_tiny_sdxl(folder: Path, *, clip: Path, vae: Path, unet: Numbers, settings: Numbers, seed: int) -> Path:
    """The folder, holding a stock StableDiffusionXLPipeline and an adapter with random weights.

    `clip` and `vae` are folders of a trained CLIP with tokenizer and of the autoencoder. `unet` are settings of the
    U-Net's config, its `block_out_channels` among them, `settings` what `likeness.json` says. The same arguments give
    the same weights; the global random state is left as it was.
    """
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
    from safetensors.torch import save_file
    from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

    trained: Any = CLIPModel.from_pretrained(clip)
    text, vision = _halves(trained)
    width, projection = trained.config.text_config.hidden_size, trained.config.projection_dim
    tokenizers = [CLIPTokenizer.from_pretrained(clip, model_max_length=TEXT_LENGTH) for _ in range(2)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first = _text_encoder(trained)
        text_width = first.config.hidden_size + width
        network = _unet(unet, text_width=text_width, pooled_width=projection)
        adapter = fresh_adapter(network, image_width=trained.config.vision_config.hidden_size, **_RESAMPLER)
    scheduler: Any = EulerDiscreteScheduler(**_SCHEDULER)  # annotated as a member of an enumeration
    pipeline = StableDiffusionXLPipeline(
        vae=sdxl_vae(vae),
        text_encoder=first,
        text_encoder_2=text,
        tokenizer=tokenizers[0],
        tokenizer_2=tokenizers[1],
        unet=network,
        scheduler=scheduler,
        image_encoder=vision,
        feature_extractor=CLIPImageProcessor.from_pretrained(clip),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )
    with replaced_folder(folder) as fresh:
        pipeline.save_pretrained(fresh)
        (fresh / "ip_adapter").mkdir()
        save_file(adapter, fresh / "ip_adapter" / ADAPTER, metadata={"format": "pt"})
        write_json(fresh / "likeness.json", settings)
    return folder
