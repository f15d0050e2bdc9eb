"""The DIP recipe: aligned pictures, the gate on both, exact balance, splits, and the same bytes however it ran."""

import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pair_oracle import grown, may_differ, scenario_of, scenario_of_loser
from PIL import Image
from scipy.ndimage import binary_dilation, binary_propagation
from scripts import HELPERS, child_environment
from stub_judge import LoadStub

from likeness.core.errors import ConfigError, DataError, OutputError
from likeness.core.files import read_json, read_jsonl
from likeness.core.pairs import PreferencePair, read_pairs
from likeness.data.judging.gate import Thresholds
from likeness.data.pairs.dip import CHUNK, make_pairs
from likeness.data.pairs.world_pairs import EDGE, WorldRecipe, asked_for
from likeness.world.identity import Identity, split_of_identity
from likeness.world.render import render
from likeness.world.scenario import pair_split

NUM, SIZE = 60, 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dip") / "pairs"
    make_pairs(NUM, out=out, size=SIZE, judge=LoadStub(picky=True))
    return out


@pytest.fixture(scope="module")
def pairs(folder: Path) -> tuple[PreferencePair, ...]:
    found = read_pairs(folder)
    assert found.left_out == ()
    return found.pairs


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- pictures --------------------------------------------------------------------------------------------------
def test_pictures_differ_only_where_a_disrupted_subject_or_its_impostor_is(pairs: tuple[PreferencePair, ...]) -> None:
    """Both silhouettes drawn anew from the record; further out the bytes are those of the preferred picture."""
    assert EDGE == 2
    for pair in pairs:
        differs = (pixels(pair.preferred) != pixels(pair.rejected)).any(axis=2)
        assert not (differs & ~may_differ(pair, size=SIZE, edge=EDGE)).any()


def test_each_disrupted_subject_has_a_mask_of_what_stands_in_its_place(pairs: tuple[PreferencePair, ...]) -> None:
    """Own and rejected masks together hold all that changed but the drawing's soft edge."""
    for pair in pairs:
        assert [subject.rejected_mask is not None for subject in pair.subjects] == [s.disrupted for s in pair.subjects]
        shown = [path for s in pair.subjects if s.disrupted for path in (s.mask, s.rejected_mask) if path]
        held = np.logical_or.reduce([pixels(path) > 0 for path in shown])
        differs = (pixels(pair.preferred) != pixels(pair.rejected)).any(axis=2)
        reached = np.asarray(binary_dilation(held, np.ones((3, 3)), iterations=EDGE), dtype=bool)
        assert not (differs & ~reached).any()


def test_the_record_says_how_far_changes_reach_and_how_many_touch_nothing(pairs: tuple[PreferencePair, ...]) -> None:
    for pair in pairs:
        assert pair.prior_mask is not None
        assert pair.prior_mask is not None
        preferred, rejected, mask = pixels(pair.preferred), pixels(pair.rejected), pixels(pair.prior_mask) > 0
        reach = max(s.disruption["reach"] for s in pair.subjects if s.disruption)
        differs = (preferred != rejected).any(axis=2)
        assert differs[mask].any()
        assert not differs[~grown(mask, reach)].any()
        assert reach == 0 or differs[~grown(mask, reach - 1)].any()
        near = binary_dilation(differs | mask, np.ones((3, 3)))
        touching = np.asarray(binary_propagation(mask, structure=np.ones((3, 3)), mask=near), bool)
        recorded = {s.disruption["apart"] for s in pair.subjects if s.disruption}
        assert recorded == {int((differs & ~touching).sum())}


def test_nothing_of_the_loser_is_cut_off_by_the_paste(pairs: tuple[PreferencePair, ...]) -> None:
    """Where only the struck subjects changed, the pasted picture is the whole drawn one: edges lie within EDGE px."""
    recipe = WorldRecipe(size=SIZE)
    lost = 0
    for pair in pairs[:20]:
        assert asked_for(recipe, int(pair.id[-6:])).struck == pair.disrupted
        whole = render(scenario_of_loser(pair), size=SIZE).image
        lost += int((whole != pixels(pair.rejected)).any(axis=2).sum())
    assert lost <= 20  # of 20 pictures: at most a hair's pixel each, which has no label


def test_masks_and_prompt_are_the_worlds_labels(pairs: tuple[PreferencePair, ...]) -> None:
    for pair in pairs[:12]:
        picture = render(scenario_of(pair), size=SIZE)
        assert (pixels(pair.preferred) == picture.image).all()
        assert pair.prompt == picture.labels.caption
        union = np.zeros((SIZE, SIZE), bool)
        for subject, label in zip(pair.subjects, picture.labels.subjects, strict=True):
            mask = pixels(subject.mask)
            assert set(np.unique(mask)) <= {0, 255}
            assert ((mask > 0) == label.visible_mask).all()
            union |= label.visible_mask & subject.disrupted
            rows, columns = np.nonzero(label.visible_mask)
            box = (columns.min() / SIZE, rows.min() / SIZE, (columns.max() + 1) / SIZE, (rows.max() + 1) / SIZE)
            assert subject.box == pytest.approx(box, abs=1e-4)
        assert pair.prior_mask is not None
        assert pair.prior_mask is not None
        assert ((pixels(pair.prior_mask) > 0) == union).all()
        for reference in pair.references:
            assert reference.mask is not None
            photo, mask = pixels(reference.image), pixels(reference.mask) > 0
            backdrop = photo[0, 0]
            inside = (photo != backdrop).any(axis=2)
            assert (inside & mask).sum() > 0.95 * mask.sum()
            assert not (inside & ~grown(mask, 2)).any()


