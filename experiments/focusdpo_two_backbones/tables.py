"""results.json, tables.md and the plots, from the committed scores; and the tables of the page for practitioners."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any  # rows are JSON

from analysis import Row, curve_gap, test_results
from curves import FIDELITY, Curve, at_level
from design import BEST, FOCUS, Chosen, Design, Piece
from lab import Lab, Ledger
from plots import draw_curves
from world_runs import ROOT

from likeness.core.errors import DataError
from likeness.core.files import atomic_write_text, read_text, write_json

PAGE = ROOT / "docs" / "which-loss-for-which-pairs.md"
COLUMNS = {"attribute_accuracy": "attributes", "dino": "DINO", "leakage": "leakage", FIDELITY: "CLIP-T"}
MORE = {"clip_i": "CLIP-I", "leakage_matrix": "leak matrix", "roles": "roles", "action_recognised": "action"}
MEASURES = ("attribute_accuracy", "dino", "leakage")
NAMES = {
    **{"base": "base", "sft": "SFT", "patch_dpo": "PatchDPO", "dpo": "DPO", "dpo_matched": "DPO, beta matched"},
    **{"sdpo": "Diffusion-SDPO", "linear_dpo": "Linear-DPO", "prior": "M_prior alone"},
    **{"focus_dpo": "FocusDPO, first reading", "focus_best": "FocusDPO"},
}
GAP_COST = 0.008  # of CLIP-T, over which whole curves are compared


def write_tables(lab: Lab, *, page: Path | None = None) -> None:
    """Everything that the scores allow so far, beside them; and the tables of `page`."""
    results = test_results(lab)
    write_json(lab.results / "results.json", results)
    parts = ["# Tables\n\nWritten by `run.py --phase tables` from scores/ and chosen.json. Brackets: 95% intervals."]
    ledger = Ledger(lab)
    for design in (Design(lab.plan, backbone) for backbone in lab.plan["backbones"]):
        if ledger.is_done(design.base("validation")):
            parts += validation_sections(lab, design, ledger)
    parts += test_sections(results)
    atomic_write_text(lab.results / "tables.md", "\n\n".join(parts) + "\n")
    if page is not None:
        atomic_write_text(page, filled(read_text(page), page_tables(results), where=page))


# -- validation ------------------------------------------------------------------------------------------------
def validation_sections(lab: Lab, design: Design, ledger: Ledger) -> Iterator[str]:
    """Per kind of pairs all tries, what was chosen, and whole curves compared; a plot for each."""
    level = design.level(ledger)
    search = lab.plan["search"]
    for pairs in (*search["pairs"], *search["borrowed"]):
        chosen = design.chosen_of(pairs, known=ledger)
        head = f"## Validation, {design.backbone}, {pairs}"
        if pairs in search["pairs"]:
            tried = [piece for some in design.search(pairs).values() for piece in some]
            if chosen is not None:
                tried += [p for p in design.readings(pairs, chosen["focus_dpo"])[1:]]
                tried.append(design.piece(pairs, chosen["dpo_matched"]))
            yield f"{head}: every try\n\n" + _tries(tried, ledger, level=level)
        if chosen is not None and design.is_refined(pairs, chosen, known=ledger):
            curves = {NAMES[name]: design.curve(pairs, each, known=ledger) for name, each in chosen.items()}
            yield f"{head}: chosen, at CLIP-T {level:.4f}\n\n" + _chosen(chosen)
            if pairs not in search["borrowed"]:
                yield f"{head}: mean gap to DPO over costs of CLIP-T up to {GAP_COST}\n\n" + _gaps(
                    lab, design, ledger, pairs=pairs, chosen=chosen
                )
            out = lab.results / f"curves-{design.backbone}-{pairs}.png"
            draw_curves(curves, level=level, title=f"{design.backbone}, {pairs}: validation", out=out)


def _tries(pieces: Sequence[Piece], ledger: Ledger, *, level: float) -> str:
    """A line per try and strength that was drawn of every try, and its value at the level."""
    lines: list[Sequence[str]] = []
    for piece in (each for each in pieces if ledger.is_done(each)):
        curve: Curve = ledger.curve(piece, strengths=piece.strengths)
        found = at_level(curve, level)
        settings = ", ".join(f"{key.partition('.')[2]} {value:g}" for key, value in _numbers_of(piece))
        name = f"{piece.method} {piece.attempt}"
        for point in curve[1:]:
            lines.append([name, settings, f"{point.strength:g}", *(f"{point.means[m]:.4f}" for m in COLUMNS), ""])
        said = f"{found.value:.4f}" + ("" if found.reached else " (level not reached)")
        lines.append([name, settings, f"{found.strength:.3f}", *(f"{found.means[m]:.4f}" for m in COLUMNS), said])
    return _table(["try", "settings", "strength", *COLUMNS.values(), "attributes - leakage"], lines)


def _numbers_of(piece: Piece) -> list[tuple[str, float]]:
    return [(key, value) for key, value in piece.changes or () if isinstance(value, float | int)]


def _chosen(chosen: Mapping[str, Chosen]) -> str:
    lines = [
        [
            NAMES[name],
            each.attempt,
            f"{each.found.strength:.3f}" + ("" if each.found.reached else ", level not reached"),
            *(f"{each.found.means[metric]:.4f}" for metric in COLUMNS),
        ]
        for name, each in chosen.items()
    ]
    return _table(["method", "try", "strength", *COLUMNS.values()], lines)


def _gaps(lab: Lab, design: Design, ledger: Ledger, *, pairs: str, chosen: Mapping[str, Chosen]) -> str:
    base, facts = ledger.scores(design.base("validation")), ledger.facts("validation")
    scores = {name: ledger.scores(design.piece(pairs, each)) for name, each in chosen.items()}
    dpo, lines = scores.pop("dpo"), list[Sequence[str]]()
    assert base is not None
    assert dpo is not None
    shared = {"strengths": lab.plan["strengths"]["all"], "facts": facts, "most": GAP_COST}
    for name, each in scores.items():
        assert each is not None
        lines.append([NAMES[name], *(_signed(curve_gap(each, dpo, base, metric=m, **shared)) for m in MEASURES)])
    return _table(["minus DPO", *(COLUMNS[metric] for metric in MEASURES)], lines)


# -- test ------------------------------------------------------------------------------------------------------
def test_sections(results: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    """Means, claims with their verdicts, claims at exactly equal CLIP-T, and differences that nothing is claimed of."""
    for place in dict.fromkeys((row["backbone"], row["pairs"]) for row in results["means"]):
        head = f"## Test, {place[0]}, {place[1]}"
        means, claimed, adjusted, between = (
            [row for row in results[key] if (row["backbone"], row["pairs"]) == place]
            for key in ("means", "claims", "adjusted", "differences")
        )
        yield f"{head}: means\n\n" + _wide(means, line=lambda row: NAMES[row["method"]], cell=_level)
        yield f"{head}: claims\n\n" + _claims(claimed)
        yield f"{head}: the same at exactly equal CLIP-T\n\n" + _claims(adjusted)
        yield f"{head}: differences, uncorrected\n\n" + _wide(between, line=_pair, cell=_signed)


def _pair(row: Row) -> str:
    return f"{NAMES[row['later']]} - {NAMES[row['earlier']]}"


def _claims(rows: Sequence[Row]) -> str:
    lines = [
        [
            _pair(row),
            COLUMNS[row["metric"]],
            _signed(row),
            "" if row["p_holm"] is None else f"{row['p_holm']:.4f}",
            f"{row['margin']:g}",
            row["verdict"],
        ]
        for row in rows
    ]
    return _table(["difference", "metric", "mean", "p, Holm", "margin", "verdict"], lines)


def _wide(rows: Sequence[Row], *, line: Callable[[Row], str], cell: Callable[[Row], str]) -> str:
    columns = COLUMNS | MORE
    cells = {(line(row), row["metric"]): cell(row) for row in rows}
    names = dict.fromkeys(line(row) for row in rows)
    return _table(["", *columns.values()], [[name, *(cells.get((name, m), "") for m in columns)] for name in names])


# -- the page --------------------------------------------------------------------------------------------------
def page_tables(results: Mapping[str, Sequence[Row]]) -> dict[str, str]:
    """Name of a place on the page -> its table: each method minus base on one backbone and kind of pairs."""
    rows = [row for row in results["differences"] if row["earlier"] == "base"]
    verdicts = {
        (row["backbone"], row["pairs"], row["earlier"], row["metric"]): row["verdict"] for row in results["claims"]
    }
    found: dict[str, str] = {}
    for backbone, pairs in dict.fromkeys((row["backbone"], row["pairs"]) for row in rows):
        here = [row for row in rows if (row["backbone"], row["pairs"]) == (backbone, pairs)]
        lines: dict[str, list[str]] = {}
        for method in dict.fromkeys(row["later"] for row in here):
            mine = {row["metric"]: row for row in here if row["later"] == method}
            said = {metric: verdicts.get((backbone, pairs, method, metric), "") for metric in MEASURES}
            cells = [_signed(mine[metric]) for metric in COLUMNS]
            if method == FOCUS and cells == lines.get(BEST, [])[1:-1]:
                continue  # the first reading was the one that was chosen
            lines[method] = [NAMES[method], *cells, "" if method == BEST else _verdict(said)]
        titles = ["minus base", *COLUMNS.values(), "FocusDPO against it"]
        found[f"{backbone}-{pairs}"] = _table(titles, list(lines.values()))
    return found


def _verdict(said: Mapping[str, str]) -> str:
    """The verdict that all metrics share, or each metric's own."""
    kinds = set(said.values())
    if len(kinds) == 1:
        verdict = kinds.pop()
        return f"all three {verdict}" if verdict else ""
    return "; ".join(f"{COLUMNS[metric]} {verdict}" for metric, verdict in said.items() if verdict)


