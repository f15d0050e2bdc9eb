"""The experiment's arithmetic, and what its tables hold."""

import itertools
import json
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scripts import ROOT, load_script
from stub_judge import LoadStub

from likeness.core.files import write_json, write_jsonl
from likeness.core.pairs import read_pairs
from likeness.data.pairs.dip import make_pairs
from likeness.evaluate.compare import Wanted, compare_methods
from likeness.world.render import render
from likeness.world.scenario import sample_scenario
from likeness.world.scenes import SCENES

EXPERIMENT = "experiments/focusdpo_world"
NAMES = ("analysis", "field", "margin", "plots", "run", "tables")
analysis, field, margin, plots, run, tables = (load_script(f"{EXPERIMENT}/{name}.py") for name in NAMES)
elsewhere, world_runs = (load_script(f"experiments/{name}.py") for name in ("elsewhere", "world_runs"))


def scores(seed: int, *, subjects: int = 12, per_subject: int = 2, shift: float = 0.0) -> dict[str, tuple[str, float]]:
    rng = np.random.default_rng(seed)
    return {
        f"case-{s}-{k}": (f"subject-{s}", float(rng.normal(s / 10 + shift, 0.1)))
        for s, k in itertools.product(range(subjects), range(per_subject))
    }


def measured_run(folder: Path, values: dict[str, tuple[str, float]]) -> Path:
    (folder / "evaluation").mkdir(parents=True)
    rows = [
        {
            **{"id": name, "case_id": name, "group": group, "subjects": [group], "prompt": f"prompt {name}"},
            "values": {"dino": {"value": value, "note": ""}},
        }
        for name, (group, value) in values.items()
    ]
    write_jsonl(folder / "evaluation" / "scores.jsonl", rows)
    write_json(folder / "evaluation" / "summary.json", {"metrics": {}, "inputs_sha256": folder.name})
    return folder


def test_tables_have_the_promised_columns(tmp_path: Path) -> None:
    runs = {
        "base": [measured_run(tmp_path / "base", scores(0))],
        "dpo": [measured_run(tmp_path / f"dpo{i}", scores(i, shift=0.1)) for i in (1, 2)],
    }
    place = {"backbone": "flux_uno_world", "benchmark": "world-multi"}
    (first, second) = analysis.result_rows(runs, **place)
    assert set(first) == {"backbone", "benchmark", "metric", "method", "seeds", "n", "mean", "ci_low", "ci_high"}
    assert [(r["method"], r["seeds"], r["n"]) for r in (first, second)] == [("base", 1, 24), ("dpo", 2, 48)]
    (row,) = analysis.difference_rows(runs, **place)
    assert analysis.difference_rows(runs, **place, against=("base",)) == [row]
    assert analysis.difference_rows(runs, **place, against=("dpo",)) == []
    assert {*place, "metric", "method_a", "method_b", "mean", "ci_low", "ci_high"} <= set(row)
    assert (row["method_a"], row["method_b"]) == ("dpo", "base")
    assert row["mean"] == pytest.approx(second["mean"] - first["mean"], abs=1e-4)
    assert row["ci_low"] < row["mean"] < row["ci_high"]


def test_focus_share_by_tenths_weighs_pairs_not_steps() -> None:
    empty = [0.0] * 10
    one = {"focus_share_by_t": {"sum": [0.2, *empty[1:]], "count": [1.0, *empty[1:]]}}
    two = {"focus_share_by_t": {"sum": [2.4, 0.5, *empty[2:]], "count": [3.0, 1.0, *empty[2:]]}}
    assert plots.focus_share_by_decile([one, two, {"focus_share_by_t": None}]) == pytest.approx({0: 0.65, 1: 0.5})


def test_plots_are_drawn_from_tables(tmp_path: Path) -> None:
    place = {"backbone": "b", "benchmark": "world-multi", "metric": "dino", "method_a": "dpo", "method_b": "base"}
    rows = [{**place, "mean": 0.1, "ci_low": 0.0, "ci_high": 0.2}]
    plots.draw_differences(rows, out=tmp_path / "d.png")
    plots.draw_trade([*rows, {**rows[0], "metric": "clip_t"}], out=tmp_path / "t.png")
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("d.png", "t.png"))


