"""A training step as diffusers' public script for Diffusion-DPO on SDXL does it, written anew from its logic.

Source: huggingface/diffusers, examples/research_projects/diffusion_dpo/train_diffusion_dpo_sdxl.py.
A step: read both pictures of each pair and tokenize the prompt (in the process that trains, the script's default);
encode pictures by the VAE, prompts by both text encoders; one noise and one step of the schedule for both pictures of
a pair; the policy's pass over winners and losers in one batch; the same without the adapter and without gradients;
-log sigmoid of -beta/2 times the difference of differences; clip, AdamW, schedule of rates; numbers for the log. Left
out, so that it is not charged for: progress bar, trackers, the second time that it decodes each first picture.
Differs, so that both sides train alike: IP-Adapter's image tokens are given, encoded already; AdamW is the fused one,
where the script leaves the slower default; no picture is mirrored; the adapter is fp32 in bf16, too, as its own in
fp16.

Shapes: B pairs, C latent channels, h x w latent grid; rows are B winners, then B losers.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple  # Any: diffusers' and accelerate's objects, typed in part

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler
from diffusers.optimization import get_scheduler
from peft import LoraConfig
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

CLIP_NORM = 1.0
VAE_BATCH = 8


class Encoded(NamedTuple):
    """What the U-Net is given of B pairs: latents of 2B pictures, the rest per pair."""

    latents: Tensor
    embeds: Tensor
    pooled: Tensor
    sizes: Tensor
    image_tokens: Tensor


class PairFiles(NamedTuple):
    """A pair as it lies on disk, with the image tokens of its references."""

    winner: Path
    loser: Path
    prompt: str
    image_tokens: Tensor


class Pictures(Dataset[dict[str, Tensor]]):
    """Pairs read when asked for: pixels of winner and loser side by side in [-1, 1], and ids of the prompt."""

    def __init__(self, pairs: Sequence[PairFiles], tokenizers: Sequence[Any]) -> None:
        self._pairs, self._tokenizers = pairs, tokenizers

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        pair = self._pairs[index]
        pixels = torch.cat([_pixels(path) for path in (pair.winner, pair.loser)])
        ids = [
            each(
                pair.prompt,
                truncation=True,
                padding="max_length",
                max_length=each.model_max_length,
                return_tensors="pt",
            ).input_ids[0]
            for each in self._tokenizers
        ]
        return {"pixels": pixels, "ids_one": ids[0], "ids_two": ids[1], "image_tokens": pair.image_tokens}


def _pixels(path: Path) -> Tensor:
    """(3, H, W) in [-1, 1]; pictures have the size trained on, so there is nothing to resize or crop."""
    with Image.open(path) as image:
        array = np.asarray(image.convert("RGB"))
    return (torch.from_numpy(array.copy()).permute(2, 0, 1).float() / 255 - 0.5) / 0.5


class EncodedPairs(Dataset[Encoded]):
    """Pairs encoded before and held in memory: latents (2, C, h, w) per pair."""

    def __init__(self, pairs: Sequence[Encoded]) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Encoded:
        return self._pairs[index]


def stack_pairs(pairs: Sequence[Encoded]) -> Encoded:
    """A batch of pairs: all winners, then all losers."""
    latents = torch.stack([pair.latents for pair in pairs], dim=1).flatten(0, 1)
    rest = (torch.stack([pair[part] for pair in pairs]) for part in range(1, len(Encoded._fields)))
    return Encoded(latents, *rest)


class PublicDpo:
    """The script's training of a U-Net, which is changed, with the frozen `parts` of its pipeline beside it."""

    def __init__(
        self, unet: Any, *, parts: Any, targets: str, rank: int, beta: float, rate: float, accelerator: Accelerator
    ) -> None:
        self._parts, self._beta, self._accelerator = parts, beta, accelerator
        self._noising: Any = DDPMScheduler.from_config(parts.scheduler.config)
        self._dtype = unet.dtype
        unet.requires_grad_(False)
        unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=targets))
        self.parameters: list[torch.nn.Parameter] = [p for p in unet.parameters() if p.requires_grad]
        for parameter in self.parameters:  # the script does so for fp16
            parameter.data = parameter.data.float()
        adamw = torch.optim.AdamW(self.parameters, lr=rate, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8, fused=True)
        schedule = get_scheduler("constant", optimizer=adamw)
        prepared: Any = accelerator.prepare(unet, adamw, schedule)
        self.unet, self._optimizer, self._schedule = prepared
        self.unet.train()

    def take(self, named: Sequence[tuple[str, Tensor]], *, adapter: str) -> None:
        """The LoRA begins where another of the same layers stands, whose adapter is called so."""
        own = dict(self.unet.named_parameters())
        with torch.no_grad():
            for name, tensor in named:
                own[name.replace(f".{adapter}.", ".default.")].copy_(tensor)

    def batches(self, pairs: Dataset[Any], *, size: int, seed: int) -> Iterator[Any]:
        """Shuffled batches without end, by the script's loader: in this process, the last one of an epoch short."""
        collate = stack_pairs if isinstance(pairs, EncodedPairs) else None
        generator = torch.Generator().manual_seed(seed)
        loader = DataLoader(pairs, batch_size=size, shuffle=True, collate_fn=collate, generator=generator)
        prepared: Any = self._accelerator.prepare(loader)
        while True:
            yield from prepared

    def encode(self, batch: dict[str, Tensor]) -> Encoded:
        """Pictures by the VAE, VAE_BATCH at a time, a sample of its distribution; prompts by both text encoders."""
        parts, pixels = self._parts, torch.cat(batch["pixels"].chunk(2, dim=1))
        with torch.no_grad():
            latents = torch.cat([parts.vae.encode(chunk).latent_dist.sample() for chunk in pixels.split(VAE_BATCH)])
            seen = [
                encoder(batch[ids], output_hidden_states=True)
                for encoder, ids in ((parts.text_encoder, "ids_one"), (parts.text_encoder_2, "ids_two"))
            ]
        height, width = pixels.shape[-2:]
        return Encoded(
            latents * parts.vae.config.scaling_factor,
            torch.cat([each.hidden_states[-2] for each in seen], dim=-1),
            seen[-1][0],
            pixels.new_tensor([[height, width, 0, 0, height, width]]).repeat(len(pixels) // 2, 1),
            batch["image_tokens"],
        )

    def step(self, batch: Encoded, *, noise: Tensor | None = None, steps: Tensor | None = None) -> dict[str, float]:
        """One update, and the numbers of the log. `noise` (B, C, h, w) and `steps` (B,) are drawn unless given."""
        batch = Encoded(*(part.to(self._dtype) for part in batch))
        count = len(batch.latents) // 2
        if noise is None:
            noise = torch.randn_like(batch.latents)[:count]
        if steps is None:
            number = self._noising.config.num_train_timesteps
            steps = torch.randint(0, number, (count,), device=batch.latents.device)
        with self._accelerator.accumulate(self.unet):
            policy, ref = self._errors(batch, noise.repeat(2, 1, 1, 1), steps.repeat(2))
            model, base = policy[:count] - policy[count:], ref[:count] - ref[count:]
            inside = -0.5 * self._beta * (model - base)
            loss = -functional.logsigmoid(inside).mean()
            accuracy = ((inside > 0).float() + 0.5 * (inside == 0).float()).mean()
            self._accelerator.backward(loss)
            if self._accelerator.sync_gradients:
                self._accelerator.clip_grad_norm_(self.parameters, CLIP_NORM)
            self._optimizer.step()
            self._schedule.step()
            self._optimizer.zero_grad()
        return {
            "loss": loss.item(),
            "policy_error": policy.mean().item(),
            "ref_error": ref.mean().item(),
            "accuracy": accuracy.item(),
            "learning_rate": self._schedule.get_last_lr()[0],
        }

    def _errors(self, batch: Encoded, noise: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Mean squared errors (2B,) of the policy, with gradients, and of the reference policy."""
        x_t = self._noising.add_noise(batch.latents, noise, steps)
        added = {
            "text_embeds": batch.pooled.repeat(2, 1),
            "time_ids": batch.sizes.repeat(2, 1),
            "image_embeds": [batch.image_tokens.repeat(2, 1, 1, 1)],
        }
        embeds = batch.embeds.repeat(2, 1, 1)

        def errors() -> Tensor:
            answer = self.unet(x_t, steps, embeds, added_cond_kwargs=added).sample
            return functional.mse_loss(answer.float(), noise.float(), reduction="none").mean(dim=(1, 2, 3))

        policy = errors()
        self.unet.disable_adapters()
        with torch.no_grad():
            ref = errors()
        self.unet.enable_adapters()
        return policy, ref
