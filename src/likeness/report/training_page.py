"""One HTML page from a training run: how it looks in words, curves over steps, A_focus over noise levels, the maps.

The page is a single file, carries no date, and equal run folders give equal bytes. It can be built while a run is
still going.
"""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from likeness.core.files import atomic_write_text
from likeness.report.curves import Chart, Ends, Line, Place, Rule, Whisker, chart_svg, line_over_steps
from likeness.report.findings import LN2, Finding, findings_of, shown
from likeness.report.focus_figure import pair_figures
from likeness.report.html import render
from likeness.report.tables import flatten
from likeness.report.training import NUM_DECILES, TrainingRun, ratio_means, read_training_run, wilson

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
}
UNLISTED = ("valid", "t", "learning_rate")  # columns that are no result
TILES = ("loss", "accuracy", "preferred", "rejected", "focus_share", "fused")
PLAIN_TILES = ("loss", "policy_preferred", "policy_rejected", "gradient_norm")  # where there is no reference policy


@dataclass(frozen=True)
class Drawing:
    """A chart as the template sees it; `keys` are (css, name) of its lines where there are several."""

    title: str
    caption: str
    svg: Markup
    keys: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Number:
    """A quantity at the start and at the end of a run, as text with intervals; `value` alone is set large."""

    label: str
    value: str
    interval: str
    first: str
    last: str
    n: int


def build_training_page(run_folder: Path | str, *, out: Path | None = None, title: str | None = None) -> Path:
    """The path of the page (default: RUN/report.html), written from the files of the run folder alone.

    Raises: DataError when the folder is no training run; OutputError when the page cannot be written.
    """
    run_folder = Path(run_folder)
    run = read_training_run(run_folder)
    out = out or run_folder / "report.html"
    num_pairs = (run.identity.get("data") or {}).get("num_pairs", "unknown")
    tiles = TILES if run.is_preference else PLAIN_TILES
    html = render(
        "training.html.j2",
        title=title or f"{run.label} on {num_pairs} pairs",
        lead=_lead(run),
        findings=findings_of(run),
        summary=_summary(findings_of(run)),
        tiles=[number for name in tiles if (number := _number(run, name))],
        numbers=[number for name in _names(run) if (number := _number(run, name))],
        window=run.log.window,
        drawings=drawings(run),
        by_t=_by_t(run),
        figures=pair_figures(run.folder, [maps for maps in (run.first_maps, run.last_maps) if maps]),
        facts=_facts(run),
        command_lines=_command_lines(run),
    )
    atomic_write_text(out, html)
    return out


def _lead(run: TrainingRun) -> str:
    model, log = run.identity.get("model") or {}, run.log
    done = int(log.steps[-1]) if len(log) else 0
    wanted = f" of {run.steps_wanted}" if run.steps_wanted and run.steps_wanted != done else ""
    words = [
        f"{done}{wanted} steps{f' of {log.pairs_in(0, 1)} pairs' if len(log) else ''}",
        f"base model {model.get('id', 'unknown')}",
        f"adapter of rank {_setting(run, 'model', 'rank')}",
        f"learning rate {_setting(run, 'train', 'learning_rate')}",
        *([f"beta {_setting(run, 'objective', 'beta')}"] if run.is_preference else []),
    ]
    return ", ".join(words) + "."


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


def _names(run: TrainingRun) -> list[str]:
    """The columns of the numbers table: those that the page knows, then what else the log has."""
    return [*LABELS, *(name for name in run.log.columns if name not in {*LABELS, *UNLISTED})]


def _label(name: str) -> str:
    return LABELS.get(name, name.replace("_", " ").replace("/", ", ").capitalize())


def _number(run: TrainingRun, name: str) -> Number | None:
    log = run.log
    if not len(log) or not log.has(name):
        return None
    first, last = log.first(name), log.last(name)
    signed = name in ("preferred", "rejected", "inside")
    value = "not measured" if math.isnan(last.mean) else f"{last.mean:{'+' if signed else ''}.3g}"
    interval = "no interval" if math.isnan(last.low) else f"{last.low:.3g} to {last.high:.3g}"
    return Number(_label(name), value, interval, shown(first, signed=signed), shown(last, signed=signed), last.n)


