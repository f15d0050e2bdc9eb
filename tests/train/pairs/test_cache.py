"""Encoded pairs: read again for the same inputs only, checked when opened."""

from pathlib import Path
from typing import Any

import pytest
from preference_runs import edit_row, repaint, same, train

from likeness.core.errors import WeightsError
from likeness.train.pairs import cache as caching


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
