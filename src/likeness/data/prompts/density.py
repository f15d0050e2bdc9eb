"""How alike sets of prompts are in a sentence space: a mixture fitted to one, t-SNE of all, nearest neighbours.

Source: Stellar (arXiv:2312.06116v1), Table 7 (Gaussian mixture of Stellar-H by BIC, mean log-likelihood per prompt),
Fig. 6 (t-SNE of equally large samples) and Table 4 (the five nearest prompts).
Differs: the sizes and covariances tried are those given here, as the paper does not list its own.
"""

import importlib
import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple  # Any: scikit-learn is typed in part

import numpy as np
from jaxtyping import Float

from likeness.core.errors import MeasurementError
from likeness.core.rng import seed_for

__all__ = ["COVARIANCES", "SIZES", "Fit", "Mixture", "Near", "best_mixture", "map_of", "nearest"]

Features = Float[np.ndarray, "N D"]
SIZES = (1, 2, 4, 8, 16, 32)
COVARIANCES = ("spherical", "diag", "tied")
REGULAR = 1e-5
"""Added to every variance: unit vectors of 384 numbers have variances of about 1/384."""
PERPLEXITY = 30.0


class Fit(NamedTuple):
    """One mixture that was tried; the best has the least `bic`. Whether its fit `converged` is told, not required."""

    size: int
    covariance: str
    bic: float
    converged: bool


class Mixture(NamedTuple):
    """The best mixture and all that were tried."""

    model: Any
    best: Fit
    tried: tuple[Fit, ...]

    def likelihood(self, features: Features) -> float:
        """The mean log-likelihood of a row, in nats."""
        return float(self.model.score(features))


class Near(NamedTuple):
    """A prompt with the nearest prompts of another set and their cosines, the nearest first."""

    prompt: str
    found: tuple[tuple[str, float], ...]


def _sklearn(name: str) -> Any:
    try:
        return importlib.import_module(f"sklearn.{name}")
    except ImportError as error:
        how = "install it with pip install 'likeness[prompts]'"
        raise MeasurementError(f"Density: expected the library scikit-learn, got {error}; {how}.") from error


def best_mixture(
    features: Features,
    *,
    sizes: Sequence[int] = SIZES,
    covariances: Sequence[str] = COVARIANCES,
    seed: int = 0,
) -> Mixture:
    """The Gaussian mixture of least BIC among all sizes (up to half the rows) and covariances.

    Raises: MeasurementError without scikit-learn, and where no size fits the rows.
    """
    mixture, fits = _sklearn("mixture"), list[tuple[Fit, Any]]()
    unfinished = _sklearn("exceptions").ConvergenceWarning
    state = seed_for("prompts", "mixture", seed) % 2**32
    for covariance in covariances:
        for size in (size for size in sizes if 2 * size <= len(features)):
            model = mixture.GaussianMixture(
                size, covariance_type=covariance, reg_covar=REGULAR, random_state=state, n_init=1
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", category=unfinished)  # `converged` tells it
                model.fit(features.astype(np.float64))
            bic = float(model.bic(features.astype(np.float64)))
            fits.append((Fit(size, covariance, bic, bool(model.converged_)), model))
    if not fits:
        raise MeasurementError(f"Gaussian mixture: expected two prompts or more, got {len(features)}; add prompts.")
    best, model = min(fits, key=lambda each: each[0].bic)
    return Mixture(model, best, tuple(fit for fit, _ in fits))


def map_of(sets: Mapping[str, Features], *, most: int = 1000, seed: int = 0) -> dict[str, Float[np.ndarray, "M 2"]]:
    """t-SNE of equally large samples, `most` rows of each set or as many as the smallest has: set -> places (M, 2).

    Raises: MeasurementError without scikit-learn, and for fewer than five rows in all.
    """
    manifold = _sklearn("manifold")
    size = min(most, *(len(features) for features in sets.values()))
    drawn = {name: features[_sample(len(features), size, seed, name)] for name, features in sets.items()}
    rows = np.concatenate(list(drawn.values())).astype(np.float64)
    if len(rows) < 5:
        raise MeasurementError(f"t-SNE: expected five prompts or more, got {len(rows)}; add prompts.")
    state = seed_for("prompts", "t-SNE", seed) % 2**32
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    found = manifold.TSNE(2, perplexity=perplexity, init="pca", random_state=state).fit_transform(rows)
    return dict(zip(drawn, np.split(np.asarray(found), len(drawn)), strict=True))


def _sample(count: int, size: int, seed: int, name: str) -> list[int]:
    return sorted(random.Random(seed_for("prompts", "sample", seed, name)).sample(range(count), size))


def nearest(
    asked: Features,
    others: Float[np.ndarray, "M D"],
    *,
    texts: Sequence[str],
    among: Sequence[str],
    count: int = 8,
    most: int = 5,
    seed: int = 0,
) -> list[Near]:
    """Of `count` of the `texts`, drawn by the seed, the `most` nearest of `among`; equally near ones in their order."""
    rows = _sample(len(texts), min(count, len(texts)), seed, "nearest")
    cosines = asked[rows] @ others.T
    found: list[Near] = []
    for row, cosine in zip(rows, cosines, strict=True):
        places = np.argsort(-cosine, kind="stable")[:most]
        ranked: list[tuple[str, float]] = [(among[place], float(cosine[place])) for place in map(int, places)]
        found.append(Near(texts[row], tuple(ranked)))
    return found
