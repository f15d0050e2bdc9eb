"""The engine of staged runs, with stages that need no model: every record once, whatever happens on the way."""

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from scripts import HELPERS, child_environment
from staged_once import NAMES, fails, run_once, stages

from likeness.core.errors import DataError, LikenessError, WeightsError
from likeness.data.staged.ledger import LEDGER_NAME, read_entries
from likeness.data.staged.run import HOPELESS, Accounts
from likeness.data.staged.stage import Made, Record, Stage, Work

NUMBER = 40


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the ledger, whose order and seconds are those of the clock."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != LEDGER_NAME]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def expected_ends(number: int) -> dict[str, tuple[str, str]]:
    """Record -> (outcome, stage) of those that must not reach the end."""
    ends: dict[str, tuple[str, str]] = {}
    for record in map(str, range(number)):
        stage = next((name for name in NAMES if fails(record, name)), None)
        if stage is not None:
            ends[record] = "failed", stage
        elif int(record) % 10 == 3:
            ends[record] = "rejected", "gate"
    return ends


def require_account(done: Accounts, number: int) -> None:
    ends = expected_ends(number)
    assert {end.record: (end.outcome, end.stage) for end in done.ended} == ends
    assert [record.id for record in done.finished] == [str(i) for i in range(number) if str(i) not in ends]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    require_account(run_once(out, number=NUMBER), NUMBER)
    return out


def test_a_stage_sees_what_earlier_ones_made(whole: Path) -> None:
    done = run_once(whole, number=NUMBER)
    record = done.finished[0]
    assert list(record.facts) == list(NAMES)
    assert record.facts["gate"]["before"] == sorted(NAMES[:-1])
    assert set(record.facts["gate"]["sums"]) == {f"images/{record.id}-{name}.png" for name in ("generate", "inpaint")}
    assert all(end.tries == 1 for end in done.ended)
    assert {end.reason for end in done.ended if end.outcome == "rejected"} == {"expected nine, got three"}
    reasons = {end.reason for end in done.ended if end.stage == "locate"}
    assert len(reasons) == 1
    assert "RuntimeError: injected into locate (staged_once.py:" in reasons.pop()


def test_nothing_is_done_twice(whole: Path) -> None:
    lines = (whole / LEDGER_NAME).read_bytes()
    run_once(whole, number=NUMBER)
    assert (whole / LEDGER_NAME).read_bytes() == lines
    assert len(read_entries(whole)) == lines.count(b"\n")


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_batches_and_workers_change_no_byte(whole: Path, tmp_path: Path, workers: int) -> None:
    run_once(tmp_path / "run", number=NUMBER, made_of=stages(batch_size=7), workers=workers)
    assert contents(tmp_path / "run") == contents(whole)


def test_more_records_leave_the_first_as_they_are(whole: Path, tmp_path: Path) -> None:
    run_once(tmp_path / "run", number=20)
    few = len((tmp_path / "run" / LEDGER_NAME).read_bytes().splitlines())
    run_once(tmp_path / "run", number=NUMBER)
    assert contents(tmp_path / "run") == contents(whole)
    assert len((tmp_path / "run" / LEDGER_NAME).read_bytes().splitlines()) == len(read_entries(whole)) > few


