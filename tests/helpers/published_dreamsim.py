"""A tiny DreamSim in the layout of its release, and what the release computes: peft's adapter at run time, in float64.

The networks are written down here from the names in the release and from its forward pass, apart from the converter;
the adapter's files are written by peft itself.
"""

import zipfile
from pathlib import Path
from typing import Any  # peft's classes

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from PIL import Image
from torch import Tensor, nn

WIDTH, DEPTH, HEADS, PATCH, SIDE, PROJECTED, RANK, ALPHA = 16, 2, 2, 8, 32, 12, 4, 0.5
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.qkv(x).reshape(len(x), 3, HEADS, WIDTH // HEADS)
        seen: list[Tensor] = []
        for head in range(HEADS):
            query, key, value = (heads[:, part, head] for part in range(3))
            seen.append(torch.softmax(query @ key.T / (WIDTH // HEADS) ** 0.5, dim=-1) @ value)
        return self.proj(torch.cat(seen, dim=-1))


class Mlp(nn.Module):
    def __init__(self, *, quick: bool) -> None:
        super().__init__()
        self.fc1, self.fc2, self.quick = nn.Linear(WIDTH, 32), nn.Linear(32, WIDTH), quick

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        return self.fc2(x / (1 + torch.exp(-1.702 * x)) if self.quick else x * (1 + torch.erf(x / 2**0.5)) / 2)


class Block(nn.Module):
    def __init__(self, *, eps: float, quick: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, eps=eps), nn.LayerNorm(WIDTH, eps=eps)
        self.attn, self.mlp = Attention(), Mlp(quick=quick)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Patches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, WIDTH, PATCH, PATCH)


class Vit(nn.Module):
    """DINO's ViT; with `is_clip` what the release makes of CLIP: a norm in place of the dropout, and eps 1e-5."""

    def __init__(self, *, is_clip: bool, quick: bool = False) -> None:
        super().__init__()
        eps = 1e-5 if is_clip else 1e-6
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(torch.zeros(1, (SIDE // PATCH) ** 2 + 1, WIDTH))
        self.patch_embed = Patches()
        self.pos_drop = nn.LayerNorm(WIDTH, eps=eps) if is_clip else nn.Dropout(0.0)
        self.blocks = nn.ModuleList([Block(eps=eps, quick=quick) for _ in range(DEPTH)])
        self.norm = nn.LayerNorm(WIDTH, eps=eps)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter += 0.3 * torch.randn_like(parameter)

    def tokens(self, pixels: Tensor) -> Tensor:
        """What the last block says, before the final norm, of a picture (3, S, S)."""
        x = self.patch_embed.proj(pixels[None])[0].flatten(1).T
        x = self.pos_drop(torch.cat([self.cls_token[0], x]) + self.pos_embed[0])
        for block in self.blocks:
            x = block(x)
        return x


class Extractor(nn.Module):
    def __init__(self, model: Vit) -> None:
        super().__init__()
        self.model = model
        self.proj = torch.randn(WIDTH, PROJECTED)


class Ensemble(nn.Module):
    """The three networks in their order; `embed` is what the release compares by cosine, mean subtracted."""

    def __init__(self) -> None:
        super().__init__()
        kinds: tuple[dict[str, bool], ...] = ({"is_clip": False}, {"is_clip": True, "quick": True}, {"is_clip": True})
        self.extractor_list = nn.ModuleList([Extractor(Vit(**kind)) for kind in kinds])

    @torch.inference_mode()
    def embed(self, image: Image.Image) -> NDArray[np.float64]:
        """The features side by side, the lengths of the three as they are."""
        small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.asarray(small).astype(np.float64)).permute(2, 0, 1) / 255
        found: list[Tensor] = []
        extractors: Any = self.extractor_list  # typed as any modules
        for number, extractor in enumerate(extractors):
            mean, std = (
                torch.tensor(each, dtype=torch.float64)[:, None, None] for each in (OPENAI if number else IMAGENET)
            )
            model: Any = extractor.model
            x = model.tokens((pixels - mean) / std)
            found.append(model.norm(x)[0] @ extractor.proj.double() if number else x[0])
        return torch.cat(found).numpy()


def write_release(folder: Path, *, seed: int = 0) -> Ensemble:
    """`folder` is the extracted archive, `folder`/checkpoints what torch.hub keeps of DINO. Returned: the same, run."""
    torch.manual_seed(seed)
    ensemble = Ensemble()
    extractors: Any = ensemble.extractor_list  # typed as any modules
    dino, clip, open_clip = extractors
    (folder / "checkpoints").mkdir(parents=True)
    torch.save(dino.model.state_dict(), folder / "checkpoints" / "dino_vitbase16_pretrain.pth")
    head = {"module.head.mlp.0.weight": torch.zeros(4, WIDTH)}
    torch.save({"student": head}, folder / "dino_vitb16_pretrain.pth")
    for name, each in (("clip", clip), ("open_clip", open_clip)):
        state = {**each.model.state_dict(), "proj": nn.Parameter(each.proj)}
        torch.save({"state_dict": state}, folder / f"{name}_vitb16_pretrain.pth.tar")
    alpha: Any = ALPHA  # typed as whole, as the release's is not
    config = LoraConfig(r=RANK, lora_alpha=alpha, lora_dropout=0.3, bias="none", target_modules=["qkv"])
    adapted: Any = get_peft_model(ensemble, config)  # typed for transformers' models
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn_like(parameter))
    adapted.save_pretrained(folder / "ensemble_lora")
    return ensemble.double().eval()


def zipped(folder: Path, file: Path, *, renamed: dict[str, str] | None = None) -> Path:
    """The archive of a folder's files, some under other names."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = str(path.relative_to(folder))
            if not name.startswith("checkpoints/"):
                archive.write(path, (renamed or {}).get(name, name))
    return file
