"""Cluster bootstraps: weights by hand, scipy's bootstrap as oracle, degenerate cases."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from likeness.core.errors import MeasurementError
from likeness.core.stats.bootstrap import bootstrap_interval, resampled_weights


def weights(*args: object, **options: object) -> np.ndarray:
    return np.concatenate(list(resampled_weights(*args, **options)))  # type: ignore[arg-type]


def test_rows_of_one_subject_are_drawn_together_and_subjects_as_often_as_there_are() -> None:
    found = weights(["a", "b", "a", "c"], num_resamples=200)
    assert found.shape == (200, 4)
    assert (found[:, 0] == found[:, 2]).all()
    assert (found[:, [0, 1, 3]].sum(axis=1) == 3).all()


def test_a_cell_counts_as_often_as_its_subject_times_its_prompt() -> None:
    cells = [(s, p) for s in "ab" for p in "xyz"]
    found = weights([s for s, _ in cells], prompts=[p for _, p in cells], num_resamples=50).reshape(50, 2, 3)
    subjects, prompts = found.sum(axis=2) / 3, found.sum(axis=1) / 2
    assert np.allclose(found, subjects[:, :, None] * prompts[:, None])
    assert (found.sum(axis=(1, 2)) == 6).all()


def test_a_picture_of_two_needs_both() -> None:
    found = weights([frozenset("ab"), frozenset("a"), frozenset("b")], num_resamples=100)
    assert (found[:, 0] == found[:, 1] * found[:, 2]).all()


def test_interval_is_scipys_for_single_values() -> None:
    values = np.random.default_rng(1).gamma(2.0, size=40)
    low, high = bootstrap_interval(lambda w: float(w @ values / w.sum()), list(range(40)), num_resamples=8000)
    theirs = scipy_stats.bootstrap(
        (values,), np.mean, n_resamples=8000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    error = values.std() / math.sqrt(40)
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.12 * error)


def test_undefined_resamples_are_left_out_unless_they_are_most() -> None:
    ends = bootstrap_interval(lambda w: math.nan if w[0] else 1.0, list(range(2)), num_resamples=100)
    assert all(math.isnan(end) for end in ends)  # three of four resamples hold row 0
    assert bootstrap_interval(lambda w: math.nan if w[0] > 1 else 1.0, list(range(2)), num_resamples=100) == (1, 1)


def test_misuse() -> None:
    with pytest.raises(MeasurementError, match="one prompt per group"):
        next(resampled_weights(["a"], prompts=["x", "y"]))
    with pytest.raises(MeasurementError, match="at least one resample"):
        next(resampled_weights(["a"], num_resamples=0))
