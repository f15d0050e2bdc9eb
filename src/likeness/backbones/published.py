"""The published weights of backbones by the name under which `likeness fetch` knows them."""

from likeness.core.fetched import copied_folder
from likeness.core.published import Published

_PIPELINE = ("model_index.json", "*/*.safetensors", "*.json", "*.txt", "*.model")
_UNO = "bytedance-research/UNO"
UNPINNED = "the revision is not pinned"


def published_backbones() -> dict[str, Published]:
    """Models for --model and adapters for --lora, by name."""
    gated = "non-commercial; gated: accept it on the hub and log in (`hf auth login`)"
    uno = "UNO's LoRA for FLUX.1-dev: references as further tokens"
    place = str(copied_folder(_UNO))
    lora = Published(uno, "hub", _UNO, ("dit_lora.safetensors",), f"--lora {_UNO}", "CC-BY-NC", place, note=UNPINNED)
    return {
        "flux_dev": _pipeline("black-forest-labs/FLUX.1-dev", what="FLUX.1-dev", licence=gated),
        "uno": lora,
        "flux2_klein_base": _pipeline(
            "black-forest-labs/FLUX.2-klein-base-4B", what="FLUX.2 klein base, to be trained", licence="Apache-2.0"
        ),
        "flux2_klein": _pipeline(
            "black-forest-labs/FLUX.2-klein-4B", what="FLUX.2 klein in four steps", licence="Apache-2.0"
        ),
        "qwen_image_edit": _pipeline(
            "Qwen/Qwen-Image-Edit-2511", what="Qwen-Image-Edit with up to three references", licence="Apache-2.0"
        ),
    }


def _pipeline(hub_id: str, *, what: str, licence: str) -> Published:
    place = str(copied_folder(hub_id))
    return Published(what, "hub", hub_id, _PIPELINE, f"--model {hub_id}", licence, place, note=UNPINNED)