def test_tables_are_readable_and_hold_the_numbers_of_the_files(tmp_path: Path) -> None:
    place = {"backbone": "b", "benchmark": "world-multi", "metric": "dino"}
    numbers = {"n": 40, "mean": 0.51234, "ci_low": 0.4, "ci_high": 0.6}
    results = [{**place, "method": "base", "seeds": 1, **numbers}]
    results += [{**place, "method": "dpo", "seeds": 3, **numbers, "mean": None, "ci_low": None, "ci_high": None}]
    between = {**place, "method_a": "dpo", "method_b": "base", "mean": -0.0123, "ci_low": -0.02, "ci_high": 0.001}
    for name, rows in (("results", results), ("differences", [between])):
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    (tmp_path / "why.json").write_text(json.dumps({"results": results, "differences": [between]}))
    tables.write_tables(tmp_path)
    text = (tmp_path / "tables.md").read_text()
    assert "## world-multi, 40 cases" in text
    assert "| base |  |  | 0.512 [0.400, 0.600] |" in text
    assert "| dpo |  |  | not measured |" in text
    assert "| dpo - base |  |  | -0.0123 [-0.0200, +0.0010] |" in text
    assert "Ablations" not in text
    assert "## Why, validation split: world-multi, 40 cases" in text


def test_the_chosen_try_is_the_best_that_keeps_the_prompt() -> None:
    tries = {"a": {"x": 1}, "b": {"x": 2}, "c": {"x": 3}}
    scored = {
        "base": {"clip_t": 0.60, "choice": 0.5},
        "a": {"clip_t": 0.595, "choice": 0.52},
        "b": {"clip_t": 0.58, "choice": 0.60},
        "c": {"clip_t": 0.61, "choice": 0.51},
    }
    assert run._best(tries, scored) == {"x": 1}
    assert run._best({"b": {"x": 2}}, scored) == {"x": 2}


def test_the_committed_plan_gives_every_method_as_many_tries_of_known_settings() -> None:
    import tomllib

    from likeness.train.config import read_train_config

    plan = tomllib.loads((ROOT / EXPERIMENT / "plan.toml").read_text())
    assert {len(tries) for tries in plan["search"].values()} == {3}
    recipe = ROOT / plan["recipe"]
    settings = [changes for tries in plan["search"].values() for changes in tries]
    reasons = [table["changes"] for table in plan["why"].values()]
    for changes in [plan["train"], *settings, *reasons, *plan["ablations"].values()]:
        read_train_config(recipe, changes=[f"{key}={value}" for key, value in changes.items()])
    experiment = run.Experiment(plan=plan, out=ROOT / "out", workers=1, results=ROOT / "results")
    for method, tries in plan["search"].items():
        for changes in tries:
            made = run.variant(experiment, "name", method, cases="test", changes=changes, seed=1)
            config = read_train_config(
                recipe, changes=[f"{key}={world_runs.toml_value(value)}" for key, value in made.changes]
            )
            assert config.objective.model_dump()["kind"] == method


def test_a_moved_picture_keeps_who_and_what_is_in_it() -> None:
    scenario = sample_scenario(5, split="train", num_subjects=2, hard=True, dressed=False)
    picture = render(scenario)
    moved = elsewhere.move(picture.image, scenario, seed="a")
    changed = (moved != picture.image).any(axis=2)
    shown = np.logical_or.reduce([subject.visible_mask for subject in picture.labels.subjects])
    assert changed.mean() > 0.3
    assert not (changed & shown).any()
    rest = [name for name in SCENES if name != scenario.scene]
    sceneries = {name: elsewhere._scenery(name, seed=scenario.seed, size=128) for name in rest}
    assert any((moved[changed] == scenery[changed]).all() for scenery in sceneries.values())
    assert (elsewhere.move(picture.image, scenario, seed="a") == moved).all()


def test_only_rejected_pictures_move_and_the_originals_stay(tmp_path: Path) -> None:
    make_pairs(2, out=tmp_path / "pairs", size=64, hard=True, judge=LoadStub())
    before = {path.name: path.read_bytes() for path in (tmp_path / "pairs" / "images").iterdir()}
    elsewhere.move_pairs(tmp_path / "pairs", out=tmp_path / "moved", split="train", hard=True)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "pairs" / "images").iterdir()}
    after = {path.name: path.read_bytes() for path in (tmp_path / "moved" / "images").iterdir()}
    assert {name for name in before if before[name] != after[name]} == {n for n in before if "rejected" in n}
    assert len(read_pairs(tmp_path / "moved").pairs) == 2


