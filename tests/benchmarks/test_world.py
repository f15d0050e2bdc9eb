"""Benchmarks of the world: readable cases of test subjects, the same bytes every time."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from likeness.benchmarks import BENCHMARKS, benchmark_cases
from likeness.benchmarks.world import NUM_CASES, NUM_PHOTOS, SCENARIOS, SIZE
from likeness.core.errors import ConfigError, OutputError
from likeness.core.files import read_jsonl
from likeness.core.records import Case, Labels, read_cases
from likeness.metrics.triplets import stated_labels
from likeness.world.identity import Identity, split_of_identity, split_of_pair
from likeness.world.render import render
from likeness.world.scenario import caption, relation_bench

NAMES = tuple(SCENARIOS)


def version_of(name: str) -> str:
    return f"{name}-v{BENCHMARKS[name].version}"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three cases of every benchmark."""
    root = tmp_path_factory.mktemp("benchmarks")
    for name in NAMES:
        benchmark_cases(name, folder=root / name, limit=3)
    return {name: root / name for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_cases_are_read_without_rejects(folders: dict[str, Path], name: str) -> None:
    file = read_cases(folders[name] / "cases.jsonl")
    assert not file.left_out
    assert [case.id for case in file.cases] == [f"{version_of(name)}-{i:04d}" for i in range(3)]
    for case in file.cases:
        with Image.open(folders[name] / "truth" / f"{case.id}.png") as truth:
            assert truth.size == (SIZE, SIZE)
        for subject in case.subjects:
            assert subject.reference_image == subject.photos[0]
            assert len({photo.read_bytes() for photo in subject.photos}) == NUM_PHOTOS


@pytest.mark.parametrize("name", NAMES)
def test_subjects_are_test_identities_and_attributes_are_labels(folders: dict[str, Path], name: str) -> None:
    for index, case in enumerate(read_cases(folders[name] / "cases.jsonl").cases):
        scenario = SCENARIOS[name](index, "test")
        labels = render(scenario, size=SIZE).labels
        assert (case.prompt, case.action, case.scene) == (caption(scenario), scenario.action, scenario.scene)
        for who, subject, label in zip(scenario.identities, case.subjects, labels.subjects, strict=True):
            assert split_of_identity(who) == "test"
            assert (subject.id, subject.class_name) == (who.id, who.species)
            assert subject.attributes == label.attributes
            assert Identity(**{**(subject.attributes or {}), "pattern": who.pattern}) == who


@pytest.mark.parametrize("name", NAMES)
def test_a_rebuild_has_the_same_bytes_and_draws_only_what_is_missing(
    folders: dict[str, Path], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark_cases(name, folder=tmp_path / "new", limit=3)
    assert contents(tmp_path / "new") == contents(folders[name])
    again = shutil.copytree(folders[name], tmp_path / "again")
    for path in ("cases.jsonl", f"truth/{version_of(name)}-0001.png"):
        (again / path).unlink()
    first = again / "truth" / f"{version_of(name)}-0000.png"
    kept = first.stat().st_ino  # a file that is written again is another one
    benchmark_cases(name, folder=again, limit=3)
    assert contents(again) == contents(folders[name])
    assert first.stat().st_ino == kept
    monkeypatch.setattr("likeness.benchmarks.world.render", None)  # nothing is drawn any more
    benchmark_cases(name, folder=again, limit=3)
    assert contents(again) == contents(folders[name])


def test_a_lost_photo_is_drawn_again(folders: dict[str, Path], tmp_path: Path) -> None:
    again = shutil.copytree(folders["world-multi"], tmp_path / "again")
    next((again / "references").iterdir()).unlink()
    benchmark_cases("world-multi", folder=again, limit=3)
    assert contents(again) == contents(folders["world-multi"])


def test_a_folder_of_other_cases_is_left_alone(folders: dict[str, Path], tmp_path: Path) -> None:
    again = shutil.copytree(folders["world-multi"], tmp_path / "again")
    for name, limit, said in (("world-single", 3, "name: "), ("world-multi", 2, "num_cases: 3 there, 2 here")):
        with pytest.raises(OutputError, match=said):
            benchmark_cases(name, folder=again, limit=limit)
    assert contents(again) == contents(folders["world-multi"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "cases.jsonl").write_text("mine")
    with pytest.raises(OutputError, match=r"cases\.jsonl"):
        benchmark_cases("world-single", folder=tmp_path / "mine", limit=1)
    assert contents(tmp_path / "mine") == {"cases.jsonl": b"mine"}


def test_progress_counts_cases(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    for _ in range(2):
        benchmark_cases(
            "world-single", folder=tmp_path, limit=2, progress=lambda done, total: told.append((done, total))
        )
    assert told == [(0, 2), (1, 2), (2, 2), (2, 2)]


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_gives_the_first_cases(folders: dict[str, Path], name: str, tmp_path: Path) -> None:
    benchmark_cases(name, folder=tmp_path, limit=1)
    assert read_jsonl(tmp_path / "cases.jsonl") == read_jsonl(folders[name] / "cases.jsonl")[:1]
    whole = contents(folders[name])
    pictures = {path: data for path, data in contents(tmp_path).items() if path.endswith(".png")}
    assert pictures.items() <= whole.items()


def test_a_folder_of_the_first_cases_grows(folders: dict[str, Path], tmp_path: Path) -> None:
    name = "world-multi"
    benchmark_cases(name, folder=tmp_path, limit=1)
    assert len(benchmark_cases(name, folder=tmp_path, limit=3).cases) == 3
    assert contents(tmp_path) == contents(folders[name])
    rows = (tmp_path / "cases.jsonl").read_text().splitlines()
    (tmp_path / "cases.jsonl").write_text(rows[0] + "\n")  # killed when all was drawn but the list
    assert len(benchmark_cases(name, folder=tmp_path, limit=3).cases) == 3
    assert contents(tmp_path) == contents(folders[name])


def first_cases(name: str, count: int) -> list[Case]:
    """The first scenarios of a benchmark as cases without pictures."""
    scenarios = [SCENARIOS[name](index, "test") for index in range(count)]
    return [
        Case(id=str(i), prompt=caption(s), labels=Labels(action=s.action, scene=s.scene))
        for i, s in enumerate(scenarios)
    ]


def test_single_and_multi_hold_test_pairs_and_no_outfits() -> None:
    for name, count in (("world-single", 1), ("world-multi", 2)):
        for index in range(200):
            scenario = SCENARIOS[name](index, "test")
            assert len(scenario.identities) == count
            assert not scenario.outfits
            assert split_of_pair(scenario.action, scenario.scene) == "test"


def test_hard_is_hard() -> None:
    scenarios = [SCENARIOS["world-hard"](index, "test") for index in range(120)]
    counts = [len(s.identities) for s in scenarios]
    assert [counts.count(n) for n in (2, 3, 4)] == [60, 40, 20]
    alike = [s for s in scenarios if s.identities[0].species == s.identities[1].species]
    assert len(alike) > 60
    assert sum(s.zoom < 1 for s in scenarios) > 24
    assert sum(s.crowd < 1 for s in scenarios) > 12


def test_relationbench_asks_each_of_25_prompts_four_times_with_other_subjects() -> None:
    scenarios = [SCENARIOS["world-relationbench"](index, "test") for index in range(100)]
    assert NUM_CASES["world-relationbench"] == 100
    for index, scenario in enumerate(scenarios):
        expected = relation_bench(scenario.identities, 1 + index % 25, seed=index)
        assert scenario == expected
        assert all(split_of_identity(who) == "test" for who in scenario.identities)
    assert len({s.identities for s in scenarios}) == 100


def test_relation_world_goes_on_where_relationbench_ends() -> None:
    assert NUM_CASES["relation-world"] == 25 * 20
    asked = {(index % 25, SCENARIOS["relation-world"](index, "test").identities) for index in range(500)}
    assert len(asked) == 500
    for index in (0, 60, 99):
        assert SCENARIOS["relation-world"](index, "test") == SCENARIOS["world-relationbench"](index, "test")


def test_relation_world_states_what_its_sentence_asks_for(tmp_path: Path) -> None:
    """Prompts 11 (riding a bike) and 17 (carrying), written by hand; prompt 4 (dancing) relates nothing."""
    benchmark_cases("relation-world", folder=tmp_path, limit=25)
    cases = read_cases(tmp_path / "cases.jsonl").cases
    bike, carry, dance = cases[10], cases[16], cases[3]
    (rider,), (first, second), (dancer,) = bike.subjects, carry.subjects, dance.subjects
    assert bike.labels == Labels(
        action="bike",
        scene="countryside",
        triplets=((rider.id, "riding", "bicycle"),),
        objects=("bicycle",),
        predicate="riding a bike",
        detectables=(rider.class_name, "bicycle"),
    )
    assert carry.labels.triplets == ((first.id, "carrying", second.id),)
    assert carry.labels.detectables == tuple(dict.fromkeys((first.class_name, second.class_name)))
    assert (carry.labels.predicate, carry.labels.objects) == ("carrying", ())
    assert (dance.labels.predicate, dance.labels.triplets) == ("dancing", ())
    assert dance.labels.detectables == (dancer.class_name,)


def test_old_benchmarks_keep_their_rows_and_metrics_complete_them(folders: dict[str, Path]) -> None:
    new = read_cases(folders["relation-world"] / "cases.jsonl").cases
    old = read_cases(folders["world-relationbench"] / "cases.jsonl").cases
    for case, labelled in zip(old, new, strict=True):
        assert case.labels == Labels(action=case.action, scene=case.scene)
        assert stated_labels(case) == labelled.labels
        assert stated_labels(labelled) == labelled.labels


def test_prompts_vary() -> None:
    for name in ("world-single", "world-multi", "world-hard"):
        assert len({case.prompt for case in first_cases(name, 100)}) > 80


def test_names_are_those_of_the_table() -> None:
    drawn_here = {name for name, known in BENCHMARKS.items() if known.build == "likeness.benchmarks.world:build"}
    assert drawn_here == set(SCENARIOS) == set(NUM_CASES)


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"world-single.*got world-triple"):
        benchmark_cases("world-triple", folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_validation_cases_are_of_the_validation_split_and_say_so(tmp_path: Path) -> None:
    benchmark_cases("world-multi", folder=tmp_path, limit=2, split="validation")
    for index, case in enumerate(read_cases(tmp_path / "cases.jsonl").cases):
        scenario = SCENARIOS["world-multi"](index, "validation")
        assert case.id == f"world-multi-v2-validation-{index:04d}"
        assert case.prompt == caption(scenario)
        assert {split_of_identity(who) for who in scenario.identities} == {"validation"}
