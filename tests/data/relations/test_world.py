"""Drawn examples: exact, of one split, decided by the seed alone, and the same bytes however the run went."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any  # settings of several kinds

import numpy as np
import pytest
from PIL import Image

from likeness.core.errors import ConfigError, OutputError
from likeness.core.files import read_json, read_jsonl
from likeness.data.relations import world
from likeness.data.relations.making import Outcome
from likeness.data.relations.read import read_relations
from likeness.data.relations.records import RelationExample
from likeness.data.relations.world import TWO_SUBJECT_ACTIONS, WorldRelations, draw_example, make_world_relations
from likeness.world.actions import ACTIONS
from likeness.world.relations import RELATIONS
from likeness.world.render import subject_levels
from likeness.world.scenario import Scenario, caption, pair_split

ACTIONS_HERE = ("hug", "shake_hands", "carry")
SIZE = 96


@pytest.fixture(scope="module")
def examples(relation_set: Path) -> tuple[RelationExample, ...]:
    found = read_relations(relation_set)
    assert found.left_out == ()
    return found.examples


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def mask(path: Path | None) -> np.ndarray:
    assert path is not None
    return np.asarray(Image.open(path)) > 0


def test_masks_boxes_and_sentences_are_those_of_the_scene(examples: tuple[RelationExample, ...]) -> None:
    """The scene drawn anew from the record's seed, in flat grey levels."""
    for index, example in enumerate(examples):
        recipe = WorldRelations(actions=ACTIONS_HERE, size=SIZE)
        scenario: Scenario = world._scenario(index, attempt=example.seeds["attempt"], recipe=recipe)
        assert scenario.seed == example.seeds["scenario"]
        assert example.prompt == caption(scenario)
        levels = subject_levels(scenario, size=SIZE)
        for place, (subject, who) in enumerate(zip(example.subjects, scenario.identities, strict=True)):
            shown = mask(subject.mask)
            assert (shown == (levels == place + 1)).all()
            rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
            box = (columns[0] / SIZE, rows[0] / SIZE, (columns[-1] + 1) / SIZE, (rows[-1] + 1) / SIZE)
            assert subject.box == pytest.approx(box)
            assert (subject.id, subject.phrase) == (who.id, who.class_name)


def test_a_reference_shows_the_subject_on_a_plain_backdrop_inside_its_mask(
    examples: tuple[RelationExample, ...],
) -> None:
    for subject in (subject for example in examples for subject in example.subjects):
        pixels = np.asarray(Image.open(subject.reference.image)).astype(int)
        differs = np.abs(pixels - pixels[0, 0]).max(-1) > 12
        shown = mask(subject.reference.mask)
        assert (differs & ~shown).sum() <= 0.1 * shown.sum()  # the soft edge
        assert (differs & shown).sum() >= 0.7 * shown.sum()


def test_valid_keypoints_lie_on_their_subject_and_hidden_ones_are_not_valid(
    examples: tuple[RelationExample, ...],
) -> None:
    num_valid = 0
    for subject in (subject for example in examples for subject in example.subjects):
        for keypoints, shown in (
            (subject.keypoints, subject.mask),
            (subject.reference.keypoints, subject.reference.mask),
        ):
            columns, rows = np.floor(keypoints.array * SIZE).astype(int).T
            own = mask(shown)
            near = [own[max(r - 2, 0) : r + 3, max(c - 2, 0) : c + 3].any() for r, c in zip(rows, columns, strict=True)]
            assert keypoints.valid == tuple(bool(each) for each in near)
            num_valid += sum(near)
    assert num_valid > 200


def test_every_relation_copies_its_predicate_from_the_sentence() -> None:
    assert tuple(name for name in RELATIONS if ACTIONS[name].num_subjects == (2,)) == TWO_SUBJECT_ACTIONS
    for action, relation in RELATIONS.items():
        words = ("cat", "dog", "fox", "pig")[: ACTIONS[action].num_subjects[0]]
        everyone = ", a ".join(words[:-1]) + f" and a {words[-1]}"
        sentence = ACTIONS[action].template.format(*words, all=everyone, scene="in a park")
        assert relation.predicate in sentence


def test_an_example_depends_on_seed_and_index_alone(relation_set: Path) -> None:
    rows = read_jsonl(relation_set / "relations.jsonl")
    recipe = WorldRelations(actions=ACTIONS_HERE, size=SIZE)
    made = draw_example(4, recipe=recipe)
    assert made.example is not None
    assert made.example.model_dump(mode="json") == rows[4]
    assert all((relation_set / name).read_bytes() == data for name, data in made.files.items())
    other = draw_example(4, recipe=WorldRelations(seed=1, actions=ACTIONS_HERE, size=SIZE))
    assert other.example is not None
    assert other.example.prompt != made.example.prompt or other.files.values() != made.files.values()