# curves --------------------------------------------------------------------------------------------------------------


def drawings(run: TrainingRun) -> list[Drawing]:
    """Curves over steps of everything that this objective measures."""
    found = [_loss(run), _inside(run), _accuracy(run), _errors(run), _gradient(run), _share(run), _fused(run)]
    return [drawing for drawing in found if drawing is not None]


def _drawing(chart: Chart) -> Drawing:
    keys = tuple((line.css, line.name) for line in chart.lines) if len(chart.lines) > 1 else ()
    return Drawing(chart.title, chart.caption, chart_svg(chart), keys)


def _over_steps(
    run: TrainingRun,
    names: dict[str, str],
    *,
    title: str,
    caption: str,
    rules: tuple[Rule, ...] = (),
    y: Ends | None = None,
) -> Drawing | None:
    """The columns `names` (to their colour) over steps, as logged and averaged; None where nothing was measured."""
    log = run.log
    measured = {name: css for name, css in names.items() if len(log) and log.has(name)}
    if not measured:
        return None
    window = max(1, len(log) // 20)
    lines = [
        line_over_steps(log.steps, log[name], name=LABELS[name], css=css, window=window)
        for name, css in measured.items()
    ]
    said = "; ".join(f"{LABELS[name]} at the end {shown(log.last(name))}" for name in measured)
    return _drawing(Chart(title, caption, lines, _steps(run), "step", y=y, rules=rules, spoken=f"{title}: {said}"))


def _steps(run: TrainingRun) -> Ends:
    first, last = float(run.log.steps[0]), float(run.log.steps[-1])
    return Ends(first, last if last > first else first + 1)


def _loss(run: TrainingRun) -> Drawing | None:
    rules = (Rule(LN2, "ln 2, an untouched policy"),) if run.is_preference else ()
    caption = "Below the dashed line, the policy prefers the preferred pictures." if rules else "Squared error."
    return _over_steps(run, {"loss": "first"}, title="Loss", caption=caption, rules=rules)


def _inside(run: TrainingRun) -> Drawing | None:
    caption = "The argument of the log-sigmoid, under the focus weights. Slowly upwards is learning; tens are too sure."
    return _over_steps(
        run, {"inside": "first"}, title="Inside", caption=caption, rules=(Rule(0.0, "undecided", place="below"),)
    )


def _errors(run: TrainingRun) -> Drawing | None:
    if run.is_preference:
        caption = "Plain velocity errors of the policy minus the reference policy. Wanted: preferred below 0, or flat; "
        caption += "rejected above it."
        names = {"preferred": "second", "rejected": "first"}
        rules = (Rule(0.0, "as the reference policy", place="below"),)
        return _over_steps(run, names, title="Errors against the reference policy", caption=caption, rules=rules)
    names = {"policy_preferred": "second", "policy_rejected": "first"}
    return _over_steps(run, names, title="Errors", caption="Plain velocity errors of the policy.")


def _gradient(run: TrainingRun) -> Drawing | None:
    limit = run.setting("train", "clip")
    rules = () if limit is None else (Rule(limit, "clipped above"),)
    caption = "Before clipping. Steady is healthy; a climb comes before divergence."
    return _over_steps(run, {"gradient_norm": "first"}, title="Gradient norm", caption=caption, rules=rules)


def _share(run: TrainingRun) -> Drawing | None:
    tau = run.setting("focus", "tau")
    rules = () if tau is None else (Rule(tau, "tau"),)
    caption = "Share of the disrupted subjects' tokens that the attention field has not located. It jumps with t."
    return _over_steps(run, {"focus_share": "first"}, title="A_focus", caption=caption, rules=rules, y=Ends(0, 1))


def _fused(run: TrainingRun) -> Drawing | None:
    if run.mode not in ("full", "no_prior"):
        return None
    caption = "Share of pairs with A at or below tau, where M_d joins in. Never and always are both suspicious."
    return _over_steps(run, {"fused": "first"}, title=LABELS["fused"], caption=caption, y=Ends(-0.02, 1.02))


def _accuracy(run: TrainingRun) -> Drawing | None:
    """Means over equal stretches of steps with Wilson's interval of their pairs."""
    log = run.log
    if not len(log) or not log.has("accuracy"):
        return None
    size = max(-(-len(log) // MAX_BINS), -(-BIN_PAIRS // max(1, log.pairs_in(0, 1))))
    places: list[Place] = []
    whiskers: list[Whisker] = []
    for start in range(0, len(log), size):
        stop = min(start + size, len(log))
        values = log["accuracy"][start:stop]
        kept = values[np.isfinite(values)]
        found = wilson(float(kept.mean()) if len(kept) else math.nan, log.pairs_in(start, stop))
        x = float(log.steps[start:stop].mean())
        places.append(Place(x, found.mean))
        whiskers.append(Whisker(x, found.low, found.high, found.n))
    last = wilson(log.last("accuracy").mean, log.last_pairs)
    line = Line(LABELS["accuracy"], "first", places, whiskers=whiskers)
    caption = (
        f"Share of pairs with inside above 0, by {size} steps, with its 95% interval. A flat line at 1 is no news."
    )
    spoken = f"Implicit accuracy: at the end {shown(last)}"
    rules = (Rule(0.5, "chance"),)
    chart = Chart(LABELS["accuracy"], caption, [line], _steps(run), "step", Ends(0, 1.02), rules, spoken=spoken)
    return _drawing(chart)


# noise levels --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ByT:
    """A_focus per tenth of t: the drawing, and its numbers as (stretch of t, mean with interval, n)."""

    drawing: Drawing
    rows: tuple[tuple[str, str, int], ...]


def _by_t(run: TrainingRun) -> ByT | None:
    log = run.log
    if not len(log) or not log.by_t_count.any():
        return None
    means = ratio_means(log.by_t_sum, log.by_t_count)
    middles = [(k + 0.5) / NUM_DECILES for k in range(NUM_DECILES)]
    # noise on the left, as in the maps: x is 1 - t
    places = [Place(1 - t, mean.mean) for t, mean in zip(middles, means, strict=True)][::-1]
    whiskers = [Whisker(1 - t, m.low, m.high, m.n) for t, m in zip(middles, means, strict=True)]
    tau = run.setting("focus", "tau")
    ticks = [(1 - t, f"n={m.n}") for t, m in zip(middles, means, strict=True)]
    marks = [(1 - k / NUM_DECILES, f"{k / NUM_DECILES:g}") for k in range(NUM_DECILES + 1)]
    rows = [(f"{k / 10:.1f} to {(k + 1) / 10:.1f}", shown(m), m.n) for k, m in enumerate(means)][::-1]
    chart = Chart(
        title="A_focus by noise level",
        caption="Mean over all pairs of the run, 95% intervals resampled by step. Expected: it falls to the right.",
        lines=[Line(LABELS["focus_share"], "first", places, whiskers=whiskers, dots=True)],
        x=Ends(0, 1),
        x_label="t, from noise (1) to picture (0)",
        y=Ends(0, 1),
        rules=() if tau is None else (Rule(tau, "tau: at or below it, M_d joins in", place="left"),),
        x_ticks=marks,
        inner_ticks=ticks,
        spoken="A_focus by noise level: " + "; ".join(f"t {t}: {mean}, n {n}" for t, mean, n in rows),
    )
    return ByT(_drawing(chart), tuple(rows))


# what was run --------------------------------------------------------------------------------------------------------


def _facts(run: TrainingRun) -> list[tuple[str, list[tuple[str, str]]]]:
    config = dict(run.identity.get("config") or {})
    steps = {"steps": run.steps_wanted} if run.steps_wanted else {}
    tables = {
        "Model": {**(run.identity.get("model") or {}), **(config.get("model") or {})},
        "Pairs": run.identity.get("data"),
        "Objective": {key: value for key, value in run.table("objective").items() if key != "focus"},
        "Focus": run.table("focus"),
        "Training": {**steps, **(config.get("train") or {}), **(run.identity.get("settings") or {})},
        "Versions": run.identity.get("versions"),
    }
    return [(name, flatten(table)) for name, table in tables.items() if table]


def _command_lines(run: TrainingRun) -> list[str]:
    folder = shlex.quote(run.folder.name or ".")
    recorded = str(run.commands.get("train") or f"likeness train {folder}/config.toml --out repeated")
    return [recorded, f"likeness report {folder}"]
