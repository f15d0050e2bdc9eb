"""Encoded pairs: read again for the same inputs only, checked when opened."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from preference_runs import edit_row, repaint, same, train, write_pairs
from torch import Tensor

from likeness.backbones.flux.uno import FluxUno
from likeness.core.errors import WeightsError
from likeness.core.pairs import PreferencePair, read_pairs
from likeness.train.pairs import cache as caching
from likeness.train.pairs.encode import EncodeSettings

SETTINGS = EncodeSettings(None, "torch.float32", "kde32")


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of pairs in the order in which they were encoded."""
    seen: list[str] = []
    encode = caching.encode_pair

    def spy(backbone: Any, pair: Any, **options: Any) -> Any:
        seen.append(pair.id)
        return encode(backbone, pair, **options)

    monkeypatch.setattr(caching, "encode_pair", spy)
    return seen


def test_a_cache_is_read_again_only_for_the_same_inputs(recipe: Path, tmp_path: Path, encoded: list[str]) -> None:
    def trained(name: str, *changes: str) -> list[str]:
        encoded.clear()
        train(recipe, tmp_path / name, "train.steps=1", *changes)
        return list(encoded)

    everything = [f"p{i}" for i in range(6)]
    assert trained("first") == everything
    assert trained("again", "objective.beta=9", "train.seed=1") == []
    assert trained("entropy", "objective.focus.entropy=hist256") == everything
    assert trained("size", "data.size=32") == everything
    assert trained("size-again", "data.size=32") == []
    repaint(tmp_path / "pairs" / "p3-rejected.png")
    assert trained("picture") == everything
    edit_row(tmp_path / "pairs", lambda row: row.update(prompt="a red fox"))
    assert trained("prompt") == everything


def test_a_damaged_cache_is_made_again_or_refused(
    recipe: Path, tmp_path: Path, encoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching, "PAIRS_PER_SHARD", 4)
    train(recipe, tmp_path / "one", "train.steps=1")
    shards = sorted((tmp_path / "pairs" / "cache").rglob("*.safetensors"))
    assert [shard.name for shard in shards] == ["00000.safetensors", "00001.safetensors"]
    shards[1].write_bytes(shards[1].read_bytes()[:-100])  # a full disk
    encoded.clear()
    train(recipe, tmp_path / "two", "train.steps=1")
    assert encoded == ["p4", "p5"]
    assert same(tmp_path / "one", tmp_path / "two")
    damaged = bytearray(shards[0].read_bytes())
    damaged[-1] ^= 255  # of the last tensor's bytes; header and size are sound
    shards[0].write_bytes(damaged)
    with pytest.raises(WeightsError, match=r"00000.safetensors.* got other bytes in \w+ of pair \d+ than"):
        train(recipe, tmp_path / "three")
    assert not list((tmp_path / "three").glob("lora/*"))


