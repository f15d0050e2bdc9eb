"""AdamW for what a run trains: torch's own, whole or shared out (ZeRO), or bitsandbytes' with averages in eight bits.

Source: Loshchilov and Hutter (arXiv:1711.05101); eight-bit averages: Dettmers et al. (arXiv:2110.02861), one byte an
entry, with a scale per block of 256. Matrices of fewer than 4,096 entries keep 32 bits there.
"""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch

from likeness.core.errors import ConfigError

BETAS, EPS = (0.9, 0.999), 1e-8
MIN_8BIT, BLOCK = 4096, 256
"""Entries from which bitsandbytes keeps averages in eight bits, and entries that share a scale."""
TABLES_BYTES = 2 * 256 * 4
"""Two tables of 256 values that it keeps per matrix, which say what the bytes stand for."""


def check_optimizer(kind: str, *, device: str, shared: bool = False) -> None:
    """What `make_optimizer` needs is there. Raises: ConfigError."""
    if kind == "adamw":
        return
    if shared:
        wanted = f"train.optimizer: expected adamw where ZeRO shares out the averages, got {kind}"
        raise ConfigError(f"{wanted}; set train.optimizer=adamw, or launch without ZeRO (configs/accelerate/ddp.yaml).")
    if find_spec("bitsandbytes") is None:
        wanted = f"train.optimizer {kind}: expected the package bitsandbytes, got none"
        raise ConfigError(f"{wanted}; `pip install 'likeness[quantise]'`, or set train.optimizer=adamw.")
    if kind.startswith("paged") and not device.startswith("cuda"):
        wanted = f"train.optimizer {kind}: expected a CUDA device, whose memory can be paged, got {device}"
        raise ConfigError(f"{wanted}; set train.optimizer=adamw_8bit.")


def make_optimizer(
    kind: str,
    parameters: Sequence[torch.nn.Parameter],
    *,
    rate: float,
    weight_decay: float,
    shared: bool = False,
    shares: Sequence[float] = (),
) -> torch.optim.Optimizer:
    """The optimizer "adamw", "adamw_8bit" or "paged_adamw_8bit" (averages move to main memory when the card is full).

    `shared`: each process keeps the averages of some parameters, updates those and sends them on. `shares`: the rates
    of parameters as shares of `rate`, one each; those of one share become a group, which keeps it as "share".
    Raises: ConfigError when bitsandbytes is not there, or for eight bits that are shared.
    """
    check_optimizer(kind, device=parameters[0].device.type, shared=shared)
    groups: Any = _groups(parameters, shares=shares, rate=rate) if shares else parameters
    if kind == "adamw":
        options: dict[str, Any] = {"lr": rate, "betas": BETAS, "eps": EPS, "weight_decay": weight_decay, "fused": True}
        if not shared:
            return torch.optim.AdamW(groups, **options)
        from torch.distributed.optim import ZeroRedundancyOptimizer

        return ZeroRedundancyOptimizer(groups, optimizer_class=torch.optim.AdamW, **options)
    optim: Any = import_module("bitsandbytes.optim")  # an extra, which need not be there
    made = optim.AdamW8bit if kind == "adamw_8bit" else optim.PagedAdamW8bit
    return made(groups, lr=rate, betas=BETAS, eps=EPS, weight_decay=weight_decay)


def _groups(parameters: Sequence[torch.nn.Parameter], *, shares: Sequence[float], rate: float) -> list[dict[str, Any]]:
    """A group for each share, in the order in which they come first."""
    groups: dict[float, list[torch.nn.Parameter]] = {}
    for parameter, share in zip(parameters, shares, strict=True):
        groups.setdefault(share, []).append(parameter)
    return [{"params": own, "lr": share * rate, "share": share} for share, own in groups.items()]


def state_bytes(kind: str, numels: Sequence[int]) -> int:
    """Bytes of the two averages of matrices of so many entries each, on the card."""
    if kind == "adamw":
        return sum(2 * 4 * numel for numel in numels)
    eight = [numel for numel in numels if numel >= MIN_8BIT]
    small = sum(2 * 4 * numel for numel in numels if numel < MIN_8BIT)
    return small + sum(2 * (numel + -(-numel // BLOCK) * 4) + TABLES_BYTES for numel in eight)
