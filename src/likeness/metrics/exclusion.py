"""The exclusion rule of Stellar: a picture counts only when it shows the prompt better than the input photo does.

Kept is a picture with clip_t > clip_n + 2 sigma, where clip_t is the cosine of prompt and picture and clip_n that of
prompt and conditioning photo. The public code takes sigma over the rows of the run, so that a picture's score depends
on which others are in it; here sigma belongs to a declared set of photos and prompts, which is part of the protocol.
In an evaluation that is every case of the case file with its conditioning photo, whether there is a picture of it or
not.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from likeness.metrics.base import Evidence, Measured, Metric, Value, cosine, not_measured, of_subjects
from likeness.metrics.declared import DeclaredSet, declared_set

__all__ = ["DeclaredSet", "declared_set", "excluding", "is_excluded", "mean_and_deviation"]

NO_SET = not_measured("the rule has no deviation: the case file has no two cases with photos", status="not_applicable")
EXCLUDED = "excluded: the photo itself fits the prompt as well"
RULE = "0 unless clip_t > clip_n + 2 sigma, deviation of clip_n over all cases of the case file"


def is_excluded(*, clip_t: float, clip_n: float, sigma: float) -> bool:
    """Whether the picture shows the prompt no better than the conditioning photo, by the rule."""
    return not clip_t > clip_n + 2 * sigma


def excluding(metric: Metric, declared: DeclaredSet | None = None, *, column: str, clip: str = "clip") -> Metric:
    """The metric with the rule: 0 with the status "excluded" where the paper gives 0.

    The parts hold clip_t, clip_n and sigma.
    For metrics with one value per subject; `clip` is the encoder of both cosines. Without a `declared` set it is that
    of the evidence. What was not measured stays so.
    """
    facts = metric.facts
    needs = (*facts.needs, clip) if clip not in facts.needs else facts.needs
    protocol = {f"{facts.name}_{column}": declared.protocol if declared else RULE}

    def measure(evidence: Evidence) -> Measured:
        found, known = metric.measure(evidence), declared or evidence.declared
        if known is None:
            return of_subjects([NO_SET for _ in evidence.subjects])
        prompt = evidence.prompt[clip].vector
        clip_t = cosine(evidence.picture[clip], prompt)
        margins = [cosine(seen.conditioning[clip], prompt) for seen in evidence.subjects]
        rows = zip(found.per_subject, margins, strict=True)
        return _of_subjects([_kept(value, clip_t=clip_t, clip_n=n, sigma=known.sigma) for value, n in rows])

    facts = replace(facts, column=column, needs=needs, protocol=protocol)
    return replace(metric, facts=facts, measure=measure, tallied=None, declares=None if declared else clip)


def _kept(value: Value, *, clip_t: float, clip_n: float, sigma: float) -> Value:
    if not value.measured:
        return value
    parts = {**value.parts, "clip_t": clip_t, "clip_n": clip_n, "sigma": sigma}
    if is_excluded(clip_t=clip_t, clip_n=clip_n, sigma=sigma):
        return Value(0.0, EXCLUDED, "excluded", parts)
    return replace(value, parts=parts)


def _of_subjects(values: Sequence[Value]) -> Measured:
    """`of_subjects`, whose mean is excluded where every subject's value is."""
    found = of_subjects(values)
    every = bool(values) and all(value.status == "excluded" for value in values)
    return replace(found, value=replace(found.value, status="excluded")) if every else found


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and deviation (n - 1) of the measured values, as tables of Stellar give them; NaN where too few are."""
    measured = [value for value in values if not math.isnan(value)]
    mean = math.fsum(measured) / len(measured) if measured else math.nan
    return mean, float(np.std(measured, ddof=1)) if len(measured) > 1 else math.nan
