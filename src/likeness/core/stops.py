"""Signals that end a program: SIGINT (Ctrl-C) and SIGTERM, as exceptions and as requests that can wait.

A program in the middle of a step cannot be stopped at once without losing that step, so work in steps asks for signals
to be kept (`kept_stops`), saves, and raises `StoppedError` itself. Elsewhere both signals raise at once.
"""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

STOPS = (signal.SIGINT, signal.SIGTERM)


class StoppedError(KeyboardInterrupt):
    """The program was told to end by signal `number`; `saved` says what was kept, empty where nobody knows.

    A KeyboardInterrupt, so that nothing takes it for a failure and handles it.
    """

    def __init__(self, number: int, saved: str = "") -> None:
        super().__init__(saved)
        self.number, self.saved = number, saved

    @property
    def exit_code(self) -> int:
        """What a shell reports for a program that this signal ended: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.number


class KeptStop:
    """The first signal that came, or 0."""

    def __init__(self) -> None:
        self.number = 0


def _raise_stop(number: int, _: FrameType | None) -> NoReturn:
    raise StoppedError(number)


@contextmanager
def terminate_raises() -> Generator[None, None, None]:
    """SIGTERM raises StoppedError inside, as SIGINT raises KeyboardInterrupt, so that files are closed and locks end.

    Only the main thread can say so; in another thread nothing changes. What is set inside stays.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _raise_stop)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is _raise_stop:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def kept_stops(*, repeated_raises: bool = True) -> Generator[KeptStop, None, None]:
    """Inside, the first SIGINT or SIGTERM is kept in what this yields, for the caller to obey when it can.

    Another one raises StoppedError at once if `repeated_raises`: somebody does not want to wait. Only the main thread
    can receive signals; in another thread nothing changes.
    """
    kept = KeptStop()
    if threading.current_thread() is not threading.main_thread():
        yield kept
        return

    def keep(number: int, _: FrameType | None) -> None:
        if kept.number and repeated_raises:
            raise StoppedError(number)
        kept.number = kept.number or number

    before = {number: signal.signal(number, keep) for number in STOPS}
    try:
        yield kept
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
