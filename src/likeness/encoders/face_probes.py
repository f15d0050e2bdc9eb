"""Attribute probes of face embeddings: logistic regressions, kept as arrays.

A folder of probes holds probes.safetensors with `weight` (A, D) and `bias` (A,), and config.json:

    {"faces": "dlib" | another name of weights | "./NAME of a folder inside", "faces_id": id or null,
     "attributes": {name: [value where the probe is below 0, value where it is above]}}

`faces_id` is the id of the face encoder whose embeddings the probes were fitted to; null: not recorded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from pydantic import Field
from safetensors.numpy import load_file, save

from likeness.core.errors import DataError
from likeness.core.files import atomic_write_bytes, read_json, write_json
from likeness.core.rows import Frozen

PROBES, CONFIG = "probes.safetensors", "config.json"


class ProbeFacts(Frozen):
    """What config.json of a folder of probes says."""

    faces: str
    faces_id: str | None
    attributes: dict[str, tuple[str, str]] = Field(min_length=1)


@dataclass(frozen=True)
class Probes:
    """One row of weights and one bias per attribute, in the order of the facts."""

    facts: ProbeFacts
    weight: Float[np.ndarray, "A D"]
    bias: Float[np.ndarray, " A"]

    def probabilities(self, embedding: Float[np.ndarray, " D"]) -> dict[str, dict[str, float]]:
        """Attribute -> {value: probability}, each summing to 1."""
        margins = (self.weight.astype(np.float64) * embedding.astype(np.float64)).sum(axis=1) + self.bias
        found: dict[str, dict[str, float]] = {}
        for (name, (below, above)), margin in zip(self.facts.attributes.items(), margins.tolist(), strict=True):
            high = float(np.exp(-np.logaddexp(0.0, -margin)))
            found[name] = {below: float(np.exp(-np.logaddexp(0.0, margin))), above: high}
        return found


def fit_probe(
    embeddings: Float[np.ndarray, "N D"], is_above: Bool[np.ndarray, " N"], *, strength: float = 1.0
) -> tuple[Float[np.ndarray, " D"], float]:
    """Weights and bias that minimise |w|^2 / 2 + strength * sum of log(1 + exp(-y (w x + b))), y = 1 where `is_above`.

    The bias is not penalised. Source: the default of scikit-learn, which the public code of Stellar fits.
    Raises: DataError unless both values occur.
    """
    from scipy.optimize import minimize

    if is_above.all() or not is_above.any():
        raise DataError("Probe: expected pictures of both values of the attribute, got one value; leave it out.")
    x, y = embeddings.astype(np.float64), np.where(is_above, 1.0, -1.0)

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = parameters[:-1], parameters[-1]
        margins = y * (x @ weight + bias)
        pull = -strength * y * np.exp(-np.logaddexp(0.0, margins))
        loss = weight @ weight / 2 + strength * np.logaddexp(0.0, -margins).sum()
        return float(loss), np.append(weight + x.T @ pull, pull.sum())

    options = {"maxiter": 10_000, "gtol": 1e-9, "ftol": 1e-15}
    found = minimize(objective, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", options=options)
    return found.x[:-1], float(found.x[-1])


def fit_probes(
    embeddings: Float[np.ndarray, "N D"],
    labels: Mapping[str, Sequence[str]],
    *,
    values: Mapping[str, tuple[str, str]],
    faces: str,
    faces_id: str | None,
) -> Probes:
    """Probes of every attribute in `values`, fitted to one label per embedding.

    Raises: DataError for labels that are none of the values, and for an attribute of which only one occurs.
    """
    rows: list[np.ndarray] = []
    biases: list[float] = []
    for name, (below, above) in values.items():
        if unknown := sorted(set(labels[name]) - {below, above}):
            raise DataError(f"Attribute {name}: expected {below} or {above}, got {unknown[0]}; correct the labels.")
        weight, bias = fit_probe(embeddings, np.array([label == above for label in labels[name]]))
        rows.append(weight)
        biases.append(bias)
    facts = ProbeFacts(faces=faces, faces_id=faces_id, attributes=dict(values))
    return Probes(facts, np.stack(rows).astype(np.float32), np.array(biases, dtype=np.float32))


def write_probes(folder: Path, probes: Probes) -> None:
    """The two files of a folder of probes. Raises: OutputError."""
    atomic_write_bytes(folder / PROBES, save({"weight": probes.weight, "bias": probes.bias}))
    write_json(folder / CONFIG, probes.facts.model_dump(mode="json"))


def read_probes(folder: Path) -> Probes:
    """The probes of a folder. Raises: DataError, OSError, KeyError or ValueError for files that hold none."""
    facts = ProbeFacts.of_row(read_json(folder / CONFIG))
    arrays = load_file(folder / PROBES)
    weight, bias = arrays["weight"], arrays["bias"]
    if weight.ndim != 2 or weight.shape[0] != len(facts.attributes) or bias.shape != (len(facts.attributes),):
        got = f"weights {weight.shape} and biases {bias.shape} for {len(facts.attributes)} attributes"
        raise ValueError(f"{got}, one row each are needed")
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise ValueError("numbers that are not finite")
    return Probes(facts, weight, bias)
