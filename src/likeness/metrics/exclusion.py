"""The exclusion rule of Stellar: a picture counts only when it shows the prompt better than the input photo does.

Kept is a picture with clip_t > clip_n + 2 sigma, where clip_t is the cosine of prompt and picture and clip_n that of
prompt and conditioning photo. The public code takes sigma over the rows of the run, so that a picture's score depends
on which others are in it; here sigma belongs to a declared set of photos and prompts, which is part of the protocol.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from likeness.core.errors import MeasurementError
from likeness.metrics.base import Evidence, Measured, Metric, Value, cosine, of_subjects


@dataclass(frozen=True)
class DeclaredSet:
    """A fixed set of photos with their prompts: its name, how many, the CLIP, and the deviation of its clip_n.

    Another CLIP, or other photos and prompts, make another set.
    """

    name: str
    n: int
    clip: str
    sigma: float

    @property
    def protocol(self) -> str:
        """The rule in one line."""
        return f"0 unless clip_t > clip_n + 2 x {self.sigma:.6g}, deviation over {self.name} ({self.n}, {self.clip})"


def declared_set(name: str, clip_n: Sequence[float], *, clip: str) -> DeclaredSet:
    """The set whose cosines of prompt and conditioning photo are `clip_n`; sigma divides by n - 1.

    Raises: MeasurementError for fewer than two, and for numbers that are not finite.
    """
    values = np.asarray(clip_n, dtype=np.float64)
    if values.size < 2 or not np.isfinite(values).all():
        got = f"{values.size} of which {int(np.isfinite(values).sum())} are finite"
        raise MeasurementError(f"Declared set {name}: expected two finite cosines or more, got {got}; measure all.")
    return DeclaredSet(name, int(values.size), clip, float(values.std(ddof=1)))


def is_excluded(*, clip_t: float, clip_n: float, sigma: float) -> bool:
    """Whether the picture shows the prompt no better than the conditioning photo, by the rule."""
    return not clip_t > clip_n + 2 * sigma


def excluding(metric: Metric, declared: DeclaredSet, *, column: str, clip: str = "clip") -> Metric:
    """The metric with the rule: 0 where the paper gives 0, noted, with clip_t, clip_n and sigma among the parts.

    For metrics with one value per subject; `clip` is the encoder of both cosines. What was not measured stays so.
    """
    facts = metric.facts
    needs = (*facts.needs, clip) if clip not in facts.needs else facts.needs
    protocol = {f"{facts.name}_{column}": declared.protocol}

    def measure(evidence: Evidence) -> Measured:
        prompt, picture = evidence.prompt[clip].vector, evidence.picture[clip]
        clip_t = cosine(picture, prompt)
        values = metric.measure(evidence).per_subject
        margins = [cosine(seen.conditioning[clip], prompt) for seen in evidence.subjects]
        kept = [_kept(v, clip_t=clip_t, clip_n=n, sigma=declared.sigma) for v, n in zip(values, margins, strict=True)]
        return of_subjects(kept)

    return replace(metric, facts=replace(facts, column=column, needs=needs, protocol=protocol), measure=measure)


def _kept(value: Value, *, clip_t: float, clip_n: float, sigma: float) -> Value:
    if not value.measured:
        return value
    parts = {**value.parts, "clip_t": clip_t, "clip_n": clip_n, "sigma": sigma}
    if is_excluded(clip_t=clip_t, clip_n=clip_n, sigma=sigma):
        return Value(0.0, "excluded: the photo itself fits the prompt as well", parts=parts)
    return replace(value, parts=parts)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and deviation (n - 1) of the measured values, as tables of Stellar give them; NaN where too few are."""
    measured = [value for value in values if not math.isnan(value)]
    mean = math.fsum(measured) / len(measured) if measured else math.nan
    return mean, float(np.std(measured, ddof=1)) if len(measured) > 1 else math.nan
