"""The laws of figures/learning_curve.py: found again, drawn, and silent where there is none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scripts import load_script


def curve_rows() -> list[dict[str, Any]]:
    """Checkpoints whose misses follow laws of exponents 0.5 and, leakage, 0.4."""
    return [
        {
            "benchmark": benchmark,
            "pictures": n,
            "attribute_accuracy": dict.fromkeys(("mean", "ci_low", "ci_high"), ceiling * (1 - 20 * n**-0.5)),
            "leakage": dict.fromkeys(("mean", "ci_low", "ci_high"), 0.01 + 10 * n**-0.4),
        }
        for n in (10_000, 40_000, 90_000)
        for benchmark, ceiling in (("world-single", 0.9), ("world-multi", 0.8))
    ]


def curve_truth(leakage: float = 0.01) -> dict[str, dict[str, Any]]:
    return {
        "world-single": {"attribute_accuracy": 0.9, "leakage": None},
        "world-multi": {"attribute_accuracy": 0.8, "leakage": leakage},
    }


def test_the_laws_of_the_learning_curve_are_found_again() -> None:
    curve = load_script("figures/learning_curve.py")
    single, multi, leakage = curve.laws(curve_rows(), true=curve_truth())
    for law, goal in ((single, 0.97), (multi, 0.95)):
        assert (law["metric"], law["goal"]) == ("attribute_accuracy", goal)
        assert (law["a"], law["b"]) == (pytest.approx(20), pytest.approx(0.5))
        assert law["pictures_at_goal"] == pytest.approx((20 / (1 - goal)) ** 2)
    assert (leakage["a"], leakage["b"]) == (pytest.approx(10), pytest.approx(0.4))
    assert leakage["pictures_at_goal"] == pytest.approx((10 / 0.01) ** 2.5)


def test_a_goal_that_true_pictures_miss_is_never_met() -> None:
    curve = load_script("figures/learning_curve.py")
    assert curve.laws(curve_rows(), true=curve_truth(leakage=0.03))[2]["pictures_at_goal"] is None


def test_the_learning_curve_is_drawn(tmp_path: Path) -> None:
    curve = load_script("figures/learning_curve.py")
    curve.draw(curve_rows(), true=curve_truth(), out=tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as drawn:
        assert drawn.size == (1210, 880)


def test_a_miss_that_does_not_fall_has_no_goal() -> None:
    curve = load_script("figures/learning_curve.py")
    assert curve.fit([1000, 2000], np.array([0.1, 0.2]), goal=0.05)["pictures_at_goal"] is None
    with pytest.raises(ValueError, match="more than 0"):
        curve.fit([1000, 2000], np.array([0.1, 0.0]), goal=0.05)
