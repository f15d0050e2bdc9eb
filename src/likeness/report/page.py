"""One HTML page from one or several run folders: pictures first, numbers with their intervals next, provenance last.

The page is a single file (images, style and script are inside it), carries no date, and equal run folders give equal
bytes. Everything that came from a user (prompts, class names, reasons) passes through the template's escaping.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

from likeness.core.files import atomic_write_text
from likeness.core.records import Case
from likeness.report.comparison import Pair, read_comparison
from likeness.report.figures import Captioned, InlinePicture, inline_picture, reference_pictures, true_picture
from likeness.report.html import render
from likeness.report.tables import Json, Run, case_mean, in_order, measured_on, metric_label, read_run, shown

MAX_CARDS = 48  # cards inlined per run; the page says how many there are in all and by which rule these were chosen
MAX_SAMPLES = 8  # pictures inlined per card
NUM_EXTREMES = 6  # best and worst cases
NUM_HERO, HERO_ROW = 8, 4  # two full rows, or one
GENERATE_FLAGS = ("num_images", "size", "steps", "guidance", "cfg_scale", "reference_cfg_scale", "dtype", "device")


@dataclass(frozen=True)
class Chip:
    """A short fact under a card; tone is "good", "poor" or "plain"."""

    text: str
    tone: str
    title: str


class Card:
    """One case: what was asked, what came out, what is true, how it scored."""

    def __init__(self, run: Run, case: Case, *, anchor: str) -> None:
        samples = run.samples.get(case.id, ())
        self.anchor, self.prompt = anchor, case.prompt
        self.references = reference_pictures(case)
        self.results: list[Captioned] = []
        for k, sample in enumerate(samples[:MAX_SAMPLES], start=1):
            place = f", {k} of {len(samples)}" if len(samples) > 1 else ""
            self.results.append(Captioned(inline_picture(sample.image), f"generated{place}"))
        self.num_hidden = max(0, len(samples) - MAX_SAMPLES)
        self.truth = true_picture(run, case)
        self.chips = _chips(run, case)


class Section:
    """One run as the template sees it."""

    def __init__(self, run: Run, *, index: int) -> None:
        ranked, metric = run.ranked_cases, run.ranking_metric
        chosen, self.rule = _chosen(run.cases, ranked)
        self.run, self.anchor = run, f"run{index + 1}"
        cards = {case.id: Card(run, case, anchor=f"{self.anchor}-{case.id}") for case in chosen}
        extremes = min(NUM_EXTREMES, len(ranked) // 2)
        self.cards = list(cards.values())
        self.best = [cards[case.id] for case in ranked[:extremes]]
        self.worst = [cards[case.id] for case in ranked[::-1][:extremes]]
        self.ranked_by = metric_label(run.metrics, metric).lower() if metric else ""
        self.facts, self.command_lines = _facts(run), _command_lines(run)


@dataclass(frozen=True)
class Tuned:
    """The same runs drawn by a tuned model, in the same order.

    `comparison` is the file that compares them, as `likeness.evaluate.compare` writes it; `note` says how it was tuned.
    """

    folders: tuple[Path, ...]
    comparison: Path
    note: str


def build_report(run_folder: Path | str, *, cases: Path | None = None) -> Path:
    """The path of RUN/report.html, written from the files of the run folder alone (`cases`: a case file elsewhere).

    Raises: DataError when the folder is not a run; OutputError when it cannot be written.
    """
    return build_index([Path(run_folder)], out=Path(run_folder) / "report.html", cases=cases)


def build_index(
    run_folders: Sequence[Path],
    *,
    out: Path,
    title: str | None = None,
    cases: Path | None = None,
    tuned: Tuned | None = None,
) -> Path:
    """The path of one page that shows all `run_folders`, in their order; `title` defaults to the first run's name.

    With `tuned`, the page starts with each run before and after tuning side by side.
    """
    runs = [read_run(folder, cases=cases) for folder in run_folders]
    comparison = None
    if tuned is not None:
        after = [read_run(folder, cases=cases) for folder in tuned.folders]
        pairs = [Pair(*pair) for pair in zip(runs, after, strict=True)]
        comparison = read_comparison(tuned.comparison, pairs=pairs, note=tuned.note)
    sections = [Section(run, index=index) for index, run in enumerate(runs)]
    hero, hero_note = _hero(sections)
    views = {"sections": sections, "hero": hero, "hero_note": hero_note, "comparison": comparison}
    atomic_write_text(out, render("report.html.j2", title=title or runs[0].name, **views))
    return out


def _chosen(cases: Sequence[Case], ranked: Sequence[Case]) -> tuple[list[Case], str]:
    """Cases to inline, in case order, with the rule in words."""
    if len(cases) <= MAX_CARDS:
        return list(cases), f"showing all {len(cases)} cases"
    extremes = {case.id for case in [*ranked[:NUM_EXTREMES], *ranked[-NUM_EXTREMES:]]}
    others = [case.id for case in cases if case.id not in extremes]
    keep = extremes | set(others[: MAX_CARDS - len(extremes)])
    rule = f"showing {MAX_CARDS} of {len(cases)} cases: the first in case order"
    if extremes:
        rule += f", and the {NUM_EXTREMES} best and {NUM_EXTREMES} worst of all {len(cases)}"
    return [case for case in cases if case.id in keep], rule


def _chips(run: Run, case: Case) -> list[Chip]:
    samples, metrics, first = run.samples.get(case.id, ()), run.metrics, run.ranking_metric
    measured, lines = measured_on(samples), {line.metric: line for line in run.lines}
    cards = [name for name, facts in metrics.items() if facts["card"] and name in measured]
    names = cards or [name for name in in_order(metrics, "headline") if name in measured]
    chips: list[Chip] = []
    for name in sorted(names, key=lambda name: name != first):
        value = case_mean(samples, name) or 0.0  # measured on at least one sample, or there would be no chip
        text = f"{metric_label(metrics, name, form='short')} {shown(value, metrics[name])}"
        tone = lines[name].tone(value) if name in lines else "plain"
        chips.append(Chip(text, tone, f"{name} = {value!r}, mean of {len(samples)} picture(s)"))
    remarks = dict.fromkeys(note for sample in samples for note in sample.notes)
    return chips + [Chip(remark, "plain", "noted while generating") for remark in remarks]


def _hero(sections: Sequence[Section]) -> tuple[list[tuple[InlinePicture, str]], str]:
    """Up to NUM_HERO pictures, taken from the runs in turn, and the sentence that says how they were picked."""
    ranked = all(section.best for section in sections)
    rows = [section.best if ranked else section.cards for section in sections]
    cards = [card for card in chain.from_iterable(zip_longest(*rows)) if card is not None]
    pictures = [(card.results[0].picture, card.prompt) for card in cards if card.results]
    pictures = [(picture, prompt) for picture, prompt in pictures if picture.uri]
    pictures = pictures[: NUM_HERO if len(pictures) >= NUM_HERO else HERO_ROW]
    note = "The first cases in case order; nothing was picked, because these pictures have not been evaluated."
    if ranked:
        note = f"The best cases by {sections[0].ranked_by}, picked by the numbers; the worst are further down."
    return pictures, note


def _facts(run: Run) -> Json:
    return {
        "Model": run.model,
        "Settings": {key: value for key, value in run.identity.items() if key not in {"model", "versions", "kind"}},
        "Encoders": run.summary.get("encoders"),
        "Protocol": run.summary.get("protocol"),
        "Versions": run.summary.get("versions") or run.versions,
    }


def _command_lines(run: Run) -> tuple[str, ...]:
    """The commands recorded in the folder; for a step without record, one that repeats it with its settings."""
    folder = shlex.quote(run.folder.name or ".")
    # a run.json says which benchmark it is, if any, and `likeness evaluate` finds it there
    name = shlex.quote(str(run.summary.get("benchmark")))
    benchmark = "" if "benchmark" in run.identity else f" --benchmark {name}"
    steps = {
        "generate": _repeating(run, folder=folder) if run.identity else "",
        "evaluate": f"likeness evaluate {folder}{benchmark}" if run.summary else "",
    }
    recorded = [str(run.commands.get(step) or guess) for step, guess in steps.items()]
    return (*(line for line in recorded if line), f"likeness report {folder}")


def _repeating(run: Run, *, folder: str) -> str:
    settings = {**(run.identity.get("settings") or {}), "num_images": run.identity.get("num_images")}
    given = [(flag, settings.get(flag)) for flag in GENERATE_FLAGS]
    flags = [f"--{flag.replace('_', '-')} {shlex.quote(str(value))}" for flag, value in given if value is not None]
    model = shlex.quote(str(run.model.get("id") or "flux"))
    return f"likeness generate --cases {folder}/cases.jsonl --model {model} {' '.join(flags)} --out repeated"
