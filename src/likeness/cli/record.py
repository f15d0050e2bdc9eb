"""RUN/commands.json: the words with which each step of a run was called, for the report and for who repeats it."""

from __future__ import annotations

import shlex
from pathlib import Path

import typer

from likeness.core.errors import DataError
from likeness.core.files import read_json, write_json
from likeness.core.runs import told_path

FILE = "commands.json"
NO_RESULT_DEPENDS = ("workers", "engine", "features", "track", "as_json")
WEIGHTS = ("model", "loras", "clip", "dino", "probe")  # texts that may be paths
NAMED = ("encoder", "option", "changes")  # texts NAME=VALUE whose value may be a path


def command_line(ctx: typer.Context, **also: object) -> str:
    """The command as it was given, without the flags on which no result depends; `also` adds defaults by name.

    Paths stand as typed; absolute ones as `told_path` gives them, so that a report tells nobody where files are kept.
    """
    words = ["likeness", str(ctx.info_name)]
    for param in ctx.command.params:
        name = str(param.name)
        source = ctx.get_parameter_source(name)
        given = source is not None and source.name == "COMMANDLINE"
        value = ctx.params.get(name) if given else also.get(name)
        if value is None or name in NO_RESULT_DEPENDS:
            continue
        flag = [] if param.param_type_name == "argument" else [param.opts[0]]
        for item in value if isinstance(value, list | tuple) else [value]:
            words += flag if item is True else [*flag, _word(item, name=name)]
    return shlex.join(words)


def _word(value: object, *, name: str) -> str:
    text = str(value)
    if isinstance(value, Path) or name in WEIGHTS:
        return told_path(text)
    key, equals, rest = text.partition("=")
    return f"{key}={told_path(rest)}" if equals and name in NAMED else text


def record_command(run: Path, *, step: str, line: str) -> None:
    """RUN/commands.json holds `line` as the last command of `step`, beside those of other steps.

    Raises: DataError when the file holds something else than steps.
    """
    path = run / FILE
    found = read_json(path) if path.is_file() else {}
    if not isinstance(found, dict):
        wanted = f"expected an object of steps and commands, got {type(found).__name__}"
        raise DataError(f"{path}: {wanted}; move the file away and repeat the command.")
    write_json(path, {**found, step: line})
