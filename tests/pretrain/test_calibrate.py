"""The cards of the embedded checkpoints: chances by hand and by scipy, intervals, and what is read of whom."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from likeness.pretrain.calibrate import identity_card
from likeness.pretrain.cards.numbers import auc
from likeness.world.identity import Identity


def test_auc_is_the_share_of_pairs_won() -> None:
    """Own 3 beats 1 and 2, ties with 3 and loses to 4: 2.5 of 4; own 0 wins none."""
    found = auc([3.0, 0.0], np.array([[1.0, 3.0], [2.0, 4.0]]))
    assert found["mean"] == pytest.approx(2.5 / 8, abs=1e-4)
    assert auc([5.0, 6.0, 7.0], np.zeros((3, 4))) == {"mean": 1.0, "ci_low": 1.0, "ci_high": 1.0, "n": 3}


def test_auc_agrees_with_mann_whitney_and_its_interval_covers_it() -> None:
    rng = np.random.default_rng(0)
    own, others = rng.normal(1, 1, 80), rng.normal(0, 1, (80, 5)).round(1)
    found: Any = auc(list(own), others)
    assert found["mean"] == pytest.approx(mannwhitneyu(own, others.ravel()).statistic / (80 * 400), abs=1e-4)
    assert found["ci_low"] < found["mean"] < found["ci_high"]
    assert found["ci_high"] - found["ci_low"] == pytest.approx(0.13, abs=0.06)


def test_rivals_are_of_the_species_and_anybody_is_anybody() -> None:
    """Features are unit vectors by subject; the second cat looks like the first, the dog like nobody."""
    people = [Identity("cat", "red", "blue", "plain", "none"), Identity("cat", "green", "blue", "plain", "none"),
              Identity("dog", "red", "blue", "plain", "none")]  # fmt: skip
    portraits = np.array([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]], np.float32)
    with pytest.raises(ValueError, match="zero-size"):  # a species of one has no rival
        identity_card(people, portraits, portraits)
    card: Any = identity_card(people[:2], portraits[:2], portraits[:2])
    assert card["hardest_other"]["mean"] == pytest.approx(0.6, abs=1e-4)
    assert card["first"]["mean"] == card["auc_hardest"]["mean"] == card["auc"]["mean"] == 1.0
