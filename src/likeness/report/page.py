"""One HTML page from one or several run folders: the answer first, with pictures and their references; the rest folds.

The page carries no date, and equal run folders give equal bytes. Its pictures are inside it or in a folder beside it
(`pictures.py`). Every case stands in the index of its run; the first few also at the top. Runs of one benchmark are
compared as `likeness.evaluate.compare` compares them (`methods_page.py` draws that part). Everything that came from a
user (prompts, class names, reasons) passes through the template's escaping.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain, repeat, zip_longest
from pathlib import Path
from typing import NamedTuple

from likeness.core.files import update_text
from likeness.core.jobs import Progress, unseen
from likeness.core.records import Case
from likeness.core.runs import told_path
from likeness.report.cards import MARKS, Card, pictures_of
from likeness.report.failures import failure_parts, pictures_of_failures
from likeness.report.figures import scales
from likeness.report.html import render
from likeness.report.methods_page import Compared, MethodsCard, MethodsPart
from likeness.report.pictures import SINGLE_FILE_PICTURES, Album, album_of
from likeness.report.tables import (
    Json,
    Run,
    case_mean,
    labels_of,
    metric_label,
    read_run,
    shown,
)

NUM_EXTREMES = 6  # best and worst cases
NUM_HERO = 4  # cards on the first screen
GENERATE_FLAGS = ("num_images", "size", "steps", "guidance", "cfg_scale", "reference_cfg_scale", "dtype", "device")
AGAINST = {
    "all photos": "against all photos of the subject",
    "conditioning photo": "against the reference picture alone",
}


class Drawing(NamedTuple):
    """How the pictures of a page are made: all inside it, by how many processes, and who looks on."""

    single_file: bool = False
    workers: int = 1
    progress: Progress = unseen


@dataclass(frozen=True)
class Place:
    """A link to a case in the index: its prompt and what it scored."""

    anchor: str
    prompt: str
    score: str


class Choice(NamedTuple):
    """A way to sort the index: which of a card's values, and 1 for the lowest first or -1 for the highest."""

    value: int
    sign: int
    label: str
    shown_as: str


