"""The complexity map M_d: local entropy of the grey levels of a picture, scaled to [0, 1] per picture.

Two estimators of a patch's entropy, both in nats: "kde32" (Gaussian soft histogram of 32 bins) and "hist256" (plain
histogram of 256 grey levels). Pictures are read one by one on the CPU, so that neither the batch nor the device
changes a value; the map does not depend on noise, so compute it once per picture and keep it.

Shapes: B pictures, H x W pixels, rows x columns patches, K bins.
Source: FocusDPO (arXiv:2509.01181) Eqs. 7-8; the estimator is D2iT's (arXiv:2504.09454), whose author it shares.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args  # Any: counts of whichever width

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from likeness.core.errors import ConfigError, DataError

Kind = Literal["kde32", "hist256"]
KINDS: tuple[str, ...] = get_args(Kind)

_LUMA = (0.2989, 0.5870, 0.1140)  # ITU-R BT.601, as D2iT prints it
_KDE_BINS = 32
_KDE_SIGMA = 0.01
_KDE_STEP = 2 / (_KDE_BINS - 1)  # bins are linspace(-1, 1, 32): 6.45 sigma apart
_FLAT = 1e-6  # range of entropies below which a picture has no structure
_BAND_PX = 1 << 16  # pixels worked on at a time
_SMALLEST = 1e-30  # so that the logarithm of an empty bin is finite


class _Windows(NamedTuple):
    """Patches as squares of cells: `cell` px a side, `side` cells a side, one patch every `step` cells."""

    cell: int
    side: int
    step: int


def grey_levels(pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B H W"]:
    """0.2989 R + 0.5870 G + 0.1140 B of pixels in [-1, 1]."""
    red, green, blue = pixels.unbind(dim=1)
    return (_LUMA[0] * red).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])


def _by_cell(grey: Float[Tensor, "h w"], cell: int) -> Float[Tensor, "r px c"]:
    """The picture with the pixels of each cell along the middle; neighbours in memory lie in different cells.

    So ordered, `bincount` adds to different bins in turn: four times faster in flat areas than pixel by pixel.
    """
    rows, columns = grey.shape[0] // cell, grey.shape[1] // cell
    return grey.reshape(rows, cell, columns, cell).transpose(2, 3).reshape(rows, cell * cell, columns)


def _histogram(bins: Int[Tensor, "r px c"], weights: Tensor | None, *, num_bins: int) -> Float[Tensor, "r c K"]:
    """Total weight (or number) of each bin's pixels in each cell."""
    rows, _, columns = bins.shape
    first = torch.arange(rows * columns, dtype=bins.dtype).reshape(rows, 1, columns) * num_bins
    flat = None if weights is None else weights.flatten()
    counts = torch.bincount((bins + first).flatten(), weights=flat, minlength=rows * columns * num_bins)
    return counts.reshape(rows, columns, num_bins).float()


def _soft_histogram(grey: Float[Tensor, "r px c"]) -> Float[Tensor, "r c 32"]:
    """Per cell and bin the sum over pixels of exp(-(grey - bin)^2 / 2 sigma^2).

    Only the nearest bin and its two neighbours are added: the fourth is 9.7 sigma away and its 5e-21 vanishes beside
    the nearest one's 5e-3 or more, also in float64.
    """
    position = (grey + 1).mul_(1 / _KDE_STEP)
    nearest = position.round().clamp_(0, _KDE_BINS - 1)
    distance = position.sub_(nearest).mul_(_KDE_STEP / _KDE_SIGMA)
    slots = nearest.int()  # one bin is added at each end, for the neighbours of the first and the last
    below, at, above = (
        _histogram(
            slots + (1 + shift),
            (distance - shift * _KDE_STEP / _KDE_SIGMA).square_().mul_(-0.5).exp_(),
            num_bins=_KDE_BINS + 2,
        )
        for shift in (-1, 0, 1)
    )
    return (below + at + above)[..., 1:-1]


def _levels(grey: Tensor) -> Int[Tensor, "..."]:
    """8-bit grey levels, rounded."""
    return ((grey + 1) * 127.5).round_().clamp_(0, 255).int()


