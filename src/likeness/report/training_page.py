"""One HTML page from a training run: how it looks in words, curves over steps, A_focus over noise levels, the maps.

The page is a single file, carries no date, and equal run folders give equal bytes. It can be built while a run is
still going.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from likeness.core.files import atomic_write_text
from likeness.core.runs import told_path
from likeness.core.stats.intervals import wilson
from likeness.report.curves import Chart, Ends, Line, Place, Rule, RulePlace, line_over_steps, measured_mean
from likeness.report.features_figure import features_figures
from likeness.report.findings import LN2, Finding, findings_of, shown
from likeness.report.focus_figure import pair_figures
from likeness.report.html import render
from likeness.report.page import recorded_or
from likeness.report.relations_figure import relation_figures
from likeness.report.samples_figure import sample_rows
from likeness.report.tables import Json, counted
from likeness.report.training import NUM_DECILES, TrainingLog, TrainingRun, ratio_means, read_training_run

MAX_BINS = 24  # of the implicit accuracy: each must hold enough pairs for an interval
BIN_PAIRS = 20

LABELS = {
    "loss": "Loss",
    "anchor": "Anchor",
    "inside": "Inside",
    "accuracy": "Implicit accuracy",
    "preferred": "Preferred error, policy minus reference",
    "rejected": "Rejected error, policy minus reference",
    "policy_preferred": "Preferred error of the policy",
    "policy_rejected": "Rejected error of the policy",
    "ref_preferred": "Preferred error of the reference policy",
    "ref_rejected": "Rejected error of the reference policy",
    "focus_share": "A_focus",
    "fused": "Share of the fusion branch",
    "gradient_norm": "Gradient norm",
    "inside_size": "|inside|",
    "plain_inside_size": "|inside| of DPO with this beta",
}
CAPTIONS = {
    "inside": "The argument of the log-sigmoid, under the focus weights. "
    "Slowly upwards is learning; tens are too sure.",
    "preferred": "Plain denoising errors of the policy minus the reference policy. "
    "Wanted: preferred below 0, or flat; rejected above it.",
    "policy_preferred": "Plain denoising errors of the policy.",
    "gradient_norm": "Before clipping. Steady is healthy; a climb comes before divergence.",
    "focus_share": "Share of the disrupted subjects' tokens that the attention field has not located. It jumps with t.",
    "fused": "Share of pairs with A at or below tau, where M_d joins in. Never and always are both suspicious.",
}
UNLISTED = ("valid", "t", "learning_rate")  # columns that are no result
TILES = ("loss", "accuracy", "preferred", "rejected", "focus_share", "fused")
PLAIN_TILES = ("loss", "policy_preferred", "policy_rejected", "gradient_norm")  # where there is no reference policy


class Number:
    """A column at the start and at the end of a run, as text with intervals; `value` alone is set large."""

    def __init__(self, log: TrainingLog, name: str) -> None:
        self.label = LABELS.get(name, name.replace("_", " ").replace("/", ", ").capitalize())
        first, last = log.first(name), log.last(name)
        signed = name in ("preferred", "rejected", "inside")
        self.first, self.last, self.n = shown(first, signed=signed), shown(last, signed=signed), last.n
        self.value = "not measured" if math.isnan(last.mean) else f"{last.mean:{'+' if signed else ''}.3g}"
        self.interval = "no interval" if math.isnan(last.ci_low) else f"{last.ci_low:.3g} to {last.ci_high:.3g}"


def build_training_page(run_folder: Path | str, *, out: Path | None = None, title: str | None = None) -> Path:
    """The path of the page (default: RUN/report.html), written from the files of the run folder alone.

    Raises: DataError when the folder is no training run; OutputError when the page cannot be written.
    """
    run = read_training_run(Path(run_folder))
    out = out or run.folder / "report.html"
    findings = findings_of(run)
    html = render(
        "training.html.j2",
        title=title or f"{run.label} on {_rows(run)}",
        lead=_lead(run),
        findings=findings,
        summary=_summary(findings),
        tiles=_numbers(run, TILES if run.is_preference else PLAIN_TILES),
        numbers=_numbers(run, dict.fromkeys([*LABELS, *run.log.columns])),
        window=run.log.window,
        samples=sample_rows(run.folder),
        charts=_charts(run),
        by_t=_by_t(run),
        figures=pair_figures(run.folder, run.maps),
        features=features_figures(run.folder),
        relations=relation_figures(run.folder),
        facts=_facts(run),
        command_lines=_command_lines(run),
    )
    atomic_write_text(out, html)
    return out


def _rows(run: TrainingRun) -> str:
    """How many rows the run trains on, by their own name."""
    number = run.part("data").get(f"num_{run.noun}s")
    return counted(number, run.noun) if isinstance(number, int) else f"an unknown number of {run.noun}s"


def _lead(run: TrainingRun) -> str:
    log = run.log
    done = int(log.steps[-1]) if len(log) else 0
    wanted = f" of {run.steps_wanted}" if run.steps_wanted and run.steps_wanted != done else ""
    words = [
        (f"{done}{wanted} steps" if wanted else counted(done, "step"))
        + (f" of {counted(log.pairs_in(0, 1), run.noun)}" if len(log) else ""),
        f"base model {run.part('model').get('id', 'unknown')}",
        _trained(run),
        f"learning rate {_setting(run, 'train', 'learning_rate')}",
        *([f"beta {_setting(run, 'objective', 'beta')}"] if run.is_preference else []),
    ]
    return ", ".join(words) + "."


def _trained(run: TrainingRun) -> str:
    """What of the base is trained."""
    blocks = run.setting("model", "unlocked")
    return f"adapter of rank {_setting(run, 'model', 'rank')}" if blocks is None else f"last {blocks:g} blocks"


def _setting(run: TrainingRun, table: str, key: str) -> str:
    value = run.setting(table, key)
    return "unknown" if value is None else f"{value:g}"


def _summary(findings: list[Finding]) -> str:
    """How many findings ask for attention."""
    poor, good = (sum(finding.tone == tone for finding in findings) for tone in ("poor", "good"))
    if not poor:
        return "Nothing to worry about in this log." if good else "Nothing can be judged from this log yet."
    return f"{poor} {'thing' if poor == 1 else 'things'} to look at, {good} healthy."


# numbers -------------------------------------------------------------------------------------------------------------


def _numbers(run: TrainingRun, names: Iterable[str]) -> list[Number]:
    """Those of the columns `names` that were measured and are a result."""
    return [Number(run.log, name) for name in names if name not in UNLISTED and run.log.has(name)]


# curves --------------------------------------------------------------------------------------------------------------


def _charts(run: TrainingRun) -> list[Chart]:
    """Curves over steps of everything that this objective measures."""
    draw = partial(_over_steps, run)
    if run.is_preference:
        caption = "Below the dashed line, the policy prefers the preferred pictures."
        loss = draw("loss", caption=caption, rule=Rule(LN2, "ln 2, an untouched policy"))
        reference = Rule(0.0, "as the reference policy", place="below")
        errors = draw("preferred", "rejected", title="Errors against the reference policy", rule=reference)
    else:
        loss = draw("loss", caption=f"{run.part('objective').get('loss', 'Squared error')}.")
        errors = draw("policy_preferred", "policy_rejected", title="Errors")
    charts = [
        loss,
        draw("inside", rule=Rule(0.0, "undecided", place="below")),
        _accuracy(run),
        errors,
        draw("gradient_norm", rule=_rule_at(run, "train", "clip", label="clipped above")),
        draw("focus_share", rule=_rule_at(run, "focus", "tau", label="tau"), y=Ends(0, 1)),
        draw("fused", y=Ends(-0.02, 1.02)) if run.has_fusion else None,
    ]
    return [chart for chart in charts if chart is not None]


def _rule_at(run: TrainingRun, table: str, key: str, *, label: str, place: RulePlace = "right") -> Rule | None:
    value = run.setting(table, key)
    return None if value is None else Rule(value, label, place)


def _over_steps(
    run: TrainingRun,
    *names: str,
    title: str = "",
    caption: str = "",
    rule: Rule | None = None,
    y: Ends | None = None,
) -> Chart | None:
    """The columns `names` over steps, as logged and averaged; None where nothing was measured."""
    log = run.log
    measured = [name for name in names if log.has(name)]
    if not measured:
        return None
    title = title or LABELS[names[0]]
    lines = [
        line_over_steps(log.steps, log[name], name=LABELS[name], css="second" if "preferred" in name else "first")
        for name in measured
    ]
    said = "; ".join(f"{LABELS[name]} at the end {shown(log.last(name))}" for name in measured)
    return Chart(title, caption or CAPTIONS[names[0]], lines, _steps(run), f"{title}: {said}", y=y, rule=rule)


def _steps(run: TrainingRun) -> Ends:
    first, last = float(run.log.steps[0]), float(run.log.steps[-1])
    return Ends(first, last if last > first else first + 1)


def _accuracy(run: TrainingRun) -> Chart | None:
    """Means over equal stretches of steps with Wilson's interval of their pairs."""
    log = run.log
    if not log.has("accuracy"):
        return None
    size = max(-(-len(log) // MAX_BINS), -(-BIN_PAIRS // max(1, log.pairs_in(0, 1))))
    places: list[Place] = []
    for start in range(0, len(log), size):
        stop = min(start + size, len(log))
        found = wilson(measured_mean(log["accuracy"][start:stop]), log.pairs_in(start, stop))
        places.append(Place(float(log.steps[start:stop].mean()), found.mean, found.ci_low, found.ci_high))
    line = Line(LABELS["accuracy"], "first", places, intervals="band")
    caption = f"Share of pairs with inside above 0, by {counted(size, 'step')}, with its 95% interval. "
    caption += "A flat line at 1 is no news."
    spoken = f"Implicit accuracy: at the end {shown(log.last_accuracy)}"
    return Chart(LABELS["accuracy"], caption, [line], _steps(run), spoken, y=Ends(0, 1.02), rule=Rule(0.5, "chance"))


# noise levels --------------------------------------------------------------------------------------------------------


def _by_t(run: TrainingRun) -> tuple[Chart, list[tuple[str, str, int]]] | None:
    """A_focus per tenth of t: the chart, and its numbers as (stretch of t, mean with interval, n)."""
    log = run.log
    if not log.by_t_count.any():
        return None
    means = ratio_means(log.by_t_sum, log.by_t_count)
    middles = [1 - (k + 0.5) / NUM_DECILES for k in range(NUM_DECILES)]  # noise on the left, as in the maps
    places = [Place(x, mean.mean, mean.ci_low, mean.ci_high) for x, mean in zip(middles, means, strict=True)]
    rows = [(f"{k / 10:.1f} to {(k + 1) / 10:.1f}", shown(mean), mean.n) for k, mean in enumerate(means)][::-1]
    chart = Chart(
        title="A_focus by noise level",
        caption="Mean over all pairs of the run, 95% intervals resampled by step. Expected: it falls to the right.",
        lines=[Line(LABELS["focus_share"], "first", places[::-1], intervals="dots")],
        x=Ends(0, 1),
        x_label="t, from noise (1) to picture (0)",
        y=Ends(0, 1),
        rule=_rule_at(run, "focus", "tau", label="tau: at or below it, M_d joins in", place="left"),
        x_ticks=[(1 - k / NUM_DECILES, f"{k / NUM_DECILES:g}") for k in range(NUM_DECILES + 1)],
        inner_ticks=[(x, f"n={mean.n}") for x, mean in zip(middles, means, strict=True)],
        spoken="A_focus by noise level: " + "; ".join(f"t {t}: {mean}, n {n}" for t, mean, n in rows),
    )
    return chart, rows


# what was run --------------------------------------------------------------------------------------------------------


def _facts(run: TrainingRun) -> Json:
    steps = {"steps": run.steps_wanted} if run.steps_wanted else {}
    return {
        "Model": run.part("model") | run.table("model"),
        f"{run.noun.capitalize()}s": run.part("data"),
        "Objective": {key: value for key, value in run.table("objective").items() if key != "focus"},
        "Focus": run.table("focus"),
        "Training": steps | run.table("train") | run.part("settings"),
        "Versions": run.part("versions"),
    }


def _command_lines(run: TrainingRun) -> list[str]:
    folder = shlex.quote(told_path(str(run.folder)))
    guess = f"likeness train {folder}/config.toml --out repeated"
    lines = [*recorded_or(guess, run.commands, step="train"), f"likeness report {folder}"]
    if (beta := run.matched_beta) is not None:
        lines.append("# the row to compare with: DPO with the beta at which its mean |inside| is that of this run")
        matched = f"--set objective.kind=dpo --set objective.beta={beta:.4g} --out dpo-matched"
        lines.append(f"likeness train {folder}/config.toml {matched}")
    return lines
