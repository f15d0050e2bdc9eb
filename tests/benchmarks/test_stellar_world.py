"""stellar-world: who is asked what, both shapes of the benchmark, and that a prefix stays one."""

import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likeness.benchmarks import benchmark_cases
from likeness.benchmarks.stellar_prompts import DOING, NUM_TEMPLATES, asked, objects, prompts_of
from likeness.benchmarks.stellar_world import NUM_CASES, NUM_PEOPLE, NUM_PHOTOS, NUM_PROMPTS, place, scenario_of, who_is
from likeness.core.errors import OutputError
from likeness.core.files import read_json, read_jsonl
from likeness.core.kinds import Split
from likeness.core.records import Case
from likeness.core.rng import seed_for
from likeness.data.formats.stellar_files import SLOT, filled, read_person
from likeness.world.face_attributes import FACE_ATTRIBUTES, face_attributes
from likeness.world.identity import ATTRIBUTES, split_of_identity
from likeness.world.props import PROPS
from likeness.world.relations import words_of
from likeness.world.render import reference_mask, render
from likeness.world.scenario import caption, corpus, pair_split

TEST: Split = "test"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first five cases."""
    place = tmp_path_factory.mktemp("stellar-world")
    benchmark_cases("stellar-world", folder=place, limit=5)
    return place


@pytest.fixture(scope="module")
def cases(folder: Path) -> tuple[Case, ...]:
    return benchmark_cases("stellar-world", folder=folder, limit=5).cases


def test_every_person_photo_and_prompt_meets_once_and_a_prefix_shows_everybody_first() -> None:
    places = [place(index) for index in range(NUM_CASES)]
    assert NUM_CASES == len(set(places)) == 100 * 2 * 6
    assert [person for person, *_ in places[:NUM_PEOPLE]] == list(range(NUM_PEOPLE))
    assert Counter(photo for _, photo, _ in places) == {0: 600, 1: 600}
    assert max(Counter(number for *_, number in places[:NUM_PEOPLE]).values()) <= 17  # 100 people, 6 prompts


@pytest.mark.parametrize("split", ["test", "validation"])
def test_people_are_a_hundred_of_the_split(split: Split) -> None:
    people = [who_is(person, split) for person in range(NUM_PEOPLE)]
    assert len(set(people)) == NUM_PEOPLE == 100
    assert {who.species for who in people} == {"person"}
    assert {split_of_identity(who) for who in people} == {split}
    yes = Counter(name for who in people for name, answer in face_attributes(who).items() if answer == "yes")
    assert all(0.1 < yes[name] / NUM_PEOPLE < 0.9 for name in FACE_ATTRIBUTES)


@pytest.mark.parametrize("split", ["test", "validation"])
def test_actions_and_scenes_are_pairs_of_the_split_and_take_turns(split: Split) -> None:
    pairs = [asked(person, number, split) for person in range(NUM_PEOPLE) for number in range(NUM_TEMPLATES)]
    assert {pair_split(action, scene) for action, scene in pairs} == {split}
    counts = Counter(action for action, _ in pairs)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len({action for action, _ in pairs[:4]}) == 4
    assert split == "validation" or set(counts) == set(DOING)


def test_templates_are_the_worlds_captions_and_other_words_are_its_words() -> None:
    known = set(re.findall(r"[a-z]+", " ".join(corpus()).lower()))
    for person in range(NUM_PEOPLE):
        prompts = prompts_of(person, TEST)
        assert len(prompts) == NUM_PROMPTS
        assert len({prompt.text for *_, prompt in prompts}) == NUM_PROMPTS
        for number, (_, _, prompt) in enumerate(prompts):
            assert prompt.text.startswith(SLOT)
            assert prompt.text.count(SLOT) == 1
            assert set(re.findall(r"[a-z]+", prompt.text.lower())) <= known
            index = next(i for i in range(NUM_CASES) if place(i) == (person, 0, number))
            is_caption = filled(prompt.text, "A person") == caption(scenario_of(index, TEST))
            assert is_caption == (number < NUM_TEMPLATES)
            assert (prompt.detectables, prompt.relations) == ((), ()) or is_caption


def test_what_is_detectable_is_drawn_and_listed() -> None:
    drawn = {words_of(name) for name in PROPS}
    assert set(objects()) <= drawn
    assert len(objects()) > 15
    for person in range(0, NUM_PEOPLE, 9):
        for action, scene, prompt in prompts_of(person, TEST)[:NUM_TEMPLATES]:
            index = next(i for i in range(NUM_CASES) if place(i)[0] == person)
            scenario = scenario_of(index, TEST)
            labels = render(type(scenario)(action, scene, scenario.identities, 0), size=16).labels
            assert set(prompt.detectables) <= {words_of(name) for name in labels.objects}
            assert [word for _, _, word in prompt.relations] == list(prompt.detectables)
            assert prompt.categories


def test_a_case_states_all_that_is_known(folder: Path, cases: tuple[Case, ...]) -> None:
    assert [case.id for case in cases] == [
        *("stellar-world-v1-000-0-00", "stellar-world-v1-001-1-01", "stellar-world-v1-002-0-02"),
        *("stellar-world-v1-003-1-03", "stellar-world-v1-004-0-04"),
    ]
    for index, case in enumerate(cases):
        person, photo, number = place(index)
        scenario, (subject,) = scenario_of(index, TEST), case.subjects
        who, labels = who_is(person, TEST), render(scenario, size=128).labels
        assert (subject.id, subject.class_name) == (who.id, "person")
        assert subject.reference_image == folder / "stellar" / f"{person:03d}" / f"{photo}.jpg"
        assert len(subject.photos) == NUM_PHOTOS
        assert subject.attributes == labels.subjects[0].attributes | face_attributes(who)
        assert list(subject.attributes or ()) == [*ATTRIBUTES, *FACE_ATTRIBUTES]
        assert (case.action, case.scene, case.labels.objects) == (scenario.action, scenario.scene, labels.objects)
        prompt = prompts_of(person, TEST)[number][2]
        assert case.prompt == filled(prompt.text)
        assert case.labels.detectables == prompt.detectables
        assert [(relation, thing) for _, relation, thing in case.labels.triplets] == [
            (relation, thing) for _, relation, thing in prompt.relations
        ]
        assert {name for name, *_ in case.labels.triplets} <= {who.id}
        with Image.open(folder / "truth" / f"{case.id}.png") as truth:
            assert np.array_equal(np.asarray(truth), render(scenario, size=128).image)


def test_the_layout_holds_the_same_people_with_exact_masks(folder: Path) -> None:
    assert sorted(path.name for path in (folder / "stellar").iterdir()) == [
        *(f"00{i}" for i in range(5)),
        "objects.txt",
    ]
    assert (folder / "stellar" / "objects.txt").read_text().splitlines() == objects()
    home, who = folder / "stellar" / "003", who_is(3, TEST)
    files = [f"{i}{end}" for i in (0, 1) for end in (".jpg", "_attributes.json", "_bg.png")]
    assert sorted(path.name for path in home.iterdir()) == sorted([*files, "prompts_t.json", "prompts_h.json"])
    facts = read_json(home / "1_attributes.json")
    assert facts["identity"] == 3
    assert facts["attributes"] == {name: 1 if a == "yes" else -1 for name, a in face_attributes(who).items()}
    for k in (0, 1):
        with Image.open(home / f"{k}_bg.png") as mask:
            wanted = reference_mask(who, seed=seed_for("photo", who.id, k), size=128)
            assert mask.mode == "RGB"
            assert np.array_equal(np.asarray(mask), np.repeat(wanted[..., None] * np.uint8(255), 3, axis=2))
    found = read_person(home)
    assert found.prompts[:NUM_TEMPLATES] == tuple(prompt for *_, prompt in prompts_of(3, TEST)[:NUM_TEMPLATES])
    assert [prompt.text for prompt in found.prompts] == [prompt.text for *_, prompt in prompts_of(3, TEST)]
    assert set(read_json(home / "prompts_h.json")) == {"prompts"}


def test_the_layout_read_back_gives_the_same_questions(folder: Path, cases: tuple[Case, ...]) -> None:
    """By person, photo and prompt; Stellar's layout states neither action nor scene, and its prompts no ids."""
    read = {case.id: case for case in benchmark_cases("stellar", folder=folder, data=folder / "stellar").cases}
    assert len(read) == 5 * NUM_PHOTOS * NUM_PROMPTS
    for case in cases:
        again = read[case.id.removeprefix("stellar-world-v1-")]
        assert again.prompt == case.prompt
        assert again.subjects[0].reference_image == case.subjects[0].reference_image
        assert again.subjects[0].photos == case.subjects[0].photos
        assert again.labels.detectables == case.labels.detectables
        assert [triplet[1:] for triplet in again.labels.triplets] == [t[1:] for t in case.labels.triplets]
        own = case.subjects[0].attributes or {}
        assert again.subjects[0].attributes == {name: own[name] for name in FACE_ATTRIBUTES}


