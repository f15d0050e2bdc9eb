"""Stellar's table: its plan, its verdicts on planted scores, rates of failures by hand, and two cases end to end."""

import copy
import math
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts import ROOT, load_script
from tiny_sdxl import build_tiny_sdxl

from likeness.core.errors import ConfigError, MeasurementError
from likeness.core.files import read_json, write_json
from likeness.core.records import read_cases
from likeness.train.config import read_train_config
from likeness.train.subjects.photos import PhotoTable, find_subjects

EXPERIMENT = "experiments/stellar_table"
run: Any = load_script(f"{EXPERIMENT}/run.py")
lab_module: Any = run.Lab.case_file.__globals__
tables_module: Any = run.write_tables.__globals__
analysis: Any = tables_module["mean_row"].__globals__
failures: Any = run.look_at.__globals__
Scores: Any = analysis["Scores"]
write_scores: Any = lab_module["write_scores"]
PLAN: dict[str, Any] = tomllib.loads((ROOT / EXPERIMENT / "plan.toml").read_text(encoding="utf-8"))
CASES = [
    f"stellar-world-v1-{person:03d}-{photo}-{prompt:02d}"
    for person in range(8)
    for photo in (0, 1)
    for prompt in (0, 3)
]


def planted(lab: Any, name: str, value: Callable[[str, str], str], **meta: Any) -> Any:
    """Scores of the test whose cells are value(case, metric)."""
    rows = {(case, 1.0): {metric: value(case, metric) for metric in PLAN["metrics"]} for case in CASES}
    write_scores(lab.scores_file("test", name), Scores({"encoders": {"clip": "clip x"}, **meta}, rows))
    return analysis["read"](lab, "test", name)


def around(level: float, *, seed: int) -> Callable[[str, str], str]:
    """Cells near a level, SIS below IPS by a tenth."""
    rng = np.random.default_rng(seed)
    noise = {case: rng.normal(0, 0.02) for case in CASES}
    lower = {"sis_paper": 0.1, "sis_excluding": 0.1}
    return lambda case, metric: f"{level + noise[case] - lower.get(metric, 0.0):.4f}"


@pytest.fixture
def lab(tmp_path: Path) -> Any:
    """The plan with nothing drawn."""
    return run.Lab(PLAN, tmp_path / "out", tmp_path / "results")


# -- the plan --------------------------------------------------------------------------------------------------
def test_every_method_can_be_drawn_and_trained() -> None:
    for name, table in PLAN["methods"].items():
        assert table["kind"] in lab_module["KINDS"], name
    table = PLAN["methods"]["stellarnet"]
    changes = [f"{key}={value}" for key, value in table["changes"].items()]
    assert read_train_config(ROOT / "recipes" / "stellarnet.toml", changes=changes).train.steps == 1200
    table = PLAN["methods"]["elite"]
    changes = [f"{key}={value}" for key, value in {**table["and_then"], "model.inversion": "x"}.items()]
    assert read_train_config(ROOT / "recipes" / "elite.toml", changes=changes).train.steps == 400
    analysed = PLAN["analysis"]
    assert {analysed["later"], *analysed["rivals"], *PLAN["failures"]["methods"]} <= PLAN["methods"].keys()
    assert {*analysed["claimed"], *analysed["gains"], analysed["choose"]} <= {*PLAN["metrics"]}


def test_a_tuned_method_waits_for_its_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plan = '[methods.dreambooth]\nrecipe = "dreambooth"\nnamed = "sks {}"\n'
    (tmp_path / "plan.toml").write_text(plan, encoding="utf-8")
    monkeypatch.setitem(lab_module, "TUNED", tmp_path)
    with pytest.raises(ConfigError, match=r"dreambooth\.json: expected the try that was chosen, got none; run"):
        lab_module["settings"]("dreambooth")
    rows = {f"dreambooth-{i}": {"chosen": i == 1, "changes": {"train.steps": 100 * (i + 1)}} for i in range(2)}
    write_json(tmp_path / "dreambooth.json", rows)
    found = lab_module["settings"]("dreambooth")
    assert (found["changes"], found["named"]) == ({"train.steps": 200}, "sks {}")


