"""How a run of several processes ends when one of them dies or fails: with one message, everywhere, within seconds."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator
from torch.distributed import DistError

from likeness.core.errors import LikenessError, LostProcessError
from likeness.core.stops import StoppedError

CLAIM = "ended_early.txt"
"""RUN/ended_early.txt: what the process says that tells of the end; gone once the run continues."""
_BROKEN = ("gloo", "Connection closed by peer", "Connection reset", "Broken pipe")
"""What stands in the errors that torch raises as plain RuntimeError when an exchange fails."""


@contextmanager
def one_voice(accelerator: Accelerator, folder: Path) -> Generator[None, None, None]:
    """Inside, of the errors that end several processes one `tells`: the first, since the others may follow from it.

    An exchange that fails since another process died raises LostProcessError, and from then on this process ignores
    SIGTERM: it is ending, and what it says must be out before the launcher, which sends that, ends it.
    """
    try:
        yield
    except (LikenessError, RuntimeError, StoppedError) as error:
        count, lost = accelerator.num_processes, _lost(error)
        if count == 1 or (lost is None and not isinstance(error, LikenessError)):
            raise
        told = error
        if not isinstance(told, LikenessError):
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            wanted = f"{folder}: expected {count} processes to the end, got one that died"
            told = LostProcessError(f"{wanted}; run the same command to continue from the last saved step.")
        told.tells = _claims(folder, text=str(told))
        raise told from lost


def _lost(error: BaseException | None) -> BaseException | None:
    """The failed exchange that the error is or that it interrupted, as the launcher's SIGTERM may."""
    while error is not None:
        is_exchange = isinstance(error, DistError) or any(words in str(error) for words in _BROKEN)
        if isinstance(error, RuntimeError) and is_exchange:
            return error
        error = error.__context__
    return None


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
