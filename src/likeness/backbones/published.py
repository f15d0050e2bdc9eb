"""The published weights of backbones by the name under which `likeness fetch` knows them."""

from likeness.core.fetched import copied_folder, fetched_folder
from likeness.core.published import Published
from likeness.encoders.fetchable import FETCHABLE

_PIPELINE = ("model_index.json", "*/*.safetensors", "*.json", "*.txt", "*.model")
_UNO = "bytedance-research/UNO"
_SDXL = (
    *("model_index.json", "*/*.json", "*/*.txt", "unet/diffusion_pytorch_model.safetensors"),
    *("vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors", "text_encoder_2/model.safetensors"),
)
"""Beside them lie the same weights in half precision and in other formats."""
_IP_ADAPTER = "h94/IP-Adapter"
IP_ADAPTER_PLUS = "sdxl_models/ip-adapter-plus_sdxl_vit-h.safetensors"
_SD15 = (
    *("model_index.json", "*/*.json", "*/*.txt", "unet/diffusion_pytorch_model.safetensors"),
    *("vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"),
)
SD15_FOLDER = "a folder put together as docs/backbones/sd15-ssr-encoder.md says"
SDXL_FOLDER = "a folder put together as docs/backbones/sdxl-ip-adapter.md says"
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
        "ms_diffusion": _converted(
            "ms_diffusion", ("ms_adapter.bin",), needed_by="--model SDXL-FOLDER, whose ms_adapter it goes into"
        ),
        "local_image_encoder": _converted(
            "local_image_encoder", ("epoch_6.pt",), needed_by="--model SDXL-FOLDER, whose local_encoder it becomes"
        ),
        "qwen_image_edit": _pipeline(
            "Qwen/Qwen-Image-Edit-2511", what="Qwen-Image-Edit with up to three references", licence="Apache-2.0"
        ),
        "qwen_image_edit_2509": _pipeline(
            "Qwen/Qwen-Image-Edit-2509", what="the same, September 2025 (Plus)", licence="Apache-2.0"
        ),
        "sdxl_base": _part_of(
            "stabilityai/stable-diffusion-xl-base-1.0", "SDXL base 1.0", _SDXL, licence="CreativeML Open RAIL++-M"
        ),
        "realvisxl": _part_of(
            "SG161222/RealVisXL_V1.0", "RealVisXL 1.0, PatchDPO's base", _SDXL, licence="Open RAIL++"
        ),
        "ip_adapter_plus_sdxl": _part_of(
            _IP_ADAPTER,
            "IP-Adapter-Plus for SDXL with its image encoder, OpenCLIP ViT-H/14",
            (IP_ADAPTER_PLUS, "models/image_encoder/config.json", "models/image_encoder/model.safetensors"),
            licence="Apache-2.0",
        ),
        "sd15": _part_of(
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            "Stable Diffusion 1.5",
            _SD15,
            licence="CreativeML Open RAIL-M",
            folder=SD15_FOLDER,
        ),
        "ssr_encoder": _converted(
            "ssr_encoder",
            FETCHABLE["ssr_encoder"].parts,
            needed_by="--model SD15-FOLDER, whose ssr_encoder it goes into",
        ),
    }


def _part_of(hub_id: str, what: str, files: tuple[str, ...], *, licence: str, folder: str = SDXL_FOLDER) -> Published:
    """A part of what `--model` names, from a repository that holds much else."""
    place = str(copied_folder(hub_id))
    needed_by = f"--model FOLDER, {folder}"
    return Published(what, "hub", hub_id, files, needed_by, licence, place, only_files=True, note=UNPINNED)


def _converted(name: str, files: tuple[str, ...], *, needed_by: str) -> Published:
    facts, place = FETCHABLE[name], str(fetched_folder(name))
    source, note = facts.url or facts.page, UNPINNED if facts.url else "by hand, then --from FILE"
    return Published(facts.what, "convert", source, files, needed_by, facts.licence, place, note=note)


def _pipeline(hub_id: str, *, what: str, licence: str) -> Published:
    place = str(copied_folder(hub_id))
    return Published(what, "hub", hub_id, _PIPELINE, f"--model {hub_id}", licence, place, note=UNPINNED)