def test_methods_that_learn_a_person_are_shown_its_photos_with_masks(lab: Any, tmp_path: Path) -> None:
    one = lab._replace(plan={**PLAN, "people": {"test": 1, "validation": 1}, "turns": {"test": 1, "validation": 1}})
    case = read_cases(one.case_file("test")).cases[0]
    folder = lab_module["photo_folder"](case, out=tmp_path / "photos")
    table = PhotoTable(photos=[folder.as_posix()], class_words=["person"], tokens=["<x>"], size=128)
    (subject,) = find_subjects(table)
    assert len(subject.photos) == len(case.subjects[0].photos) > 0
    for photo in subject.photos:
        assert photo.mask is not None
        inside, pixels = np.asarray(photo.mask) > 0, np.asarray(photo.image, dtype=np.float64)
        assert 0.05 < inside.mean() < 0.95
        assert pixels[inside].std() > 2 * pixels[~inside].std()  # the backdrop is plain, the person is not


class NothingDrawnError(Exception):
    """Ends a test before the maker is loaded."""


def test_a_second_training_goes_on_from_the_first(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, Any]] = []
    cost = lab_module["Cost"]

    def learn(recipe: str, *, changes: Any, out: Path) -> tuple[Path, Any]:
        seen.append((recipe, changes))
        return out / "inversion", cost(seconds=10.0 * len(seen), steps=100.0, megabytes=1.0)

    monkeypatch.setitem(lab_module, "learn", learn)
    monkeypatch.setattr("likeness.generate.makers.maker_for", lambda load, adapters: seen.append(("drawn", adapters)))

    def nothing(spec: Any) -> Any:
        raise NothingDrawnError

    monkeypatch.setattr("likeness.generate.makers.read_options", lambda load, given, folder: nothing(given))
    wanted = lab_module["Wanted"]("elite", "test", lab.case_file, {"word": "0"})
    with pytest.raises(NothingDrawnError):
        lab_module["_trained_once"](wanted, lab, lab.out / "pictures")
    (first, _), (second, changes), (_, adapters) = seen
    assert (first, second) == ("elite", "elite")
    assert changes["model.inversion"] == (lab.out / "elite" / "run" / "inversion").as_posix()
    assert adapters == [lab.out / "elite" / "and_then" / "inversion"]


# -- verdicts --------------------------------------------------------------------------------------------------
def test_a_planted_lead_a_tie_and_a_loss_are_told_apart(lab: Any) -> None:
    methods = {
        "stellarnet": planted(lab, "stellarnet", around(0.6, seed=0)),
        "ip_adapter": planted(lab, "ip_adapter", around(0.4, seed=1)),
        "uno": planted(lab, "uno", around(0.6, seed=2)),
    }
    rows = analysis["claim_rows"](methods, PLAN)
    assert len(rows) == 6
    assert {row["verdict"] for row in rows if row["earlier"] == "ip_adapter"} == {"above"}
    assert {row["verdict"] for row in rows if row["earlier"] == "uno"} == {"undecided"}
    first = rows[0]
    mine, theirs = (methods[name].values("ips_excluding") for name in ("stellarnet", "ip_adapter"))
    by_person = [
        np.mean([mine[case] - theirs[case] for case in CASES if f"-{person:03d}-" in case]) for person in range(8)
    ]
    assert first["mean"] == pytest.approx(np.mean(by_person))
    assert first["p_holm"] >= first["p"]
    swapped = {"stellarnet": methods["ip_adapter"], "uno": methods["stellarnet"]}
    assert {row["verdict"] for row in analysis["claim_rows"](swapped, PLAN)} == {"below"}


def test_gains_are_those_of_tuned_methods_over_the_untrained_model(lab: Any) -> None:
    methods = {
        "base": planted(lab, "base", around(0.1, seed=0)),
        "dreambooth": planted(lab, "dreambooth", around(0.4, seed=1)),
        "uno": planted(lab, "uno", around(0.9, seed=2)),
    }
    rows = analysis["gain_rows"](methods, PLAN)
    assert [(row["later"], row["metric"]) for row in rows] == [("dreambooth", m) for m in PLAN["analysis"]["gains"]]
    assert all(row["ci_low"] > 0 for row in rows)
    assert analysis["gain_rows"]({"dreambooth": methods["dreambooth"]}, PLAN) == []


def test_an_excluded_picture_counts_0_and_one_without_a_value_not(lab: Any) -> None:
    def value(case: str, metric: str) -> str:
        if metric == "ips_excluding":
            return "excluded" if case.endswith("-00") else "0.8"
        return "nothing_found" if metric == "ips_fixed" and case.endswith("-00") else "0.5"

    one = planted(lab, "uno", value)
    row = analysis["mean_row"](one, "ips_excluding")
    assert (row["mean"], row["excluded"], row["missing"]) == (pytest.approx(0.4), 0.5, 0)
    row = analysis["mean_row"](one, "ips_fixed")
    assert (row["mean"], row["n"], row["missing"]) == (pytest.approx(0.5), 16, 16)


