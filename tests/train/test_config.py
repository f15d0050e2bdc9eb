"""The recipe of `likeness train`: what is wrong is named, with the closest thing that would be right."""

import re
from pathlib import Path
from typing import Any

import pytest
from scripts import ROOT

from likeness.core.errors import ConfigError
from likeness.core.spec import Spec
from likeness.objectives.dpo import Dpo
from likeness.objectives.focus_dpo import FocusDpo
from likeness.train.config import LEARNING_RATES, ModelTable, TrainTable, config_toml, read_train_config

RECIPES = Path(__file__).parents[2] / "recipes"
KINDS = "'sft', 'dpo', 'patch_dpo' or 'focus_dpo'"
GOOD = """
[model]
base = "flux"
[data]
pairs = "pairs"
[objective]
kind = "focus_dpo"
[train]
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(GOOD)
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("objective.focus.gama=0.3", r"objective.focus.gama: expected a known key, got 'gama'; did you mean gamma\."),
        ("train.learningrate=1", "did you mean learning_rate"),
        ("train.beta=5", r"train.beta: expected a known key, got 'beta'; did you mean objective.beta\."),
        ("model.zzz=1", "known are base, lora, merge_lora, quantise, rank, alpha"),
        ("objetive.beta=5", "expected a table among .*, got objetive; did you mean objective"),
        ("objective.beta", "expected table.key=value"),
        ("beta=5", "expected table.key=value"),
        ("objective.focus.tau=1.5", "objective.focus.tau: expected less than or equal to 1, got 1.5"),
        ("objective.focus.tau=-0.1", "objective.focus.tau: expected greater than or equal to 0, got -0.1"),
        ("objective.focus.gamma=2", "objective.focus.gamma: expected less than or equal to 1, got 2"),
        ("objective.focus.mode=half", "objective.focus.mode: expected 'full', 'prior'"),
        ("objective.focus.center=1", "objective.focus.center: expected a valid boolean, got 1"),
        ("model.rank=0", "model.rank: expected greater than or equal to 1, got 0"),
        ("model.rank=1.5", "model.rank: expected a valid integer, got 1.5"),
        ("model.rank=many", "model.rank: expected a valid integer, got 'many'"),
        ("model.base=''", "model.base: "),
        (
            "objective.kind=dop",
            f"objective.kind: expected {KINDS}, got 'dop'; did you mean dpo.",
        ),
        ("objective.kind=3", "objective.kind: expected 'sft', .* or 'focus_dpo', got 3; known are sft, dpo"),
        ("objective.beta=0", "objective.beta: expected greater than 0"),
        ("objective.beta=nan", "objective.beta: expected a finite number"),
        ("train.preset=fast", "train.preset: expected 'paper_literal'"),
        ("train.batch_size=0", "train.batch_size: expected greater than or equal to 1"),
        ("train.ema=1.0", "train.ema: expected less than 1"),
    ],
)
def test_a_mistake_is_named_in_one_line(recipe: Path, change: str, said: str) -> None:
    named_by_the_flag = said.replace(f"{change.partition('=')[0]}: ", re.escape(f"--set {change}: "))
    with pytest.raises(ConfigError, match=named_by_the_flag) as caught:
        read_train_config(recipe, changes=[change])
    assert "\n" not in str(caught.value)


def test_several_mistakes_are_all_told(recipe: Path) -> None:
    with pytest.raises(ConfigError, match="got 2 mistakes") as caught:
        read_train_config(recipe, changes=["objective.focus.tau=7", "train.beta=3"])
    assert "did you mean objective.beta" in str(caught.value)
    assert "--set objective.focus.tau=7: expected less" in str(caught.value)


def test_a_mistake_of_the_file_names_the_file_whatever_the_flags_say(recipe: Path) -> None:
    recipe.write_text(GOOD.replace("[train]", "[train]\nstepps = 3"))
    with pytest.raises(ConfigError, match=r"run\.toml, train\.stepps: expected a known key") as caught:
        read_train_config(recipe, changes=["train.steps=5"])
    assert "--set" not in str(caught.value)


def test_a_missing_key_table_or_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('[model]\nbase = "flux"\n[data]\n[objective]\nkind = "dpo"\n')
    with pytest.raises(ConfigError, match=r"data\.pairs: expected a value, got none"):
        read_train_config(path)
    path.write_text("[model\n")
    with pytest.raises(ConfigError, match="expected TOML"):
        read_train_config(path)
    with pytest.raises(ConfigError, match=r"nothing\.toml: expected a TOML file"):
        read_train_config(tmp_path / "nothing.toml")


def test_changes_are_laid_over_the_file(recipe: Path) -> None:
    changes = ["objective.beta=500", 'objective.focus.mode="prior"', "train.ema=0.9", "model.alpha=8"]
    config = read_train_config(recipe, changes=changes)
    objective = config.objective
    assert isinstance(objective, FocusDpo)
    assert (objective.beta, objective.kind, objective.focus.mode) == (500.0, "focus_dpo", "prior")
    other = read_train_config(recipe, changes=["objective.kind=dpo"]).objective
    assert isinstance(other, Dpo)
    assert (other.beta, other.kind) == (2000.0, "dpo")
    assert isinstance(config.model, ModelTable)
    assert (config.train.ema, config.model.alpha) == (0.9, 8.0)


def test_presets_stand_for_their_rates(recipe: Path) -> None:
    assert read_train_config(recipe).train.rate == 1e-5  # "practical"
    assert TrainTable(preset="paper_literal").rate == 1e-8
    assert LEARNING_RATES["paper_scaled"] == pytest.approx(1.0e-5, rel=0.03)  # 1e-8 x 8 GPUs x 128
    assert TrainTable(learning_rate=3e-4).rate == 3e-4
    with pytest.raises(ConfigError, match="expected it or learning_rate, got both"):
        read_train_config(recipe, changes=["train.preset=practical", "train.learning_rate=1"])


def test_a_preset_on_the_command_line_replaces_the_rate_of_the_file(recipe: Path) -> None:
    path = ROOT / "recipes" / "focus_dpo_world.toml"  # names a learning rate
    assert read_train_config(path, changes=["train.preset=paper_literal"]).train.rate == 1e-8
    recipe.write_text(GOOD + 'preset = "paper_literal"\n')
    assert read_train_config(recipe).train.rate == 1e-8
    assert read_train_config(recipe, changes=["train.learning_rate=2e-4"]).train.rate == 2e-4


@pytest.mark.parametrize(
    ("kind", "change"),
    [("sft", "sft_anchor=5"), ("sft", "weighting=elbo"), ("patch_dpo", "reduction=sum"), ("patch_dpo", "sft_anchor=1")],
)
def test_what_an_objective_does_not_read_cannot_be_set(recipe: Path, kind: str, change: str) -> None:
    key = change.partition("=")[0]
    with pytest.raises(
        ConfigError, match=rf"--set objective\.{change}: expected a known key, got '{key}'; known are kind"
    ):
        read_train_config(recipe, changes=[f"objective.kind={kind}", f"objective.{change}"])
    read_train_config(recipe, changes=["objective.kind=focus_dpo", f"objective.{change}"])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            'kind = "focus_dpo"',
            'name = "focus_dpo"',
            'objective.name: expected kind, got name; write kind = "focus_dpo".',
        ),
        ("[train]", "[focus]\ntau = 0.2\n[train]", "focus: expected no such table, .*; write it as [objective.focus]."),
        ("[train]", "[trian]", "trian: expected a known key, got 'trian'; did you mean train."),
        ('kind = "focus_dpo"', "", "objective.kind: expected a value, got none; add it."),
    ],
)
def test_tables_and_keys_that_were_renamed_are_told(recipe: Path, old: str, new: str, said: str) -> None:
    recipe.write_text(GOOD.replace(old, new))
    with pytest.raises(ConfigError, match=said.replace("[", r"\[")) as caught:
        read_train_config(recipe)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"write it as \[objective\.focus\]"):
        read_train_config(write_good(recipe), changes=["focus.tau=0.2"])


def write_good(path: Path) -> Path:
    path.write_text(GOOD)
    return path


def test_a_task_that_is_none_is_refused(recipe: Path) -> None:
    recipe.write_text('task = "pair"\n' + GOOD)
    wanted = r"task: expected 'pairs', 'local_encoder', 'relations' or 'stellarnet', got 'pair'; did you mean pairs\."
    with pytest.raises(ConfigError, match=wanted):
        read_train_config(recipe)


def test_a_pattern_that_is_none_is_refused(recipe: Path) -> None:
    with pytest.raises(ConfigError, match=r"focus\.layers=\(: expected a regular expression, got '\('"):
        read_train_config(recipe, changes=["objective.focus.layers=("])


def test_the_resolved_config_reads_back_equal(recipe: Path, tmp_path: Path) -> None:
    changes: list[Any] = ['data.pairs=C:\\\\a "b" \x7f', "train.learning_rate=1e-8", "objective.focus.center=true"]
    config = read_train_config(recipe, changes=changes)
    (tmp_path / "again.toml").write_text(config_toml(config))
    assert read_train_config(tmp_path / "again.toml") == config


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_recipes_are_sound(path: Path) -> None:
    config = read_train_config(path)
    kind = config.objective.model_dump()["kind"]
    assert path.stem == (f"{kind}_world" if config.task == "pairs" else config.task)
    text = path.read_text()
    tables: list[Spec] = [config.model, config.data, config.objective, config.train, config.samples]
    tables += inner_tables(config.objective)
    for table in tables:
        missing = [key for key in type(table).model_fields if not stands(key, text)]
        assert missing in ([], ["preset"])  # every key stands in every recipe


def inner_tables(table: Spec) -> list[Spec]:
    return [value for _, value in table if isinstance(value, Spec)]


def stands(key: str, text: str) -> bool:
    return any(line in text for line in (f"\n{key} =", f"\n# {key} =", f"\n[objective.{key}]"))


def test_recipes_differ_in_the_objective_only() -> None:
    configs = [read_train_config(path) for path in sorted(RECIPES.glob("*_world.toml"))]
    assert len(configs) == 4
    plain = [config.model_dump(exclude={"objective"}) for config in configs]
    assert all(other == plain[0] for other in plain)
