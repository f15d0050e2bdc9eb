"""An evaluated run in the forms that other programs read; a new format is one function and one line in the table.

The table names functions as "module:function", so that reading it imports nothing heavy. A function takes the run and
the options given for it, of which it knows the names, and answers the file's bytes with what it had to leave out.
"""

from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, NamedTuple

from likeness.core.errors import ConfigError
from likeness.core.files import atomic_write_bytes

if TYPE_CHECKING:
    from likeness.core.rows import LeftOut

__all__ = ["EXPORTS", "Export", "export_run"]


class Export(NamedTuple):
    """One line of EXPORTS: what writes the format, how its files end, and what may be said of a run beside it."""

    write: str
    suffix: str
    what: str
    options: tuple[str, ...] = ()


EXPORTS: dict[str, Export] = {
    "lm-eval": Export(
        "likeness.evaluate.exports.lm_eval:results",
        ".json",
        "results of lm-evaluation-harness, with the whole summary beside",
        options=("date",),
    ),
    "parquet": Export("likeness.evaluate.exports.table:parquet", ".parquet", "a row per picture, typed"),
    "csv": Export("likeness.evaluate.exports.table:csv_text", ".csv", "the same rows as text"),
    "hub": Export(
        "likeness.evaluate.exports.hub:eval_results",
        ".yaml",
        "an entry per column of a protocol card, for .eval_results of a model on the Hugging Face hub",
        options=(
            *("dataset", "revision", "card", "column", "task", "date", "partial"),
            *("source_url", "source_name", "source_user", "source_org", "notes"),
        ),
    ),
}


def export_run(run: Path, *, to: str, out: Path, options: Mapping[str, str] | None = None) -> "tuple[LeftOut, ...]":
    """`out` holds the evaluated run in the format `to`; returned is what the format has no place for, with the reason.

    Equal runs and options give equal bytes.
    Raises: ConfigError for another format, ending or option; DataError for a run that was not evaluated or has nothing
    for the format; OutputError.
    """
    from likeness.core.spec import closest
    from likeness.evaluate.scored import read_scored

    if to not in EXPORTS:
        raise ConfigError(f"--to: expected one of {', '.join(EXPORTS)}, got {to!r}; correct the name.")
    line, given = EXPORTS[to], dict(options or {})
    if out.suffix.lower() != line.suffix:
        raise ConfigError(f"--out: expected a file that ends in {line.suffix}, got {out}; name one.")
    for name in given:
        if name not in line.options:
            known = ", ".join(line.options) or "none"
            advice = closest(name, line.options, otherwise="leave it out")
            raise ConfigError(f"--option: expected one of {to}'s ({known}), got {name!r}; {advice}.")
    data, left_out = resolve_name(line.write)(read_scored(run), given)
    atomic_write_bytes(out, data)
    return tuple(left_out)
