"""Stage "latents": shards of one subject count, batches that are a function of their number."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from likeness.backbones.flux.uno import FluxUno
from likeness.core.devices import fast_autocast
from likeness.core.rng import seed_for
from likeness.pretrain.autoencoder import to_pixels
from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.latents import (
    COUNT_CYCLE,
    LatentPool,
    LatentShard,
    cache_folder,
    cache_latents,
    encode_scenarios,
    reference_size,
    shard_scenarios,
    token_ids,
)
from likeness.world.identity import split_of_identity
from likeness.world.render import render, render_image, render_reference
from likeness.world.scenario import caption, sample_scenario

Copy = Callable[[str], PretrainConfig]


@pytest.fixture(scope="module")
def backbone(prepared: PretrainConfig) -> FluxUno:
    return FluxUno.load(prepared.work / "flux")


@pytest.fixture(scope="module")
def pool(prepared: PretrainConfig) -> LatentPool[LatentShard]:
    return LatentPool(cache_folder(prepared), num_shards=11, kind=LatentShard)


def shard(first: int, count: int, *, rows: int = 4) -> LatentShard:
    """Rows that carry their own number everywhere."""
    number = torch.arange(first, first + rows).float()
    return LatentShard(
        number.reshape(-1, 1, 1, 1).expand(-1, 16, 2, 2).contiguous(),
        number.reshape(-1, 1, 1).expand(-1, 2, 2).contiguous(),
        number.reshape(-1, 1, 1, 1, 1).expand(-1, count, 16, 1, 1).contiguous(),
        number.long().reshape(-1, 1).expand(-1, 5).contiguous(),
        number.long().reshape(-1, 1).expand(-1, 3).contiguous(),
    )


def test_most_pictures_have_one_or_two_subjects_and_all_counts_occur() -> None:
    counts = Counter(COUNT_CYCLE)
    assert set(counts) == {1, 2, 3, 4}
    assert counts[1] + counts[2] >= 0.8 * len(COUNT_CYCLE)


def test_references_are_smaller_when_there_are_several(prepared: PretrainConfig) -> None:
    assert [reference_size(prepared, n) for n in (1, 2, 3, 4)] == [32, 16, 16, 16]


def test_shards_continue_each_other_in_the_training_split() -> None:
    for index in (0, 1, 10):
        scenarios = shard_scenarios(index, size=3, split="train")
        count = COUNT_CYCLE[index]
        assert scenarios == [sample_scenario(index * 3 + i, split="train", num_subjects=count) for i in range(3)]
        assert all(split_of_identity(who) == "train" for s in scenarios for who in s.identities)


def test_cached_rows_are_the_encoded_pictures(prepared: PretrainConfig, backbone: FluxUno) -> None:
    """Each row against its picture encoded alone, in the same arithmetic; latents have size 1."""
    rows = LatentShard(**load_file(cache_folder(prepared) / "00001.safetensors"))
    scenarios = shard_scenarios(1, size=3, split="train")
    assert rows.target.shape == (3, 16, 4, 4)
    assert rows.references.shape == (3, 2, 16, 2, 2)
    for i, scenario in enumerate(scenarios):
        target = alone(backbone, render_image(scenario, size=32))
        assert float((rows.target[i].float() - target).square().mean().sqrt()) < 0.05
        for k, who in enumerate(scenario.identities):
            photo = render_reference(who, seed=seed_for("reference", scenario.seed, k), size=16)
            latent = alone(backbone, photo)
            assert float((rows.references[i, k].float() - latent).square().mean().sqrt()) < 0.05
        visible = np.any([s.visible_mask for s in render(scenario, size=8).labels.subjects], axis=0)
        assert torch.equal(rows.subject[i].float(), torch.from_numpy(visible.reshape(4, 2, 4, 2).mean((1, 3))).float())
        pieces, words = token_ids(backbone, [caption(scenario)])
        assert torch.equal(rows.pieces[i : i + 1], pieces)
        assert torch.equal(rows.words[i : i + 1], words)


def alone(backbone: FluxUno, image: np.ndarray) -> torch.Tensor:
    """The latent of one picture."""
    with fast_autocast("cpu"):
        return backbone.encode(to_pixels(image[None]))[0].float()


def test_token_ids_embed_as_the_backbone_embeds(backbone: FluxUno) -> None:
    prompts = ["A cat is hugging a dog in the forest.", ""]
    pieces, words = token_ids(backbone, prompts)
    text = backbone.embed_text(prompts)
    with torch.no_grad():
        torch.testing.assert_close(backbone.parts.text_encoder_2(pieces)[0], text.embeds)
        torch.testing.assert_close(backbone.parts.text_encoder(words).pooler_output, text.pooled)


def test_encoding_more_pictures_does_not_change_the_first(prepared: PretrainConfig, backbone: FluxUno) -> None:
    scenarios = shard_scenarios(0, size=3, split="train")
    three, one = encode_scenarios(backbone, scenarios, prepared), encode_scenarios(backbone, scenarios[:1], prepared)
    torch.testing.assert_close(three.target[:1], one.target, atol=0.03, rtol=0.03)
    assert torch.equal(three.pieces[:1], one.pieces)


def test_only_missing_shards_are_written(work_copy: Copy, backbone: FluxUno) -> None:
    config = work_copy("shards")
    folder = cache_folder(config)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert len(before) == 11
    kept = folder / "00003.safetensors"
    stamp = kept.stat().st_mtime_ns
    (folder / "00005.safetensors").unlink()
    assert cache_latents(config, backbone) == folder
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert kept.stat().st_mtime_ns == stamp


def test_another_encoder_or_size_is_another_folder_and_a_decoder_is_not(work_copy: Copy) -> None:
    config = work_copy("keys")
    folder = cache_folder(config)
    assert cache_folder(config) == folder
    assert cache_folder(config.model_copy(update={"reference_size_multi": 32})) != folder
    path = config.work / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "decoder.conv_out.bias": tensors["decoder.conv_out.bias"] + 1}, path)
    assert cache_folder(config) == folder
    save_file({**tensors, "encoder.conv_out.bias": tensors["encoder.conv_out.bias"] + 1}, path)
    assert cache_folder(config) != folder


def test_the_pool_groups_rows_by_count(tmp_path: Path) -> None:
    for index, (first, count) in enumerate(((0, 1), (100, 2), (200, 1))):
        save_file(vars(shard(first, count)), tmp_path / f"{index:05d}.safetensors")
    pool = LatentPool(tmp_path, num_shards=3, kind=LatentShard)
    assert {count: len(group.target) for count, group in pool.groups.items()} == {1: 8, 2: 4}
    chosen = Counter[int]()
    for index in range(300):
        batch = pool.batch(index, size=6, seed=5)
        count = batch.references.shape[1]
        chosen[count] += 1
        numbers = batch.target[:, 0, 0, 0]
        assert torch.equal(batch.references[:, 0, 0, 0, 0], numbers), "rows stay together"
        assert torch.equal(batch.pieces[:, 0], numbers.long())
        assert torch.equal(batch.words[:, 0], numbers.long())
        allowed = {1: {0, 1, 2, 3, 200, 201, 202, 203}, 2: {100, 101, 102, 103}}[count]
        assert set(numbers.int().tolist()) <= allowed
    assert chosen[1] / 300 == pytest.approx(8 / 12, abs=0.1)


def test_batches_are_a_function_of_number_and_seed(pool: LatentPool[LatentShard]) -> None:
    order = [pool.batch(i, size=4, seed=1).pieces for i in range(6)]
    np.random.seed(0)  # global state must not matter
    again = [pool.batch(i, size=4, seed=1).pieces for i in reversed(range(6))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(order, again, strict=True))
    other = [pool.batch(i, size=4, seed=2).pieces for i in range(6)]
    assert not all(torch.equal(a, b) for a, b in zip(order, other, strict=True))


def test_the_real_pool_holds_every_shard(pool: LatentPool[LatentShard]) -> None:
    counts = Counter(COUNT_CYCLE[:11])
    assert {count: len(group.target) for count, group in pool.groups.items()} == {n: 3 * k for n, k in counts.items()}