def _sliding_sum(x: Tensor, count: int, *, dim: int) -> Tensor:
    """Sums of `count` neighbours along `dim`, by doubling: exact for counts, and log2(count) additions."""
    length = x.shape[dim] - count + 1
    total, done, power, size = None, 0, x, 1
    while True:
        if count & size:
            part = power.narrow(dim, done, length)
            total, done = part if total is None else total + part, done + size
        if total is not None and done == count:
            return total
        reach = power.shape[dim] - size
        power = power.narrow(dim, 0, reach) + power.narrow(dim, size, reach)
        size *= 2


def _windows(pixels: Tensor, *, patch: int, stride: int, kind: str) -> _Windows:
    height, width = pixels.shape[-2:]
    if kind not in KINDS:
        raise ConfigError(f"complexity kind: expected one of {', '.join(KINDS)}, got {kind!r}; choose one.")
    if not 1 <= stride <= patch:
        raise ConfigError(f"complexity: expected 1 <= stride <= patch, got stride {stride}, patch {patch}; swap them?")
    if height % stride or width % stride or min(height, width) < patch:
        got = f"{width} x {height}"
        raise DataError(f"complexity: expected sides a multiple of {stride} px and >= {patch}, got {got}; resize it.")
    cell = math.gcd(patch, stride)
    return _Windows(cell, patch // cell, stride // cell)


def _sums(cells: Tensor, windows: _Windows) -> Tensor:
    """Sums over the windows of (h, w, ...) cells."""
    down = _sliding_sum(cells, windows.side, dim=0)[:: windows.step]
    return _sliding_sum(down, windows.side, dim=1)[:, :: windows.step]


def _band_entropy(grey: Float[Tensor, "h w"], *, windows: _Windows, kind: str) -> Float[Tensor, "r c"]:
    """Entropies of all patches that lie within these rows of pixels."""
    if kind == "hist256" and windows.cell == 1:
        return _entropy_by_level(_levels(grey), windows=windows)
    cells = _by_cell(grey, windows.cell)
    counts = _soft_histogram(cells) if kind == "kde32" else _histogram(_levels(cells), None, num_bins=256)
    sums = _sums(counts, windows)
    shares = sums / sums.sum(dim=-1, keepdim=True).clamp_min_(_SMALLEST)
    return -(shares.clamp_min(_SMALLEST).log_().mul_(shares)).sum(dim=-1)  # 0 ln 0 = 0


def _pooled(x: NDArray[Any], side: int, *, add: np.ufunc, spare: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """`add` over every square of `side` cells, row sums first, by doubling as in `_sliding_sum`; in `spare`'s memory.

    Four spare arrays are at least as large as `x`, whose values stay.
    """
    for first, second in (spare[:2], [each.T for each in spare[2:]]):
        total, done = x, 1
        for bit in f"{side:b}"[1:]:
            for part, ahead in ((total, done), (x, 2 * done))[: 1 + int(bit)]:
                rows = len(part) - ahead
                total = add(total[:rows], part[ahead:], out=first[:rows, : x.shape[1]])
                first, second = second, first
            done = 2 * done + int(bit)
        x = total.T
    return x


def _entropy_by_level(levels: Int[Tensor, "h w"], *, windows: _Windows) -> Float[Tensor, "r c"]:
    """ln n - (sum over levels of c ln c) / n, n pixels a patch, without keeping 256 numbers per pixel.

    By numpy in memory taken once, in the smallest type that holds a count: half the time of torch's on one core,
    measured. Patches of one level, whose count of 256 a byte does not hold, are told by their extremes.
    """
    grey, side, pixels = levels.to(torch.uint8).numpy(), windows.side, windows.side**2
    kind = np.uint8 if pixels <= 256 else np.uint16 if pixels < 2**16 else np.uint32
    spare = [np.empty(grey.shape, kind) for _ in range(4)]
    flat = _pooled(grey, side, add=np.minimum, spare=spare).copy() == _pooled(grey, side, add=np.maximum, spare=spare)
    number, terms, total = (np.zeros(flat.shape, np.float32) for _ in range(3))
    for level in np.flatnonzero(np.bincount(grey.ravel())).tolist():  # numbers of numpy would widen the bytes
        counts = _pooled((grey == level).view(np.uint8), side, add=np.add, spare=spare)
        np.copyto(number, np.bitwise_or(counts, counts == 0, out=counts))  # 1 for 0: 0 ln 0 = 1 ln 1
        np.multiply(np.log2(number, out=terms), number, out=terms)
        np.add(total, terms, out=total)
    found = math.log(pixels) - total * np.float32(math.log(2) / pixels)
    return torch.from_numpy(np.where(flat, np.float32(0), found))


def _picture_entropy(grey: Float[Tensor, "h w"], *, windows: _Windows, kind: str) -> Float[Tensor, "r c"]:
    """Entropies of a padded picture, in bands of patch rows that fit the cache of one core."""
    cell, side, step = windows
    num_rows = (grey.shape[0] // cell - side) // step + 1
    per_band = max(1, _BAND_PX // (grey.shape[1] * step * cell))
    bands = [
        grey[first * step * cell : ((min(first + per_band, num_rows) - 1) * step + side) * cell]
        for first in range(0, num_rows, per_band)
    ]
    return torch.cat([_band_entropy(band, windows=windows, kind=kind) for band in bands])


@torch.no_grad()
def entropy(
    pixels: Float[Tensor, "B 3 H W"], *, patch: int = 16, stride: int = 16, kind: str = "kde32"
) -> Float[Tensor, "B rows columns"]:
    """Entropy in nats of the grey levels in every patch of `patch` px, one patch every `stride` px; fp32.

    Pixels in [-1, 1]. A smaller stride overlaps patches centred on their stride cell, over pixels reflected at the
    border, so that rows = H / stride always: 16 and 16 for FLUX tokens, 16 and 8 for SDXL cells, 16 and 1 for a map
    of all pixels. At most ln 32 = 3.466 for "kde32" and ln(patch^2) for "hist256".
    Source: D2iT; bins linspace(-1, 1, 32), sigma 0.01. Its bins are 6.45 sigma apart, so that a flat patch scores
    anywhere in [0, ln 2] by its grey level.
    Raises: ConfigError for an unknown kind or stride > patch; DataError for sides the stride does not divide.
    """
    windows = _windows(pixels, patch=patch, stride=stride, kind=kind)
    before, after = (patch - stride) // 2, (patch - stride + 1) // 2
    grey = grey_levels(pixels.detach().to("cpu", torch.float32))
    if patch > stride:
        grey = functional.pad(grey, (before, after, before, after), mode="reflect")
    maps = [_picture_entropy(picture, windows=windows, kind=kind) for picture in grey]
    return torch.stack(maps).to(pixels.device)


def complexity(
    pixels: Float[Tensor, "B 3 H W"], *, patch: int = 16, stride: int = 16, kind: str = "kde32"
) -> Float[Tensor, "B rows columns"]:
    """M_d: the entropy map scaled to [0, 1] by the least and the largest entropy of the whole picture.

    1 everywhere for a picture whose patches are all alike, such as one of a single colour. See `entropy`.
    Source: FocusDPO (arXiv:2509.01181) Eq. 8.
    """
    values = entropy(pixels, patch=patch, stride=stride, kind=kind)
    least, largest = values.amin(dim=(1, 2), keepdim=True), values.amax(dim=(1, 2), keepdim=True)
    span = largest - least
    return torch.where(span < _FLAT, 1.0, (values - least) / span.clamp_min(_FLAT))


def token_complexity(
    pixels: Float[Tensor, "B 3 H W"],
    *,
    token: int,
    patch: int | None = None,
    kind: str = "kde32",
    dense: bool = False,
) -> Float[Tensor, "B rows columns"]:
    """M_d with one value per token of `token` px: of its own patch, or with `dense` the mean over its pixels' patches.

    `patch` px is a token's by default; smaller tokens may have larger patches, which then overlap.
    Source: FocusDPO Eq. 7, which speaks of the patch centred at a pixel; read so, the map has a value per pixel.
    """
    patch = token if patch is None else patch
    if not dense:
        return complexity(pixels, patch=patch, stride=token, kind=kind)
    every_pixel = complexity(pixels, patch=patch, stride=1, kind=kind)
    return functional.avg_pool2d(every_pixel[:, None], token)[:, 0]