def test_no_table_is_written_where_stability_lies_above_identity(lab: Any) -> None:
    planted(lab, "uno", lambda case, metric: "0.61" if metric == "sis_paper" else "0.6")
    with pytest.raises(
        MeasurementError, match=r"expected SIS <= IPS in every picture, got 32 above; first: uno stellar"
    ):
        run.write_tables(lab)


def test_the_prompt_of_a_case_is_read_from_its_id() -> None:
    assert analysis["person_of"]("stellar-world-v1-validation-203-1-04") == "203"
    assert (
        analysis["prompt_of"]("stellar-world-v1-000-0-00") == "{} is playing guitar along the scenic countryside road."
    )
    same = analysis["prompt_of"]("stellar-world-v1-validation-203-1-04")
    assert same == analysis["prompts_of"](3, "validation")[4][2].text


def test_correlations_of_what_is_the_same_and_of_what_is_opposite(lab: Any) -> None:
    def value(case: str, metric: str) -> str:
        level = int(case[-6:-4].strip("-") or 0) / 10 + int(case[-8:-5]) / 8
        return f"{1 - level if metric == 'clip_t' else level:.4f}"

    found = analysis["correlation_map"]({"uno": planted(lab, "uno", value)})
    assert found["ips_excluding", "sis_excluding"]["mean"] == pytest.approx(1)
    assert found["clip_t", "ips_excluding"]["mean"] == pytest.approx(-1)
    blocks = analysis["block_means"](found)
    assert blocks["identity", "identity"] == pytest.approx(1)
    assert blocks["text to image", "identity"] == pytest.approx((-1 + 1 + 1) / 3)


def test_the_tables_name_all_methods_costs_and_rates(lab: Any) -> None:
    cost = {"seconds": 10.0, "steps": 100.0, "megabytes": 1.0}
    planted(lab, "base", around(0.1, seed=3))
    planted(lab, "stellarnet", around(0.6, seed=0), costs={"all": {**cost, "seconds": 700.0}}, processor="x86")
    planted(lab, "dreambooth", around(0.4, seed=1), costs={"a": cost, "b": {**cost, "seconds": 30.0}})
    run.write_tables(lab)
    text = (lab.results / "tables.md").read_text(encoding="utf-8")
    assert "| DreamBooth (LoRA) | 20.0 | 100.0 | 1.0 | 0 | 0 | 0 |" in text
    assert "| StellarNet | 0 | 0 | 0 | 700.0 | 100.0 | 1.0 |" in text
    assert "Not drawn yet: ELITE, IP-Adapter-Plus, UNO, Textual Inversion, Custom Diffusion, ED-LoRA." in text
    assert "not recorded: untrained SDXL, DreamBooth (LoRA); x86: StellarNet." in text
    assert "Checked in each of 96 pictures" in text
    (ips,) = [line for line in text.splitlines() if line.startswith("| identity | IPS (excluding)")]
    assert [cell.startswith("**") for cell in ips.split(" | ")[2:]] == [False, True, False]
    assert read_json(lab.results / "results.json")["gains"][0]["later"] == "dreambooth"


# -- failures --------------------------------------------------------------------------------------------------
def test_the_cases_of_failures_ask_for_two_people_an_outfit_and_nothing_else() -> None:
    found = {name: scenario for name, _, scenario in failures["scenarios"](PLAN)}
    each = sum(len(PLAN["failures"][kind]) for kind in ("together", "plain", "dressed"))
    assert len(found) == PLAN["failures"]["people"] * each
    one = found["together-hug-003"]
    assert failures["caption"](one).startswith("A person is hugging a person")
    assert one.identities[0] != one.identities[1]
    assert "in a police outfit" in failures["caption"](found["dressed-police-003"])
    assert found["dressed-police-003"].action == found["plain-wave-003"].action
    both = failures["failing"](one)
    assert both.identities == (one.identities[0],) * 2
    dressed = found["dressed-police-003"]
    bare = failures["failing"](dressed)
    assert (bare.outfits, bare.identities[0].beard != dressed.identities[0].beard) == ((), True)
    assert failures["failing"](found["plain-wave-003"]) == found["plain-wave-003"]