def test_a_limit_gives_the_first_cases_and_a_folder_grows_to_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    benchmark_cases("stellar-world", folder=tmp_path / "a", limit=2)
    assert read_jsonl(tmp_path / "a" / "cases.jsonl") == read_jsonl(folder / "cases.jsonl")[:2]
    assert {k: v for k, v in contents(tmp_path / "a").items() if "json" not in k}.items() <= contents(folder).items()
    benchmark_cases("stellar-world", folder=tmp_path / "a", limit=5)
    assert contents(tmp_path / "a") == contents(folder)


def test_what_was_lost_is_drawn_again_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    again = shutil.copytree(folder, tmp_path / "again")
    for name in ("cases.jsonl", "stellar/001/0.jpg", "truth/stellar-world-v1-004-0-04.png"):
        (again / name).unlink()
    kept = (again / "stellar" / "000" / "0.jpg").stat().st_ino
    benchmark_cases("stellar-world", folder=again, limit=5)
    assert contents(again) == contents(folder)
    assert (again / "stellar" / "000" / "0.jpg").stat().st_ino == kept
    with pytest.raises(OutputError, match="num_cases: 5 there, 2 here"):
        benchmark_cases("stellar-world", folder=again, limit=2)


def test_validation_people_have_stellars_numbers_from_200_on(tmp_path: Path) -> None:
    cases = benchmark_cases("stellar-world", folder=tmp_path, limit=2, split="validation").cases
    assert [case.id for case in cases] == [
        "stellar-world-v1-validation-200-0-00",
        "stellar-world-v1-validation-201-1-01",
    ]
    layout = tmp_path / "stellar"
    assert len(benchmark_cases("stellar", folder=tmp_path, data=layout, split="validation").cases) == 24