class Section:
    """One run as the template sees it; of its cases the first `num_pictured` have their pictures on the page."""

    def __init__(self, run: Run, *, index: int, label: str, album: Album, num_pictured: int) -> None:
        ranked, metric, sortable = run.ranked_cases, run.ranking_metric, run.sortable
        self.run, self.anchor, self.label, self.num_pictured = run, f"run{index + 1}", label, num_pictured
        albums = chain(repeat(album, num_pictured), repeat(Album(album.page, {})))  # even where others share a picture
        self.cards = [
            Card(run, case, anchor=f"{self.anchor}-{case.id}", album=one, sortable=sortable)
            for case, one in zip(run.cases, albums, strict=False)
        ]
        extremes = min(NUM_EXTREMES, len(ranked) // 2)
        self.best = [self._place(case, metric) for case in ranked[:extremes]]
        self.worst = [self._place(case, metric) for case in ranked[::-1][:extremes]]
        self.ranked_by = metric_label(run.metrics, metric).lower() if metric else ""
        self.choices = [choice for place, name in enumerate(sortable) for choice in _choices(run, name, place)]
        counts = Counter(mark for card in self.cards for mark in card.marks)
        self.marks = [(mark, text, counts[mark]) for mark, text in MARKS.items() if counts[mark]]
        self.failures = failure_parts(run, anchor=self.anchor, album=album)
        self.facts, self.command_lines = _facts(run), _command_lines(run)

    def _place(self, case: Case, metric: str | None) -> Place:
        value = case_mean(self.run.samples.get(case.id, ()), metric or "")
        score = shown(value, self.run.metrics[metric]) if metric and value is not None else ""
        return Place(f"{self.anchor}-{case.id}", case.prompt, score)

    def first(self, count: int) -> list[Card]:
        """The first `count` cards that show a picture."""
        return [card for card in self.cards if any(result.picture.uri for result in card.results)][:count]


def _choices(run: Run, name: str, place: int) -> list[Choice]:
    facts = run.metrics[name]
    column = str(facts["column"]).replace("_", " ")
    label = metric_label(run.metrics, name) + (f", {AGAINST.get(column, column)}" if column else "")
    best = -1 if facts["higher_is_better"] else 1
    return [
        Choice(place, best, f"{label}: best first", facts["shown_as"]),
        Choice(place, -best, f"{label}: worst first", facts["shown_as"]),
    ]


def build_report(run_folder: Path | str, *, cases: Path | None = None, single_file: bool = False) -> Path:
    """The path of RUN/report.html, written from the files of the run folder alone (`cases`: a case file elsewhere).

    Pictures that are too many for one file lie beside it in RUN/report_files, unless `single_file`.
    Raises: DataError when the folder is not a run; OutputError when it cannot be written.
    """
    out = Path(run_folder) / "report.html"
    return build_index([Path(run_folder)], out=out, cases=cases, drawing=Drawing(single_file))


def build_index(
    run_folders: Sequence[Path],
    *,
    out: Path,
    title: str | None = None,
    cases: Path | None = None,
    compared: Compared | None = None,
    note: str = "",
    command: str = "",
    beside: Sequence[Path] = (),
    drawing: Drawing | None = None,
) -> Path:
    """The path of one page that shows all `run_folders`, in their order; `title` defaults to the names of the runs.

    With `compared`, the page starts with the comparison. `note` is a sentence for the top of the page; `command` is the
    line that built it, told as it was typed; `beside` are files that hold the numbers of the comparison.
    Raises: DataError when a folder is not a run; OutputError when the page or its pictures cannot be written.
    """
    runs, labels = [read_run(folder, cases=cases) for folder in run_folders], labels_of(run_folders)
    part = None if compared is None else MethodsPart(compared, cases=cases)
    drawing = drawing or Drawing()
    pictured = [_num_pictured(run, share=len(runs)) if drawing.single_file else len(run.cases) for run in runs]
    uses = [*(part.uses if part else ()), *_uses(runs, pictured, has_hero=part is None)]
    album = album_of(uses, page=out, **drawing._asdict())
    numbered = enumerate(zip(runs, labels, pictured, strict=True))
    sections = [
        Section(run, index=index, label=label, album=album, num_pictured=number)
        for index, (run, label, number) in numbered
    ]
    hero: Sequence[Card | MethodsCard] = part.place(album) if part else _hero(sections)
    html = render(
        "report.html.j2",
        title=title or " and ".join(labels or (part.names if part else [])),
        note=note,
        sections=sections,
        scales=scales(line for run in runs for line in run.lines),
        against=AGAINST,
        hero=hero,
        part=part,
        album=album,
        beside=[path.name for path in beside],
        command=command or _report_line(run_folders, out=out),
    )
    update_text(out, html)
    album.clean()
    return out


def _num_pictured(run: Run, *, share: int) -> int:
    """How many of the first cases of a run have their pictures in a single file that `share` runs share."""
    room, number = SINGLE_FILE_PICTURES // share - len(pictures_of_failures(run)), 0
    for case in run.cases:
        room -= len(pictures_of(run, case).all)
        if room < 0:
            break
        number += 1
    return number


def _uses(runs: Sequence[Run], pictured: Sequence[int], *, has_hero: bool) -> list[Path]:
    """Every picture of the sections, as often as the page shows it."""
    each = _num_hero(len(runs)) if has_hero else 0
    cases = [run.cases[:number] for run, number in zip(runs, pictured, strict=True)]
    some = [(run, case) for run, few in zip(runs, cases, strict=True) for case in [*few[:each], *few]]
    failed = [path for run in runs for path in pictures_of_failures(run)]
    return [*failed, *(path for run, case in some for path in pictures_of(run, case).all)]


def _num_hero(num_runs: int) -> int:
    return max(1, NUM_HERO // max(1, num_runs))


def _hero(sections: Sequence[Section]) -> list[Card]:
    """The cases of the first screen, taken from the runs in turn."""
    rows = [section.first(_num_hero(len(sections))) for section in sections]
    return [card for card in chain.from_iterable(zip_longest(*rows)) if card is not None][:NUM_HERO]


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
