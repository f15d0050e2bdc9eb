"""The order in which two workers get the files."""

from types import SimpleNamespace
from typing import Any

import heavy_files
import pytest
from heavy_files import SECONDS, TESTS, heaviest_first


def test_heavy_files_come_first_and_others_keep_their_order() -> None:
    names = ["core/test_rng.py", "train/test_kill.py", "core/test_files.py", "golden/test_golden.py"]
    items: list[Any] = [SimpleNamespace(path=TESTS / name) for name in names]
    assert heaviest_first(items) == [items[3], items[1], items[0], items[2]]
    assert list(SECONDS.values()) == sorted(SECONDS.values(), reverse=True)


def test_a_file_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(heavy_files.SECONDS, "core/test_lost.py", 3)
    with pytest.raises(LookupError, match=r"got \['core/test_lost.py'\]; correct the names"):
        heaviest_first([])
