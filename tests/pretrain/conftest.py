"""A miniature recipe (32 px, two batches per stage) and, once per session, an autoencoder with its latent cache."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from likeness.pretrain import transformer, unet
from likeness.pretrain.autoencoder import train_autoencoder
from likeness.pretrain.config import PretrainConfig, read_config
from likeness.pretrain.contrastive import save_preprocessing
from likeness.pretrain.tiny_tokenizers import clip_tokenizer
from likeness.world.scenario import caption, sample_scenario

RECIPE = """
seed = 3
work = "{work}"
export = "{work}/export"
device = "cpu"
threads = 1
workers = 0
size = 32
reference_size_single = 32
reference_size_multi = 16
block_out_channels = [8, 8, 8, 8]

[autoencoder]
total_images = 16
batch_size = 4
learning_rate = 1e-3
decay_share = 0.5
ema_decay = 0.9
kl_weight = 1e-5
l1_weight = 0.1
reference_share = 0.4
freeze_encoder = false

[decoder]
total_images = 8
batch_size = 4
learning_rate = 1e-3
decay_share = 0.5
ema_decay = 0.9
kl_weight = 0.0
l1_weight = 0.1
reference_share = 0.4
freeze_encoder = true

[latents]
num_samples = 33
shard_size = 3

[transformer]
total_images = 16
batch_size = 4
muon_learning_rate = 2e-3
adam_learning_rate = 1e-3
weight_decay = 0.01
decay_share = 0.25
ema_decay = 0.9
condition_dropout = 0.5
logit_mean = 0.3
subject_weight = 2.0
num_layers = 1
num_single_layers = 1

[guidance]
total_images = 16
batch_size = 4
muon_learning_rate = 1e-3
adam_learning_rate = 3e-4
weight_decay = 0.0
decay_share = 0.25
ema_decay = 0.9

[unet]
num_samples = 33
total_images = 16
batch_size = 4
muon_learning_rate = 2e-3
adam_learning_rate = 1e-3
weight_decay = 0.01
decay_share = 0.25
ema_decay = 0.9
condition_dropout = 0.5
snr_gamma = 5.0
subject_weight = 2.0
reader_weight = 0.02
block_out_channels = [32, 64]
transformer_layers_per_block = [1, 1]

[local_encoder]
count = 8
steps = 2
batch_size = 2
learning_rate = 1e-3
warmup = 0

[ms_adapter]
num_samples = 33
shard_size = 3
total_images = 16
batch_size = 4
learning_rate = 1e-3
weight_decay = 0.01
decay_share = 0.25
ema_decay = 0.9
subject_weight = 2.0
local_share = 0.5
start = "ip_adapter"

[probe]
pool_size = 40
total_images = 8
batch_size = 4
learning_rate = 2e-3
decay_share = 0.5

[clip]
total_images = 8
batch_size = 4
learning_rate = 1e-3
decay_share = 0.5

[dino]
total_images = 8
batch_size = 4
learning_rate = 1e-3
decay_share = 0.5

[relations]
total_images = 16
batch_size = 8
learning_rate = 1e-3
decay_share = 0.5

[detector]
total_images = 8
batch_size = 4
learning_rate = 1e-3
decay_share = 0.5

[pose]
total_images = 8
batch_size = 4
learning_rate = 1e-3
decay_share = 0.5

[faces]
total_images = 8
batch_size = 4
learning_rate = 1e-3
decay_share = 0.5
"""


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Sums must not depend on how threads split the work."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def write_recipe() -> Callable[[Path], Path]:
    """Writes the miniature recipe for a work folder and returns its path."""

    def write(work: Path) -> Path:
        work.mkdir(parents=True, exist_ok=True)
        path = work / "recipe.toml"
        path.write_text(RECIPE.replace("{work}", work.as_posix()))
        return path

    return write


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, write_recipe: Callable[[Path], Path]) -> PretrainConfig:
    """A recipe whose autoencoder is trained and whose pipeline folder and latents exist; do not train in it."""
    config = read_config(write_recipe(tmp_path_factory.mktemp("prepared")))
    train_autoencoder(config, device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transformer, "NUM_VALIDATION", 4)
        transformer.TransformerTraining(config, device="cpu")
    return config


SMALL = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


def write_clip(folder: Path) -> None:
    """A random CLIP for 32 px with its tokenizer and preprocessing, as stage "clip" leaves them."""
    tokenizer = clip_tokenizer([caption(sample_scenario(i, split="train")) for i in range(40)], max_length=77)
    ids = {key: getattr(tokenizer, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": 77, **SMALL, **ids}
    torch.manual_seed(5)
    vision = {"image_size": 32, "patch_size": 16, **SMALL}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=48)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    save_preprocessing(folder, edge=32, size=32)


@pytest.fixture(scope="session")
def sdxl_work(
    prepared: PretrainConfig, tmp_path_factory: pytest.TempPathFactory, write_recipe: Callable[[Path], Path]
) -> PretrainConfig:
    """A work folder with autoencoder, CLIP, the cache and the untrained SDXL; do not train in it."""
    config = read_config(write_recipe(tmp_path_factory.mktemp("sdxl")))
    shutil.copytree(prepared.work / "vae", config.work / "vae")
    write_clip(config.work / "clip")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unet, "NUM_VALIDATION", 4)
        unet.UnetTraining(config, device="cpu")
    return config


@pytest.fixture
def work_copy(
    prepared: PretrainConfig, tmp_path: Path, write_recipe: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], PretrainConfig]:
    """Copies of the prepared work folder by name, each with its own recipe; validation sees 4 pictures per count."""
    monkeypatch.setattr(transformer, "NUM_VALIDATION", 4)

    def copy(name: str) -> PretrainConfig:
        shutil.copytree(prepared.work, tmp_path / name)
        return read_config(write_recipe(tmp_path / name))

    return copy
