"""How the command ends: 2 with one readable block, 130 when interrupted, a traceback for a bug."""

import errno
import os
import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from likeness.cli import app, report
from likeness.cli.group import KEPT, error_parts
from likeness.core.errors import DataError
from likeness.core.stops import StoppedError, terminate_raises
from likeness.data.pairs.dip import CHUNK
from likeness.train.pairs.cache import PAIRS_PER_SHARD

runner = CliRunner()


def test_an_error_is_one_block_with_where_what_and_what_to_do(tmp_path: Path) -> None:
    result = runner.invoke(app, ["report", str(tmp_path / "absent")])
    assert result.exit_code == 2
    assert result.stdout == ""
    kind, where, what, todo = result.stderr.splitlines()
    assert kind == "likeness stopped: data error"
    assert where == f"  where  {tmp_path / 'absent'}"
    assert what.startswith("  what   expected a run, got no manifest.jsonl")
    assert todo.startswith("  to do  name the --out folder")


def test_markup_in_a_message_is_printed_as_it_is(tmp_path: Path) -> None:
    result = runner.invoke(app, ["report", str(tmp_path / "[bold]x[/]")])
    assert "[bold]x[/]" in result.stderr


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt(), 130), (StoppedError(signal.SIGTERM), 143)])
def test_an_interrupt_says_that_a_command_starts_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stop: KeyboardInterrupt, code: int
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise stop

    monkeypatch.setattr("likeness.report.build_index", interrupted)
    result = runner.invoke(app, ["report", str(tmp_path)])
    assert result.exit_code == code
    assert "Stopped: this command does not continue; run it again from the start." in result.stderr


def test_an_interrupt_says_what_a_command_inside_a_group_keeps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("likeness.data.pairs.dip.make_pairs", interrupted)
    result = runner.invoke(app, ["data", "dip", "-n", "1", "--out", str(tmp_path / "pairs")])
    assert result.exit_code == 130
    assert "Stopped: finished chunks of 48 pairs are kept; run the same command to continue." in result.stderr


def test_what_is_said_of_chunks_and_shards_is_their_size() -> None:
    assert f"chunks of {CHUNK} pairs" in KEPT["dip"]
    assert f"chunks of {CHUNK} pairs" in KEPT["demo"]
    assert f"shards of {PAIRS_PER_SHARD})" in KEPT["train"]


def test_sigterm_is_an_exception_only_while_a_command_runs() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with terminate_raises(), pytest.raises(StoppedError) as stopped:
        os.kill(os.getpid(), signal.SIGTERM)
    assert stopped.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_any_other_failure_is_a_bug_and_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("likeness.report.build_index", broken)
    result = runner.invoke(app, ["report", str(tmp_path)])
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ("a.txt: expected text, got 3; fix it.", ["a.txt", "expected text, got 3", "fix it."]),
        ("a: expected b; c, got d; fix it.", ["a", "expected b; c, got d", "fix it."]),
        ("anything else", ["anything else"]),
        ("no advice: expected a, got b.", ["no advice: expected a, got b."]),
    ],
)
def test_messages_are_taken_apart_or_kept_whole(message: str, parts: list[str]) -> None:
    assert [text for _, text in error_parts(message)] == parts


def test_every_error_names_its_kind_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise DataError("plain")

    monkeypatch.setattr("likeness.report.build_index", fail)
    assert "data error" in runner.invoke(app, ["report", "x"]).stderr
    assert report.EXAMPLES


@pytest.mark.parametrize(("code", "handled"), [(errno.ENOSPC, True), (errno.ENAMETOOLONG, True), (errno.EPIPE, False)])
def test_a_disk_or_a_path_at_fault_is_no_bug(monkeypatch: pytest.MonkeyPatch, code: int, handled: bool) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code), "somewhere/x.png")

    monkeypatch.setattr("likeness.report.build_index", fail)
    result = runner.invoke(app, ["report", "x"])
    if handled:
        assert result.exit_code == 2
        assert "somewhere/x.png" in result.stderr
        assert os.strerror(code) in result.stderr
    else:
        assert "likeness stopped" not in result.stderr