# -- balance, splits, kinds ------------------------------------------------------------------------------------
def test_subsets_and_categories_are_balanced_exactly(pairs: tuple[PreferencePair, ...]) -> None:
    assert Counter((pair.subset, pair.category) for pair in pairs) == {
        (subset, category): NUM // 6 for subset in ("single", "multi") for category in ("object", "animal", "human")
    }
    for pair in pairs:
        first = pair.subjects[pair.disrupted[0]]
        assert pair.references[first.reference_index].category == pair.category


def test_half_of_the_multi_losers_leak_and_every_difficulty_occurs() -> None:
    asked = [asked_for(WorldRecipe(), place) for place in range(6 * 18)]
    multi = [item for item in asked if item.subset == "multi"]
    assert sum(item.kind in ("leak", "trace") for item in multi) * 2 == len(multi)
    assert Counter(item.struck for item in multi) == {(0,): 18, (1,): 18, (0, 1): 18}
    assert {item.kind for item in asked if item.subset == "single"} == {"replace", "redraw", "parts"}
    both = {(item.kind, item.struck) for item in multi}
    assert both == {(kind, struck) for kind in ("replace", "redraw", "parts", "leak", "trace")
                    for struck in ((0,), (1,), (0, 1))}  # fmt: skip


def test_leaking_subjects_take_only_what_their_neighbour_has(pairs: tuple[PreferencePair, ...]) -> None:
    seen = 0
    for pair in pairs:
        for index, subject in enumerate(pair.subjects):
            if subject.disruption and subject.disruption["kind"] in ("leak", "trace"):
                neighbour = scenario_of(pair).identities[1 - index].attributes()
                for name, (old, new) in subject.disruption["changed"].items():
                    assert old != new == neighbour[name]
                    seen += 1
    assert seen > 10


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_identities_scenes_and_impostors_are_of_the_split(tmp_path: Path, split: str) -> None:
    make_pairs(12, out=tmp_path / "p", split=split, size=32, judge=LoadStub())  # type: ignore[arg-type]
    for pair in read_pairs(tmp_path / "p").pairs:
        scenario = scenario_of(pair, split=split)
        assert pair.split == split
        assert pair_split(scenario.action, scenario.scene) == split
        for who, subject in zip(scenario.identities, pair.subjects, strict=True):
            changes = subject.disruption["changed"] if subject.disruption else {}
            shown = Identity(**{**who.attributes(), **{name: new for name, (_, new) in changes.items()}})
            assert split_of_identity(who) == split_of_identity(shown) == split


def test_hard_pairs_hold_look_alikes(tmp_path: Path) -> None:
    make_pairs(12, out=tmp_path / "p", subset="multi", hard=True, size=32, judge=LoadStub())
    found = read_pairs(tmp_path / "p").pairs
    assert {pair.subset for pair in found} == {"multi"}
    assert sum(pair.references[0].class_name == pair.references[1].class_name for pair in found) >= 6


# -- the gate --------------------------------------------------------------------------------------------------
def test_what_the_gate_refuses_is_listed_with_the_reason(folder: Path, pairs: tuple[PreferencePair, ...]) -> None:
    rows, summary = read_jsonl(folder / "rejected.jsonl"), read_json(folder / "summary.json")
    assert summary["num_pairs"] == len(pairs) == NUM
    assert summary["num_attempts"] == NUM + len(rows)
    assert summary["acceptance"] == pytest.approx(NUM / (NUM + len(rows)), abs=1e-4)
    assert summary["refused_for"]["preferred"] == sum(row["cause"] == "preferred" for row in rows) > 0
    row = next(row for row in rows if row["cause"] == "preferred")
    assert row["reason"].startswith("preferred, subject 0: expected at least 9 favourable answers, got 0 (no to 1, 2")
    assert (folder / "contact_sheet.png").is_file()


@pytest.mark.parametrize(
    ("preferred", "rejected", "message"),
    [
        (8, 0, "preferred, subject 0: expected at least 9 favourable answers, got 8"),
        (9, 7, "rejected, subject [01]: expected at most 6 favourable answers, got 7"),
    ],
)
def test_a_judge_that_passes_nothing_ends_the_run_with_the_reason(
    tmp_path: Path, preferred: int, rejected: int, message: str
) -> None:
    with pytest.raises(DataError, match=f"none; last: {message}"):
        make_pairs(1, out=tmp_path / "p", size=32, judge=LoadStub(preferred, rejected))