def test_how_pairs_are_sharded_changes_no_number(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(recipe, tmp_path / "one", "train.steps=2")
    monkeypatch.setattr(caching, "PAIRS_PER_SHARD", 1)
    train(recipe, tmp_path / "two", "train.steps=2", f"data.cache={tmp_path / 'elsewhere'}")
    assert same(tmp_path / "one", tmp_path / "two")


# what is read, and what is kept ---------------------------------------------------------------------------------------

SIDE = 256  # latents of 256 KB


def encode_large(_: Any, pair: Any, **__: Any) -> dict[str, Tensor]:
    """A pair of half a megabyte of its own, and text that pairs of one prompt share."""
    mine = torch.Generator().manual_seed(int(pair.id[1:]))
    text = torch.Generator().manual_seed(len(pair.prompt))
    return {
        "preferred": torch.randn(1, SIDE, SIDE, generator=mine),
        "rejected": torch.randn(1, SIDE, SIDE, generator=mine),
        "embeds": torch.randn(SIDE, SIDE, generator=text),
        "subject_shares": torch.ones(1, 4),
        "disrupted": torch.ones(1, dtype=torch.bool),
        "complexity": torch.ones(4),
    }


@pytest.fixture(scope="module")
def some_pairs(tmp_path_factory: pytest.TempPathFactory) -> list[PreferencePair]:
    """Pairs of which every second one has the same prompt."""
    pairs = read_pairs(write_pairs(tmp_path_factory.mktemp("pairs"), count=24)).pairs
    return [pair.model_copy(update={"prompt": "x" * (i if i % 2 else 100)}) for i, pair in enumerate(pairs)]


@pytest.fixture(scope="module")
def untouched(tiny_flux: Path) -> FluxUno:
    return FluxUno.load(tiny_flux)


def encoded_cache(folder: Path, pairs: list[PreferencePair], *, backbone: FluxUno) -> Path:
    count = len(pairs)
    return caching.build_cache(pairs, folder=folder, key={"count": count}, backbone=backbone, settings=SETTINGS)


def resident(folder: Path) -> int:
    """Bytes of the folder's files that are mapped into this process and have been touched."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = str(folder) in line
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's account of mapped files")
def test_opening_a_cache_reads_headers_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, some_pairs: list[PreferencePair], untouched: FluxUno
) -> None:
    monkeypatch.setattr(caching, "encode_pair", encode_large)
    monkeypatch.setattr(caching, "PAIRS_PER_SHARD", 12)
    touched: list[int] = []
    for count in (12, 24):
        place = encoded_cache(tmp_path / str(count), some_pairs[:count], backbone=untouched)
        size = sum(path.stat().st_size for path in place.iterdir())
        cache = caching.PairCache(place, count=count)
        assert len(cache.shapes) == count
        touched.append(resident(place))
        assert touched[-1] < size / 20
        assert cache[0].preferred.shape == (1, SIDE, SIDE)
        assert resident(place) > touched[-1] + 2 * 4 * SIDE * SIDE  # one pair, not the set
        assert resident(place) < 0.75 * size  # the system reads ahead
    assert touched[1] <= 2 * touched[0]


def test_what_pairs_share_is_kept_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, some_pairs: list[PreferencePair], untouched: FluxUno
) -> None:
    monkeypatch.setattr(caching, "encode_pair", encode_large)
    monkeypatch.setattr(caching, "PAIRS_PER_SHARD", 3)
    place = encoded_cache(tmp_path, some_pairs[:8], backbone=untouched)
    cache = caching.PairCache(place, count=8)
    for index in range(8):  # also those whose text lies in an earlier shard
        expected = encode_large(untouched, some_pairs[index])
        assert torch.equal(cache[index].preferred, expected["preferred"])
        assert torch.equal(cache[index].condition["embeds"], expected["embeds"])
    size = sum(path.stat().st_size for path in place.iterdir())
    latents, text = 2 * 4 * SIDE * SIDE, 4 * SIDE * SIDE
    assert size == pytest.approx(8 * latents + 5 * text, rel=0.02)  # five prompts among eight pairs


def test_a_shard_made_again_serves_those_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, some_pairs: list[PreferencePair], untouched: FluxUno
) -> None:
    seen: list[str] = []

    def spy(backbone: Any, pair: Any, **options: Any) -> dict[str, Tensor]:
        seen.append(pair.id)
        return encode_large(backbone, pair, **options)

    monkeypatch.setattr(caching, "encode_pair", spy)
    monkeypatch.setattr(caching, "PAIRS_PER_SHARD", 3)
    place = encoded_cache(tmp_path, some_pairs[:8], backbone=untouched)
    (place / "00000.safetensors").unlink()
    seen.clear()
    assert encoded_cache(tmp_path, some_pairs[:8], backbone=untouched) == place
    assert seen == ["p0", "p1", "p2"]
    assert caching.PairCache(place, count=8)[6].condition["embeds"].shape == (SIDE, SIDE)


def test_numbers_that_are_not_finite_are_never_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, some_pairs: list[PreferencePair], untouched: FluxUno
) -> None:
    def broken(backbone: Any, pair: Any, **options: Any) -> dict[str, Tensor]:
        found = encode_large(backbone, pair, **options)
        if pair.id == "p2":
            found["rejected"][0, 0, 0] = torch.nan
        return found

    monkeypatch.setattr(caching, "encode_pair", broken)
    with pytest.raises(WeightsError, match=r"pair p2: expected finite numbers .* got NaN or infinity in rejected"):
        encoded_cache(tmp_path, some_pairs[:4], backbone=untouched)
    assert not list(tmp_path.rglob("*.safetensors"))
