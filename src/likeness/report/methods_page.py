"""The part of a page that compares several methods: the table, paired differences on one axis per metric, and pictures.

Every number comes from the comparison as `likeness.evaluate.compare` gives it; here they are drawn. At most
MAX_PICTURES pictures are shown, so that the part stays small however many cases were compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from likeness.core.records import Case
from likeness.report.curves import Ends
from likeness.report.figures import Captioned, PagePicture
from likeness.report.pictures import Album
from likeness.report.tables import Json, Run, case_mean, read_run, shown

MAX_PICTURES = 40
NUM_FIRST = 6  # cases in the order of the file where fewer than these differ most
NUM_HERO = 3  # cards on the first screen
WIDTH, HEIGHT = 320, 26  # of a drawn difference


@dataclass(frozen=True)
class Compared:
    """What `likeness.evaluate.compare.compare_methods` found, and the runs by the names it uses, for their pictures.

    `heading` and `note` say what was compared, where the names do not; `training` is a link to the page of a tuning.
    """

    found: Json
    folders: Mapping[str, Path]
    heading: str = ""
    note: str = ""
    training: str = ""


class MethodsCard(NamedTuple):
    """One case: what was asked, references, what each method drew and its score there, the true picture."""

    case_id: str
    prompt: str
    why: str
    tone: str
    references: list[Captioned]
    results: list[Captioned]
    truth: PagePicture | None


class Cell(NamedTuple):
    """A correlation as the page shows it: its value, the interval in words, and whether that excludes 0."""

    value: float | None
    told: str
    excludes_zero: bool


class Chosen(NamedTuple):
    """A case to show; `row` is its row of "cases", None where it is not one of those that differ most."""

    case: Case
    row: Json | None


class MethodsPart:
    """A comparison as the template sees it.

    Raises: DataError when a folder is not a run.
    """

    def __init__(self, compared: Compared, *, cases: Path | None = None) -> None:
        self.found, self.heading = compared.found, compared.heading
        self.note, self.training = compared.note, compared.training
        self.runs = {name: read_run(folder, cases=cases) for name, folder in compared.folders.items()}
        self.chosen, self.left_out = chosen_cases(self.found, self.runs)
        self.others: list[MethodsCard] = []
        metrics = self.found["metrics"]
        self.axes = {row["metric"]: axis_of(row["differences"]) for row in metrics}
        self.labels = {row["metric"]: told_label(row) for row in metrics}
        self.bounded = any(row[kind] is not None for row in metrics for kind in ("floor", "ceiling"))
        self.correlations = cell_rows(self.found.get("correlations"))
        self.draw: Callable[..., Markup] = difference_svg
        self.heat: Callable[..., Markup] = heat

    @property
    def rule(self) -> str:
        """How the cases to show were picked."""
        apart = sum(each.row is not None for each in self.chosen)
        base = self.found["base"]
        rule = f"For each method by turns: a case where it is furthest above {base}, and one furthest below."
        if apart == len(self.chosen):
            return rule
        return f"{rule[:-1]}; then the first others." if apart else "The first cases in case order; nothing was picked."

    @property
    def names(self) -> list[str]:
        """The methods in their order."""
        return list(self.runs)

    @property
    def uses(self) -> list[Path]:
        """Every picture of the cards."""
        return [path for each in self.chosen for path in _paths(each.case, self.runs)]

    def place(self, album: Album) -> list[MethodsCard]:
        """The cards of the first screen; the `others` stand further down."""
        cards = [_card(each, self.runs, found=self.found, album=album) for each in self.chosen]
        self.others = cards[NUM_HERO:]
        return cards[:NUM_HERO]


def told_label(metric: Json) -> str:
    """The label of a metric, with its column where it has one."""
    column = str(metric["column"] or "").replace("_", " ")
    return f"{metric['label']}, {column}" if column and column != "all photos" else str(metric["label"])


def chosen_cases(found: Json, runs: Mapping[str, Run]) -> tuple[list[Chosen], int]:
    """The cases that differ most as long as all their pictures fit, and how many further ones were left out.

    Where there are fewer than NUM_FIRST, the first others follow, so that a page has pictures where nothing differs.
    """
    cases = {case.id: case for case in next(iter(runs.values())).cases}
    apart = [Chosen(cases[row["case"]], row) for row in found["cases"] if row["case"] in cases]
    shown_ids = {each.case.id for each in apart}
    first = [Chosen(case, None) for case in cases.values() if case.id not in shown_ids]
    chosen: list[Chosen] = []
    room = MAX_PICTURES
    for each in [*apart, *first[: max(0, NUM_FIRST - len(apart))]]:
        room -= len(_paths(each.case, runs))
        if room < 0:
            break
        chosen.append(each)
    return chosen, max(0, len(apart) - len(chosen))


def correlation_rows(found: Json) -> list[Json]:
    """A row per pair of metrics, each with itself included: Pearson's with its interval, Spearman's and Kendall's."""
    matrices: Json = found["correlations"]
    metrics, kinds = matrices["metrics"], [key for key in matrices if key not in ("metrics", "kendall", "spearman")]
    rows: list[Json] = []
    for a, b in combinations_with_replacement(range(len(metrics)), 2):
        row = {key: matrices[key][a][b] for key in (*kinds, "spearman", "kendall")}
        low, high = row["pearson_ci_low"], row["pearson_ci_high"]
        excludes_zero = a != b and low is not None and high is not None and (low > 0 or high < 0)
        rows.append({"metric": metrics[a], "other": metrics[b], **row, "excludes_zero": excludes_zero})
    return rows


