"""How a training run looks, in plain words: each finding is a rule over the log with the numbers behind it.

The thresholds are this package's own judgement, not the papers'; docs/reading-a-run.md explains each and what to do.
"Last" means the last fifth of the steps. Intervals are 95%, resampled by step; a share of pairs has Wilson's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from likeness.core.stats.intervals import Interval
from likeness.report.tables import counted
from likeness.report.training import MIN_STEPS, NUM_DECILES, TrainingRun, ratio_difference

Tone = Literal["poor", "good", "plain"]
TONES: tuple[Tone, ...] = get_args(Tone)  # in the order of the page

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


Findings = Iterator[Finding]  # what a rule has to say, mostly one finding or none


def findings_of(run: TrainingRun) -> list[Finding]:
    """Warnings first, then what looks healthy, then facts; of a run too short to judge, facts alone."""
    if not len(run.log):
        return [Finding("poor", "No step was logged", "log.jsonl is empty or absent.", "0 steps")]
    whole = [*_unfinished(run), *_not_finite(run), *_invalid(run)]
    rules = [_clipping, _gradient_growth, _epochs, _regression]
    if run.is_preference:
        rules = [_movement, _winner_and_loser, _accuracy, _sureness, _loss, *rules]
    if run.mode:
        rules = [*rules, _fusion, _fall_with_t]
    judged = [finding for rule in rules for finding in rule(run)]
    if len(run.log) < MIN_STEPS:
        short = "What follows shows that the run works, not how it learns."
        numbers = f"{counted(len(run.log), 'step')}; {MIN_STEPS} are needed"
        judged.insert(0, Finding("plain", "Too short to judge", short, numbers))
        judged = [replace(finding, tone="plain") for finding in judged]
    return sorted([*whole, *judged], key=lambda finding: TONES.index(finding.tone))


def shown(value: Interval, *, signed: bool = False) -> str:
    """A mean with its interval as text."""
    sign = "+" if signed else ""
    if math.isnan(value.mean):
        return "not measured"
    interval = "" if math.isnan(value.ci_low) else f" ({value.ci_low:{sign}.3g} to {value.ci_high:{sign}.3g})"
    return f"{value.mean:{sign}.3g}{interval}"


# the whole run -------------------------------------------------------------------------------------------------------


def _unfinished(run: TrainingRun) -> Findings:
    wanted, done = run.steps_wanted, int(run.log.steps[-1])
    if wanted is not None and done < wanted:
        text = "The run was stopped, or is still going; the same command continues it."
        yield Finding("poor", "Not finished", text, f"{done} of {wanted} steps")


def _not_finite(run: TrainingRun) -> Findings:
    bad = run.log.steps[~np.isfinite(run.log["loss"])]
    if len(bad):
        text = "Some steps have no finite loss. Lower train.learning_rate or objective.beta, "
        text += "and do not use the adapter."
        numbers = f"{counted(len(bad), 'step')}, the first is step {bad[0]}"
        yield Finding("poor", "The loss is not a number", text, numbers)


def _invalid(run: TrainingRun) -> Findings:
    share = float(np.nanmean(run.log["valid"])) if run.log.has("valid") else 1.0
    if share < 1:
        text = "Pairs whose prior has no token weigh nothing. `likeness data lint` names them."
        yield Finding("poor", "Some pairs have an empty prior", text, f"{1 - share:.1%} of pairs")


# learning ------------------------------------------------------------------------------------------------------------


def _movement(run: TrainingRun) -> Findings:
    inside = run.log.last("inside")
    if abs(inside.mean) <= STILL:
        text = "The policy still answers as the reference policy does. Raise train.learning_rate, or train longer."
        yield Finding("poor", "The policy has hardly moved", text, f"inside at the end {shown(inside, signed=True)}")


def _winner_and_loser(run: TrainingRun) -> Findings:
    """Eq. 10 rewards the difference alone, so both errors may rise while the loss falls."""
    winner, loser = run.log.last("preferred"), run.log.last("rejected")
    if math.isnan(winner.ci_low) or math.isnan(loser.ci_low):
        return
    share = winner.mean / run.log.last("ref_preferred").mean
    numbers = f"preferred {shown(winner, signed=True)}, {share:+.1%} of the reference policy's; rejected "
    numbers += shown(loser, signed=True)
    if winner.ci_low > 0 and loser.ci_low > 0 and share < SLIGHT:
        text = "The policy gets a little worse at the preferred picture too. Watch it; the longer the run, the more."
        yield Finding("plain", "Both errors rise, slightly", text, numbers)
    elif winner.ci_low > 0 and loser.ci_low > 0:
        text = "The policy gets worse at the preferred picture too, and wins because it gets worse at the rejected one "
        text += "faster. Lower the learning rate, add objective.sft_anchor, or use harder losers."
        yield Finding("poor", "Both errors rise", text, numbers)
    elif winner.ci_low > 0:
        text = "The policy gets worse at the preferred picture, and not at the rejected one: the wrong way round."
        yield Finding("poor", "The preferred picture's error rises", text, numbers)
    elif winner.ci_high < 0:
        text = "The policy predicts the preferred picture better than the reference policy does."
        yield Finding("good", "The preferred picture's error falls", text, numbers)
    else:
        text = "At this number of steps, no change of the preferred picture's error can be told from chance."
        yield Finding("plain", "The preferred picture's error stays", text, numbers)


def _accuracy(run: TrainingRun) -> Findings:
    accuracy = run.log.last_accuracy
    if math.isnan(accuracy.mean):
        return
    numbers = f"implicit accuracy at the end {shown(accuracy)}, {counted(accuracy.n, 'pair')}"
    if accuracy.mean >= SATURATED:
        text = "Almost every pair is won, so there is little left to learn from: the losers are too easy, or beta is "
        text += "too large. Use harder losers first."
        yield Finding("poor", "Implicit accuracy is saturated", text, numbers)
    elif accuracy.ci_high < 0.5:
        text = "The policy prefers the rejected pictures. Check that preferred and rejected are not swapped."
        yield Finding("poor", "Implicit accuracy is below chance", text, numbers)
    elif accuracy.ci_low > 0.5:
        yield Finding("good", "Implicit accuracy is above chance", "The policy tells the pictures apart.", numbers)
    else:
        yield Finding("plain", "Implicit accuracy is at chance", "The pairs are not told apart yet.", numbers)


def _sureness(run: TrainingRun) -> Findings:
    inside = run.log.last("inside")
    if inside.mean > SURE:
        text = "Most pairs pull with less than 1% of their gradient, and a few lost ones steer the run. "
        text += "Lower the learning rate or objective.beta."
        left = 1 / (1 + math.exp(min(inside.mean, 700)))
        yield Finding("poor", "Inside is very large", text, f"inside {shown(inside)}; sigmoid(-inside) = {left:.2g}")


def _loss(run: TrainingRun) -> Findings:
    loss = run.log.last("loss")
    numbers = f"loss at the end {shown(loss)}"
    if loss.ci_low > LN2:
        text = "An untouched policy has ln 2 = 0.693, so this one is worse than doing nothing. Lower the learning rate."
        yield Finding("poor", "The loss lies above ln 2", text, numbers)
    elif loss.ci_high < LN2:
        yield Finding("good", "The loss lies below ln 2", "The run learns its pairs.", numbers)


def _regression(run: TrainingRun) -> Findings:
    if not run.is_preference:
        first, last = shown(run.log.first("policy_preferred")), shown(run.log.last("policy_preferred"))
        text = f"Under {run.objective} there is no reference policy, so there are no differences and no implicit "
        text += "accuracy."
        yield Finding("plain", "A regression", text, f"error on preferred pictures: first {first}, last {last}")


def _clipping(run: TrainingRun) -> Findings:
    limit, norm = run.setting("train", "clip"), run.log["gradient_norm"]
    if limit is None or not run.log.has("gradient_norm"):
        return
    share = float((norm[np.isfinite(norm)] > limit).mean())
    numbers = f"norm above train.clip = {limit:g} in {share:.0%} of steps, median {np.nanmedian(norm):.3g}"
    if share > MOSTLY_CLIPPED:
        text = "Clipped batches pull equally hard, noisy or clear. Raise train.clip to let clear ones pull harder."
        yield Finding("plain", "Most gradients are clipped", text, numbers)
    else:
        yield Finding("good", "Gradients are mostly within the clip", "Clipping acts on outliers.", numbers)


def _gradient_growth(run: TrainingRun) -> Findings:
    log, norm = run.log, run.log["gradient_norm"]
    if len(log) < 2 * MIN_STEPS or not log.has("gradient_norm"):
        return
    first, last = np.nanmedian(norm[: log.window]), np.nanmedian(norm[-log.window :])
    if last > GROWING * first:
        text = "The run drifts towards divergence. Lower the learning rate or lengthen the warm-up."
        yield Finding("poor", "Gradients grow", text, f"median norm {first:.3g} at the start, {last:.3g} at the end")


def _epochs(run: TrainingRun) -> Findings:
    pairs, seen = run.part("data").get("num_pairs"), int(run.log.pairs_seen[-1])
    if not isinstance(pairs, int) or pairs < 1:
        return
    numbers = f"{counted(seen, 'pair')} drawn from {pairs}: {seen / pairs:.1f} times each"
    if seen / pairs > MANY_EPOCHS:
        text = "These numbers are of pairs seen many times, so they say nothing of new ones. Make more pairs."
        yield Finding("poor", "Few pairs, seen often", text, numbers)
    else:
        yield Finding("plain", "Pairs seen", "How often each pair was trained on.", numbers)


# focus ---------------------------------------------------------------------------------------------------------------


def _fusion(run: TrainingRun) -> Findings:
    if not run.has_fusion or not run.log.has("fused"):
        return
    share, tau = float(np.nanmean(run.log["fused"])), run.setting("focus", "tau")
    numbers = f"{share:.1%} of pairs have A at or below tau = {tau:g}" if tau is not None else f"{share:.1%} of pairs"
    if share == 0:
        text = "M_d never took part: the weight was M_s in every pair. Raise objective.focus.tau, or "
        text += "try other objective.focus.features or layers until A falls below tau."
        yield Finding("poor", "The fusion branch never fires", text, numbers)
    elif share > ALWAYS_FUSED:
        text = "M_s hardly ever decides: subjects count as located at nearly all noise levels. "
        text += "Lower objective.focus.tau."
        yield Finding("poor", "The fusion branch fires almost always", text, numbers)
    else:
        yield Finding("good", "Both branches are used", "M_s decides some pairs, M_s with M_d others.", numbers)


def _fall_with_t(run: TrainingRun) -> Findings:
    """The paper's claim: subjects are located as noise goes, so A falls with t."""
    sums, counts = _by_half(run.log.by_t_sum), _by_half(run.log.by_t_count)
    difference = ratio_difference(sums, counts)
    if math.isnan(difference.mean):
        return
    below, above = sums.sum(axis=0) / counts.sum(axis=0)
    numbers = f"A {below:.3f} for t < 0.5 and {above:.3f} above; difference {shown(difference, signed=True)}, "
    numbers += counted(difference.n, "pair")
    if difference.ci_high < 0:
        text = "Subjects are located as the noise goes, as the paper says."
        yield Finding("good", "A_focus falls as t falls", text, numbers)
    elif difference.ci_low > 0:
        text = "Subjects are located worse where there is less noise, against the paper. "
        text += "Try other objective.focus.features."
        yield Finding("poor", "A_focus rises as t falls", text, numbers)
    else:
        text = "The attention field does not follow the noise level, so the mask is no curriculum. Try "
        text += "objective.focus.center, objective.focus.layers or objective.focus.features."
        yield Finding("poor", "A_focus does not fall with t", text, numbers)


def _by_half(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """(steps, 10) over tenths of t as (steps, 2): t < 0.5, and the rest."""
    return table.reshape(-1, 2, NUM_DECILES // 2).sum(axis=2)