def filled(page: str, tables: Mapping[str, str], *, where: Path) -> str:
    """The page with every table between its marks, `<!-- table NAME -->` and `<!-- end -->`.

    Raises: DataError for a mark whose table there is not.
    """

    def put(mark: re.Match[str]) -> str:
        if mark[1] not in tables:
            raise DataError(f"{where}: expected tables among {', '.join(tables) or 'none'}, got {mark[1]}; correct it.")
        return f"<!-- table {mark[1]} -->\n{tables[mark[1]]}\n<!-- end -->"

    return re.sub(r"<!-- table (\S+) -->\n.*?<!-- end -->", put, page, flags=re.DOTALL)


# -- cells -----------------------------------------------------------------------------------------------------
def _table(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = "|" + "---|" * len(titles)
    return "\n".join([f"| {' | '.join(titles)} |", rule, *(f"| {' | '.join(line)} |" for line in lines)])


def _level(row: Row) -> str:
    return _with_interval(row, "{:.3f}")


def _signed(row: Row) -> str:
    return _with_interval(row, "{:+.4f}")


def _with_interval(row: Mapping[str, Any], form: str) -> str:
    if row["mean"] is None:
        return "not measured"
    if row["ci_low"] is None:
        return form.format(row["mean"])
    return f"{form.format(row['mean'])} [{form.format(row['ci_low'])}, {form.format(row['ci_high'])}]"
