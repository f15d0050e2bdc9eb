"""`likeness data dip --source photos` and `likeness data new`: pairs of one's own pictures, and what comes next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated, Any

import typer

from likeness.cli.answer import Json, answer, counted, told_left_out
from likeness.cli.choices import choice
from likeness.core.errors import ConfigError
from likeness.core.kinds import CATEGORIES, Category
from likeness.data import RECIPES

if TYPE_CHECKING:
    from likeness.data.lint.findings import LintReport

EXIT_FAULTS = 1
RECIPE = "recipes/focus_dpo_world.toml"
EMBEDDED = {"data.size": "128"}
FLUX = {"model.base": "black-forest-labs/FLUX.1-dev", "model.lora": "bytedance-research/UNO", "data.size": "512",
        "train.batch_size": "1", "train.accumulation": "4"}  # fmt: skip

NEW_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness data new mine --out pairs\n\n"
    "likeness data new mine --out pairs --category animal\n\n"
    "mine holds preferred/, rejected/ and refs/, perhaps masks/; docs/your-own-pairs.md shows them."
)


def train_commands(pairs: Path) -> dict[str, str]:
    """The commands that tune a LoRA on the pairs: with the embedded model, and with FLUX.1-dev on a GPU."""
    return {
        "embedded": _train(pairs, out="runs/mine", settings=EMBEDDED),
        "flux": _train(pairs, out="runs/mine-flux", settings=FLUX),
    }


def _train(pairs: Path, *, out: str, settings: Mapping[str, str]) -> str:
    changes = " ".join(f"--set {shlex.quote(f'{key}={value}')}" for key, value in settings.items())
    return f"likeness train {RECIPE} --out {out} --set {shlex.quote(f'data.pairs={pairs}')} {changes}"


def next_commands(pairs: Path) -> str:
    """For people: the commands that train on the pairs."""
    commands = train_commands(pairs)
    return (
        f"Train with the embedded model:\n  {commands['embedded']}\nor with FLUX.1-dev on a GPU:\n  {commands['flux']}"
    )


def photo_pairs(
    n: int, *, photos: Path | None, masks: str, captions: Path | None, device: str, as_json: bool, **settings: Any
) -> None:
    """The pairs of a folder of photographs, and what is said of them. Raises: ConfigError without a folder."""
    from likeness.cli.progress import progress_bars
    from likeness.data.pairs.photo_masks import masker_named

    if photos is None:
        raise ConfigError("--source photos: expected --photos FOLDER, got none; name the folder of photographs.")
    masker = masker_named(masks, device=device)
    with progress_bars() as bar:
        made = resolve_name(RECIPES["photos"])(
            n, photos=photos, captions=captions, masker=masker, progress=bar, **settings
        )
    out = made.folder
    facts = {
        "out": out,
        "source": "photos",
        "num_pairs": made.num_pairs,
        "num_asked": made.num_asked,
        "num_photos": made.num_photos,
        "num_subjects": made.num_subjects,
        "refused_for": made.reasons,
        "left_out": list(made.left_out),
        "lint": lint_facts(made.lint),
        "train": train_commands(out),
    }
    short = f", {made.num_asked} were asked for" if made.num_pairs < made.num_asked else ""
    of = f"{counted(made.num_photos, 'photograph')} of {counted(made.num_subjects, 'subject')}"
    kept = f"{made.num_pairs} pairs in {out}{short}, made of {of}. Look at {out / 'contact_sheet.png'}"
    told = told_left_out(made.left_out, where=out / "rejected.jsonl")
    answer(facts, text=f"{told}{kept}\n{lint_text(made.lint)}\n{next_commands(out)}", as_json=as_json)
    end(made.lint)


def lint_facts(report: LintReport) -> dict[str, Any]:
    """What the JSON says of lint."""
    return {key: report.facts()[key] for key in ("num_errors", "by_code", "held")}


def lint_text(report: LintReport) -> str:
    """What people are told of lint."""
    return f"Lint: {report.text(limit=1)}"


def end(report: LintReport) -> None:
    """The command ends with EXIT_FAULTS where lint found errors."""
    if report.num_errors:
        raise typer.Exit(EXIT_FAULTS)


def register_new(app: typer.Typer) -> None:
    """`likeness data` knows the command `new`."""
    app.command("new", epilog=NEW_EXAMPLES)(new)


def new(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with preferred/, rejected/ and refs/.")],
    out: Annotated[Path, typer.Option(help="Folder for pairs.jsonl and copies of the files.")],
    category: Annotated[Category, choice(CATEGORIES, help="Of the subjects.")] = "object",
    as_json: Json = False,
) -> None:
    """A folder of your own pictures as a pair set; what it does not hold is filled in where it can be, and listed."""
    from likeness.data.formats.layouts import import_layout
    from likeness.data.lint.run import lint_pairs

    done = import_layout("own", folder, out, category=category)
    report = lint_pairs(out)
    left_out = [row.model_dump() for row in done.left_out]
    facts = {
        "out": out,
        "num_pairs": done.num_pairs,
        "filled": dict(done.filled),
        "left_out": left_out,
        "lint": lint_facts(report),
        "train": train_commands(out),
    }
    lines = "".join(f"\n  filled in {count} times: {what}" for what, count in done.filled.items())
    told = told_left_out(left_out, where=out / "rejected.jsonl")
    text = f"{told}{counted(done.num_pairs, 'pair')} in {out}{lines}\n{lint_text(report)}\n{next_commands(out)}"
    answer(facts, text=text, as_json=as_json)
    end(report)
