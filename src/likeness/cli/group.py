"""The command group that turns errors into exit codes: a readable block where a user can mend it, else a traceback."""

from __future__ import annotations

import errno
import re
import signal
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from likeness.core.errors import ConfigError, LikenessError, OutputError
from likeness.core.stops import StoppedError, terminate_raises

EXIT_WRONG_INPUT = 2
PLACE_ERRORS = (errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.ENAMETOOLONG, errno.ENOSPC, errno.EPERM, errno.EROFS)
"""What a disk or a path can be guilty of; any other OSError is ours."""
KEPT = {
    "demo": "finished pictures, chunks of 48 pairs and the last saved training step are kept; {again}",
    "dip": "finished chunks of 48 pairs are kept; {again}",
    "evaluate": "what encoders saw of finished pictures is kept; {again}",
    "generate": "finished pictures are kept; {again}",
    "pretrain": "finished stages and the last saved state of this one are kept; {again}",
    "serve": "every vote that was given is kept; {again}",
    "relations": "finished parts are kept; {again}",
    "sample": "finished pictures are kept; {again}",
    "stellar-prompts": "finished sentence features (in files of 4096) are kept; {again}",
    "train": "encoded pairs (in shards of 64) and the last saved state are kept; {again}",
}
"""What is true after an interrupt, by command; the others start over."""
CONTINUE = "run the same command to continue"
STARTS_OVER = "this command does not continue; run it again from the start"


class LikenessGroup(TyperGroup):
    """A group whose commands end with 2 on a LikenessError or a bad disk and with 130 or 143 when interrupted."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # the Context of click or of typer, by version
        """Parses, and keeps what was given for `invoke` to look at."""
        ctx.meta["likeness.arguments"] = tuple(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:  # any result
        """The command's result, or the exit code that its error stands for."""
        try:
            with terminate_raises():
                require_utf8(ctx.meta["likeness.arguments"])
                return super().invoke(ctx)
        except LikenessError as error:
            show_error(error)
            ctx.exit(EXIT_WRONG_INPUT)
        except OSError as error:
            if error.errno not in PLACE_ERRORS:
                raise
            what = f"{error.filename or 'disk'}: expected a place that can be read and written, got {error.strerror}"
            show_error(OutputError(f"{what}; free the disk, fix permissions or choose another."))
            ctx.exit(EXIT_WRONG_INPUT)
        except KeyboardInterrupt as error:
            stop = error if isinstance(error, StoppedError) else StoppedError(signal.SIGINT)
            kept = stop.saved or KEPT.get(str(ctx.invoked_subcommand), STARTS_OVER).format(again=CONTINUE)
            print(f"\nStopped: {kept}.", file=sys.stderr)
            ctx.exit(stop.exit_code)


def command_group(help: str) -> typer.Typer:
    """A group of commands inside `likeness`."""
    return typer.Typer(cls=LikenessGroup, no_args_is_help=True, rich_markup_mode="rich", help=help)


def require_utf8(arguments: Sequence[str]) -> None:
    """Raises: ConfigError for an argument that is not UTF-8, which Python passes on as half surrogate pairs."""
    for before, argument in zip(("", *arguments), arguments, strict=False):
        if re.search("[\ud800-\udfff]", argument):
            names = (argument.partition("=")[0], before)
            where = next((name for name in names if re.fullmatch("--?[a-z-]+", name)), "arguments")
            raise ConfigError(f"{where}: expected UTF-8, got {argument!r}; rename the file or correct the text.")


def show_error(error: LikenessError) -> None:
    """The error stands on stderr as one block: what kind, where, what happened, what to do."""
    from rich.console import Console
    from rich.text import Text

    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()
    block = Text(f"likeness stopped: {kind}\n", style="bold red")
    for name, part in error_parts(str(error)):
        block.append(f"  {name:<6} ", style="dim not bold").append(f"{part}\n", style="default not bold")
    Console(stderr=True, soft_wrap=True, highlight=False).print(block, end="")


def error_parts(message: str) -> list[tuple[str, str]]:
    """A message "Where: expected X, got Y; what to do." taken apart; any other message is kept whole."""
    where, colon, rest = message.partition(": ")
    what, semicolon, todo = rest.rpartition("; ")
    if not (colon and semicolon and what.startswith("expected")):
        return [("what", message)]
    return [("where", where), ("what", what), ("to do", todo)]
