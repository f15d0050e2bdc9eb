"""One HTML page from one or several run folders: the answer first, with pictures and their references; the rest folds.

The page is a single file (images, style and script are inside it), carries no date, and equal run folders give equal
bytes. Each case stands on it once. Everything that came from a user (prompts, class names, reasons) passes through the
template's escaping.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path
from typing import NamedTuple

from likeness.core.files import atomic_write_text
from likeness.core.records import Case
from likeness.core.runs import told_path
from likeness.report.comparison import BeforeAfterCard, Comparison, Pair, Words, read_comparison
from likeness.report.figures import Captioned, inline_picture, reference_pictures, scales, true_picture
from likeness.report.html import render
from likeness.report.tables import (
    Json,
    Run,
    case_mean,
    counted,
    in_order,
    labels_of,
    measured_on,
    metric_label,
    read_run,
    shown,
)

MAX_CARDS = 48  # cards inlined per run; the page says how many there are in all and by which rule these were chosen
MAX_SAMPLES = 8  # pictures inlined per card
NUM_EXTREMES = 6  # best and worst cases
NUM_HERO = 4  # cards on the first screen
GENERATE_FLAGS = ("num_images", "size", "steps", "guidance", "cfg_scale", "reference_cfg_scale", "dtype", "device")
AGAINST = {
    "all photos": "against all photos of the subject",
    "conditioning photo": "against the reference picture alone",
}


class Chip(NamedTuple):
    """A short fact under a card; tone is "good", "poor" or "plain"."""

    text: str
    tone: str
    title: str


class Card:
    """One case: what was asked, what came out, what is true, how it scored."""

    def __init__(self, run: Run, case: Case, *, anchor: str) -> None:
        samples = run.samples.get(case.id, ())
        self.anchor, self.prompt, self.case_id = anchor, case.prompt, case.id
        self.references = reference_pictures(case)
        self.results: list[Captioned] = []
        for k, sample in enumerate(samples[:MAX_SAMPLES], start=1):
            place = f", {k} of {len(samples)}" if len(samples) > 1 else ""
            self.results.append(Captioned(inline_picture(sample.image), f"generated{place}"))
        self.num_hidden = max(0, len(samples) - MAX_SAMPLES)
        self.truth = true_picture(run, case)
        self.chips = chips_of(run, case)


@dataclass(frozen=True)
class Place:
    """A link to the card of a case: its prompt and what it scored, or where the cap left it out."""

    anchor: str
    prompt: str
    score: str


class Section:
    """One run as the template sees it; `elsewhere` maps cases to the anchors of cards that stand outside of it."""

    def __init__(self, run: Run, *, index: int, label: str, elsewhere: Mapping[str, str]) -> None:
        ranked, metric = run.ranked_cases, run.ranking_metric
        chosen, rule = _chosen(run.cases, ranked)
        self.run, self.anchor, self.label = run, f"run{index + 1}", label
        self.cards = [Card(run, case, anchor=f"{self.anchor}-{case.id}") for case in chosen if case.id not in elsewhere]
        self.anchors = {card.case_id: card.anchor for card in self.cards} | dict(elsewhere)
        num_elsewhere = sum(case.id in elsewhere for case in chosen)
        self.rule = rule + (f", {num_elsewhere} of them further up" if num_elsewhere else "")
        extremes = min(NUM_EXTREMES, len(ranked) // 2)
        self.best = [self._place(case, metric) for case in ranked[:extremes]]
        self.worst = [self._place(case, metric) for case in ranked[::-1][:extremes]]
        self.ranked_by = metric_label(run.metrics, metric).lower() if metric else ""
        self.facts, self.command_lines = _facts(run), _command_lines(run)

    def _place(self, case: Case, metric: str | None) -> Place:
        value = case_mean(self.run.samples.get(case.id, ()), metric or "")
        score = shown(value, self.run.metrics[metric]) if metric and value is not None else ""
        return Place(self.anchors[case.id], case.prompt, score)

    def move(self, count: int) -> list[Card]:
        """The first `count` cards that show a picture, which from now on stand elsewhere."""
        moved = [card for card in self.cards if any(result.picture.uri for result in card.results)][:count]
        self.cards = [card for card in self.cards if card not in moved]
        if moved:
            self.rule += f", the first {len(moved)} of them at the top of the page"
        return moved


@dataclass(frozen=True)
class Tuned:
    """The same cases drawn a second time, run by run in the same order, by a tuned model or by any other.

    `comparison` is the file that compares them, as `likeness.evaluate.compare` writes it; `note` says what was done in
    between; `training` is a link to the page of the tuning; `words` are what the page calls the two sides. With
    `has_sections`, the second runs have sections of their own among the run folders of the page.
    """

    folders: tuple[Path, ...]
    comparison: Path
    note: str
    training: str = ""
    words: Words = field(default_factory=Words)
    has_sections: bool = False


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
    note: str = "",
    command: str = "",
) -> Path:
    """The path of one page that shows all `run_folders`, in their order; `title` defaults to the names of the runs.

    With `tuned`, the page starts with each run before and after side by side. `note` is a sentence for the top of the
    page; `command` is the line that built it, told as it was typed.
    """
    runs, labels = [read_run(folder, cases=cases) for folder in run_folders], labels_of(run_folders)
    comparison = None if tuned is None else _compared(runs, tuned, cases=cases)
    sections = _sections(runs, labels=labels, comparison=comparison)
    hero, hero_note = _hero(sections, comparison=comparison)
    html = render(
        "report.html.j2",
        title=title or " and ".join(labels),
        note=note,
        sections=sections,
        scales=scales(line for run in runs for line in run.lines),
        against=AGAINST,
        hero=hero,
        hero_note=hero_note,
        comparison=comparison,
        command=command or _report_line(run_folders, out=out),
    )
    atomic_write_text(out, html)
    return out


def _compared(runs: Sequence[Run], tuned: Tuned, *, cases: Path | None) -> Comparison:
    after = [read_run(folder, cases=cases) for folder in tuned.folders]
    pairs = [Pair(*pair) for pair in zip(runs, after, strict=not tuned.has_sections)]
    return read_comparison(tuned.comparison, pairs=pairs, note=tuned.note, words=tuned.words, training=tuned.training)


def _sections(runs: Sequence[Run], *, labels: Sequence[str], comparison: Comparison | None) -> list[Section]:
    """The runs in order; the cases of a comparison stand there and nowhere else."""
    anchors = [dict[str, str]() for _ in runs]
    for index, (_, cards) in enumerate(comparison.cards if comparison else ()):
        for other in range(index, len(runs), len(comparison.cards) if comparison else 1):
            anchors[other] |= {card.case_id: card.anchor for card in cards}
    found = zip(runs, labels, anchors, strict=True)
    return [
        Section(run, index=index, label=label, elsewhere=elsewhere)
        for index, (run, label, elsewhere) in enumerate(found)
    ]


def _chosen(cases: Sequence[Case], ranked: Sequence[Case]) -> tuple[list[Case], str]:
    """Cases to inline, in case order, with the rule in words."""
    if len(cases) <= MAX_CARDS:
        return list(cases), "the only case" if len(cases) == 1 else f"all {len(cases)} cases"
    extremes = {case.id for case in [*ranked[:NUM_EXTREMES], *ranked[-NUM_EXTREMES:]]}
    others = [case.id for case in cases if case.id not in extremes]
    keep = extremes | set(others[: MAX_CARDS - len(extremes)])
    rule = f"{MAX_CARDS} of {len(cases)} cases: the first in case order"
    if extremes:
        rule += f", and the {NUM_EXTREMES} best and {NUM_EXTREMES} worst of all {len(cases)}"
    return [case for case in cases if case.id in keep], rule


def chips_of(run: Run, case: Case) -> list[Chip]:
    """What was measured on the pictures of a case, and what was noted while they were made."""
    samples, metrics, first = run.samples.get(case.id, ()), run.metrics, run.ranking_metric
    measured, lines = measured_on(samples), {line.metric: line for line in run.lines}
    cards = [name for name, facts in metrics.items() if facts["card"] and name in measured]
    names = cards or [name for name in in_order(metrics, "headline") if name in measured]
    chips: list[Chip] = []
    for name in sorted(names, key=lambda name: name != first):
        value = case_mean(samples, name) or 0.0  # measured on at least one sample, or there would be no chip
        text = f"{metric_label(metrics, name, form='short')} {shown(value, metrics[name])}"
        tone = lines[name].tone(value) if name in lines else "plain"
        chips.append(Chip(text, tone, f"{name} = {value!r}, mean of {counted(len(samples), 'picture')}"))
    remarks = dict.fromkeys(note for sample in samples for note in sample.notes)
    return chips + [Chip(remark, "plain", "noted while generating") for remark in remarks]


def _hero(
    sections: Sequence[Section], *, comparison: Comparison | None
) -> tuple[list[Card] | list[BeforeAfterCard], str]:
    """The cards of the first screen, taken from the runs in turn, and the sentence that says how they were picked."""
    if comparison is not None:
        return list(comparison.first), comparison.first_rule
    each = max(1, NUM_HERO // len(sections))
    rows = [section.move(each) for section in sections]
    cards = [card for card in chain.from_iterable(zip_longest(*rows)) if card is not None][:NUM_HERO]
    return cards, "The first cases in case order; nothing was picked."


def _facts(run: Run) -> Json:
    left_out: Collection[str] = ("model", "versions", "kind", "settings", "settings_in_force")
    more = {key: value for key, value in run.identity.items() if key not in left_out}
    return {
        "Model": run.model,
        "Settings": {**more, "settings": settings_in_words(run.identity)} if run.identity else {},
        "Encoders": run.summary.get("encoders"),
        "Protocol": run.summary.get("protocol"),
        "Versions": run.summary.get("versions") or run.versions,
    }


def settings_in_words(identity: Json) -> Json:
    """The values in force; where nothing was asked for, the model's own, or the sentence that it was not recorded."""
    asked, in_force = identity.get("settings") or {}, identity.get("settings_in_force") or {}
    return {key: value if value is not None else _default(in_force.get(key)) for key, value in asked.items()}


