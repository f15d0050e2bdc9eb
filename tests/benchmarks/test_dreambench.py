"""DreamBench cases from a local folder: the real lists where they are at hand, and a folder made by hand."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from likeness.benchmarks import benchmark_cases
from likeness.benchmarks.dreambench import class_words
from likeness.core.errors import ConfigError, DataError, LikenessError
from likeness.core.records import Case

REAL = Path(__file__).parents[3] / "shared" / "data" / "dreambench"
needs_dreambench = pytest.mark.skipif(not REAL.is_dir(), reason=f"needs DreamBench in {REAL}")


def cases_in(data: Path, name: str, **options: Any) -> tuple[Case, ...]:
    """The cases of a folder of photographs."""
    return benchmark_cases(name, folder=data / "never", data=data, **options).cases


@needs_dreambench
def test_single_is_30_subjects_by_25_prompts_with_kosmos_gs_photos() -> None:
    cases = cases_in(REAL, "dreambench-single")
    assert len(cases) == len({case.id for case in cases}) == 750
    assert set(Counter(case.subjects[0].id for case in cases).values()) == {25}
    assert (cases[0].id, cases[0].prompt) == ("backpack-00", "a backpack in the jungle")
    chosen = {case.subjects[0].id: case.subjects[0].reference_image.stem for case in cases}
    assert [chosen[name] for name in ("backpack", "cat", "dog3", "poop_emoji", "wolf_plushie")] == [
        "02",
        "04",
        "05",
        "00",
        "04",
    ]
    photos = {path for case in cases for path in case.subjects[0].photos}
    assert len(photos) == 158
    assert {case.subjects[0].class_name for case in cases} >= {"stuffed animal", "glasses", "cartoon"}
    assert len({case.prompt for case in cases}) == 375


@needs_dreambench
def test_multi_is_30_pairs_by_25_prompts() -> None:
    cases = cases_in(REAL, "dreambench-multi")
    pairs = Counter(tuple(subject.id for subject in case.subjects) for case in cases)
    assert len(cases) == len({case.id for case in cases}) == 750
    assert len(pairs) == 30
    assert set(pairs.values()) == {25}
    assert next(iter(pairs)) == ("backpack_dog", "bear_plushie")
    assert list(pairs)[-1] == ("dog6", "teapot")
    assert len({case.prompt for case in cases}) == 525


@needs_dreambench
@pytest.mark.parametrize("name", ["dreambench-single", "dreambench-multi"])
def test_a_limit_is_balanced_over_subjects_and_prompts(name: str) -> None:
    """Of 30 subjects or pairs and 25 prompts: 60 cases show each twice, and a smaller sample begins a larger one."""
    found = cases_in(REAL, name, limit=60)
    groups = Counter(tuple(subject.id for subject in case.subjects) for case in found)
    assert len(groups) == 30
    assert set(groups.values()) == {2}
    assert cases_in(REAL, name, limit=30) == found[:30]
    assert max(Counter(case.id.rpartition("-")[2] for case in found).values()) <= 6  # prompts by number: 60 / 25 = 2.4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("mug", "cat"):
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.new("RGB", (8, 8)).save(tmp_path / name / f"{number:02d}.jpg")
    (tmp_path / "prompts_and_classes.txt").write_text(
        "Classes\n\nsubject_name,class\nmug,cup\ncat,cat\n\nPrompts\n\n'a {0} {1}'.format(unique_token, class_token),\n"
    )
    root = "./dreambooth/dataset"
    single = [{"prompt": f"a cup {i}", "image_paths": [f"{root}/mug/01.jpg"]} for i in range(2)]
    pair = [{"prompt": "a cup and a cat", "image_paths": [f"{root}/mug/01.jpg", f"{root}/cat/02.jpg"]}]
    (tmp_path / "dreambench_singleip.json").write_text(json.dumps(single))
    (tmp_path / "dreambench_multiip.json").write_text(json.dumps(pair))
    return tmp_path


def test_only_the_test_split_of_a_given_folder_is_there(folder: Path) -> None:
    with pytest.raises(DataError, match=r"the test split, got .* and validation"):
        cases_in(folder, "dreambench-single", split="validation")
    with pytest.raises(ConfigError, match="the folder of the photos for dreambench-single, got none"):
        benchmark_cases("dreambench-single", folder=folder / "never")


def test_cases_of_a_small_folder(folder: Path) -> None:
    first, second = cases_in(folder, "dreambench-single")
    assert (first.id, second.id) == ("mug-00", "mug-01")
    assert first.subjects[0].class_name == "cup"
    assert first.subjects[0].reference_image == folder / "mug" / "01.jpg"
    assert [path.name for path in first.subjects[0].photos] == ["00.jpg", "01.jpg", "02.jpg"]
    assert [case.id for case in cases_in(folder, "dreambench-multi")] == ["mug-cat-00"]
    assert len(cases_in(folder, "dreambench-single", limit=1)) == 1
    assert class_words(folder) == {"mug": "cup", "cat": "cat"}


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("dreambench-triple", "", "dreambench-single"),
        ("dreambench-single", "dreambench_singleip.json", "dreambench_singleip.json"),
        ("dreambench-single", "prompts_and_classes.txt", "prompts_and_classes.txt"),
        ("dreambench-single", "mug/01.jpg", "01.jpg"),
    ],
)
def test_what_is_missing_is_named(folder: Path, name: str, damage: str, message: str) -> None:
    if damage:
        (folder / damage).unlink()
    with pytest.raises(LikenessError, match=message):
        cases_in(folder, name)


@pytest.mark.parametrize("rows", ["[]", '{"prompt": "a"}', '[{"prompt": "a"}]', '[{"image_paths": ["x"]}]'])
def test_a_list_of_another_shape_is_refused(folder: Path, rows: str) -> None:
    (folder / "dreambench_singleip.json").write_text(rows)
    with pytest.raises(DataError, match="expected"):
        cases_in(folder, "dreambench-single")