def test_rates_of_failures_by_hand() -> None:
    who, face = failures["who_is"], failures["face_attributes"]
    people = range(PLAN["failures"]["people"])
    wearing = [p for p in people if who(p, "test").accessory != "none"][:3]
    bare = next(p for p in people if who(p, "test").accessory == "none")
    rows: dict[tuple[str, float], dict[str, str]] = {}

    def add(name: str, person: int, **cells: str) -> None:
        rows[f"{name}-{person:03d}", 1.0] = {"alike": "", "accessory": "", "bearded": "", **cells}

    for person, alike in zip((0, 1, 2), ("0.9", "0.2", ""), strict=True):
        add("together-hug", person, alike=alike)
    reads = (who(wearing[0], "test").accessory, "none", "")
    for person, accessory in zip(wearing, reads, strict=True):
        add("dressed-police", person, accessory=accessory, bearded="yes")
        add("plain-wave", person, bearded="yes")
    add("dressed-police", bare, accessory="cap", bearded="no")
    add("plain-wave", bare, bearded="yes")
    scores = Scores({"same_person": 0.5}, rows)
    judged = {name: list(judge(scores, PLAN)) for name, judge in failures["CATEGORIES"].items()}
    assert [each.failed for each in judged["alike"]] == [True, False, None]
    assert [each.failed for each in judged["carried"]] == [True, False, None]
    assert [each.failed for each in judged["changed"]] == [False, False, False, True]
    assert judged["changed"][-1].badness == float(face(who(bare, "test"))["Bearded"] != "no")


def test_a_rate_has_wilsons_interval() -> None:
    found = failures["rate"]([True, *[False] * 9, None])
    z, n, p = 1.959964, 10, 0.1
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    ends = [(middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)]
    assert [found["ci_low"], found["ci_high"]] == pytest.approx(ends)
    assert (found["mean"], found["n"], found["unmeasured"]) == (0.1, 10, 1)
    assert math.isnan(failures["rate"]([None])["mean"])


# -- end to end ------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_two_cases_end_to_end_on_a_tiny_sdxl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Untrained, with references and tuned; a second call draws nothing; the tables follow from the scores."""
    model = str(build_tiny_sdxl(tmp_path / "sdxl"))
    plan = copy.deepcopy(PLAN) | {
        "steps": 1,
        "people": {"test": 2, "validation": 2},
        "turns": {"test": 1, "validation": 1},
    }
    plan["methods"] = {name: {**PLAN["methods"][name], "base": model} for name in ("base", "ip_adapter", "dreambooth")}
    once = {"train.steps": 1, "train.warmup": 0, "train.batch_size": 1, "data.count": 2, "data.size": 32}
    tries = [{"word": word, "lora_scale": 1.0} for word in ("0", "full")]
    plan["methods"]["stellarnet"] = PLAN["methods"]["stellarnet"] | {"base": model, "changes": once, "tries": tries}
    plan["encoders"] = ["faces", "face_attributes"]
    plan["failures"] = PLAN["failures"] | {"people": 2, "methods": ["ip_adapter"]}
    plan["metrics"] = [m for m in PLAN["metrics"] if m[:3] not in ("goa", "rfs")]
    changes = {"train.steps": 1, "train.batch_size": 1, "objective.prior_weight": 0.0, "data.size": 32}
    tuned = {"recipe": "dreambooth", "named": "sks {}", "changes": changes}
    monkeypatch.setitem(lab_module, "settings", lambda name: tuned)
    lab = run.Lab(plan, tmp_path / "out", tmp_path / "results")
    run.test(lab, list(plan["methods"]))
    files = [lab.scores_file("test", name) for name in plan["methods"]]
    before = [file.read_bytes() for file in files]
    assert len(read_cases(lab.case_file("test")).cases) == 2
    monkeypatch.setitem(lab_module, "KINDS", {})
    run.test(lab, list(plan["methods"]))
    assert [file.read_bytes() for file in files] == before
    run.write_tables(lab)
    costs = {row["method"]: row for row in read_json(lab.results / "results.json")["costs"]}
    assert (costs["dreambooth"]["people"], costs["dreambooth"]["steps_each"]) == (2, 1)
    assert (costs["stellarnet"]["people"], costs["stellarnet"]["steps_once"]) == (0, 1)
    assert len(read_json(lab.results / "chosen.json")["stellarnet"]["tries"]) == 2
    monkeypatch.undo()
    run.failures(lab, ["ip_adapter"])
    rows = failures["rate_rows"](lab)
    assert {(row["method"], row["category"]) for row in rows} == {
        (method, category) for method in ("truth", "planted", "ip_adapter") for category in failures["CATEGORIES"]
    }
    assert (lab.results / "failures-truth.png").is_file()
    late = lab._replace(results=tmp_path / "late", until=0.0)
    with pytest.raises(lab_module["TimeIsOverError"]):
        run.test(late, ["base"])