def cell_rows(matrices: Json | None) -> list[tuple[str, list[Cell]]]:
    """The rows of the matrix of Pearson correlations, by metric; none where there is none."""
    if not matrices:
        return []
    cells = {(row["metric"], row["other"]): _cell(row) for row in correlation_rows({"correlations": matrices})}
    metrics = matrices["metrics"]
    return [(a, [cells.get((a, b)) or cells[b, a] for b in metrics]) for a in metrics]


def _cell(row: Json) -> Cell:
    low, high, reason = row["pearson_ci_low"], row["pearson_ci_high"], row["pearson_reason"]
    if row["metric"] == row["other"]:
        told = "the metric itself"
    elif low is None or high is None:
        told = reason or "no interval"
    else:
        told = f"{row['pearson']:.3f}, 95% interval {low:.3f} to {high:.3f}"
    return Cell(row["pearson"], f"{told}, n = {row['n']}", row["excludes_zero"])


def _paths(case: Case, runs: Mapping[str, Run]) -> list[Path]:
    """The references, the first picture of each method that drew one, and the true picture."""
    first = [samples[0].image for run in runs.values() if (samples := run.samples.get(case.id))]
    return [*(subject.reference_image for subject in case.subjects), *first, *_truth(case, runs)]


def _truth(case: Case, runs: Mapping[str, Run]) -> list[Path]:
    path = next(iter(runs.values())).folder / "truth" / f"{case.id}.png"
    return [path] if path.is_file() else []


def _card(chosen: Chosen, runs: Mapping[str, Run], *, found: Json, album: Album) -> MethodsCard:
    case, row = chosen
    metrics = {metric["metric"]: metric for metric in found["metrics"]}
    metric = metrics.get(row["metric"]) if row else next(iter(found["metrics"]), None)
    why, tone = "", "plain"
    if row and metric:
        higher = "above" if row["difference"] > 0 else "below"
        why = f"{metric['label']}: {row['method']} {abs(row['difference']):.3f} {higher} {found['base']}"
        tone = "good" if (row["difference"] > 0) == metric["higher_is_better"] else "poor"
    references = [Captioned(album[subject.reference_image], subject.class_name) for subject in case.subjects]
    results = [
        Captioned(_first(run, case, album=album), _caption(name, run, case, metric=metric))
        for name, run in runs.items()
    ]
    truth = next((album[path] for path in _truth(case, runs)), None)
    return MethodsCard(case.id, case.prompt, why, tone, references, results, truth)


def _first(run: Run, case: Case, *, album: Album) -> PagePicture:
    samples = run.samples.get(case.id)
    return album[samples[0].image] if samples else PagePicture(problem="not generated")


def _caption(name: str, run: Run, case: Case, *, metric: Json | None) -> str:
    value = case_mean(run.samples.get(case.id, ()), metric["metric"]) if metric else None
    return name if value is None or metric is None else f"{name}, {shown(value, metric)}"


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