def _default(value: object) -> str:
    return "the model's default (its value was not recorded)" if value is None else f"{value} (the model's default)"


def _command_lines(run: Run) -> tuple[str, ...]:
    """The commands recorded in the folder; for a step without record, a remark and one that repeats it."""
    folder = shlex.quote(told_path(str(run.folder)))
    # a run.json says which benchmark it is, if any, and `likeness evaluate` finds it there
    name = shlex.quote(str(run.summary.get("benchmark")))
    benchmark = "" if "benchmark" in run.identity else f" --benchmark {name}"
    steps = {
        "generate": _repeating(run, folder=folder) if run.identity else "",
        "evaluate": f"likeness evaluate {folder}{benchmark}" if run.summary else "",
    }
    return tuple(line for step, guess in steps.items() for line in recorded_or(guess, run.commands, step=step))


def recorded_or(guess: str, commands: Json, *, step: str) -> list[str]:
    """The recorded line of a step; without one the guess below a remark, or nothing where there is no guess."""
    if step in commands:
        return [commands[step]]
    return [f"# {step}: not recorded; this line repeats it", guess] if guess else []


def _report_line(folders: Sequence[Path], *, out: Path) -> str:
    words = [told_path(str(folder)) for folder in folders]
    return shlex.join(["likeness", "report", *words, *(["--out", told_path(str(out))] if len(words) > 1 else [])])


def _repeating(run: Run, *, folder: str) -> str:
    settings = {**(run.identity.get("settings") or {}), "num_images": run.identity.get("num_images")}
    given = [(flag, settings.get(flag)) for flag in GENERATE_FLAGS]
    flags = [f"--{flag.replace('_', '-')} {shlex.quote(str(value))}" for flag, value in given if value is not None]
    model = shlex.quote(str(run.model.get("id") or "flux"))
    return f"likeness generate --cases {folder}/cases.jsonl --model {model} {' '.join(flags)} --out repeated"
