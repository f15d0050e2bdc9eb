"""Principal components as colours: against eigenvectors of the covariance, with a fixed sign."""

import numpy as np

from likeness.encoders.principal import principal_colors


def features(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(6, 5, 8)) * np.linspace(3, 0.2, 8)


def test_colours_are_projections_on_the_covariances_eigenvectors() -> None:
    found = principal_colors(features())
    rows = features().reshape(-1, 8)
    centred = rows - rows.mean(0)
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    np.testing.assert_allclose(found.shares, values[::-1][:3] / values.sum(), rtol=1e-9)
    for channel in range(3):
        axis = vectors[:, -1 - channel]
        axis = axis * np.sign(axis[np.abs(axis).argmax()])
        scores = centred @ axis
        expected = 255 * (scores - scores.min()) / (scores.max() - scores.min())
        assert np.abs(found.colors[..., channel].reshape(-1) - expected).max() <= 0.51


def test_the_sign_is_fixed_whatever_the_solver_gives() -> None:
    """Of negated features the axes are the same, so the colours are turned round, not as a solver likes."""
    found, negated = principal_colors(features()), principal_colors(-features())
    assert np.abs(255 - negated.colors.astype(int) - found.colors.astype(int)).max() <= 1
    orders = [principal_colors(features()[::step]).colors[::step] for step in (1, -1)]
    assert np.abs(orders[0].astype(int) - orders[1].astype(int)).max() <= 1


def test_components_without_variance_are_grey() -> None:
    flat = principal_colors(np.ones((3, 4, 6)))
    assert (flat.colors == 128).all()
    assert (flat.shares == 0).all()
    line = np.zeros((1, 4, 6))
    line[0, :, 2] = [0, 1, 2, 3]
    found = principal_colors(line)
    assert found.colors[0, :, 0].tolist() == [0, 85, 170, 255]
    assert (found.colors[..., 1:] == 128).all()
    np.testing.assert_allclose(found.shares, [1, 0, 0], atol=1e-12)
