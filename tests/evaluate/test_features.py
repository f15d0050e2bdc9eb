"""The store of features: nothing is lost by kills or by two writers, and damage is told instead of scored."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from scripts import child_environment

from likeness.core.errors import DataError, OutputError
from likeness.core.plain import pack, unpack
from likeness.evaluate.features import FeatureStore, feature_key, user_features

KEYS = [feature_key("look", picture=f"{number:064x}") for number in range(1200)]


def value(number: int) -> bytes:
    return pack(np.full(3, number, dtype=np.float32))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    store = FeatureStore(tmp_path / "features")
    yield store
    store.close()


def test_keys_tell_abilities_pictures_and_texts_apart() -> None:
    made = [
        feature_key("look", picture="a"), feature_key("ask", picture="a"), feature_key("ask", picture="a", text=""),
        feature_key("ask", picture="a", text="b"), feature_key("ask", picture="ab"), feature_key("read", text="a"),
        feature_key("read", text="ab"), feature_key("ask", picture="a\0", text="b"), feature_key("read", text="\ud800"),
    ]  # fmt: skip
    assert len(set(made)) == len(made) - 1  # no text and the empty text are one


def test_what_was_put_is_there_for_every_later_reader(store: FeatureStore, tmp_path: Path) -> None:
    assert store.known("eye", KEYS) == set()
    assert not (tmp_path / "features").exists(), "asking makes no files"
    store.put("eye", {key: value(i) for i, key in enumerate(KEYS)})
    store.put("eye", {KEYS[0]: value(9)})
    again = FeatureStore(tmp_path / "features")
    assert again.known("eye", [*KEYS, b"x"]) == set(KEYS)
    assert unpack(again.get("eye", KEYS[7]), np.ndarray).tolist() == [7, 7, 7]
    assert unpack(again.get("eye", KEYS[0]), np.ndarray).tolist() == [0, 0, 0], "append-only"
    assert again.known("other eye", KEYS) == set()
    with pytest.raises(KeyError):
        again.get("eye", b"x")
    again.close()


def test_another_library_or_processor_reads_nothing_of_it(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("eye", {KEYS[0]: value(0)})
    assert FeatureStore(store.folder, device="mps").known("eye", KEYS) == set()
    monkeypatch.setattr("likeness.evaluate.features._computed_by", lambda _: "torch 9")
    assert FeatureStore(store.folder).known("eye", KEYS) == set()


WRITE = """
import sys
from pathlib import Path
from likeness.core.plain import pack
from likeness.evaluate.features import FeatureStore, feature_key
store = FeatureStore(Path(sys.argv[1]))
for number in range(int(sys.argv[2]), 200, 2):
    store.put("eye", {feature_key("look", picture=f"{number:064x}"): pack(float(number))})
    print(number, flush=True)
"""


def writer(folder: Path, first: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITE, str(folder), str(first)]
    return subprocess.Popen(command, env=child_environment(), stdout=subprocess.PIPE, text=True)


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    with writer(tmp_path, 0) as even, writer(tmp_path, 1) as odd:
        outputs = [each.communicate(timeout=120)[0] for each in (even, odd)]
    assert [len(output.splitlines()) for output in outputs] == [100, 100]
    assert FeatureStore(tmp_path).known("eye", KEYS) == set(KEYS[:200])


@pytest.mark.parametrize("kind", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_killed_writer_loses_only_what_it_was_writing(tmp_path: Path, kind: signal.Signals) -> None:
    done = -1
    for last in (10, 20, 200):  # each goes on where the last one was killed
        with writer(tmp_path, 0) as process:
            assert process.stdout is not None
            for line in process.stdout:
                done = int(line)
                if done >= last:
                    os.kill(process.pid, kind)
                    break
        store = FeatureStore(tmp_path)
        assert set(KEYS[: done + 1 : 2]) <= store.known("eye", KEYS)
        assert unpack(store.get("eye", KEYS[done]), float) == done
        store.close()


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(bytes(data))


def test_every_damage_is_told_or_harmless(tmp_path: Path) -> None:
    """Bytes flipped anywhere in the file, and the file cut anywhere: an error that names it, or the right values."""
    whole = FeatureStore(tmp_path / "whole")
    whole.put("eye", {key: value(i) for i, key in enumerate(KEYS[:60])})
    whole.close()
    source = whole.path("eye")
    places = np.random.default_rng(0).integers(0, source.stat().st_size, 120).tolist()
    edits: list[Callable[[Path], None]] = [lambda path, place=place: flip(path, place) for place in places]
    edits += [lambda path, end=end: os.truncate(path, end) for end in places[:60]]
    told: list[tuple[Path, str]] = []
    for number, edit in enumerate(edits):
        store = FeatureStore(tmp_path / str(number))
        path = store.path("eye")
        path.parent.mkdir()
        path.write_bytes(source.read_bytes())
        edit(path)
        try:
            for key in store.known("eye", KEYS[:60]):
                assert unpack(store.get("eye", key), np.ndarray).tolist() == [KEYS.index(key)] * 3
        except (DataError, OutputError) as error:
            told.append((path, str(error)))
        finally:
            store.close()
    assert len(told) > 60
    assert [message for path, message in told if str(path) not in message] == []


def test_a_wrong_checksum_is_told(store: FeatureStore) -> None:
    store.put("eye", {KEYS[0]: value(0)})
    with closing(sqlite3.connect(store.path("eye"))) as database, database:
        database.execute("UPDATE features SET value = ?", (value(1),))
    with pytest.raises(DataError, match=r"expected whole features, got a value with another checksum; delete the file"):
        store.get("eye", KEYS[0])


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match=r"file: expected a folder for features, got .*--features"):
        FeatureStore(tmp_path / "file").put("eye", {KEYS[0]: value(0)})


def test_the_place_is_the_users_cache_or_what_they_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert user_features() == Path(os.environ["LIKENESS_FEATURES"])
    monkeypatch.delenv("LIKENESS_FEATURES")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_features() == tmp_path / "likeness" / "features"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert user_features() == Path.home() / ".cache" / "likeness" / "features"