def test_scenes_and_subjects_are_of_the_split() -> None:
    from likeness.world.identity import split_of_identity

    recipe = WorldRelations(split="test", actions=("hug", "group_dance"))
    for index in range(6):
        scenario = world._scenario(index, attempt=0, recipe=recipe)
        assert pair_split(scenario.action, scenario.scene) == "test"
        assert {split_of_identity(who) for who in scenario.identities} == {"test"}
        species = [who.species for who in scenario.identities]
        assert len(set(species)) == len(species) == (2 if scenario.action == "hug" else 3 + (index // 2) % 2)


def test_stopped_at_any_part_the_same_command_ends_with_the_same_bytes(
    relation_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of two; the first run stops in the second part, and a picture of the first is lost."""
    monkeypatch.setattr(world, "CHUNK", 2)
    draw: Callable[..., Outcome] = world.draw_example
    made: list[int] = []

    def stopping(index: int, *, recipe: WorldRelations) -> Outcome:
        made.append(index)
        if made == [0, 1, 2]:
            raise KeyboardInterrupt
        return draw(index, recipe=recipe)

    monkeypatch.setattr(world, "draw_example", stopping)
    settings: dict[str, Any] = {"out": tmp_path / "set", "size": SIZE, "actions": ACTIONS_HERE}
    with pytest.raises(KeyboardInterrupt):
        make_world_relations(5, **settings)
    assert not (tmp_path / "set" / "relations.jsonl").exists()
    made.clear()
    make_world_relations(5, **settings)
    assert made == [2, 3, 4]
    made.clear()
    next((tmp_path / "set" / "images").glob("hug*000000*")).unlink()
    make_world_relations(5, **settings)
    assert made == [0, 1]
    whole, parts = contents(relation_set), contents(tmp_path / "set")
    for name in whole:
        assert name.startswith("parts/") or whole[name] == parts[name], name
    with pytest.raises(OutputError, match="seed"):
        make_world_relations(5, seed=1, **settings)


@pytest.mark.slow
def test_workers_change_no_byte(relation_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "CHUNK", 2)
    settings: dict[str, Any] = {"size": SIZE, "actions": ACTIONS_HERE}
    make_world_relations(5, out=tmp_path / "one", **settings)
    make_world_relations(5, out=tmp_path / "two", workers=2, **settings)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.slow
def test_a_large_clean_set_has_no_error(tmp_path: Path) -> None:
    made = make_world_relations(320, out=tmp_path / "set", actions=tuple(RELATIONS))
    assert made.num_examples == 320
    assert made.lint.num_errors == 0


def test_the_summary_counts_and_the_sheet_shows(relation_set: Path) -> None:
    facts = read_json(relation_set / "summary.json")
    assert (facts["num_examples"], facts["num_asked"], facts["repairs"]) == (5, 5, 0)
    assert facts["sources"]["keypoints"] == {"drawn": 5}
    assert facts["lint"] == {"num_errors": 0, "by_code": {}}
    assert read_jsonl(relation_set / "rejected.jsonl") == []
    with Image.open(relation_set / "contact_sheet.png") as sheet:
        assert sheet.width == 4 * 196 + 4
        colours = np.asarray(sheet.convert("RGB")).reshape(-1, 3)
    for colour in ((230, 60, 40), (40, 110, 230)):  # of limbs and boxes
        assert (colours == colour).all(axis=1).sum() > 200


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"n": 0}, "n: expected at least 1, got 0"),
        ({"size": 16}, "size: expected at least 32, got 16"),
        ({"workers": 0}, "workers: expected at least 1"),
        ({"actions": ("hug", "yodel")}, "expected one of .*, got 'yodel'"),
        ({"actions": ("stand",)}, "got 'stand'"),
    ],
)
def test_wrong_settings_are_told(settings: dict[str, object], said: str, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"n": 1} | settings
    with pytest.raises(ConfigError, match=said):
        make_world_relations(asked.pop("n"), out=tmp_path / "set", **asked)
    assert not (tmp_path / "set").exists()


def test_a_moved_set_reads_the_same(relation_set: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(relation_set, tmp_path / "moved"))
    assert len(read_relations(moved / "relations.jsonl").examples) == 5
