"""configs/accelerate: accelerate reads them, and what it hands to the processes asks for the shards they promise."""

from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DistributedType
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

from likeness.core.errors import ConfigError
from likeness.train.shards import Shards, wanted_shards

CONFIGS = Path(__file__).parents[2] / "configs" / "accelerate"
PROMISED = {
    "ddp": (DistributedType.MULTI_GPU, Shards()),
    "fsdp": (DistributedType.FSDP, Shards(base=True)),
    "deepspeed_zero2": (DistributedType.DEEPSPEED, Shards(optimizer=True)),
}


def test_every_file_is_promised_something() -> None:
    assert {path.stem for path in CONFIGS.iterdir()} == PROMISED.keys()


@pytest.mark.parametrize("name", PROMISED)
def test_accelerate_reads_the_file(name: str) -> None:
    path, (kind, _) = CONFIGS / f"{name}.yaml", PROMISED[name]
    found = load_config_from_file(str(path))
    assert isinstance(found, ClusterConfig)
    assert (found.distributed_type, found.num_processes, found.mixed_precision) == (kind, 8, "no")
    assert yaml.safe_load(path.read_text()).keys() <= found.to_dict().keys()


def environment(name: str) -> dict[str, str]:
    """What `accelerate launch` would set for each process."""
    file = CONFIGS / f"{name}.yaml"
    arguments = launch_command_parser().parse_args(
        ["--config_file", str(file), "--num_cpu_threads_per_process", "1", "-m", "likeness", "train"]
    )
    arguments, *_ = _validate_launch_command(arguments)
    if arguments.use_deepspeed:
        arguments.deepspeed_fields_from_accelerate_config = "zero_stage"  # which its deepspeed launcher would set
        return prepare_deepspeed_cmd_env(arguments)[1]
    return prepare_multi_gpu_env(arguments)


@pytest.mark.parametrize("name", PROMISED)
def test_the_launcher_asks_for_what_is_promised(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in environment(name).items():
        if key.startswith(("ACCELERATE_", "FSDP_")):
            monkeypatch.setenv(key, value)
    assert wanted_shards(8) == PROMISED[name][1]
    assert wanted_shards(1) == Shards()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}, "FSDP: expected fsdp_version 2.*got version 1;"),
        (
            {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_OFFLOAD_PARAMS": "true"},
            "FSDP: expected .* without offloading, got version 2 with offloading",
        ),
        (
            {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"},
            "DeepSpeed: expected ZeRO stage 1 or 2.*got stage 3.*take fsdp.yaml",
        ),
    ],
)
def test_what_training_does_not_have_is_refused(
    variables: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(ConfigError, match=words):
        wanted_shards(2)