def test_nine_and_six_pass_and_the_answers_are_kept(tmp_path: Path) -> None:
    make_pairs(2, out=tmp_path / "p", size=32, judge=LoadStub(9, 6))
    for pair in read_pairs(tmp_path / "p").pairs:
        assert [sum(a is True for a in answers) for answers in pair.qa.preferred.judge] == [9] * len(pair.subjects)
        assert [sum(a is True for a in answers) for answers in pair.qa.rejected.judge] == [6] * len(pair.subjects)
        assert pair.qa.preferred.human is None
        assert pair.models["judge"] == "stub 9/6/False"


def test_other_thresholds_are_another_run(tmp_path: Path) -> None:
    make_pairs(1, out=tmp_path / "p", size=32, judge=LoadStub(8, 4), thresholds=Thresholds(8, 4))
    with pytest.raises(OutputError, match=r"thresholds\.preferred_min: 8 there, 9 here"):
        make_pairs(1, out=tmp_path / "p", size=32, judge=LoadStub(8, 4))


# -- the same bytes --------------------------------------------------------------------------------------------
def test_a_pair_depends_on_neither_n_nor_its_company(folder: Path, tmp_path: Path) -> None:
    make_pairs(7, out=tmp_path / "p", size=SIZE, judge=LoadStub(picky=True))
    assert read_jsonl(tmp_path / "p" / "pairs.jsonl") == read_jsonl(folder / "pairs.jsonl")[:7]
    few, many = contents(tmp_path / "p"), contents(folder)
    assert all(data == many[name] for name, data in few.items() if name.startswith(("images/", "masks/")))


def test_two_workers_make_what_one_makes(folder: Path, tmp_path: Path) -> None:
    assert NUM > CHUNK
    steps: list[tuple[int, int]] = []
    make_pairs(
        NUM,
        out=tmp_path / "p",
        size=SIZE,
        workers=2,
        judge=LoadStub(picky=True),
        progress=lambda done, total: steps.append((done, total)),
    )
    assert contents(tmp_path / "p") == contents(folder)
    assert steps[0] == (0, NUM)
    assert steps[-1] == (NUM, NUM)


def test_lost_pictures_are_made_again(folder: Path, tmp_path: Path) -> None:
    out = shutil.copytree(folder, tmp_path / "p")
    before = contents(out)
    (out / "images" / "dip-train-0-000003-rejected.png").unlink()
    (out / "masks" / "dip-train-0-000055-subject-0.png").write_bytes(b"")
    (out / "summary.json").unlink()
    steps: list[int] = []
    make_pairs(NUM, out=out, size=SIZE, judge=LoadStub(picky=True), progress=lambda done, _: steps.append(done))
    assert contents(out) == before
    assert steps[0] == 0
    make_pairs(NUM, out=out, size=SIZE, judge=LoadStub(picky=True), progress=lambda done, _: steps.append(done))
    assert steps[-1] == NUM


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_any_moment_and_started_again_it_ends_with_the_same_bytes(tmp_path: Path, workers: int) -> None:
    command = [sys.executable, str(HELPERS / "make_pairs_once.py")]
    subprocess.run([*command, str(tmp_path / "whole"), "1"], env=child_environment(), check=True)
    rng, out = random.Random(workers), tmp_path / "killed"
    for _ in range(6):
        process = subprocess.Popen([*command, str(out), str(workers)], env=child_environment())
        while process.poll() is None and not any(out.glob("images/*")):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 1))
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([*command, str(out), str(workers)], env=child_environment(), check=True)
    assert contents(out) == contents(tmp_path / "whole")


# -- wrong settings --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 0}, "n: expected at least 1, got 0"),
        ({"n": 1, "workers": 0}, "workers: expected at least 1"),
        ({"n": 1, "size": 8}, "size: expected at least 16, got 8"),
        ({"n": 1, "reference_size": 8}, "reference_size: expected at least 16 px"),
        ({"n": 1, "subset": "pairs"}, "subset: expected one of single, multi, both, got 'pairs'"),
        ({"n": 1, "losers": "found"}, "losers: expected one of drawn, regenerated, mixed"),
        ({"n": 1, "losers": "mixed"}, "losers: expected a model to regenerate with, got none for 'mixed'"),
        ({"n": 1, "thresholds": Thresholds(6, 6)}, "0 <= rejected_max < preferred_min <= 10"),
        ({"n": 1, "thresholds": Thresholds(11, 6)}, "got rejected_max 6, preferred_min 11"),
        ({"n": 1, "thresholds": Thresholds(9, -1)}, "got rejected_max -1"),
    ],
)
def test_wrong_settings_are_told_before_anything_is_written(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_pairs(out=tmp_path / "p", **settings)
    assert not (tmp_path / "p").exists()
