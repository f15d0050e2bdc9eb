"""What a finished command says can be written wherever stdout goes."""

import io
import json
import sys

import pytest

from likeness.cli.answer import answer, counted, told_left_out


def said(monkeypatch: pytest.MonkeyPatch, *, encoding: str, as_json: bool) -> str:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    answer({"prompt": "é"}, text="prompt é", as_json=as_json)
    sys.stdout.flush()
    return written.getvalue().decode(encoding)


def test_letters_that_stdout_cannot_write_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, encoding="ascii", as_json=False) == "prompt \\xe9\n"
    assert said(monkeypatch, encoding="utf-8", as_json=False) == "prompt é\n"
    for encoding in ("ascii", "utf-8", "latin-1"):
        assert json.loads(said(monkeypatch, encoding=encoding, as_json=True)) == {"prompt": "é"}


def test_what_was_left_out_is_counted_and_the_first_reasons_are_shown() -> None:
    assert told_left_out([], where="x.json") == ""
    rows = [{"where": f"c.jsonl:{i}", "reason": f"c.jsonl:{i}: no prompt"} for i in range(7)]
    lines = told_left_out(rows, where="x.json").splitlines()
    assert lines[:2] == ["7 left out:", "  c.jsonl:0: no prompt"]
    assert lines[-2:] == ["  ... and 2 more", "  all of them in x.json"]
    assert len(lines) == 8


def test_nouns_follow_their_number() -> None:
    assert [counted(n, "case") for n in (0, 1, 2)] == ["0 cases", "1 case", "2 cases"]
