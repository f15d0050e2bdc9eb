"""How failures where subjects touch are calibrated: pictures planted as they are called, limits and errors by hand."""

from typing import Any

import numpy as np
import pytest
from scripts import load_script

from likeness.metrics.failures import FAILURES
from likeness.world.render import render

contact: Any = load_script("figures/contact.py")
memory: Any = load_script("benchmarks/perf/relation_memory.py")


def test_every_failure_has_pictures_with_it_and_without() -> None:
    assert contact.KINDS.keys() == {failure.name for failure in FAILURES}


def test_a_mixed_picture_differs_within_the_disc_alone() -> None:
    scenario = contact.scenario_of(0, "validation")
    assert scenario.action == "shake_hands"
    drawn = contact.pictures(scenario)
    rows, columns = np.nonzero((drawn["mixed"] != drawn["touching"]).any(axis=2))
    assert len(rows)
    paws = [subject.keypoints[[7, 10], :2] * contact.SIZE for subject in render(scenario).labels.subjects]
    gaps = [np.linalg.norm(one - two) for one in paws[0] for two in paws[1]]
    i, j = divmod(int(np.argmin(gaps)), 2)
    x, y = (paws[0][i] + paws[1][j]) / 2
    far = np.hypot(columns + 0.5 - x, rows + 0.5 - y)
    assert far.max() <= contact.MIXED_RADIUS * contact.SIZE + 1e-3


def test_limbs_are_left_out_and_come_back() -> None:
    scenario = contact.scenario_of(1, "test")
    first, again = contact.pictures(scenario), contact.pictures(scenario)
    assert (first["limbless"] != first["touching"]).any()
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_the_limit_tells_most_and_errors_are_counted_on_other_people() -> None:
    failed, sound = np.array([0.5, 0.6, 0.9, 0.1]), np.array([0.0, 0.1, 0.2, 0.3])
    assert contact.best_limit(failed, sound) == pytest.approx(0.4), "between 0.3 and 0.5: 3 of 4 and 4 of 4"
    assert contact.values([{"a": 1.0}, {"a": "not seen"}, {"a": 0.0}], "a").tolist() == [1.0, 0.0]
    assert contact.share(np.array([True, False])).mean == 0.5
    assert contact.share(np.array([], dtype=bool)).n == 0


def test_the_slope_of_memory_is_the_mean_rise_with_students_interval() -> None:
    """Rises of 100, 300 and 200 bytes in 10 steps: mean 20 a step, deviation 10, t(2) = 4.303."""
    found = memory.slope([1000, 1100, 1400, 1600], every=10)
    assert found.mean == pytest.approx(20)
    assert found.high - found.mean == pytest.approx(4.303 * 10 / 3**0.5, abs=0.01)
    assert found.n == 3
    assert [found.verdict(limit) for limit in (50, 20, -10)] == ["flat", "undecided", "grows"]
    with pytest.raises(ValueError, match="expected 3 or more, got 2"):
        memory.slope([1, 2], every=10)
