"""The autoencoder in the hands of the stages: found or asked for, moved, and used with exact types."""

from pathlib import Path
from typing import TypeVar, cast

from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from jaxtyping import Float
from torch import FloatTensor, Tensor, nn

from likeness.core.errors import ConfigError, WeightsError
from likeness.core.weights import check_safetensors
from likeness.pretrain.config import PretrainConfig

WEIGHTS = "diffusion_pytorch_model.safetensors"

Network = TypeVar("Network", bound=nn.Module)


def has_vae(config: PretrainConfig) -> bool:
    """Whether stage "autoencoder" has written `<work>/vae`, and whole: a kill may leave half a file."""
    folder = config.work / "vae"
    try:
        check_safetensors(folder / WEIGHTS)
    except WeightsError:
        return False
    return (folder / "config.json").is_file()


def require_vae(config: PretrainConfig, *, stage: str) -> Path:
    """`<work>/vae`, which `stage` starts from. Raises: ConfigError naming the stage that writes it."""
    folder = config.work / "vae"
    if not has_vae(config):
        wanted = f"an autoencoder in {folder}"
        raise ConfigError(f'stage "{stage}": expected {wanted}, got none; run stage "autoencoder" first.')
    return folder


def load_vae(config: PretrainConfig, *, stage: str, device: str) -> AutoencoderKL:
    """The autoencoder of `<work>` on `device`. Raises: ConfigError naming the stage that writes it."""
    return on_device(AutoencoderKL.from_pretrained(require_vae(config, stage=stage)), device)


def on_device(network: Network, device: str) -> Network:
    """The same network, moved."""
    nn.Module.to(network, device)  # stock classes wrap their own `to` and lose the types of its arguments
    return network


def posterior(vae: AutoencoderKL, pixels: Float[Tensor, "B 3 H W"]) -> DiagonalGaussianDistribution:
    """The distribution of the pictures' latents."""
    output = vae.encode(pixels)
    assert isinstance(output, AutoencoderKLOutput)  # a tuple only where one is asked for
    return output.latent_dist


def decoded(vae: AutoencoderKL, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
    """The pictures of latents, not clipped."""
    output = vae.decode(cast(FloatTensor, latents))  # the stock annotation; any floating-point tensor is meant
    assert isinstance(output, DecoderOutput)  # a tuple only where one is asked for
    return output.sample
