"""What the processes of a run share out: the frozen base (FSDP) and the averages of the optimizer (ZeRO).

The launcher says which, through accelerate's config files; configs/accelerate holds one of each. What is trained is
small and stays whole in every process, so that steps, clipping, averages, the reference policy and all files are those
of a run without shards, to the bit.
Source: PyTorch FSDP2 (`fully_shard`); ZeRO (arXiv:1910.02054), of which the adapter leaves only the optimizer worth
sharing, by torch's own ZeroRedundancyOptimizer: DeepSpeed's engine keeps its state in pickles.
"""

import os
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple  # Any: networks of diffusers are typed too narrowly

import torch
from accelerate.utils import FullyShardedDataParallelPlugin, parse_flag_from_env

from likeness.core.errors import ConfigError

DEEPSPEED = "ACCELERATE_DEEPSPEED_"


class Shards(NamedTuple):
    """What is shared out: the base, which every process gathers block by block, and the optimizer's averages."""

    base: bool = False
    optimizer: bool = False


def wanted_shards(num_processes: int) -> Shards:
    """What the launcher asks for; a process alone has nothing to share.

    Raises: ConfigError for settings of FSDP or DeepSpeed that training does not have.
    """
    fsdp, deepspeed = (parse_flag_from_env(f"ACCELERATE_USE_{name}") for name in ("FSDP", "DEEPSPEED"))
    if fsdp:
        version, offloads = FullyShardedDataParallelPlugin().fsdp_version, parse_flag_from_env("FSDP_OFFLOAD_PARAMS")
        if version != 2 or offloads:
            got = f"version {version}{' with offloading' if offloads else ''}"
            raise ConfigError(f"FSDP: expected fsdp_version 2 without offloading, got {got}; see configs/accelerate.")
    if deepspeed:
        stage = os.environ.get(f"{DEEPSPEED}ZERO_STAGE", "2")
        places = {os.environ.get(f"{DEEPSPEED}OFFLOAD_{what}_DEVICE", "none") for what in ("OPTIMIZER", "PARAM")}
        if stage not in ("1", "2") or places - {"none"}:
            got = f"stage {stage}, offload to {', '.join(sorted(places))}"
            advice = "take fsdp.yaml of configs/accelerate to share out the base"
            raise ConfigError(f"DeepSpeed: expected ZeRO stage 1 or 2 without offloading, got {got}; {advice}.")
    several = num_processes > 1
    return Shards(base=several and fsdp, optimizer=several and deepspeed)


def shard_base(network: Any, *, trained: Sequence[torch.nn.Parameter]) -> None:
    """Every process keeps its part of each block of the network, but for what is `trained`, which stays whole.

    From now on all processes must make the same passes. Raises: ConfigError when torch is too old for it.
    """
    from torch.distributed.fsdp import fully_shard

    blocks, kept = set[str](getattr(network, "_no_split_modules", None) or ()), set(trained)
    reshard = bool(FullyShardedDataParallelPlugin().reshard_after_forward)
    warnings.filterwarnings("ignore", message=".*returned a view tensor", category=UserWarning)  # nobody writes to it
    try:
        for module in reversed(list(network.modules())):  # inner blocks first
            if type(module).__name__ in blocks and module is not network:
                fully_shard(module, reshard_after_forward=reshard, ignored_params=kept)
        fully_shard(network, ignored_params=kept)
    except TypeError as error:
        wanted = "FSDP: expected a torch whose fully_shard leaves parameters out (2.7 or newer)"
        raise ConfigError(f"{wanted}, got {torch.__version__}; update torch, or train without FSDP.") from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def settle(network: Any) -> None:
    """Blocks gathered by the last pass are given up, in every process, before one of them reads the network alone."""
    for module in network.modules():
        if (reshard := getattr(module, "reshard", None)) is not None:
            reshard()


def whole_state(optimizer: torch.optim.Optimizer, *, is_main: bool) -> dict[str, Any] | None:
    """The optimizer's state as one process alone has it, in the main one; all must ask."""
    if (gather := getattr(optimizer, "consolidate_state_dict", None)) is not None:
        gather(to=0)
    if not is_main:
        return None
    state = optimizer.state_dict()
    return {**state, "param_groups": [dict(sorted(group.items())) for group in state["param_groups"]]}
