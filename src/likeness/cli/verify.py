"""`likeness verify`: a random sample of a run measured again, beside what the run recorded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from likeness.cli.answer import Json, aligned, answer, counted

if TYPE_CHECKING:
    from likeness.evaluate.verify import Verified
    from likeness.generate.redraw import Redrawing

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness verify runs/multi\n\n"
    "likeness verify runs/multi --sample 200 --seed 7 --redraw 2\n\n"
    "likeness verify made_elsewhere --encoder dino=my/dino --json"
)
EXIT_DIFFERS = 1
SHOWN_FAULTS = 20


def verify(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="An evaluated run.")],
    sample: Annotated[int, typer.Option(help="How many pictures to measure again.")] = 32,
    seed: Annotated[int, typer.Option(help="Chooses the pictures; equal seeds choose equal ones.")] = 0,
    tolerance: Annotated[float, typer.Option(help="Up to which difference two numbers count as close.")] = 1e-5,
    encoder: Annotated[
        list[str] | None,
        typer.Option(help="NAME=WEIGHTS of an encoder that lay in a folder of its own; may be repeated."),
    ] = None,
    device: Annotated[str, typer.Option(help="Of the encoders: auto, cpu, cuda or mps.")] = "cpu",
    redraw: Annotated[
        int, typer.Option(help="Of a run of `likeness generate`, so many pictures are drawn again as well.")
    ] = 0,
    model: Annotated[
        str | None, typer.Option(help="For --redraw: the run's weights, where its record has no name of them.")
    ] = None,
    lora: Annotated[
        list[str] | None, typer.Option(help="For --redraw: the run's adapters, in its order; repeatable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What of a random sample equals the record, what differs (exit code 1), and what could not be checked."""
    from likeness.cli.evaluate import named_encoder
    from likeness.cli.progress import progress_bars, quiet_libraries
    from likeness.core.devices import pick_device
    from likeness.core.errors import ConfigError
    from likeness.evaluate.verify import verify_run
    from likeness.generate.redraw import redraw as draw_again

    if redraw == 0 and (model or lora):
        raise ConfigError("--redraw: expected how many pictures --model and --lora are for, got none; add --redraw N.")
    quiet_libraries()
    with progress_bars() as bar:
        found = verify_run(
            run,
            sample=sample,
            seed=seed,
            tolerance=tolerance,
            encoders=dict(named_encoder(text) for text in encoder or []),
            device=pick_device(device),
            progress=bar("measuring"),
        )
        drawn = draw_again(run, count=redraw, seed=seed, model=model, loras=lora or ()) if redraw else None
    equal = not found.faults and not (drawn and drawn.differing)
    facts = {**found.to_json(), "equal": equal, "redrawn": None if drawn is None else _drawn(drawn)}
    answer(facts, text=_text(found, drawn, equal=equal), as_json=as_json)
    if not equal:
        raise typer.Exit(EXIT_DIFFERS)


def _drawn(drawn: Redrawing) -> dict[str, Any]:
    rows = [{**each._asdict(), "differs": each in drawn.differing} for each in drawn.pictures]
    return {"pictures": rows, "elsewhere": list(drawn.elsewhere)}


def _text(found: Verified, drawn: Redrawing | None, *, equal: bool) -> str:
    lines = [f"{found.run}: {len(found.sample)} of {counted(found.num_rows, 'picture')}, seed {found.seed}", ""]
    lines += [_table(found, drawn), ""]
    lines += [f"not checked, {check.what}: {reason}" for check in found.checks for reason in check.reasons]
    lines += [f"differs: {fault}" for fault in found.faults[:SHOWN_FAULTS]]
    if len(found.faults) > SHOWN_FAULTS:
        lines.append(f"  ... and {len(found.faults) - SHOWN_FAULTS} more, with --json")
    for each in drawn.pictures if drawn else ():
        if each.reason:
            lines.append(f"{'differs' if drawn and each in drawn.differing else 'note'}: {each.id}: {each.reason}")
    lines += [f"note: {note}" for note in dict.fromkeys([*found.notes, *(drawn.elsewhere if drawn else ())])]
    end = "Nothing differs" if equal else "The run is not what it recorded"
    return "\n".join([*lines, f"{end}{'' if found.is_complete else ', but not all could be checked'}."])


def _table(found: Verified, drawn: Redrawing | None) -> str:
    from rich.box import ASCII_DOUBLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=ASCII_DOUBLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("what", "checked", "equal", "close", "differ", "not checked", "largest difference"):
        table.add_column(name, justify="left" if name == "what" else "right", no_wrap=True)
    for check in found.checks:
        if check.checked or check.unchecked:
            counts = (check.checked, check.exact, check.close, check.differ, check.unchecked)
            gap = "-" if check.largest is None else f"{check.largest:.1e}" if check.largest else "0"
            table.add_row(*(Text(cell) for cell in (check.what, *map(str, counts), gap)))
    if drawn is not None:
        table.add_row(*(Text(cell) for cell in _drawn_cells(drawn)))
    return aligned(table)


def _drawn_cells(drawn: Redrawing) -> tuple[str, ...]:
    """The line of the pictures drawn again; those close by are other ones where other bytes may be."""
    same, differ = sum(each.same_bytes for each in drawn.pictures), len(drawn.differing)
    gaps = [each.largest for each in drawn.pictures if each.largest is not None]
    counts = (len(drawn.pictures), same, len(drawn.pictures) - same - differ, differ, 0)
    return ("drawn again", *map(str, counts), f"{max(gaps)} of 255" if gaps else "-")
