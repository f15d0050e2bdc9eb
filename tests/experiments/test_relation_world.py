"""The experiment on relations: its plan, its verdicts on planted scores, and two cases from training to tables."""

from __future__ import annotations

import json
import random
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tiny_encoders as tiny
from scripts import ROOT, load_script
from tiny_ms import build_tiny_ms

from likeness.backbones.sdxl.ms_diffusion import SdxlMsDiffusion
from likeness.core.errors import ConfigError
from likeness.core.files import read_json
from likeness.core.records import read_cases
from likeness.metrics import METRICS
from likeness.train.config import read_train_config
from likeness.world.identity import split_of_identity

EXPERIMENT = "experiments/relation_world"
run: Any = load_script(f"{EXPERIMENT}/run.py")
lab_module: Any = run.do_row.__globals__
cases_module: Any = lab_module["case_facts"].__globals__
tables_module: Any = run.write_tables.__globals__
analysis_module: Any = tables_module["results"].__globals__
Scores, CaseFacts = lab_module["Scores"], lab_module["case_facts"].__globals__["CaseFacts"]
PLAN: dict[str, Any] = tomllib.loads((ROOT / EXPERIMENT / "plan.toml").read_text(encoding="utf-8"))


# -- the plan --------------------------------------------------------------------------------------------------
def test_every_claim_and_table_is_of_rows_and_metrics_that_are_drawn() -> None:
    claims = analysis_module["claims"](PLAN)
    assert len(claims) == len(set(claims)) == 23
    assert {name for claim in claims for name in (claim.later, claim.earlier)} <= PLAN["rows"].keys()
    assert {claim.metric for claim in claims} <= set(PLAN["metrics"])
    assert set(PLAN["metrics"]) <= METRICS.keys()
    assert {name for names in PLAN["tables"].values() for name in names} == PLAN["rows"].keys()
    assert PLAN["cases"]["test"] * len(cases_module["RELATIONS"]) >= 512


def test_every_lora_is_one_that_the_recipe_knows() -> None:
    for row in (row for row in PLAN["rows"].values() if "changes" in row):
        changes = [f"{key}={str(value).lower()}" for key, value in {**PLAN["train"], **row["changes"]}.items()]
        config = read_train_config(ROOT / PLAN["recipe"], changes=changes)
        assert getattr(config.data, "local_tokens", None) == row["options"]["local_tokens"]


def test_the_first_rate_within_the_tie_is_chosen() -> None:
    choose = lab_module["choose"]
    assert choose({"0.0003": 0.50, "0.001": 0.505}, tie=0.01) == 0.0003
    assert choose({"0.0003": 0.50, "0.001": 0.52}, tie=0.01) == 0.001


# -- cases -----------------------------------------------------------------------------------------------------
def test_boxes_overlap_where_they_share_more_than_an_edge() -> None:
    overlaps = cases_module["overlaps"]
    assert overlaps((0.0, 0.0, 0.5, 1.0), (0.4, 0.5, 1.0, 1.0))
    assert not overlaps((0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0))
    assert not overlaps((0.0, 0.0, 0.5, 0.4), (0.4, 0.5, 1.0, 1.0))


