"""Published weights that exist as pickles only: what `likeness fetch NAME` converts, from where, and how.

Most are of encoders; a backbone's adapter names a function of its own room.
"""

from typing import NamedTuple


class Fetchable(NamedTuple):
    """One line of FETCHABLE. `convert` is "module:function", called with (tensors, folder, base).

    Where `parts` are named, the file is an archive, of which `convert` gets a folder with those parts in place of the
    tensors. `url` is the file as published (None where it must be downloaded by hand, from `page`), `num_bytes` and
    `sha256` are its own where they are known. `base` is the hub id of what the file lacks and the folder gets from
    there, "" for a file that lacks nothing.
    """

    what: str
    page: str
    url: str | None
    num_bytes: int | None
    sha256: str | None
    licence: str
    base: str
    convert: str
    parts: tuple[str, ...] = ()


CLIP_L14 = "openai/clip-vit-large-patch14@32bd64288804d66eefd0ccbe215aa642df71cc41"
BERT = "google-bert/bert-base-uncased@86b5e0934494bd15c9632b12f734a8a67f723594"
DINO_B16 = "facebook/dino-vitb16@a77533c84408875b30b5e8beb766c82a5be82bf4"  # refs/pr/7: main has no safetensors
_HPS = "https://huggingface.co/xswu/HPSv2"
_HPS_FILES = f"{_HPS}/resolve/697403c78157020a1ae59d23f111aa58ced35b0a"
_REWARD = "https://huggingface.co/zai-org/ImageReward"
_AESTHETIC = "https://github.com/christophschuhmann/improved-aesthetic-predictor"
_MS = "https://huggingface.co/doge1516/MS-Diffusion"
_SSR = "https://drive.google.com/drive/folders/1pMwzGRA8QzHjEH5Hc4zDwdsSDwjwQKMW"
_RELATION = "https://huggingface.co/QingyuShi/DreamRelation"
_DREAMSIM = "https://github.com/ssundaram21/dreamsim/releases"

FETCHABLE: dict[str, Fetchable] = {
    "hps_v1": Fetchable(
        what="HPS v1: hpc.pt, CLIP ViT-L/14",
        page="https://github.com/tgxs002/align_sd",
        url=None,
        num_bytes=None,
        sha256=None,
        licence="weights unstated; code Apache-2.0",
        base=CLIP_L14,
        convert="likeness.encoders.hps:convert_l14",
    ),
    "hps_v2": Fetchable(
        what="HPS v2.0: HPS_v2_compressed.pt, CLIP ViT-H/14",
        page=_HPS,
        url=f"{_HPS_FILES}/HPS_v2_compressed.pt",
        num_bytes=None,
        sha256=None,
        licence="Apache-2.0",
        base=CLIP_L14,
        convert="likeness.encoders.hps:convert_h14",
    ),
    "hps_v21": Fetchable(
        what="HPS v2.1: HPS_v2.1_compressed.pt, CLIP ViT-H/14",
        page=_HPS,
        url=f"{_HPS_FILES}/HPS_v2.1_compressed.pt",
        num_bytes=None,
        sha256="c57a38fb4a2f7e7c15bf00da2ea377cdf165448b4dd1052a484c215a998c9837",
        licence="Apache-2.0",
        base=CLIP_L14,
        convert="likeness.encoders.hps:convert_h14",
    ),
    "image_reward": Fetchable(
        what="ImageReward v1.0: ImageReward.pt, BLIP ViT-L/16 with a head",
        page=_REWARD,
        url=f"{_REWARD}/resolve/5736be03b2652728fb87788c9797b0570450ab72/ImageReward.pt",
        num_bytes=None,
        sha256=None,
        licence="Apache-2.0",
        base=BERT,
        convert="likeness.encoders.blip:convert_image_reward",
    ),
    "aesthetic": Fetchable(
        what="Aesthetic head sac+logos+ava1-l14-linearMSE.pth, with CLIP ViT-L/14 from the hub",
        page=_AESTHETIC,
        url=f"{_AESTHETIC}/raw/main/sac%2Blogos%2Bava1-l14-linearMSE.pth",
        num_bytes=3_714_759,
        sha256="21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
        licence="head Apache-2.0 (repository), CLIP MIT",
        base=CLIP_L14,
        convert="likeness.encoders.aesthetic:convert_aesthetic",
    ),
    "dreamsim": Fetchable(
        what="DreamSim ensemble: dreamsim_ensemble_checkpoint.zip (or its folder), with DINO ViT-B/16 from the hub",
        page=_DREAMSIM,
        url=f"{_DREAMSIM}/download/v0.2.0-checkpoints/dreamsim_ensemble_checkpoint.zip",
        num_bytes=None,
        sha256=None,
        licence="MIT; DINO Apache-2.0",
        base=DINO_B16,
        convert="likeness.encoders.dreamsim_convert:convert_dreamsim",
        parts=(
            "clip_vitb16_pretrain.pth.tar",
            "open_clip_vitb16_pretrain.pth.tar",
            "ensemble_lora/adapter_config.json",
            "ensemble_lora/adapter_model.safetensors",
            "ensemble_lora/adapter_model.bin",
        ),
    ),
    "ms_diffusion": Fetchable(
        what="MS-Diffusion: ms_adapter.bin, references in boxes for SDXL",
        page=_MS,
        url=f"{_MS}/resolve/main/ms_adapter.bin",
        num_bytes=None,
        sha256=None,
        licence="weights unstated; code MIT",
        base="",
        convert="likeness.backbones.sdxl.ms_adapter:convert_ms_adapter",
    ),
    "ssr_encoder": Fetchable(
        what="SSR-Encoder: pytorch_model.bin and pytorch_model_1.bin in one folder, references by phrase for SD 1.5",
        page=_SSR,
        url=None,
        num_bytes=None,
        sha256=None,
        licence="unstated, of weights and code",
        base="",
        convert="likeness.backbones.sd15.ssr_adapter:convert_ssr_encoder",
        parts=("pytorch_model.bin", "pytorch_model_1.bin"),
    ),
    "local_image_encoder": Fetchable(
        what="DreamRelation's Local Image Encoder: epoch_6.pt, CLIP ViT-bigG/14 tuned by CLIPSelf",
        page=_RELATION,
        url=None,
        num_bytes=None,
        sha256=None,
        licence="unstated",
        base="",
        convert="likeness.backbones.sdxl.local_encoder:convert_local_encoder",
    ),
}
