"""What is said when several processes end: once, by one of them, and of the right cause."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator

from likeness.core.errors import DataError, LikenessError, LostProcessError
from likeness.core.stops import StoppedError
from likeness.train.peers import CLAIM, one_voice

CLOSED = "[/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:24051"


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> Iterator[Accelerator]:
    """An accelerator that counts three processes."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(Accelerator, "num_processes", property(lambda _: 3))
    yield Accelerator(cpu=True)
    signal.signal(signal.SIGTERM, before)


def ended(accelerator: Accelerator, folder: Path, *errors: BaseException) -> Any:
    """The error of a process in which the errors were raised, each while the one before was handled."""
    with pytest.raises(BaseException) as caught, one_voice(accelerator, folder):  # noqa: PT011, PT012
        if len(errors) == 1:
            raise errors[0]
        try:
            raise errors[0]
        finally:
            raise errors[1]
    return caught.value


def test_the_first_of_several_tells_and_the_claim_holds_what_it_says(several: Accelerator, tmp_path: Path) -> None:
    first, second = (ended(several, tmp_path, RuntimeError(CLOSED)) for _ in range(2))
    assert isinstance(first, LostProcessError)
    assert [first.tells, second.tells] == [True, False]
    assert str(first) == (tmp_path / CLAIM).read_text().rstrip("\n")
    assert str(first).startswith(f"{tmp_path}: expected 3 processes to the end, got one that died; run the same")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN


def test_a_failure_is_told_before_what_follows_from_it(several: Accelerator, tmp_path: Path) -> None:
    cause = ended(several, tmp_path, DataError("pair p1: broken"))
    assert isinstance(cause, DataError)
    assert cause.tells
    assert not ended(several, tmp_path, RuntimeError(CLOSED)).tells


def test_the_launchers_signal_does_not_hide_the_loss(several: Accelerator, tmp_path: Path) -> None:
    lost = ended(several, tmp_path, RuntimeError(CLOSED), StoppedError(signal.SIGTERM))
    assert isinstance(lost, LostProcessError)
    assert lost.tells
    stop = ended(several, tmp_path, StoppedError(signal.SIGTERM))
    assert type(stop) is StoppedError


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), ValueError(CLOSED)])
def test_other_errors_are_left_alone(several: Accelerator, tmp_path: Path, error: Exception) -> None:
    assert ended(several, tmp_path, error) is error
    assert not (tmp_path / CLAIM).exists()


def test_a_process_alone_claims_nothing(tmp_path: Path) -> None:
    alone = Accelerator(cpu=True)
    error = ended(alone, tmp_path, DataError("pair p1: broken"))
    assert isinstance(error, LikenessError)
    assert error.tells
    assert type(ended(alone, tmp_path, RuntimeError(CLOSED))) is RuntimeError
    assert not (tmp_path / CLAIM).exists()
