"""The recipe's mistakes by name, and what is asked of records: by turns, by seed and by place alone."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from scripts import ROOT

from likeness.core.errors import ConfigError
from likeness.core.pairs import PreferencePair
from likeness.data.staged.recipe import ModelRecipe, read_recipe
from likeness.data.staged.records import asked_of, record_id

RECIPES = ("pairs_flux_fill", "pairs_klein")


@pytest.fixture(scope="module", params=RECIPES)
def recipe(request: pytest.FixtureRequest) -> ModelRecipe:
    return read_recipe(ROOT / "configs" / f"{request.param}.toml")


def changed(tmp_path: Path, old: str, new: str) -> Path:
    text = (ROOT / "configs" / "pairs_flux_fill.toml").read_text()
    assert old in text
    (tmp_path / "r.toml").write_text(text.replace(old, new))
    return tmp_path / "r.toml"


def test_the_examples_are_complete(recipe: ModelRecipe) -> None:
    for name, field in ModelRecipe.model_fields.items():
        assert field.is_required(), name
    assert recipe.gate.thresholds == (9, 6)
    assert recipe.locate.detector.count("@") == recipe.locate.segmenter.count("@") == recipe.judge.model.count("@") == 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("num_gpus = 0.25", "num_gpu = 0.25", "locate.num_gpus: expected a value, got none"),
        ("threshold = 0.35", "threshold = 0.35\nthreshhold = 1.0", "did you mean threshold"),
        ("threshold = 0.35", "threshold = 1.5", "locate.threshold: expected less than or equal to 1, got 1.5"),
        ('class_name = "dog"', 'class_name = ""', "subjects.0.class_name"),
        ('words = "class_name"', 'words = "name"', "locate.words: expected 'class_name' or 'phrase', got 'name'"),
        ('{subjects}, side by side, {scene}"\npair', '{people}"\npair', "target_multi: expected words among"),
        ("doubt = 0.5", "doubt = 0.6", "judge: doubt: expected at most sure"),
        ("rejected_max = 6", "rejected_max = 9", "expected 0 <= rejected_max < preferred_min <= 10"),
        ("a corgi with a red collar and one black ear", "a grey tabby cat with white paws and a green scarf", "again"),
        ("seed = 0", "seed = ", "expected TOML"),
        ("[gate]", "[gates]", "gate: expected a value, got none"),
    ],
)
def test_mistakes_are_told_by_key(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_recipe(changed(tmp_path, old, new))
    assert said in str(caught.value)


def test_a_missing_file_and_a_model_of_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a TOML file, got No such file"):
        read_recipe(tmp_path / "none.toml")
    assert read_recipe(ROOT / "configs" / "pairs_klein.toml", model="mine").generate.model == "mine"


def test_two_subjects_need_two_class_names(tmp_path: Path) -> None:
    text = (ROOT / "configs" / "pairs_klein.toml").read_text()
    names = ("cat", "backpack", "teapot", "woman", "man")
    for name in names:
        text = text.replace(f'class_name = "{name}"', 'class_name = "dog"')
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(ConfigError, match="expected two class names for pairs of two, got one"):
        read_recipe(tmp_path / "r.toml")


# -- records ---------------------------------------------------------------------------------------------------
def test_subsets_categories_and_disruptions_take_turns(recipe: ModelRecipe) -> None:
    asked = [asked_of(recipe, index).facts for index in range(600)]
    assert Counter(facts["subset"] for facts in asked) == {"single": 300, "multi": 300}
    first = Counter((facts["subset"], facts["subjects"][0]["category"]) for facts in asked)
    assert set(first.values()) == {100}
    multi = Counter(
        tuple(subject["disrupted"] for subject in facts["subjects"]) for facts in asked if facts["subset"] == "multi"
    )
    assert len(multi) == 3
    assert min(multi.values()) > 75
    assert all(facts["subjects"][0]["disrupted"] for facts in asked if facts["subset"] == "single")
    for facts in asked:
        names = [subject["class_name"] for subject in facts["subjects"]]
        assert len(set(names)) == len(names)
        assert all(subject["phrase"] in facts["target_prompt"] for subject in facts["subjects"])
        assert facts["scene"] in facts["prompt"]


def test_a_record_depends_on_seed_and_place_alone(recipe: ModelRecipe) -> None:
    other: Any = recipe.model_copy(update={"seed": 1})
    assert asked_of(recipe, 7) == asked_of(recipe, 7)
    assert record_id(other, 7) == "models-1-000007"
    scenes = [[asked_of(each, index).facts["scene"] for index in range(40)] for each in (recipe, other)]
    assert scenes[0] != scenes[1]
    fewer = recipe.model_copy(update={"records": recipe.records.model_copy(update={"number": 8})})
    assert asked_of(fewer, 7) == asked_of(recipe, 7)


def test_class_names_get_their_article() -> None:
    recipe = read_recipe(ROOT / "configs" / "pairs_klein.toml")
    table = recipe.records.model_copy(update={"pair_multi": "{class_names}, {scene}"})
    short = recipe.model_copy(update={"records": table})
    prompt = asked_of(short, 1).facts["prompt"]
    assert prompt.startswith("a dog and a ") or prompt.startswith("a backpack and a ")
    assert PreferencePair.model_fields["prompt"].annotation is str
