"""How a run of several processes ends when one of them dies or fails: with one message, everywhere, within seconds."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator
from torch.distributed import DistError

from likeness.core.errors import LikenessError, LostProcessError

CLAIM = "ended_early.txt"
"""RUN/ended_early.txt: what the process says that tells of the end; gone once the run continues."""
_BROKEN = ("gloo", "Connection closed by peer", "Connection reset", "Broken pipe")
"""What stands in the errors that torch raises as plain RuntimeError when an exchange fails."""


@contextmanager
def one_voice(accelerator: Accelerator, folder: Path) -> Generator[None, None, None]:
    """Inside, of the errors that end several processes one `tells`: the first, since the others may follow from it.

    An exchange that fails since another process died raises LostProcessError.
    """
    try:
        yield
    except (LikenessError, RuntimeError) as error:
        count = accelerator.num_processes
        is_lost = isinstance(error, DistError) or any(words in str(error) for words in _BROKEN)
        if count == 1 or not (is_lost or isinstance(error, LikenessError)):
            raise
        told, cause = error, None
        if not isinstance(told, LikenessError):
            wanted = f"{folder}: expected {count} processes to the end, got one that died"
            told, cause = (
                LostProcessError(f"{wanted}; run the same command to continue from the last saved step."),
                error,
            )
        told.tells = _claims(folder, text=str(told))
        raise told from cause


def _claims(folder: Path, *, text: str) -> bool:
    """Whether no other process has spoken."""
    try:
        with (folder / CLAIM).open("x", encoding="utf-8") as file:
            file.write(text + "\n")
    except FileExistsError:
        return False
    except OSError:
        pass  # where nothing can be written two messages are better than none
    return True
