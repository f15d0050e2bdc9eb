"""`likeness evaluate`: scores with intervals for a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from likeness.cli.answer import Json, aligned, answer, counted, told_left_out
from likeness.cli.choices import EngineChoice
from likeness.cli.generate import BENCHMARK_HELP
from likeness.core.errors import ConfigError
from likeness.encoders import ENCODERS, PHOTO_ENCODERS

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness evaluate runs/multi\n\n"
    "likeness evaluate made_elsewhere --cases my_cases.jsonl\n\n"
    "likeness evaluate runs/mine --clip openai/clip-vit-base-patch32@refs/pr/15 --encoder dino=my/dino\n\n"
    "likeness evaluate made_elsewhere --benchmark dreambench-multi --data ~/dreambench\n\n"
    "likeness evaluate method_folder --benchmark stellar --data ~/stellar --metric ips_excluding\n\n"
    "likeness evaluate runs/multi --track trackio:characters\n\n"
    "likeness evaluate runs/large --engine ray --workers 64\n\n"
    "likeness evaluate --list"
)
ENCODER_HELP = (
    "checkpoint: embedded name, folder or hub id. Default: the embedded one where an embedded model drew RUN and for "
    "cases of the drawn world, else"
)
RunFolder = Annotated[
    Path | None, typer.Argument(metavar="RUN", help="Folder of `likeness generate`, or with images made elsewhere.")
]

FurtherEncoders = Annotated[
    list[str] | None, typer.Option(help="NAME=WEIGHTS of any encoder that --list shows; may be repeated.")
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Processes that look at pictures; no value depends on it. Default: as many as pay."),
]
Features = Annotated[
    Path | None,
    typer.Option(help="Folder that keeps what encoders saw, for later runs. Default: in the user's cache folder."),
]
AllowMissing = Annotated[bool, typer.Option("--allow-missing", help="Score what is there; count the rest as missing.")]
Track = Annotated[
    str | None,
    typer.Option(metavar="TRACKER[:PROJECT]", help="Also log the means, to trackio; the project is likeness."),
]
ShowList = Annotated[bool, typer.Option("--list", help="Show every metric and encoder, and measure nothing.")]


def evaluate(
    ctx: typer.Context,
    run: RunFolder = None,
    benchmark: Annotated[
        str | None,
        typer.Option(help=f"For pictures made elsewhere; a run of `likeness generate` knows its own. {BENCHMARK_HELP}"),
    ] = None,
    cases: Annotated[Path | None, typer.Option(help="Cases the pictures answer (default: RUN/cases.jsonl).")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the benchmark's photographs.")] = None,
    clip: Annotated[str | None, typer.Option(help=f"CLIP {ENCODER_HELP} {PHOTO_ENCODERS['clip']}.")] = None,
    dino: Annotated[str | None, typer.Option(help=f"DINO {ENCODER_HELP} {PHOTO_ENCODERS['dino']}.")] = None,
    probe: Annotated[
        str | None,
        typer.Option(help="Attribute probe: embedded name or folder. Default: the embedded one for labelled cases."),
    ] = None,
    encoder: FurtherEncoders = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="A further metric that --list shows, with its encoders; may be repeated.")
    ] = None,
    workers: Workers = None,
    engine: EngineChoice = None,
    features: Features = None,
    allow_missing: AllowMissing = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "cpu",
    track: Track = None,
    show_list: ShowList = False,
    as_json: Json = False,
) -> None:
    """RUN/evaluation: one row of values per picture, and means with 95% intervals by subject."""
    if show_list:
        return _show_list(as_json=as_json)
    if run is None:
        raise ConfigError("RUN: expected a folder of pictures, got none; name the --out folder of `likeness generate`.")
    from likeness.cli.progress import progress_bars, quiet_libraries
    from likeness.cli.record import command_line, record_command
    from likeness.evaluate.folder import evaluate_folder
    from likeness.evaluate.track import track_summary, tracking

    tracker = None if track is None else tracking(track)
    quiet_libraries()
    with progress_bars() as bar:
        summary = evaluate_folder(
            run,
            benchmark=benchmark,
            cases=cases,
            data=data,
            encoders=_encoders({"clip": clip, "dino": dino, "probe": probe}, more=encoder or ()),
            metrics=metric or (),
            device=device,
            workers=workers,
            engine=engine,
            features=features,
            allow_missing=allow_missing,
            progress=bar,
        )
    record_command(run, step="evaluate", line=command_line(ctx))
    if tracker:
        track_summary(summary, run=run, to=tracker)
    _tell(summary, run=run, as_json=as_json)


def _tell(summary: dict[str, Any], *, run: Path, as_json: bool) -> None:
    """The table, what is missing from it and why, and every input that was left out."""
    from likeness.evaluate.aggregate import table_of
    from likeness.evaluate.cards import card_table

    path, table = run / "evaluation" / "summary.json", table_of(summary)
    counts = f"{counted(summary['num_samples'], 'picture')} of {counted(summary['num_cases'], 'case')}"
    left_out = told_left_out(summary["left_out"], where=f'{path} ("left_out")')
    text = f"{summary['benchmark']}: {counts}\n\n{_aligned_table(table)}\n\n{_gaps(table)}{left_out}"
    text += _under_cards(card_table(summary["cards"]), refused=summary["cards_refused"])
    text += f"{_further(summary['encoders'])}{path}. Next: likeness report {run}"
    answer({"summary": path, "table": table, **summary}, text=text, as_json=as_json)


def _aligned_table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as aligned text: "lower" marks metrics of which less is better, "-" what was not measured."""
    from rich.box import ASCII_DOUBLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=ASCII_DOUBLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("metric", "mean", "95% interval", "floor", "ceiling", "n", "missing"):
        table.add_column(name, justify="left" if name == "metric" else "right", no_wrap=True)
    for row in rows:
        label = _label(row) + ("" if row["higher_is_better"] else " (lower is better)")
        ends = [_number(row["ci_low"]), _number(row["ci_high"])]
        interval = "-" if "-" in ends else " to ".join(ends)
        numbers = [_number(row[name]) for name in ("mean", "floor", "ceiling")]
        cells = [label, numbers[0], interval, *numbers[1:], str(row["n"]), str(row["missing"])]
        table.add_row(*(Text(cell) for cell in cells))
    return aligned(table)


