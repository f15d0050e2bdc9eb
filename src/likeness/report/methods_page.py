"""The page of a comparison of several methods: the table, paired differences on one axis per metric, and pictures.

Every number comes from the comparison as `likeness.evaluate.compare` gives it; here they are drawn. Pictures are
reduced to thumbnails, at most MAX_PICTURES of them, so that the page stays small however many were compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from likeness.core.files import atomic_write_text
from likeness.core.records import Case
from likeness.report.curves import Ends
from likeness.report.figures import Captioned, InlinePicture, thumbnail
from likeness.report.html import render
from likeness.report.tables import Json, Run, case_mean, read_run, shown

MAX_PICTURES = 40
WIDTH, HEIGHT = 320, 26  # of a drawn difference


class MethodsCard(NamedTuple):
    """One case: what was asked, references, what each method drew, and its score there."""

    case_id: str
    prompt: str
    why: str
    references: list[Captioned]
    results: list[Captioned]

    @property
    def num_pictures(self) -> int:
        """How many thumbnails it shows."""
        return sum(bool(each.picture.uri) for each in (*self.references, *self.results))


def build_methods_page(
    comparison: Json, folders: Mapping[str, Path], *, out: Path, title: str | None = None, command: str = ""
) -> Path:
    """The path of the page of a comparison; `folders` are the runs by the names of the methods, for their pictures.

    Raises: DataError when a folder is not a run; OutputError when the page cannot be written.
    """
    runs = {name: read_run(folder) for name, folder in folders.items()}
    cards, left = cards_of(comparison, runs)
    html = render(
        "methods.html.j2",
        title=title or " and ".join(folders),
        found=comparison,
        names=list(folders),
        cards=cards,
        left_out=left,
        bounded=any(row[kind] is not None for row in comparison["metrics"] for kind in ("floor", "ceiling")),
        axes={row["metric"]: axis_of(row["differences"]) for row in comparison["metrics"]},
        labels={row["metric"]: told_label(row) for row in comparison["metrics"]},
        draw=difference_svg,
        heat=heat,
        command=command,
    )
    atomic_write_text(out, html)
    return out


def told_label(metric: Json) -> str:
    """The label of a metric, with its column where it has one."""
    column = str(metric["column"] or "").replace("_", " ")
    return f"{metric['label']}, {column}" if column and column != "all photos" else str(metric["label"])


def cards_of(comparison: Json, runs: Mapping[str, Run]) -> tuple[list[MethodsCard], int]:
    """Cards in the order of "cases" as long as all their pictures fit, and how many further cases were left out."""
    cases = {case.id: case for case in next(iter(runs.values())).cases}
    labels = {row["metric"]: row for row in comparison["metrics"]}
    rows = [row for row in comparison["cases"] if row["case"] in cases]
    found: list[MethodsCard] = []
    shown_already = 0
    for row in rows:
        case = cases[row["case"]]
        if shown_already + len(case.subjects) + len(runs) > MAX_PICTURES:
            break
        found.append(_card(row, case, runs, metric=labels[row["metric"]], base=comparison["base"]))
        shown_already += found[-1].num_pictures
    return found, len(rows) - len(found)


def _card(row: Json, case: Case, runs: Mapping[str, Run], *, metric: Json, base: str) -> MethodsCard:
    higher = "above" if row["difference"] > 0 else "below"
    why = f"{metric['label']}: {row['method']} {abs(row['difference']):.3f} {higher} {base}"
    references = [Captioned(thumbnail(s.reference_image, long_side=128), s.class_name) for s in case.subjects]
    results = [Captioned(_first(run, case), _caption(name, run, case, metric=metric)) for name, run in runs.items()]
    return MethodsCard(case.id, case.prompt, why, references, results)


def _first(run: Run, case: Case) -> InlinePicture:
    samples = run.samples.get(case.id)
    return thumbnail(samples[0].image) if samples else InlinePicture(problem="not generated")


def _caption(name: str, run: Run, case: Case, *, metric: Json) -> str:
    value = case_mean(run.samples.get(case.id, ()), metric["metric"])
    return name if value is None else f"{name}, {shown(value, metric)}"


# -- drawings --------------------------------------------------------------------------------------------------
def axis_of(differences: Sequence[Json]) -> Ends:
    """An axis around zero that holds every interval of one metric, as far to one side as to the other."""
    ends = [abs(value) for row in differences for value in _ends_of(row)]
    reach = max(ends, default=0.0) * 1.1 or 1.0
    return Ends(-reach, reach)


def _ends_of(row: Json) -> Iterator[float]:
    yield from (row[name] for name in ("mean", "ci_low", "ci_high", "margin") if row.get(name) is not None)


def difference_svg(row: Json, axis: Ends, *, spoken: str) -> Markup:
    """A paired difference: dot and whisker, the line at zero, and the margin of a tie where one was named."""
    middle = HEIGHT / 2

    def x(value: float) -> str:
        return f"{8 + (value - axis.low) / (axis.high - axis.low) * (WIDTH - 16):.2f}"

    parts = [f'<line class="axis" x1="8" x2="{WIDTH - 8}" y1="{middle}" y2="{middle}"/>']
    if row.get("margin") is not None:
        width = float(x(row["margin"])) - float(x(-row["margin"]))
        parts.append(f'<rect class="margin" x="{x(-row["margin"])}" width="{width:.2f}" y="3" height="{HEIGHT - 6}"/>')
    parts.append(f'<line class="zero" x1="{x(0)}" x2="{x(0)}" y1="0" y2="{HEIGHT}"/>')
    if row["mean"] is not None:
        if row["ci_low"] is not None and row["ci_high"] is not None:
            low, high = x(row["ci_low"]), x(row["ci_high"])
            parts.append(f'<line class="whisker" x1="{low}" x2="{high}" y1="{middle}" y2="{middle}"/>')
            sides = f'y1="{middle - 5}" y2="{middle + 5}"'
            parts += [f'<line class="whisker" x1="{end}" x2="{end}" {sides}/>' for end in (low, high)]
        parts.append(f'<circle class="dot" cx="{x(row["mean"])}" cy="{middle}" r="5"/>')
    svg = Markup('<svg class="interval" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    return svg.format(WIDTH, HEIGHT, spoken, Markup("".join(parts)))


def heat(value: float | None, *, largest: float = 1.0) -> Markup:
    """The style of a cell: warm above zero, cold below, faint near it."""
    if value is None:
        return Markup("")
    share = min(1.0, abs(value) / largest) if largest > 0 else 0.0
    tint = "warm" if value > 0 else "cold"
    return Markup("background: color-mix(in srgb, var(--{}) {}%, var(--card))").format(tint, round(50 * share))
