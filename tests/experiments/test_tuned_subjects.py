"""The search of settings for methods that learn one subject: its cases, its arithmetic and its choice."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from scripts import ROOT, load_script
from tiny_sdxl import build_tiny_sdxl

from likeness.core.files import read_json
from likeness.core.records import Case
from likeness.train.config import read_train_config

EXPERIMENT = "experiments/tuned_subjects"
run: Any = load_script(f"{EXPERIMENT}/run.py")
PLAN: dict[str, Any] = tomllib.loads((ROOT / EXPERIMENT / "plan.toml").read_text(encoding="utf-8"))


def case(name: str, prompt: str, word: str) -> Case:
    subject: Any = {"id": f"{word}-1", "class_name": word, "reference_image": "a.png"}
    return Case.model_validate({"id": name, "prompt": prompt, "seed": 3, "action": "run", "subjects": [subject]})


def test_a_prompt_names_the_subject_by_other_words() -> None:
    dog = case("a", "A dog is jumping beside a hotdog.", "dog")
    assert run.with_words(dog, "sks dog") == "A sks dog is jumping beside a hotdog."
    fox = case("b", "In a field, a fox runs.", "fox")
    assert run.with_words(fox, "<rex>") == "In a field, a <rex> runs."
    assert run.with_words(fox, "old fox") == "In a field, an old fox runs."


def test_a_subject_does_what_another_case_asks() -> None:
    found = run.asked(case("a", "A dog is jumping.", "dog"), case("b", "A fox is running.", "fox"), place=0, turn=1)
    assert (found.id, found.prompt, found.seed, found.action) == ("subject-0-1", "A dog is running.", 3, "run")
    assert found.subjects[0].id == "dog-1"


def test_every_try_is_a_sound_config() -> None:
    lab = run.Lab(PLAN, Path(), Path())
    for method in PLAN["methods"]:
        for one in lab.tries(method):
            changes = [f"{key}={run.world_runs.toml_value(value)}" for key, value in one.changes.items()]
            assert read_train_config(ROOT / "recipes" / f"{one.table['recipe']}.toml", changes=changes).train.steps > 0


def scores(dino: float, action: float) -> Any:
    """Two subjects with two pictures each; the first picture's action counts as `action`."""
    rows = {
        (f"subject-{who}-{turn}", 1.0): {"dino": f"{dino + 0.1 * who}", "action_recognised": str(action if turn else 1)}
        for who in (0, 1)
        for turn in (0, 1)
    }
    return run.Scores({}, rows)


def test_a_try_is_compared_picture_by_picture() -> None:
    row = run.compared(scores(0.5, 0), scores(0.1, 1), prompts=2)
    assert (row["pictures"], row["subjects"]) == (4, 2)
    assert row["dino"]["difference"]["mean"] == pytest.approx(0.4)
    assert row["dino"]["before"] == pytest.approx(0.15)
    assert row[run.WHERE_RIGHT]["after"] == pytest.approx((0.5 + 0 + 0.6 + 0) / 4)


def test_tries_are_compared_on_the_same_subjects() -> None:
    assert {case for case, _ in run.of_first(scores(0.5, 1), subjects=1).rows} == {"subject-0-0", "subject-0-1"}


def test_the_try_with_the_most_dino_is_chosen_and_ties_go_to_the_first() -> None:
    lab = run.Lab(PLAN, Path(), Path())
    tries = lab.tries("dreambooth")
    base = scores(0.1, 1)
    rows = {one.name: run.compared(scores(0.4 + 0.1 * n, 1 - n), base, prompts=2) for n, one in enumerate(tries)}
    assert run.chosen_of(rows, tries).number == 1
    assert run.chosen_of(dict.fromkeys(rows, rows[tries[0].name]), tries).number == 0


def test_what_was_chosen_is_what_the_rule_says() -> None:
    lab = run.Lab(PLAN, Path(), ROOT / EXPERIMENT)
    for method in PLAN["methods"]:
        rows = read_json(lab.results / f"{method}.json")
        first = {
            name: run.compared(
                run.of_first(run.read_scores(lab.scores_file(name)), subjects=PLAN["search"]),
                run.read_scores(lab.scores_file(run.BASE)),
                prompts=PLAN["prompts"],
            )
            for name in rows
        }
        (chosen,) = [name for name, row in rows.items() if row["chosen"]]
        assert chosen == run.chosen_of(first, lab.tries(method)).name


@pytest.mark.slow
def test_a_search_on_a_tiny_sdxl_keeps_every_try_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "MODEL", str(build_tiny_sdxl(tmp_path / "sdxl")))
    changes = {"train.batch_size": 1, "objective.prior_weight": 0.0, "data.size": 32}
    tries = [{"train.steps": 1, "train.learning_rate": rate} for rate in (1e-4, 1e-3)]
    table = {"recipe": "dreambooth", "named": "sks {}", "changes": changes, "tries": tries}
    plan = PLAN | {"subjects": 2, "search": 1, "prompts": 2, "steps": 1, "methods": {"dreambooth": table}}
    lab = run.Lab(plan, tmp_path / "out", tmp_path / "results")
    run.base(lab, subjects=2)
    run.described(lab, subjects=2)
    assert read_json(lab.results / "described.json")["pictures"] == 4
    run.search("dreambooth", lab)
    told = read_json(lab.results / "dreambooth.json")
    assert sorted(row["subjects"] for row in told.values()) == [1, 2]
    (best,) = [row for row in told.values() if row["chosen"]]
    assert (best["subjects"], best["cost"]["steps"]) == (2, 1)
    before = (lab.results / "dreambooth.json").read_bytes()
    monkeypatch.setattr(run, "draw_prompts", None)
    run.search("dreambooth", lab)
    assert (lab.results / "dreambooth.json").read_bytes() == before
    with Image.open(run.draw_sheet(lab)) as sheet:
        assert sheet.size == (2 * 100 + 4, 3 * 100 + 4)  # photos, base and DreamBooth of two subjects