def test_failed_records_are_tried_again_on_demand_only(tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = run_once(out, number=20)
    failed = {end.record for end in first.ended if end.outcome == "failed"}
    assert len(failed) == 6
    assert {end.tries for end in run_once(out, number=20).ended} == {1}
    again = run_once(out, number=20, retry_failed=True)
    assert {end.record for end in again.ended if end.tries == 2} == failed
    healed = run_once(out, number=20, made_of=stages(broken=False), retry_failed=True)
    assert Counter(end.outcome for end in healed.ended) == {"rejected": 2}
    assert len(healed.finished) == 18


def test_other_settings_make_a_stage_and_what_follows_anew(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_once(out, number=19)
    before = read_entries(out)
    changed = [
        Stage(stage.name, {"model": "other"} if stage.name == "caption" else stage.settings, stage.load)
        for stage in stages()
    ]
    run_once(out, number=19, made_of=changed)
    after = read_entries(out)
    same = {stage for (record, stage), entry in after.items() if entry == before[record, stage]}
    assert same == {"generate", "locate"}


def test_lost_and_short_files_are_made_again_and_changed_ones_told(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = run_once(out, number=NUMBER)
    first, second, third = (f"images/{record.id}-generate.png" for record in done.finished[:3])
    (out / first).unlink()
    (out / second).write_bytes(b"short")
    run_once(out, number=NUMBER)
    assert contents(out) == contents(whole)
    data = bytearray((out / third).read_bytes())
    data[-20] ^= 1
    (out / third).write_bytes(bytes(data))
    changed = [Stage(s.name, s.settings | ({"n": 1} if s.name == "locate" else {}), s.load) for s in stages()]
    ends = {end.record: end for end in run_once(out, number=NUMBER, made_of=changed).ended}
    assert "expected the bytes that its stage wrote, got others; delete it" in ends[done.finished[2].id].reason


def test_a_torn_line_is_cut_off_and_a_damaged_one_told(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_once(out, number=NUMBER)
    path = out / LEDGER_NAME
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:100]) + lines[100][:33])
    run_once(out, number=NUMBER)
    assert contents(out) == contents(whole)
    path.write_bytes(b"".join([*lines[:3], b'{"record": 1}\n', *lines[3:]]))
    with pytest.raises(DataError, match=rf"{LEDGER_NAME}:4: expected an entry, got .*; delete the line"):
        run_once(out, number=NUMBER)


# -- stages that cannot work -----------------------------------------------------------------------------------
def no_weights(_: int) -> Work:
    raise WeightsError("vlm: expected weights, got none; download them.")


def never(record: Record) -> Made:
    raise ValueError(f"no {record.id}")


def load_never(_: int) -> Work:
    return never


def test_missing_weights_end_the_run_and_cost_nothing(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="vlm: expected weights"):
        run_once(tmp_path, number=4, made_of=[*stages()[:2], Stage("caption", {}, no_weights)])
    assert {stage for _, stage in read_entries(tmp_path)} == {"generate", "locate"}


def test_a_stage_that_never_works_ends_the_run(tmp_path: Path) -> None:
    hopeless = [*stages(broken=False)[:1], Stage("locate", {}, load_never)]
    with pytest.raises(LikenessError, match=rf"stage locate: .* got {HOPELESS} failures and nothing else; last: 19: "):
        run_once(tmp_path, number=50, made_of=hopeless)
    few = run_once(tmp_path / "few", number=HOPELESS - 1, made_of=hopeless)
    assert len(few.ended) == HOPELESS - 1


# -- kills -----------------------------------------------------------------------------------------------------
def start(out: Path, *, number: int, engine: str, workers: int, seconds: float) -> subprocess.Popen[bytes]:
    words = [str(HELPERS / "staged_once.py"), str(out), str(number), engine, str(workers), str(seconds)]
    return subprocess.Popen([sys.executable, *words], env=child_environment(), stderr=subprocess.DEVNULL)


def kill_and_finish(out: Path, *, kills: int, number: int, seed: int, **how: object) -> int:
    """Kills the run at random moments, then lets it finish; how many kills met a run that was at work."""
    rng, met = random.Random(seed), 0
    for turn in range(kills):
        running = start(out, number=number, **how)  # type: ignore[arg-type]
        limit = time.monotonic() + 60
        before = size(out)
        while size(out) == before and running.poll() is None and time.monotonic() < limit:
            time.sleep(0.01)
        time.sleep(rng.random() * 0.5)
        met += running.poll() is None
        running.send_signal(signal.SIGKILL if turn % 3 else signal.SIGTERM)
        running.wait()
    last = start(out, number=number, **how)  # type: ignore[arg-type]
    assert last.wait(timeout=600) == 0
    return met


def size(out: Path) -> int:
    path = out / LEDGER_NAME
    return path.stat().st_size if path.is_file() else 0


def test_killed_at_three_moments_it_ends_with_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    met = kill_and_finish(tmp_path / "run", kills=3, number=NUMBER, seed=1, engine="here", workers=1, seconds=0.01)
    assert met == 3
    assert contents(tmp_path / "run") == contents(whole)


@pytest.mark.slow
def test_killed_at_thirty_moments_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    run_once(tmp_path / "whole", number=2000)
    met = kill_and_finish(tmp_path / "run", kills=30, number=2000, seed=2, engine="processes", workers=2, seconds=0.002)
    print(f"{met} of 30 kills met a run at work")
    assert met >= 25
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


# -- a cluster -------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("ray_cluster")
def test_a_cluster_makes_the_same_bytes(tmp_path: Path) -> None:
    few = [stage for stage in stages(batch_size=10) if stage.name in ("generate", "gate")]
    run_once(tmp_path / "ray", number=40, made_of=few, engine="ray", workers=2)
    run_once(tmp_path / "here", number=40, made_of=few)
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_every_record_of_ten_thousand_is_accounted_for_on_ray(tmp_path: Path) -> None:
    number, begin = 10_000, time.monotonic()
    done = run_once(tmp_path / "ray", number=number, made_of=stages(batch_size=50), engine="ray", workers=2)
    took = time.monotonic() - begin
    require_account(done, number)
    counts = Counter(end.outcome for end in done.ended)
    print(f"{number} records in {took:.1f} s: {len(done.finished)} finished, {dict(counts)}")
    run_once(tmp_path / "here", number=number)
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")