def test_what_the_field_finds_by_hand() -> None:
    """Two subjects of two tokens each among six; the first reference finds one of its own and one of the other's."""
    subjects = torch.tensor([[[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0]]]).bool()
    scores = torch.tensor([[[9.0, 1.0, 8.0, 2.0, 0.0, 0.0], [0.0, 0.0, 9.0, 8.0, 0.0, 0.0]]])
    loss = torch.tensor([[1.0, 6.0, 2.0, 3.0, 50.0, 50.0]])
    change = torch.tensor([[2.0, 8.0, 90.0, 90.0, 0.0, 0.0]])
    struck = torch.tensor([[True, False]])
    (found,) = field.measure(scores, subjects, struck, error=loss, difference=change)
    tokens = {"recall": 0.75, "on_other": 0.25, "chance": 1 / 3, "focus_share": 0.25}
    assert found == pytest.approx({**tokens, "error_ratio": 3.0, "difference_ratio": 4.0})
    hidden = subjects.clone()
    hidden[0, 1] = False
    assert not list(field.measure(scores, hidden, struck, error=loss, difference=change))
    assert field.row({"t": 0.5}, [found, found])["recall"]["mean"] == 0.75


def test_shares_of_the_margin_by_hand() -> None:
    """Two pairs of four tokens: 6 of 10 lie inside the prior, and M^2 = 1/4 on one token keeps 1."""
    tokens = torch.tensor([[4.0, 2.0, 3.0, 0.0], [0.0, 0.0, 2.0, -1.0]])
    prior = torch.tensor([[True, True, False, False], [False, True, False, False]])
    weight = torch.tensor([[0.5, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    changed = torch.tensor([[True, True, True, False], [False, True, False, False]])
    row = margin.row("dpo", [(tokens, SimpleNamespace(prior=prior, weight=weight), changed)])
    assert row == {
        "adapter": "dpo",
        "pairs": 2,
        "prior_covers": 0.375,
        "changed_covers": 0.5,
        "margin_inside_prior": 0.6,
        "margin_inside_changed": 0.9,
        "margin_kept_by_focus": 0.1,
    }


@pytest.mark.slow
def test_the_differences_of_the_experiment_are_those_of_compare(tmp_path: Path) -> None:
    """A run of the experiment in small: base and two short trainings of FocusDPO, drawn, measured and compared."""
    plan = tomllib.loads((ROOT / EXPERIMENT / "plan.toml").read_text(encoding="utf-8"))
    plan |= {"seeds": [42, 43], "draw": {"steps": 2}, "benchmarks": {"world-multi": 4}}
    plan |= {name: {} for name in ("validation", "why_cases", "elsewhere_cases")}
    plan["pairs"] |= {"n": 8, "losers": "drawn"}
    plan["train"] |= {"train.steps": 2, "train.batch_size": 2, "train.warmup": 1}
    plan["train"] |= {"train.log_maps_every": 2, "train.save_every": 2}
    experiment = run.Experiment(plan, tmp_path / "out", tmp_path / "results", 1)
    run.build_pairs(experiment)
    run.build_cases(experiment)
    trained = [
        run.variant(experiment, f"focus-{seed}", "focus_dpo", cases="test", changes={}, seed=seed)
        for seed in plan["seeds"]
    ]
    groups = {"base": [run.Variant("base", None, "test")], "focus_dpo": trained}
    for variant in (*groups["base"], *trained):
        run.train_and_measure(variant, experiment)
    told = run.compare(groups, experiment, benchmarks=["world-multi"])["differences"]
    folders = {name: [each.pictures(experiment, "world-multi") for each in some] for name, some in groups.items()}
    wanted = Wanted("base", metrics=[row["metric"] for row in told])
    found = {
        metric["metric"]: metric["differences"][0] for metric in compare_methods(folders, wanted=wanted)["metrics"]
    }
    assert {"attribute_accuracy", "dino", "clip_t"} <= {row["metric"] for row in told}
    for row in told:
        same = found[row["metric"]]
        assert (row["method_a"], row["method_b"], row["n"]) == (same["method"], "base", same["n"])
        for key in ("mean", "ci_low", "ci_high"):
            assert row[key] == (None if same[key] is None else round(same[key], 5))