def test_cases_are_of_unseen_subjects_of_two_species_in_the_boxes_of_the_relation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cases_module, "RELATIONS", ("hug", "chase"))
    path = cases_module["build_cases"](tmp_path, per_relation=2, split="test")
    cases = read_cases(path).cases
    assert [case.action for case in cases] == ["hug", "chase"] * 2
    for number, case in enumerate(cases):
        scenario = cases_module["scenario_of"](case.action, number // 2, split="test")
        assert len({who.species for who in scenario.identities}) == 2
        assert all(split_of_identity(who) == "test" for who in scenario.identities)
        assert case.layout is not None
        assert case.layout.phrases == tuple(subject.class_name for subject in case.subjects)
        assert (tmp_path / "truth" / f"{case.id}.png").is_file()
    assert cases[0].layout is not None
    assert cases[2].layout is not None
    assert cases[0].layout.boxes == cases[2].layout.boxes
    facts = cases_module["case_facts"](path)
    assert facts[cases[0].id].relation == "hug"


# -- verdicts --------------------------------------------------------------------------------------------------
def planted(*, seed: int, shift: dict[str, float], facts: dict[str, Any], only_overlap: float = 0.0) -> Any:
    """Scores of every metric: 0.5, noise that the case shares, noise of its own, and what is planted."""
    shared, own = random.Random(0), random.Random(seed)
    rows: dict[Any, dict[str, str]] = {}
    for case, fact in facts.items():
        common, cells = shared.gauss(0, 0.1), dict[str, str]()
        for metric in PLAN["metrics"]:
            more = only_overlap if metric == "leakage" and fact.overlaps else 0.0
            cells[metric] = f"{0.5 + common + own.gauss(0, 0.05) + shift.get(metric, 0.0) + more:.4f}"
        rows[case, 1.0] = cells
    return analysis_module["Measured"](Scores({}, rows), facts)


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    """512 cases of 16 relations, every other with boxes that overlap."""
    return {
        f"{relation}-{number:02d}": CaseFacts(
            frozenset({f"{relation}-{number}-a", f"{relation}-{number}-b"}), str(relation), number % 2 == 0
        )
        for relation in range(16)
        for number in range(32)
    }


@pytest.fixture(scope="module")
def rows(facts: dict[str, Any]) -> dict[str, Any]:
    """The LoRA is 0.1 better in RFS-G, worse in CLIP-R; local tokens leak less, but only where boxes overlap."""
    return {
        "base": planted(seed=1, shift={}, facts=facts),
        "lora": planted(seed=2, shift={"rfs_g": 0.1, "clip_r": -0.1}, facts=facts),
        "keypoint": planted(seed=3, shift={"rfs_g": 0.1, "pose_error": -0.05}, facts=facts),
        "local": planted(seed=4, shift={"rfs_g": 0.1}, facts=facts, only_overlap=-0.1),
    }


def test_planted_effects_are_found_with_their_sign_and_noise_is_undecided(rows: dict[str, Any]) -> None:
    found = {
        (row["later"], row["earlier"], row["metric"], row["overlap"]): row
        for row in analysis_module["claim_rows"](rows, PLAN)
    }
    assert found["lora", "base", "rfs_g", False]["verdict"] == "better"
    assert found["lora", "base", "clip_r", False]["verdict"] == "worse"
    assert found["keypoint", "lora", "pose_error", False]["verdict"] == "better", "a smaller error is better"
    assert found["keypoint", "lora", "rfs_g", False]["verdict"] == "undecided"
    assert found["local", "lora", "leakage", True]["verdict"] == "better"
    assert found["local", "lora", "leakage", True]["mean"] == pytest.approx(-0.1, abs=0.02)
    assert found["local", "lora", "leakage", True]["n"] == 256
    assert found["local", "lora", "dino", False]["verdict"] == "undecided"
    assert all(row["p_holm"] >= row["p"] for row in found.values())
    assert not any("both" in key for key in found), "a row that was not drawn has no claim"


def test_what_one_relation_alone_gains_is_no_claim_about_relations(facts: dict[str, Any]) -> None:
    """All 32 subjects of one relation gain, sure by subject; another relation need not."""
    base = planted(seed=1, shift={}, facts=facts)
    found = {
        key: {**cells, "rfs_g": f"{float(cells['rfs_g']) + 0.3:.4f}"} if key[0].startswith("3-") else cells
        for key, cells in base.scores.rows.items()
    }
    lora = analysis_module["Measured"](Scores({}, found), facts)
    told = analysis_module["claim_rows"]({"base": base, "lora": lora}, PLAN)
    (row,) = [each for each in told if each["metric"] == "rfs_g"]
    assert row["mean"] == pytest.approx(0.3 / 16, abs=1e-3)
    assert (row["ci_low"] < 0, row["p"] > 0.05, row["verdict"]) == (True, True, "undecided")


def test_a_difference_is_the_mean_of_the_cases_differences(rows: dict[str, Any], facts: dict[str, Any]) -> None:
    """Every subject is in one case, so the mean over subjects is the plain one; a missing value leaves its pair out."""
    lora, base = (rows[name].values("rfs_g") for name in ("lora", "base"))
    mean = sum(lora[case] - base[case] for case in facts) / len(facts)
    assert rows["lora"].minus(rows["base"], "rfs_g").interval.mean == pytest.approx(mean, abs=1e-9)
    gone = dict(rows["lora"].scores.rows)
    first = next(iter(gone))
    gone[first] = {**gone[first], "rfs_g": "nothing_found"}
    left = analysis_module["Measured"](Scores({}, gone), facts).minus(rows["base"], "rfs_g").interval
    assert (left.n, left.missing) == (512, 1) or (left.n, left.missing) == (511, 1)


def test_tables_name_every_row_drawn(rows: dict[str, Any]) -> None:
    told = "\n".join(tables_module["sections"](analysis_module["results"](rows, PLAN), PLAN))
    for name in rows:
        assert f"| {PLAN['rows'][name]['label']} |" in told
    assert re.search(r"\| \+ LoRA - MS-Diffusion \| RFS-G up \| \+0\.(09|10)\d+ \[", told)
    assert "leakage where boxes overlap" in told
    assert "Beside models" not in told


# -- models and two cases ----------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build_tiny_ms(tmp_path_factory.mktemp("ms") / "ms")
    tiny.write_clip(folder / "local_encoder")
    (folder / "local_encoder" / "local_tokens.json").write_text(json.dumps({"side": 64}))
    shutil.copytree(tiny.write_clip(folder.parent / "clip"), folder / "feature_extractor", dirs_exist_ok=True)
    return folder


@pytest.mark.parametrize(
    ("local", "said"),
    [
        ("linear", {"injection": "linear", "encoder": "local"}),
        ("addition", {"injection": "addition", "encoder": "local"}),
        ("own", {"injection": "concatenation", "encoder": "local"}),
        ("clip", {"injection": "concatenation", "encoder": "clip"}),
    ],
)
def test_a_copy_of_the_model_has_another_local_encoder(
    model: Path, tmp_path: Path, local: str, said: dict[str, str]
) -> None:
    lab = run.Lab({"base": str(model), "rows": {}}, tmp_path, tmp_path)
    folder = Path(lab_module["model_of"](lab, {"local": local}))
    settings = read_json(folder / "local_encoder" / "local_tokens.json")
    assert {**settings, **said, "side": 64} == settings
    weights = (folder / "local_encoder" / "model.safetensors").read_bytes()
    assert (weights == (model / "local_encoder" / "model.safetensors").read_bytes()) == (
        local in ("linear", "addition")
    )
    assert (weights == (folder / "image_encoder" / "model.safetensors").read_bytes()) == (local == "own")
    if local == "own":
        SdxlMsDiffusion.load(folder).parts.local_encoder  # noqa: B018 it opens
    assert (model / "local_encoder" / "local_tokens.json").read_text() == json.dumps({"side": 64})


@pytest.mark.slow
def test_two_cases_from_training_to_tables(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two relations with a case each, a row without a LoRA and one with a trained injection; nothing is done twice."""
    monkeypatch.setitem(cases_module, "RELATIONS", ("hug", "kiss"))
    kept = {name: PLAN["rows"][name] for name in ("base", "lora", "linear")}
    plan = {
        **PLAN,
        "base": str(model),
        "encoders": [],
        "metrics": ["dino", "attribute_accuracy"],
        "cases": {"validation": 1, "test": 1},
        "examples": {"n": 2, "size": 64, "seed": 0},
        "train": {**PLAN["train"], "train.steps": 1, "train.batch_size": 1, "model.rank": 2},
        "drawing": {"steps": 1},
        "rows": kept,
        "search": {**PLAN["search"], "metric": "dino", "rates": [1e-3]},
        "tables": {"Table": list(kept)},
        "claims": [{"later": "linear", "earlier": "base", "metrics": ["dino"]}],
    }
    lab = run.Lab(plan, tmp_path / "out", tmp_path / "results", relations=("hug", "kiss"))
    run.draw_rows(lab, ["base", "linear"])
    assert read_json(lab.results / "chosen.json")["rate"] == 1e-3
    scores = lab.scores("linear", "test")
    assert set(scores.meta["adapters_sha256"]) == {"hug", "kiss"}
    assert len(set(scores.meta["adapters_sha256"].values())) == 2
    assert scores.meta["settings"]["local_tokens"] is True
    assert (tmp_path / "out" / "adapters" / "linear-0.001" / "hug" / "lora" / "injection.safetensors").is_file()
    assert lab.scores("base", "test").meta["settings"]["local_tokens"] is False
    told = (lab.results / "tables.md").read_text()
    assert "both, linear injection - MS-Diffusion" in told
    before = {path: path.read_bytes() for path in lab.results.rglob("*") if path.is_file()}
    monkeypatch.setitem(lab_module, "draw_batched", None)
    run.draw_rows(lab, ["base", "linear"])
    run.write_tables(lab)
    assert before == {path: path.read_bytes() for path in lab.results.rglob("*") if path.is_file()}


def test_a_row_that_there_is_not_is_told() -> None:
    with pytest.raises(ConfigError, match="--row: expected one of base, lora"):
        run.main(["--row", "lore"])
