"""What a model may do without to fit a card: its full precision, its place on the card, its adapters' own matrices."""

from importlib.util import find_spec
from typing import Any, Literal, NamedTuple  # Any: JSON

from likeness.core.errors import ConfigError

Offload = Literal["none", "model", "group"]
Quantise = Literal["none", "nf4", "int8", "fp8"]
OFFLOADS: tuple[Offload, ...] = ("none", "model", "group")
QUANTISATIONS: tuple[Quantise, ...] = ("none", "nf4", "int8", "fp8")
_PACKAGES: dict[str, str] = {"nf4": "bitsandbytes", "int8": "torchao", "fp8": "torchao"}


class Memory(NamedTuple):
    """How a model is kept; as it stands here, all of it on the device in one precision.

    `offload`: "model" has one part on the device at a time, "group" one block of the network; the rest waits in main
    memory. `quantise`: the frozen weights of the network's blocks in 4 or 8 bits, by bitsandbytes (nf4) or torchao;
    adapters stay as they are. `merge_lora`: frozen adapters are added into the weights before that.
    """

    offload: Offload = "none"
    quantise: Quantise = "none"
    merge_lora: bool = False

    def settings(self) -> dict[str, Any]:
        """What results depend on, as run.json records it; nothing where nothing was asked for."""
        kept = {} if self.quantise == "none" else {"quantise": self.quantise}
        return {**kept, "merge_lora": True} if self.merge_lora else kept

    @property
    def packages(self) -> tuple[str, ...]:
        """Packages whose versions results depend on."""
        return () if self.quantise == "none" else (_PACKAGES[self.quantise],)

    def require_usable(self, *, device: str, num_loras: int) -> None:
        """Raises: ConfigError for a package that is not there, a device with nothing to save, or nothing to merge."""
        if self.offload != "none" and device.partition(":")[0] != "cuda":
            raise ConfigError(f"--offload {self.offload}: expected the device cuda, got {device}; leave it out.")
        if self.offload == "group" and self.quantise == "nf4":
            what = "--offload group: expected a base in full precision, int8 or fp8, got nf4, whose scales stay behind"
            raise ConfigError(f"{what}; take --offload model.")
        for package in (name for name in self.packages if find_spec(name) is None):
            wanted = f"quantise {self.quantise}: expected the package {package}, got none"
            raise ConfigError(f"{wanted}; pip install 'likeness[quantise]', or leave the base as it is (none).")
        if self.merge_lora and not num_loras:
            raise ConfigError("merge-lora: expected a LoRA to merge, got none; name one, or leave merging out.")
