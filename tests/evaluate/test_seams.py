"""Values depend on neither batches, order, workers nor copies; each distinct picture is seen once."""

import shutil
import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from fixture_types import Maker

from likeness.core.errors import ConfigError, DataError
from likeness.core.files import read_jsonl
from likeness.core.jobs import Engine, unseen
from likeness.evaluate import Encoders, evaluate_run, load_encoders
from likeness.evaluate.eyes import PIXELS, Wishes, _Loader, _PictureJob, file_digests, see
from likeness.evaluate.features import FeatureStore


def rows_of(pictures: Path) -> dict[str, Any]:
    return {row["id"]: row for row in read_jsonl(pictures / "evaluation" / "scores.jsonl")}


def bytes_of(pictures: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (pictures / "evaluation").iterdir()}


@pytest.mark.parametrize("most", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_workers_change_no_byte(
    make_benchmark: Maker, make_pictures: Maker, weights: dict[str, str], tmp_path: Path, most: int
) -> None:
    cases, pictures = make_benchmark(num_cases=9) / "cases.jsonl", make_pictures(num_cases=9)
    found: list[dict[str, bytes]] = []
    for workers in range(1, most + 1):
        features = tmp_path / str(workers)
        encoders = load_encoders(weights)
        evaluate_run(pictures, benchmark="small", cases=cases, encoders=encoders, workers=workers, features=features)
        found.append(bytes_of(pictures))
    assert all(files == found[0] for files in found)


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("by", [["ray 2"], pytest.param(["processes 2", "ray 1", "ray 4"], marks=pytest.mark.slow)])
def test_engines_change_no_byte(
    make_benchmark: Maker, make_pictures: Maker, weights: dict[str, str], tmp_path: Path, by: list[str]
) -> None:
    """summary.json and the rows of every sample and bound: here, by two processes, by workers on a cluster."""
    cases, pictures = make_benchmark(num_cases=9) / "cases.jsonl", make_pictures(num_cases=9)
    found: dict[str, dict[str, bytes]] = {}
    for way in ("here 1", *by):
        settings: dict[str, Any] = {"cases": cases, "encoders": load_encoders(weights), "features": tmp_path / way}
        settings |= {"engine": way.split()[0], "workers": int(way.split()[1])}
        evaluate_run(pictures, benchmark="small", **settings)
        found[way] = bytes_of(pictures)
        shutil.rmtree(pictures / "evaluation")
    assert {"summary.json", "scores.jsonl", "bounds.jsonl"} <= set(found["here 1"])
    assert [way for way, files in found.items() if files != found["here 1"]] == []


class KeptInMemory(FeatureStore):
    """A store without a disk."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.kept: dict[str, dict[bytes, bytes]] = {}

    def known(self, encoder_id: str, keys: Iterable[bytes]) -> set[bytes]:
        return set()

    def put(self, encoder_id: str, values: Mapping[bytes, bytes]) -> None:
        self.kept.setdefault(encoder_id, {}).update(values)


@pytest.mark.usefixtures("ray_cluster")
def test_on_a_cluster_only_the_driver_writes_to_the_store(
    make_pictures: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite is not safe on shared folders; a damaged picture is told there as here."""
    monkeypatch.setenv("LIKENESS_FEATURES", str(tmp_path / "features"))
    paths = sorted(make_pictures(num_cases=5).iterdir())
    paths[3].write_bytes(paths[3].read_bytes()[:60])
    stores = {engine: KeptInMemory(tmp_path / "features") for engine in ("here", "ray")}
    damaged: list[dict[str, str]] = []
    digests = file_digests(paths)
    for engine, store in stores.items():
        wishes = Wishes(load_encoders({}))
        for path in paths:
            wishes.look(path, PIXELS)
        settings: dict[str, Any] = {"digests": digests, "engine": engine, "workers": 1}
        damaged.append(see(wishes, store=store, progress=unseen, **settings))
    assert [len(kept) for kept in stores["ray"].kept.values()] == [9]
    assert stores["ray"].kept == stores["here"].kept
    assert list(damaged[0]) == [digests[paths[3]]]
    assert damaged[1] == damaged[0]
    assert not (tmp_path / "features").exists()


def test_a_worker_that_sees_another_file_or_none_says_where(make_pictures: Maker, weights: dict[str, str]) -> None:
    """Neither counts as a damaged picture, nor is kept under the hash of the file that was meant."""
    path = next(make_pictures(num_cases=1, per_case=1).iterdir())
    work = _Loader(load_encoders({"dino": weights["dino"]}), engine="ray")(0)
    digest = file_digests([path])[path]
    assert len(work(_PictureJob(((path, digest),), ("dino",), ())).features) == 1
    job = _PictureJob(((path, "0" * 64),), ("dino",), ())
    with pytest.raises(DataError, match=rf"{path}: expected the same file on {socket.gethostname()} as where the"):
        work(job)
    path.unlink()
    with pytest.raises(DataError, match=rf"{path}: expected to find it on {socket.gethostname()} as well, got nothing"):
        work(job)


@pytest.mark.parametrize("engine", ["processes", "ray"])
def test_encoders_without_names_work_only_here(make_pictures: Maker, tmp_path: Path, engine: Engine) -> None:
    settings: dict[str, Any] = {"store": KeptInMemory(tmp_path), "digests": {}, "progress": unseen, "engine": engine}
    with pytest.raises(ConfigError, match=rf"workers: expected 1 with these encoders, got 1 by engine {engine}; name"):
        see(Wishes({}), workers=None, **settings)


def test_a_sample_is_worth_the_same_in_any_company(
    make_benchmark: Maker, make_pictures: Maker, encoders: Encoders, tmp_path: Path
) -> None:
    """One picture alone, one batch less one, a whole one, one more; the last cases first."""
    benchmark, pictures = make_benchmark(num_cases=10, multi=False), make_pictures(num_cases=10, per_case=1)
    listed = benchmark / "cases.jsonl"
    settings: dict[str, Any] = {"benchmark": "small", "encoders": encoders, "bounds": False}
    evaluate_run(pictures, **settings, cases=listed, features=tmp_path / "all")
    whole = rows_of(pictures)
    for kept in (1, 7, 8, 9):
        lines = listed.read_text().splitlines(keepends=True)[::-1][:kept]
        (benchmark / "some.jsonl").write_text("".join(lines))
        evaluate_run(pictures, **settings, cases=benchmark / "some.jsonl", features=tmp_path / f"some {kept}")
        some = rows_of(pictures)
        assert len(some) == kept
        assert all(row == whole[name] for name, row in some.items())


def test_copies_are_seen_once_and_score_alike(
    make_benchmark: Maker, make_pictures: Maker, encoders: Encoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark, pictures = make_benchmark(num_cases=2), make_pictures(num_cases=2, per_case=1)
    for k in range(1, 6):
        shutil.copy(pictures / "case-0-0.png", pictures / f"case-0-{k}.png")
    looked: Counter[str] = Counter()
    for name in ("clip", "dino", "probe"):
        encoder = encoders[name]

        def look(images: Any, *, real: Any = encoder.look, name: str = name) -> Any:
            looked[name] += len(images)
            return real(images)

        monkeypatch.setattr(encoder, "look", look)
    evaluate_run(pictures, benchmark="small", cases=benchmark / "cases.jsonl", encoders=encoders)
    assert looked == {"clip": 2 + 9, "dino": 2 + 9, "probe": 2}  # three subjects with three photos each
    rows = [row for row in rows_of(pictures).values() if row["case_id"] == "case-0"]
    assert len(rows) == 6
    assert all(row["values"] == rows[0]["values"] for row in rows)
    looked.clear()
    evaluate_run(pictures, benchmark="small", cases=benchmark / "cases.jsonl", encoders=encoders)
    assert not looked


def test_encoders_that_have_no_name_stay_in_this_process(
    make_benchmark: Maker, make_pictures: Maker, encoders: Encoders
) -> None:
    with pytest.raises(ConfigError, match="workers: expected 1 with these encoders, got 2"):
        evaluate_run(
            make_pictures(),
            benchmark="small",
            cases=make_benchmark() / "cases.jsonl",
            encoders=dict(encoders),
            workers=2,
        )
