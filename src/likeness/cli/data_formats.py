"""`likeness data lint`, `export` and `import`: pair sets checked, and carried to and from other formats."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated

import typer

from likeness.cli.answer import Json, answer, counted
from likeness.cli.choices import choice
from likeness.core.errors import ConfigError
from likeness.core.kinds import CATEGORIES, Category
from likeness.data.formats import EXPORTS, LAYOUTS, LIST_EXPORTS, OWN_FORMATS, RUN_EXPORTS

if TYPE_CHECKING:
    from likeness.core.jobs import Progress
    from likeness.core.rows import LeftOut
    from likeness.data.lint.subjects import Encode

EXIT_FAULTS = 1
SHOWN_ROWS = 5


LINT_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness data lint pairs\n\n"
    "likeness data lint pairs --benchmark world-multi --json\n\n"
    "likeness data lint relations\n\n"
    "Exit code 0: no errors; 1: errors were found; 2: the set cannot be read."
)
EXPORT_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness data export pairs --to parquet --out pairs-hub\n\n"
    "likeness data export pairs --to webdataset --out pairs-tar --shard-size 64\n\n"
    "likeness data export pairs --to flow-factory --out pairs-flow-factory\n\n"
    "likeness data export runs/people --to stellar --out people-stellar\n\n"
    "Parquet loads with datasets.load_dataset and shows its pictures on the Hub; tar shards stream with webdataset."
)
IMPORT_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness data import kohya-folder --layout kohya --references photos --out pairs\n\n"
    "likeness data import multidatabackend.json --layout simpletuner --out pairs\n\n"
    "likeness data import train.json --layout uno --rejected losers --out pairs\n\n"
    "likeness data import train.jsonl --layout flow-factory --masks masks --out pairs\n\n"
    "likeness data import pairs-hub --layout parquet --out pairs"
)

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Folder with pairs.jsonl or relations.jsonl.")]
CaseFiles = Annotated[
    list[Path] | None, typer.Option("--cases", help="Case file whose subjects must not appear; may be repeated.")
]


def register(app: typer.Typer) -> None:
    """`likeness data` knows the commands of this file."""
    app.command("lint", epilog=LINT_EXAMPLES)(lint)
    app.command("export", epilog=EXPORT_EXAMPLES)(export)
    app.command("import", epilog=IMPORT_EXAMPLES)(import_)


def lint(
    ctx: typer.Context,
    folder: Directory,
    cases: CaseFiles = None,
    benchmark: Annotated[
        list[str] | None,
        typer.Option(help="Benchmark of the world whose subjects must not appear, such as world-multi; repeatable."),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="DINO that compares subjects in place of colours, for photographs.")
    ] = None,
    tolerance: Annotated[int, typer.Option(min=0, max=255, help="Grey levels that still count as unchanged.")] = 0,
    token: Annotated[int, typer.Option(min=1, help="Side of a target token in px.")] = 16,
    as_json: Json = False,
) -> None:
    """What is wrong with a pair set (masks, leakage, who wins, order, duplicates, balance) or a set of relations."""
    from likeness.cli.progress import progress_bars
    from likeness.data.lint.run import lint_pairs
    from likeness.data.relations.lint import lint_relations
    from likeness.data.relations.records import RELATIONS_NAME

    is_relations = RELATIONS_NAME in (folder.name, *(path.name for path in folder.glob(RELATIONS_NAME)))
    if is_relations:
        _refuse_pairs_options(ctx)
    place = tempfile.TemporaryDirectory() if benchmark else nullcontext("")
    with place as built, progress_bars() as bar:
        drawn = [_built(name, Path(built) / name, progress=bar(f"drawing {name}")) for name in benchmark or []]
        benchmarks = [*(cases or []), *drawn]
        if is_relations:
            report = lint_relations(folder, benchmarks=benchmarks, progress=bar("looking at examples"))
        else:
            report = lint_pairs(
                folder,
                benchmarks=benchmarks,
                encode=_encode(encoder),
                tolerance=tolerance,
                token=token,
                progress=bar("looking at pairs"),
            )
    answer(report.facts(), text=report.text(), as_json=as_json)
    if report.num_errors:
        raise typer.Exit(EXIT_FAULTS)


def _refuse_pairs_options(ctx: typer.Context) -> None:
    """Raises: ConfigError for an option that only pairs have."""
    for name in ("encoder", "tolerance", "token"):
        origin = ctx.get_parameter_source(name)
        if origin is not None and origin.name == "COMMANDLINE":
            raise ConfigError(f"--{name}: expected only for pairs, got it for relations; leave it out.")


def _built(benchmark: str, folder: Path, *, progress: Progress) -> Path:
    """The case file of a benchmark that needs no data, drawn in `folder`. Raises: DataError for another name."""
    from likeness.benchmarks import benchmark_cases, benchmark_names
    from likeness.core.errors import DataError

    names = benchmark_names(needs_data=False)
    if benchmark not in names:
        raise DataError(f"Benchmark: expected one of {', '.join(names)}, got {benchmark}; correct the name.")
    benchmark_cases(benchmark, folder=folder, progress=progress)
    return folder / "cases.jsonl"


def _encode(spec: str | None) -> Encode | None:
    if spec is None:
        return None
    from likeness.cli.progress import quiet_libraries
    from likeness.encoders.vit import VitEncoder

    quiet_libraries()
    return VitEncoder.load(spec).look


def export(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder with pairs.jsonl; for stellar, of `likeness generate`.")
    ],
    to: Annotated[str, choice((*EXPORTS, *LIST_EXPORTS, *RUN_EXPORTS), help="Format to write.")],
    out: Annotated[Path, typer.Option(help="Folder for the shards, or for the run's pictures.")],
    shard_size: Annotated[float, typer.Option(min=0.001, help="Most MB of pictures per shard.")] = 256,
    as_json: Json = False,
) -> None:
    """The pair set as shards or as another trainer's list, a run in Stellar's layout; equal sets, equal bytes."""
    if to in RUN_EXPORTS:
        return _export_run(folder, out, to=to, as_json=as_json)
    if to in LIST_EXPORTS:
        done = resolve_name(LIST_EXPORTS[to])(folder, out)
        text = f"{counted(done.num_pairs, 'pair')} in {done.shards[0]}"
    else:
        done = resolve_name(EXPORTS[to])(folder, out, max_shard_bytes=int(shard_size * 1_000_000))
        text = f"{done.num_pairs} pairs in {len(done.shards)} shards in {out}"
    facts = {"out": out, "format": to, "num_pairs": done.num_pairs, "shards": [str(path) for path in done.shards]}
    more, told = _left_out(done.left_out)
    answer(facts | more, text=text + told, as_json=as_json)


def _export_run(folder: Path, out: Path, *, to: str, as_json: bool) -> None:
    done = resolve_name(RUN_EXPORTS[to])(folder, out)
    more, told = _left_out(done.left_out)
    facts = {"out": out, "format": to, "num_pictures": done.num_pictures}
    answer(facts | more, text=f"{counted(done.num_pictures, 'picture')} in {out}{told}", as_json=as_json)


def import_(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="File or folder of the layout.")],
    layout: Annotated[str, choice((*LAYOUTS, *OWN_FORMATS), help="How the source is laid out.")],
    out: Annotated[Path, typer.Option(help="Folder for pairs.jsonl and copies of the files.")],
    rejected: Annotated[
        Path | None, typer.Option(help="Folder of rejected pictures, for layouts that have none.")
    ] = None,
    references: Annotated[
        Path | None, typer.Option(help="Folder of reference pictures by name, or with one for all.")
    ] = None,
    masks: Annotated[Path | None, typer.Option(help="Folder of prior masks by name.")] = None,
    category: Annotated[Category, choice(CATEGORIES, help="Of subjects whose layout does not say.")] = "object",
    as_json: Json = False,
) -> None:
    """A pair set of another project as pairs.jsonl; rows that cannot be used are listed with the reason."""
    from likeness.data.formats.layouts import Beside, import_layout

    beside = Beside(rejected=rejected, references=references, masks=masks)
    done = import_layout(layout, source, out, beside=beside, category=category)
    more, told = _left_out(done.left_out)
    lines = "".join(f"\n  filled in {count} times: {what}" for what, count in done.filled.items())
    text = f"{done.num_pairs} pairs in {out}{lines}{told}\nCheck them: likeness data lint {out}"
    facts = {"out": out, "layout": layout, "num_pairs": done.num_pairs, "filled": dict(done.filled)}
    answer(facts | more, text=text, as_json=as_json)


def _left_out(rows: tuple[LeftOut, ...]) -> tuple[dict[str, object], str]:
    """The rows left out as facts, and for people: how many, and the first few."""
    lines = [f"\n{len(rows)} rows left out:", *(f"  {row.reason}" for row in rows[:SHOWN_ROWS])]
    if len(rows) > SHOWN_ROWS:
        lines.append(f"  ... and {len(rows) - SHOWN_ROWS} more; all of them with --json")
    facts: dict[str, object] = {"num_rejected_rows": len(rows), "rejected_rows": [row.model_dump() for row in rows]}
    return facts, "\n".join(lines) if rows else ""
