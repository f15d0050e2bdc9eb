"""How a training run looks, in plain words: each finding is a rule over the log with the numbers behind it.

The thresholds are this package's own judgement, not the papers'; docs/reading-a-run.md explains each and what to do.
"Last" means the last fifth of the steps. Intervals are 95%, resampled by step; a share of pairs has Wilson's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from likeness.report.training import MIN_STEPS, NUM_DECILES, Mean, TrainingRun, ratio_difference, wilson

Tone = Literal["good", "plain", "poor"]

SATURATED = 0.98  # implicit accuracy from which almost every pair is already won
SURE = 5.0  # inside at which sigmoid(-inside), the factor on the gradient, is below 1%
STILL = 0.02  # inside up to which the policy has not left the reference policy
ALWAYS_FUSED = 0.95
MOSTLY_CLIPPED = 0.5
GROWING = 10.0  # times the first gradient norm
MANY_EPOCHS = 20.0
SLIGHT = 0.01  # rise of the preferred error, as a share of the reference policy's, up to which it is no warning
LN2 = math.log(2)


@dataclass(frozen=True)
class Finding:
    """One sentence about a run: `tone` poor is a warning, good a sign of health, plain a fact."""

    tone: Tone
    title: str
    text: str
    numbers: str


def findings_of(run: TrainingRun) -> list[Finding]:
    """Warnings first, then what looks healthy, then facts; of a run too short to judge, facts alone."""
    if not len(run.log):
        return [Finding("poor", "No step was logged", "log.jsonl is empty or absent.", "0 steps")]
    whole = list(_collect(run, (_unfinished, _not_finite, _invalid)))
    rules = [_clipping, _gradient_growth, _epochs, _regression]
    if run.is_preference:
        rules = [_movement, _winner_and_loser, _accuracy, _sureness, _loss, *rules]
    if run.mode:
        rules = [*rules, _fusion, _fall_with_t]
    judged = list(_collect(run, rules))
    if len(run.log) < MIN_STEPS:
        judged = [replace(finding, tone="plain") for finding in judged]
        short = "What follows shows that the run works, not how it learns."
        judged.insert(0, Finding("plain", "Too short to judge", short, f"{len(run.log)} steps; {MIN_STEPS} are needed"))
    order = {"poor": 0, "good": 1, "plain": 2}
    return sorted([*whole, *judged], key=lambda finding: order[finding.tone])


def _collect(run: TrainingRun, rules: Iterable[Callable[[TrainingRun], Finding | None]]) -> Iterable[Finding]:
    return (finding for rule in rules if (finding := rule(run)) is not None)


def shown(value: Mean, *, signed: bool = False) -> str:
    """A mean with its interval as text."""
    sign = "+" if signed else ""
    if math.isnan(value.mean):
        return "not measured"
    interval = "" if math.isnan(value.low) else f" ({value.low:{sign}.3g} to {value.high:{sign}.3g})"
    return f"{value.mean:{sign}.3g}{interval}"


# the whole run -------------------------------------------------------------------------------------------------------


def _unfinished(run: TrainingRun) -> Finding | None:
    wanted, done = run.steps_wanted, int(run.log.steps[-1])
    if wanted is None or done >= wanted:
        return None
    text = "The run was stopped, or is still going; the same command continues it."
    return Finding("poor", "Not finished", text, f"{done} of {wanted} steps")


def _not_finite(run: TrainingRun) -> Finding | None:
    bad = run.log.steps[~np.isfinite(run.log["loss"])]
    if not len(bad):
        return None
    text = "Some steps have no finite loss. Lower train.learning_rate or objective.beta, and do not use the adapter."
    return Finding("poor", "The loss is not a number", text, f"{len(bad)} steps, the first is step {bad[0]}")


def _invalid(run: TrainingRun) -> Finding | None:
    valid = run.log["valid"]
    share = float(np.nanmean(valid)) if run.log.has("valid") else 1.0
    if share >= 1:
        return None
    text = "Pairs whose prior has no token weigh nothing. `likeness data lint` names them."
    return Finding("poor", "Some pairs have an empty prior", text, f"{1 - share:.1%} of pairs")


# learning ------------------------------------------------------------------------------------------------------------


def _movement(run: TrainingRun) -> Finding | None:
    inside = run.log.last("inside")
    if math.isnan(inside.mean) or abs(inside.mean) > STILL:
        return None
    text = "The policy still answers as the reference policy does. Raise train.learning_rate, or train longer."
    return Finding("poor", "The policy has hardly moved", text, f"inside at the end {shown(inside, signed=True)}")


def _winner_and_loser(run: TrainingRun) -> Finding | None:
    """Eq. 10 rewards the difference alone, so both errors may rise while the loss falls."""
    winner, loser = run.log.last("preferred"), run.log.last("rejected")
    if math.isnan(winner.low) or math.isnan(loser.low):
        return None
    share = winner.mean / run.log.last("ref_preferred").mean
    numbers = f"preferred {shown(winner, signed=True)}, {share:+.1%} of the reference policy's; rejected "
    numbers += shown(loser, signed=True)
    if winner.low > 0 and loser.low > 0 and share < SLIGHT:
        text = "The policy gets a little worse at the preferred picture too. Watch it; the longer the run, the more."
        return Finding("plain", "Both errors rise, slightly", text, numbers)
    if winner.low > 0 and loser.low > 0:
        text = "The policy gets worse at the preferred picture too, and wins because it gets worse at the rejected one "
        text += "faster. Lower the learning rate, add objective.sft_anchor, or use harder losers."
        return Finding("poor", "Both errors rise", text, numbers)
    if winner.low > 0:
        text = "The policy gets worse at the preferred picture, and not at the rejected one: the wrong way round."
        return Finding("poor", "The preferred picture's error rises", text, numbers)
    if winner.high < 0:
        text = "The policy predicts the preferred picture better than the reference policy does."
        return Finding("good", "The preferred picture's error falls", text, numbers)
    text = "At this number of steps, no change of the preferred picture's error can be told from chance."
    return Finding("plain", "The preferred picture's error stays", text, numbers)


def _accuracy(run: TrainingRun) -> Finding | None:
    log = run.log
    accuracy = wilson(log.last("accuracy").mean, log.last_pairs)
    if math.isnan(accuracy.mean):
        return None
    numbers = f"implicit accuracy at the end {shown(accuracy)}, {accuracy.n} pairs"
    if accuracy.mean >= SATURATED:
        text = (
            "Almost every pair is won, so there is little left to learn from: the losers are too easy, or beta is too "
        )
        return Finding("poor", "Implicit accuracy is saturated", f"{text}large. Use harder losers first.", numbers)
    if accuracy.high < 0.5:
        text = "The policy prefers the rejected pictures. Check that preferred and rejected are not swapped."
        return Finding("poor", "Implicit accuracy is below chance", text, numbers)
    if accuracy.low > 0.5:
        return Finding("good", "Implicit accuracy is above chance", "The policy tells the pictures apart.", numbers)
    return Finding("plain", "Implicit accuracy is at chance", "The pairs are not told apart yet.", numbers)


def _sureness(run: TrainingRun) -> Finding | None:
    inside = run.log.last("inside")
    if not inside.mean > SURE:
        return None
    text = "Most pairs pull with less than 1% of their gradient, and a few lost ones steer the run. "
    text += "Lower the learning rate or objective.beta."
    left = 1 / (1 + math.exp(min(inside.mean, 700)))
    return Finding("poor", "Inside is very large", text, f"inside {shown(inside)}; sigmoid(-inside) = {left:.2g}")


def _loss(run: TrainingRun) -> Finding | None:
    loss = run.log.last("loss")
    if loss.low > LN2:
        text = "An untouched policy has ln 2 = 0.693, so this one is worse than doing nothing. Lower the learning rate."
        return Finding("poor", "The loss lies above ln 2", text, f"loss at the end {shown(loss)}")
    if loss.high < LN2:
        return Finding(
            "good", "The loss lies below ln 2", "The run learns its pairs.", f"loss at the end {shown(loss)}"
        )
    return None


def _regression(run: TrainingRun) -> Finding | None:
    if run.is_preference:
        return None
    first, last = run.log.first("policy_preferred"), run.log.last("policy_preferred")
    text = f"Under {run.objective} there is no reference policy, so there are no differences and no implicit accuracy."
    numbers = f"error on preferred pictures: first {shown(first)}, last {shown(last)}"
    return Finding("plain", "A regression", text, numbers)


def _clipping(run: TrainingRun) -> Finding | None:
    limit, norm = run.setting("train", "clip"), run.log["gradient_norm"]
    if limit is None or not run.log.has("gradient_norm"):
        return None
    share = float((norm[np.isfinite(norm)] > limit).mean())
    numbers = f"norm above train.clip = {limit:g} in {share:.0%} of steps, median {np.nanmedian(norm):.3g}"
    if share > MOSTLY_CLIPPED:
        text = "Clipped batches pull equally hard, noisy or clear. Raise train.clip to let clear ones pull harder."
        return Finding("plain", "Most gradients are clipped", text, numbers)
    return Finding("good", "Gradients are mostly within the clip", "Clipping acts on outliers.", numbers)


def _gradient_growth(run: TrainingRun) -> Finding | None:
    log, norm = run.log, run.log["gradient_norm"]
    if len(log) < 2 * MIN_STEPS or not log.has("gradient_norm"):
        return None
    first, last = np.nanmedian(norm[: log.window]), np.nanmedian(norm[-log.window :])
    if not last > GROWING * first:
        return None
    text = "The run drifts towards divergence. Lower the learning rate or lengthen the warm-up."
    return Finding("poor", "Gradients grow", text, f"median norm {first:.3g} at the start, {last:.3g} at the end")


def _epochs(run: TrainingRun) -> Finding | None:
    pairs = (run.identity.get("data") or {}).get("num_pairs")
    if not isinstance(pairs, int) or pairs < 1:
        return None
    epochs = int(run.log.pairs_seen[-1]) / pairs
    numbers = f"{int(run.log.pairs_seen[-1])} pairs drawn from {pairs}: {epochs:.1f} times each"
    if epochs > MANY_EPOCHS:
        text = "These numbers are of pairs seen many times, so they say nothing of new ones. Make more pairs."
        return Finding("poor", "Few pairs, seen often", text, numbers)
    return Finding("plain", "Pairs seen", "How often each pair was trained on.", numbers)


# focus ---------------------------------------------------------------------------------------------------------------


def _fusion(run: TrainingRun) -> Finding | None:
    log = run.log
    if run.mode not in ("full", "no_prior") or not log.has("fused"):
        return None
    share, tau = float(np.nanmean(log["fused"])), run.setting("focus", "tau")
    numbers = f"{share:.1%} of pairs have A at or below tau = {tau:g}" if tau is not None else f"{share:.1%} of pairs"
    if share == 0:
        text = "M_d never took part: the weight was M_s in every pair. Raise objective.focus.tau, or "
        text += "try other objective.focus.features or "
        return Finding("poor", "The fusion branch never fires", f"{text}layers until A falls below tau.", numbers)
    if share > ALWAYS_FUSED:
        text = (
            "M_s hardly ever decides: subjects count as located at nearly all noise levels. Lower objective.focus.tau."
        )
        return Finding("poor", "The fusion branch fires almost always", text, numbers)
    return Finding("good", "Both branches are used", "M_s decides some pairs, M_s with M_d others.", numbers)


def _fall_with_t(run: TrainingRun) -> Finding | None:
    """The paper's claim: subjects are located as noise goes, so A falls with t."""
    sums, counts = _by_half(run.log.by_t_sum), _by_half(run.log.by_t_count)
    difference = ratio_difference(sums, counts)
    if math.isnan(difference.mean):
        return None
    below, above = sums.sum(axis=0) / counts.sum(axis=0)
    numbers = f"A {below:.3f} for t < 0.5 and {above:.3f} above; difference {shown(difference, signed=True)}, "
    numbers += f"{difference.n} pairs"
    if difference.high < 0:
        text = "Subjects are located as the noise goes, as the paper says."
        return Finding("good", "A_focus falls as t falls", text, numbers)
    if difference.low > 0:
        text = "Subjects are located worse where there is less noise, against the paper. "
        text += "Try other objective.focus.features."
        return Finding("poor", "A_focus rises as t falls", text, numbers)
    text = "The attention field does not follow the noise level, so the mask is no curriculum. Try "
    text += "objective.focus.center, objective.focus.layers or objective.focus.features."
    return Finding("poor", "A_focus does not fall with t", text, numbers)


def _by_half(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """(steps, 10) over tenths of t as (steps, 2): t < 0.5, and the rest."""
    half = NUM_DECILES // 2
    return np.stack([table[:, :half].sum(axis=1), table[:, half:].sum(axis=1)], axis=1)