def _under_cards(rows: Sequence[dict[str, Any]], *, refused: dict[str, str]) -> str:
    """The measured columns of each protocol card as a table, then why others have no number; "" without cards."""
    from rich.box import ASCII_DOUBLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=ASCII_DOUBLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("card", "column", "mean", "95% interval", "floor", "ceiling", "n", "coverage"):
        table.add_column(name, justify="left" if name in ("card", "column") else "right", no_wrap=True)
    measured = [row for row in rows if row["mean"] is not None]
    for row in measured:
        ends = [_number(row["ci_low"]), _number(row["ci_high"])]
        interval = "-" if "-" in ends else " to ".join(ends)
        coverage = "-" if row["coverage"] is None else f"{row['coverage']:.1%}"
        numbers = [_number(row[name]) for name in ("floor", "ceiling")]
        cells = [row["card"], row["column"], _number(row["mean"]), interval, *numbers, str(row["n"]), coverage]
        table.add_row(*(Text(cell) for cell in cells))
    gaps = [f"not measured, {row['card']}, {row['column']}: {row['reason']}" for row in rows if row["mean"] is None]
    gaps += [f"{name} does not apply: {reason}" for name, reason in refused.items()]
    return (f"{aligned(table)}\n\n" if measured else "") + "".join(f"{gap}\n" for gap in gaps)


def _further(encoders: dict[str, str]) -> str:
    """The ids of encoders that no default evaluation uses: their numbers compare with no others."""
    usual = {name for name, facts in ENCODERS.items() if facts.photo or facts.world}
    return "".join(f"measured with {name}: {made}\n" for name, made in encoders.items() if name not in usual)


def _label(row: dict[str, Any]) -> str:
    return f"{row['label']}, {row['column'].replace('_', ' ')}" if row["column"] else row["label"]


def _gaps(rows: Sequence[dict[str, Any]]) -> str:
    """Why values are missing, each reason once with the metrics it is of."""
    labels: dict[str, list[str]] = {}
    for row in rows:
        if row["missing"]:
            labels.setdefault(row["reason"], []).append(_label(row))
    return "".join(f"missing, {'; '.join(names)}: {reason}\n" for reason, names in labels.items())


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _encoders(named: dict[str, str | None], *, more: Sequence[str]) -> dict[str, str]:
    """Encoder -> weights of what was given, by a flag of its own or by --encoder."""
    found = named | dict(named_encoder(text) for text in more)
    return {name: spec for name, spec in found.items() if spec is not None}


def named_encoder(text: str) -> tuple[str, str]:
    """(name, weights) of --encoder. Raises: ConfigError naming the encoders there are."""
    name, equals, spec = text.partition("=")
    if not (equals and spec) or name not in ENCODERS:
        raise ConfigError(f"--encoder: expected NAME=WEIGHTS with a name of {', '.join(ENCODERS)}, got {text!r}.")
    return name, spec


def _show_list(*, as_json: bool) -> None:
    from likeness.metrics import METRICS

    metrics = {key: {**metric.facts.shown(), "question": metric.facts.question} for key, metric in METRICS.items()}
    needs = {key: ", ".join(metric.facts.needs) for key, metric in METRICS.items()}
    lines = ["Metrics (higher is better unless marked), and the encoders they need"]
    for key, row in metrics.items():
        mark = "" if row["higher_is_better"] else " (lower is better)"
        lines.append(f"  {key:<26} {row['question']}{mark} [{needs[key]}]")
    lines.append("\nEncoders, with their default weights for photographs and for the drawn world")
    for name, facts in ENCODERS.items():
        weights = f"{facts.photo or facts.published or 'none'}; {facts.world or facts.embedded or 'none'}"
        lines.append(f"  {name:<26} {facts.reads} [{weights}; licence {facts.licence}]")
    encoders = {name: facts._asdict() for name, facts in ENCODERS.items()}
    answer({"metrics": metrics, "encoders": encoders}, text="\n".join(lines), as_json=as_json)
