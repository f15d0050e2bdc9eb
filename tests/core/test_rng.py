"""Seeds are functions of names."""

import hashlib

from likeness.core.rng import seed_for


def test_seed_is_the_top_63_bits_of_the_hash() -> None:
    by_hand = int(hashlib.sha256(b"world\x00train\x007").hexdigest()[:16], 16) // 2
    assert seed_for("world", "train", 7) == by_hand


def test_names_are_told_apart_at_their_borders() -> None:
    assert seed_for("a", "bc") != seed_for("ab", "c")
    assert seed_for("a", "b") != seed_for("b", "a")
    assert seed_for("a", 1) == seed_for("a", "1")


def test_seeds_fit_63_bits_and_spread() -> None:
    seeds = [seed_for("stream", number) for number in range(2000)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert len(set(seeds)) == 2000
    high = sum(seed >= 2**62 for seed in seeds)
    assert 900 < high < 1100  # fair coin: 1000 with a standard deviation of 22
