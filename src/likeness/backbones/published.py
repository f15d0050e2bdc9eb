"""The published weights of backbones by the name under which `likeness fetch` knows them."""

from likeness.core.fetched import copied_folder
from likeness.core.published import Published

_FLUX, _UNO = "black-forest-labs/FLUX.1-dev", "bytedance-research/UNO"


def published_backbones() -> dict[str, Published]:
    """Models for --model and adapters for --lora, by name."""
    return {
        "flux_dev": Published(
            "FLUX.1-dev, the pipeline folder",
            "hub",
            _FLUX,
            ("model_index.json", "*/*.safetensors", "*.json", "*.txt", "*.model"),
            f"--model {_FLUX}",
            "non-commercial; gated: accept it on the hub and log in (`hf auth login`)",
            str(copied_folder(_FLUX)),
            note="the revision is not pinned",
        ),
        "uno": Published(
            "UNO's LoRA for FLUX.1-dev: references as further tokens",
            "hub",
            _UNO,
            ("dit_lora.safetensors",),
            f"--lora {_UNO}",
            "CC-BY-NC",
            str(copied_folder(_UNO)),
            note="the revision is not pinned",
        ),
    }
