"""The second experiment: its plan, its arithmetic by hand, and its verdicts on planted scores."""

import gzip
import math
import shutil
import tomllib
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scripts import ROOT, load_script
from stub_judge import LoadStub
from tiny_sdxl import build_tiny_sdxl

from likeness.core.errors import ConfigError, DataError, LikenessError, MeasurementError
from likeness.core.files import read_json, read_jsonl, write_json, write_jsonl
from likeness.core.pairs import read_pairs
from likeness.data.pairs.dip import make_pairs
from likeness.train.config import read_train_config
from likeness.world.render import render_image
from likeness.world.scenario import caption

EXPERIMENT = "experiments/focusdpo_two_backbones"
run: Any = load_script(f"{EXPERIMENT}/run.py")
crew_module: Any = run.do_all.__globals__
lab_module: Any = run.Lab.path.__globals__
curves, design, tables, analysis, pair_kinds = (
    load_script(f"{EXPERIMENT}/{name}.py") for name in ("curves", "design", "tables", "analysis", "pair_kinds")
)
scores = load_script("experiments/scores.py")
PLAN: dict[str, Any] = tomllib.loads((ROOT / EXPERIMENT / "plan.toml").read_text(encoding="utf-8"))
METRICS = ("clip_t", "attribute_accuracy", "leakage", "dino")


def curve(*points: tuple[float, float, float, float]) -> Any:
    """Points of strength, CLIP-T, attributes and leakage."""
    names = ("clip_t", "attribute_accuracy", "leakage")
    return [curves.Point(s, dict(zip(names, means, strict=True))) for s, *means in points]


BASE = (0.0, 0.57, 0.80, 0.12)


# -- curves ----------------------------------------------------------------------------------------------------
def test_the_strength_at_equal_clip_t_by_hand() -> None:
    found = curves.at_level(curve(BASE, (0.5, 0.568, 0.82, 0.11), (1.0, 0.564, 0.86, 0.09)), 0.566)
    assert found.reached
    assert found.strength == pytest.approx(0.75)
    assert found.means == pytest.approx({"clip_t": 0.566, "attribute_accuracy": 0.84, "leakage": 0.10})
    assert found.value == pytest.approx(0.74)


def test_between_base_and_the_first_strength_the_base_is_the_neighbour() -> None:
    found = curves.at_level(curve(BASE, (0.5, 0.562, 0.84, 0.12)), 0.566)
    assert (found.strength, found.value) == pytest.approx((0.25, 0.70))


def test_the_first_crossing_counts_and_a_curve_above_the_level_says_so() -> None:
    back = curve(BASE, (0.5, 0.564, 0.82, 0.12), (1.0, 0.568, 0.84, 0.12), (1.5, 0.560, 0.9, 0.1))
    assert curves.at_level(back, 0.566).strength == pytest.approx(0.5 * 0.004 / 0.006)
    above = curves.at_level(curve(BASE, (0.5, 0.571, 0.79, 0.12), (1.5, 0.572, 0.78, 0.13)), 0.566)
    assert (above.strength, above.reached, above.value) == (1.5, False, pytest.approx(0.65))


def test_no_try_wins_by_a_hair_over_a_threshold() -> None:
    """What decided in the first experiment: tries 0.0001 on either side of a floor have nearly one value."""
    values = [curves.at_level(curve(BASE, (1.0, clip_t, 0.90, 0.10)), 0.566).value for clip_t in (0.5659, 0.5661)]
    assert values[0] == pytest.approx(values[1], abs=0.004)


def test_a_curve_at_a_clip_t_is_taken_nearest_by_and_nowhere_else() -> None:
    points = curve(BASE, (0.5, 0.568, 0.82, 0.11), (1.0, 0.564, 0.86, 0.09), (1.5, 0.568, 0.9, 0.08))
    there = curves.at_fidelity(points, 0.566, near=0.6)
    assert there.strength == pytest.approx(0.75)
    assert there.means["leakage"] == pytest.approx(0.10)
    assert curves.at_fidelity(points, 0.566, near=1.1).strength == pytest.approx(1.25)
    assert curves.at_fidelity(points, 0.564, near=0.0).strength == 1.0
    assert curves.at_fidelity(points, 0.563, near=1.0) is None
    flat = curve(BASE, (1.0, BASE[1], 0.9, 0.1))
    assert curves.at_fidelity(flat, BASE[1], near=1.0).strength in (0.0, 1.0)


def test_ties_are_broken_by_order_and_only_ties() -> None:
    def at(value: float) -> Any:
        return curves.AtLevel(1.0, {"clip_t": 0.566, "attribute_accuracy": value, "leakage": 0.0}, True)

    assert curves.choose({"a": at(0.70), "b": at(0.709), "c": at(0.71)}, tie=0.01) == "a"
    assert curves.choose({"a": at(0.69), "b": at(0.705), "c": at(0.71)}, tie=0.01) == "b"
    with pytest.raises(MeasurementError, match="expected a value of every try, got NaN for b"):
        curves.choose({"a": at(0.7), "b": at(math.nan)}, tie=0.01)


def test_what_is_no_curve_is_refused() -> None:
    with pytest.raises(MeasurementError, match="rising strengths from 0"):
        curves.at_level(curve((0.5, 0.57, 0.8, 0.1), (1.0, 0.56, 0.8, 0.1)), 0.566)
    with pytest.raises(MeasurementError, match=r"expected base at or above 0\.6"):
        curves.at_level(curve(BASE, (1.0, 0.56, 0.8, 0.1)), 0.6)
    with pytest.raises(MeasurementError, match="CLIP-T at every strength, got NaN"):
        curves.at_level(curve(BASE, (1.0, math.nan, 0.8, 0.1)), 0.566)
    with pytest.raises(MeasurementError, match="expected one from 0 to 1, got 2"):
        curves.at_strength(curve(BASE, (1.0, 0.56, 0.8, 0.1)), 2.0)


# -- scores ----------------------------------------------------------------------------------------------------
def cells(**values: float) -> dict[str, str]:
    return {name: scores.cell({"value": value, "status": "measured"}) for name, value in values.items()}


def test_scores_are_the_same_bytes_and_keep_what_was_not_measured(tmp_path: Path) -> None:
    rows = {("b", 1.0): cells(dino=0.51234), ("a", 1.5): {"dino": "nothing_found"}, ("a", 0.5): cells(dino=-1e-9)}
    first, second = tmp_path / "one.csv.gz", tmp_path / "two.csv.gz"
    scores.write_scores(first, scores.Scores({"seed": 1, "method": "dpo"}, rows))
    scores.write_scores(second, scores.Scores({"method": "dpo", "seed": 1}, dict(reversed(rows.items()))))
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes()[4:8] == b"\0\0\0\0"  # gzip's time
    assert gzip.decompress(first.read_bytes()).decode() == (
        '# {"method":"dpo","seed":1}\ncase,strength,dino\na,0.5000,0\na,1.5000,nothing_found\nb,1.0000,0.5123\n'
    )
    read = scores.read_scores(first)
    assert (dict(read.rows), dict(read.meta)) == (rows, {"seed": 1, "method": "dpo"})
    assert math.isnan(read.values("dino", strength=1.5)["a"])
    assert read.values("dino", strength=1.0) == {"b": 0.5123}
    assert read.has(["a"], strength=0.5)
    assert not read.has(["a", "b"], strength=0.5)


def test_a_status_stands_where_there_is_no_measured_number_and_damage_is_told(tmp_path: Path) -> None:
    assert scores.cell({"value": None, "status": "not_applicable"}) == "not_applicable"
    assert scores.cell({"value": 0.0, "status": "excluded"}) == "excluded"
    assert scores.cell({"value": 1.0, "status": "measured"}) == "1"
    (tmp_path / "s.csv.gz").write_bytes(b"\x1f\x8b no")
    with pytest.raises(DataError, match="expected scores, got"):
        scores.read_scores(tmp_path / "s.csv.gz")


# -- the plan --------------------------------------------------------------------------------------------------
class Known:
    """Scores that are there as far as `done` says; what a method reaches grows with `gain` per try."""

    def __init__(self, gain: Mapping[str, float] | None = None) -> None:
        self.done: dict[Path, set[float]] = {}
        self.gain = gain or {}

    def is_done(self, piece: Any) -> bool:
        return set(piece.strengths) <= self.done.get(piece.file, set())

    def curve(self, piece: Any, *, strengths: Sequence[float]) -> Any:
        gain = self.gain.get(f"{piece.method}-{piece.attempt}", 0.02)
        return curve(BASE, *((s, 0.57 - 0.004 * s, 0.8 + gain * s, 0.12) for s in strengths))

    def matched_beta(self, piece: Any) -> float:
        return piece_changes(piece)["objective.beta"] / 4

    def do(self, pieces: Sequence[Any]) -> None:
        for piece in pieces:
            self.done.setdefault(piece.file, set()).update(piece.strengths)


def piece_changes(piece: Any) -> dict[str, Any]:
    return dict(piece.changes)


def rounds(known: Known, backbone: str = "flux_uno") -> list[list[Any]]:
    """The pieces of the validation phase, round by round."""
    found: list[list[Any]] = []
    while pieces := crew_module["pending"](design.Design(PLAN, backbone).validation(known), known):
        found.append(pieces)
        known.do(pieces)
    return found


def test_the_validation_phase_goes_from_base_to_tries_to_readings_to_what_was_matched() -> None:
    known = Known({"focus_dpo-1_dilated": 0.05, "focus_dpo-1": 0.035})
    names = [[f"{p.pairs}/{p.method}-{p.attempt}" for p in some] for some in rounds(known)]
    assert names[0] == ["/base-0"]
    grid = PLAN["grid"]
    tries = [
        f"{name}-{number}" for name, table in PLAN["methods"].items() for number in range(len(grid[table["grid"]]))
    ]
    assert names[1] == [f"{pairs}/{each}" for pairs in ("dip", "redrawn") for each in tries]
    assert [name for name in names[2] if name.startswith("dip")] == [
        f"dip/focus_dpo-1_{name}" for name in PLAN["readings"]
    ]
    later = {name for some in names[3:] for name in some}
    assert {
        "dip/dpo_matched-0",
        "redrawn/dpo_matched-0",
        "elsewhere/dpo_matched-0",
        "elsewhere/focus_dpo-1_dilated",
    } <= later
    one = design.Design(PLAN, "flux_uno")
    chosen = one.chosen_of("dip", known=known)
    assert chosen is not None
    assert (chosen["focus_dpo"].attempt, chosen["focus_best"].attempt) == ("1", "1_dilated")
    assert chosen["dpo_matched"].changes == {
        "objective.kind": "dpo",
        "train.learning_rate": 1e-4,
        "objective.beta": 500.0,
    }
    assert one.is_refined("dip", chosen, known=known)
    borrowed = one.chosen_of("elsewhere", known=known)
    assert borrowed is not None
    assert set(borrowed) == set(PLAN["test"]["methods"])
    assert all(set(each.to_json()["means"]) == {"clip_t", "attribute_accuracy", "leakage"} for each in chosen.values())


def test_a_reading_that_gains_less_than_the_tie_is_not_preferred() -> None:
    known = Known({"focus_dpo-0_k_2": 0.025})
    rounds(known)
    chosen = design.Design(PLAN, "flux_uno").chosen_of("dip", known=known)
    assert chosen["focus_best"].attempt == chosen["focus_dpo"].attempt == "0"


def test_methods_share_one_grid_of_settings_that_are_known() -> None:
    rates = {each["train.learning_rate"] for tries in PLAN["grid"].values() for each in tries}
    assert (len(rates), len(PLAN["grid"]["rate"]), len(PLAN["grid"]["preference"])) == (1, 1, 2)
    assert {table["grid"] for table in PLAN["methods"].values()} == set(PLAN["grid"])
    known = Known()
    pieces = [piece for some in rounds(known) for piece in some if piece.changes is not None]
    for changes in {tuple(sorted({**PLAN["train"], **piece_changes(piece)}.items())) for piece in pieces}:
        told = [f"{key}={lab_module['world_runs'].toml_value(value)}" for key, value in changes]
        config = read_train_config(ROOT / PLAN["recipe"], changes=told)
        assert config.train.steps * config.train.batch_size == PLAN["pairs"]["n"]


def test_the_pictures_of_the_plan_are_those_of_the_protocol() -> None:
    validation, test, trainings = 0, 0, set[Path]()
    cases = {"validation": sum(PLAN["validation"].values()), "test": sum(PLAN["test"]["cases"].values())}
    assert cases == {"validation": 192, "test": 1536}
    for backbone in PLAN["backbones"]:
        known = Known({"focus_dpo-0_dilated": 0.05})
        pieces = [piece for some in rounds(known, backbone) for piece in some]
        one = design.Design(PLAN, backbone)
        chosen = {p: {n: c.to_json() for n, c in one.chosen_of(p, known=known).items()} for p in ("dip", "redrawn")}
        drawn = list(one.test(chosen))
        validation += sum(len(strengths) for strengths in known.done.values()) * cases["validation"]
        test += sum(len(piece.strengths) for piece in drawn) * cases["test"]
        trainings |= {piece.adapter for piece in (*pieces, *drawn) if piece.changes is not None}
    text = " ".join((ROOT / EXPERIMENT / "protocol.md").read_text(encoding="utf-8").split())
    for number, what in ((validation, "validation pictures"), (test, "test pictures"), (len(trainings), "trainings")):
        assert f"{number:,} {what}" in text
    assert test <= 120_000


def test_test_pieces_are_drawn_once_at_the_chosen_strength() -> None:
    choice = {
        "method": "dpo",
        "attempt": "0",
        "changes": {"objective.kind": "dpo"},
        "strength": 0.8125,
        "reached": True,
    }
    focus = choice | {"method": "focus_dpo", "attempt": "1", "strength": 0.5}
    chosen = {"dip": dict.fromkeys(PLAN["test"]["methods"], choice) | dict.fromkeys(("focus_best", "focus_dpo"), focus)}
    pieces = list(design.Design(PLAN, "sdxl").test(chosen))
    names = [f"{p.method}-{p.seed}" for p in pieces]
    assert names == ["base-0", "focus_dpo-42", "dpo-42", "focus_dpo-43", "dpo-43", "focus_dpo-44", "dpo-44"]
    assert pieces[1].strengths == (0.5,)
    assert pieces[1].file == Path("test/sdxl/dip/focus_dpo-1-seed42.csv.gz")


def test_one_piece_a_file_the_one_with_most_strengths() -> None:
    one = design.Design(PLAN, "flux_uno")
    (few, *_) = one.search("dip")["dpo"]
    many = one._full("dip", design.Chosen("dpo", "0", piece_changes(few), None))
    known = Known()
    assert crew_module["pending"]([few, many, few], known) == [many]
    known.do([few])
    assert crew_module["pending"]([few], known) == []
    assert crew_module["pending"]([few, many], known) == [many]


# -- pairs -----------------------------------------------------------------------------------------------------
def test_a_redrawn_loser_answers_the_same_prompt_with_the_wrong_subjects_elsewhere_in_the_same_scene(
    tmp_path: Path,
) -> None:
    make_pairs(3, out=tmp_path / "dip", size=64, hard=True, judge=LoadStub())
    table = {"split": "train", "hard": True, "steps": 1}
    pair_kinds.redraw_pairs(tmp_path / "dip", out=tmp_path / "redrawn", table=table, base="flux", workers=1)
    old, new = (read_jsonl(tmp_path / name / "pairs.jsonl") for name in ("dip", "redrawn"))
    assert len(read_pairs(tmp_path / "redrawn").pairs) == 3
    for before, after in zip(old, new, strict=True):
        shown, wrong = pair_kinds.scenarios(before, split="train", hard=True)
        assert (wrong.action, wrong.scene, wrong.zoom, wrong.crowd) == (
            shown.action,
            shown.scene,
            shown.zoom,
            shown.crowd,
        )
        assert wrong.seed != shown.seed
        assert after["prompt"] == before["prompt"] == caption(shown)
        struck = [i for i, subject in enumerate(before["subjects"]) if subject["disrupted"]]
        changed = {i for i in range(len(shown.identities)) if shown.identities[i] != wrong.identities[i]}
        assert changed == set(struck)
        for place in ("preferred", "prior_mask"):
            assert (tmp_path / "redrawn" / after[place]).read_bytes() == (tmp_path / "dip" / before[place]).read_bytes()
        loser = np.asarray(Image.open(tmp_path / "redrawn" / after["rejected"]))
        assert (loser == render_image(wrong, size=64)).all()
        assert not any("rejected_mask" in subject for subject in after["subjects"])
        assert all("reach" not in (subject["disruption"] or {}) for subject in after["subjects"])
    assert {path.name for path in (tmp_path / "dip" / "masks").iterdir() if "rejected" in path.name}


def test_a_row_of_another_world_is_refused() -> None:
    row = {"id": "x", "seeds": {"scenario": 5}, "subjects": [{"id": "nobody", "disrupted": False}]}
    with pytest.raises(DataError, match=r"pair of nobody: expected .* by its seed"):
        pair_kinds.scenarios(row, split="train", hard=True)


# -- one piece -------------------------------------------------------------------------------------------------
def test_a_scaled_adapter_changes_layers_so_many_times_as_much(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    (tmp_path / "lora").mkdir()
    tensors = {"unet.x.lora_A.weight": torch.ones(2, 3), "unet.x.lora_B.weight": torch.arange(6.0).reshape(3, 2)}
    save_file(tensors, tmp_path / "lora" / "pytorch_lora_weights.safetensors", metadata={"format": "pt", "a": "b"})
    path = lab_module["scaled"](tmp_path / "lora", strength=0.25)
    found = load_file(path)
    assert torch.equal(found["unet.x.lora_A.weight"], tensors["unet.x.lora_A.weight"])
    assert torch.equal(found["unet.x.lora_B.weight"], tensors["unet.x.lora_B.weight"] * 0.25)
    whole = lab_module["scaled"](tmp_path / "lora", strength=1.0)
    assert whole == tmp_path / "lora" / "pytorch_lora_weights.safetensors"


def do(lab: Any, *phases: str) -> bool:
    return run.do_all(run.Crew(lab, ("flux_uno",), phases))


@pytest.fixture
def faked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A lab of four cases whose pictures are scored by the strength; `drawn` lists what was drawn."""
    plan = {**PLAN, "validation": {"world-hard": 2, "world-multi": 2}, "metrics": list(METRICS)}
    lab = run.Lab(plan, tmp_path / "out", tmp_path / "results")
    drawn: list[tuple[str, str]] = []

    def draw(folder: Path, *, cases: Path, benchmark: str, loras: Sequence[Path], **_: Any) -> None:
        drawn.append((benchmark, folder.parent.name))
        rows = [
            {
                "case_id": row["id"],
                "values": {m: {"value": float(folder.parent.name), "status": "measured"} for m in METRICS},
            }
            for row in read_jsonl(cases)
        ]
        write_jsonl(folder / "evaluation" / "scores.jsonl", rows)
        write_json(folder / "evaluation" / "summary.json", {"encoders": {"clip": "c"}})
        model = {"sha256": "m"}
        write_json(folder / "run.json", {"model": model, "settings": {"steps": 4}, "versions": {"torch": "2"}})

    def train(changes: Mapping[str, Any], *, recipe: str, out: Path) -> Path:
        (out / "lora").mkdir(parents=True, exist_ok=True)
        (out / "lora" / "pytorch_lora_weights.safetensors").write_bytes(b"adapter")
        return out / "lora"

    shared = lab_module["world_runs"]
    monkeypatch.setattr(shared, "draw_and_measure", draw)
    monkeypatch.setattr(shared, "train", train)
    monkeypatch.setitem(lab_module, "scaled", lambda adapter, *, strength: adapter)
    monkeypatch.setattr(lab_module["_Work"], "_matched_beta", lambda _: 123.456)

    def made_pairs(kind: str, *, place: Path, **_: Any) -> None:
        (place / kind).mkdir(parents=True, exist_ok=True)

    monkeypatch.setitem(crew_module, "build_kind", made_pairs)
    monkeypatch.setitem(crew_module, "see_photos", lambda *_, done, **__: write_json(done, {}))
    return lab, drawn


def test_a_piece_goes_on_from_the_scores_there_are_and_draws_nothing_twice(faked: Any) -> None:
    lab, drawn = faked
    piece = design.Design(lab.plan, "flux_uno").search("dip")["dpo"][0]
    late = run.replace(lab, deadline=0.0)
    assert not lab_module["do_piece"](piece, lab=late)
    assert drawn == []
    assert lab_module["do_piece"](piece, lab=lab)
    units = [(b, f"{s:.4f}") for s in PLAN["strengths"]["search"] for b in ("world-hard", "world-multi")]
    assert drawn == units
    path = lab.path(piece)
    whole, before = path.read_bytes(), scores.read_scores(path)
    some = {key: row for key, row in before.rows.items() if key[1] != 1.5}
    scores.write_scores(path, scores.Scores(before.meta, some))
    shutil.rmtree(lab.out)  # another machine
    drawn.clear()
    assert not lab_module["Ledger"](lab).is_done(piece)
    assert lab_module["do_piece"](piece, lab=lab)
    assert drawn == [("world-hard", "1.5000"), ("world-multi", "1.5000")]
    assert path.read_bytes() == whole
    assert lab_module["Ledger"](lab).is_done(piece)
    assert not (lab.out / "pictures").exists() or not list((lab.out / "pictures").rglob("*.json"))


def test_scores_made_otherwise_are_not_continued(faked: Any) -> None:
    lab, _ = faked
    piece = design.Design(lab.plan, "flux_uno").base("validation")
    lab_module["do_piece"](piece, lab=lab)
    found = scores.read_scores(lab.path(piece))
    rows = {key: row for key, row in found.rows.items() if "multi" in key[0]}
    scores.write_scores(lab.path(piece), scores.Scores({**found.meta, "base_sha256": "other"}, rows))
    with pytest.raises(DataError, match="expected base_sha256 'other' as its first pictures had, got 'm'"):
        lab_module["do_piece"](piece, lab=lab)


def test_the_phases_stop_in_time_and_test_waits_for_the_choice(faked: Any) -> None:
    lab, drawn = faked
    late = run.replace(lab, deadline=0.0)
    assert not do(late, "validation")
    assert drawn == []
    late.watch(8, 8)
    with pytest.raises(lab_module["TimeIsOverError"]):
        late.watch(7, 8)
    with pytest.raises(ConfigError, match="expected choices for flux_uno, got none"):
        do(lab, "test")


def test_a_job_that_fails_is_told_at_the_end_and_done_by_the_next_run(
    faked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, _ = faked
    broken = True

    def draw(folder: Path, **given: Any) -> None:
        if broken and "/dpo-1-" in folder.as_posix():
            raise OSError("the disk is full")
        whole(folder, **given)

    whole = lab_module["world_runs"].draw_and_measure
    monkeypatch.setattr(lab_module["world_runs"], "draw_and_measure", draw)
    lab.plan["search"] = {**PLAN["search"], "pairs": ["dip"], "borrowed": {}}
    with pytest.raises(LikenessError, match=r"(?s)1 jobs failed.*dpo-1-seed42:.*the disk is full"):
        do(lab, "validation")
    assert any("sft" in name for name in (path.name for path in (lab.results / "scores").rglob("*.gz")))
    broken = False
    assert do(lab, "validation")
    assert "flux_uno" in read_json(lab.results / "chosen.json")


def test_a_claim_is_held_by_one_alone(tmp_path: Path) -> None:
    claimed = crew_module["claimed"]
    with claimed("a", folder=tmp_path) as one, claimed("a", folder=tmp_path) as two, claimed("b", folder=tmp_path) as b:
        assert (one, two, b) == (True, False, True)
    with claimed("a", folder=tmp_path) as again:
        assert again


def test_from_base_to_tables_with_pictures_that_are_only_scored(faked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every phase on made-up scores: FocusDPO and base differ by 0.1 of attributes at equal CLIP-T, DPO by 0.02."""
    lab, drawn = faked
    lab.plan["search"] = {**PLAN["search"], "pairs": ["dip"], "borrowed": {"elsewhere": "dip"}}
    lab.plan["test"] = {**PLAN["test"], "pairs": ["dip"], "cases": {"world-hard": 8, "world-multi": 4}}
    lab.plan["backbones"] = {"flux_uno": PLAN["backbones"]["flux_uno"]}

    def made_up(folder: Path, *, metrics: Sequence[str], strength: float, absent: Sequence[str] = ()) -> Any:
        gain = 0.1 if "focus_dpo" in folder.as_posix() else 0.02
        means = {"clip_t": 0.6 - 0.008 * strength, "attribute_accuracy": 0.7 + 2 * gain * strength, "leakage": 0.3}
        ids = [row["case_id"] for row in read_jsonl(folder / "evaluation" / "scores.jsonl")]
        noise = np.random.default_rng(zlib.crc32("/".join(folder.parts[-4:]).encode()))
        return {
            (case, strength): {m: f"{means.get(m, 0.5) + noise.normal(0, 0.0001):.4f}" for m in metrics}
            | dict.fromkeys(absent, "missing")
            for case in ids
        }

    monkeypatch.setitem(lab_module, "read_run", made_up)
    assert do(lab, "validation")
    assert {path.name for path in (lab.out / "pairs").iterdir()} == {"dip", "elsewhere"}
    chosen = read_json(lab.results / "chosen.json")["flux_uno"]
    assert chosen["dip"]["dpo_matched"]["changes"]["objective.beta"] == 123.5
    assert chosen["dip"]["focus_best"]["attempt"] == chosen["dip"]["focus_dpo"]["attempt"] == "0"
    for choice in chosen["dip"].values():
        assert choice["reached"]
        assert choice["strength"] == pytest.approx(0.5, abs=0.2)
    assert do(lab, "test")
    tested = len(drawn)
    assert do(lab, "validation")
    assert do(lab, "test")
    assert len(drawn) == tested  # nothing twice
    run.write_tables(lab)
    results = read_json(lab.results / "results.json")
    rows = {(row["earlier"], row["metric"]): row for row in results["claims"]}
    assert set(rows) == {(rival, metric) for rival in analysis.RIVALS for metric in analysis.CLAIMED}
    assert rows["dpo", "attribute_accuracy"]["mean"] == pytest.approx(0.08, abs=0.04)
    assert rows["dpo", "attribute_accuracy"]["verdict"] == "better"
    assert rows["dpo", "dino"]["verdict"].endswith("within the margin")
    roles = [row for row in results["means"] if row["metric"] == "roles" and row["method"] == "focus_best"]
    assert [(row["n"], row["missing"]) for row in roles] == [(3 * 4, 3 * 8)]
    text = (lab.results / "tables.md").read_text(encoding="utf-8")
    for title in ("flux_uno, dip: every try", "flux_uno, elsewhere: chosen", "flux_uno, dip: mean gap to DPO"):
        assert f"## Validation, {title}" in text
    assert "## Test, flux_uno, dip: the same at exactly equal CLIP-T" in text
    assert (lab.results / "curves-flux_uno-dip.png").stat().st_size > 1000


# -- verdicts --------------------------------------------------------------------------------------------------
def planted(
    *, shift: Mapping[str, float], noise: float, seed: int, strength: float = 1.0, trainings: int = 3
) -> tuple[list[Any], dict[str, Any]]:
    """Trainings of 120 cases whose metrics lie `shift` above what the cases have by themselves."""
    rng = np.random.default_rng(7)
    own = {metric: rng.normal(0.6, 0.1, 120) for metric in METRICS}
    other = np.random.default_rng(seed)
    made = [
        scores.Scores(
            {},
            {
                (f"case-{i:03d}", strength): cells(
                    **{m: own[m][i] + shift.get(m, 0.0) + float(other.normal(0, noise)) for m in METRICS}
                )
                for i in range(120)
            },
        )
        for _ in range(trainings)
    ]
    facts = {f"case-{i:03d}": analysis.CaseFacts(frozenset([f"s{i}"]), f"prompt {i}", "b") for i in range(120)}
    return made, facts


def measured(name: str, *, strength: float = 1.0, **given: Any) -> Any:
    made, facts = planted(strength=strength, **given)
    return analysis.Measured(name, made, strength, facts)


def test_a_planted_effect_a_planted_tie_and_noise_are_told_apart() -> None:
    quiet, loud = 0.002, 0.4
    methods = {
        "base": measured("base", shift={}, noise=quiet, seed=1, trainings=1),
        "focus_best": measured("focus_best", shift={"attribute_accuracy": 0.05, "leakage": -0.06}, noise=quiet, seed=2),
        "dpo": measured("dpo", shift={"attribute_accuracy": 0.05, "leakage": -0.03}, noise=quiet, seed=3),
        "prior": measured("prior", shift={"attribute_accuracy": 0.045}, noise=loud, seed=4),
    }
    rows = analysis.claim_rows({("flux_uno", "dip"): methods}, PLAN)
    said = {(row["earlier"], row["metric"]): row["verdict"] for row in rows}
    assert said["base", "attribute_accuracy"] == "better"
    assert said["base", "leakage"] == said["dpo", "leakage"] == "better"  # lower
    assert said["dpo", "attribute_accuracy"] == said["dpo", "dino"] == "equal within the margin"
    assert said["prior", "attribute_accuracy"] == "undecided"
    assert all(row["ci_low"] < row["mean"] < row["ci_high"] for row in rows)
    assert len(rows) == 9


def test_what_is_sure_and_small_is_told_as_both_and_harm_is_named() -> None:
    row = {"metric": "leakage", "mean": -0.004, "p_holm": 0.001, "ties": True}
    assert analysis.verdict(row) == "better, within the margin"
    assert analysis.verdict(row | {"mean": 0.03, "ties": False}) == "worse"
    assert analysis.verdict(row | {"metric": "dino", "mean": 0.03, "ties": False}) == "better"
    assert analysis.verdict(row | {"p_holm": None, "ties": False}) == "undecided"


def test_the_family_is_what_the_protocol_says_and_holm_is_over_all_of_it() -> None:
    family = analysis.claims(PLAN)
    assert len(family) == len(set(family)) == 2 * 2 * 5 * 3
    assert {(c.later, c.earlier) for c in family} == {("focus_best", rival) for rival in analysis.RIVALS}
    methods = {
        name: measured(name, shift={"dino": shift}, noise=0.01, seed=seed)
        for seed, (name, shift) in enumerate({"focus_best": 0.0, "dpo": 0.002, "sdpo": 0.004}.items())
    }
    rows = analysis.claim_rows({("flux_uno", "dip"): methods}, PLAN)
    ranked = sorted(rows, key=lambda row: row["p"])
    highest = 0.0
    for rank, row in enumerate(ranked):
        highest = max(highest, min(1.0, row["p"] * (len(ranked) - rank)))
        assert row["p_holm"] == pytest.approx(highest)


def test_a_difference_at_equal_clip_t_is_moved_along_the_curve_and_judged_there() -> None:
    """FocusDPO leads by 0.05 of DINO for 0.002 of CLIP-T; along its curve that costs 0.05, and nothing is left."""
    later = measured("focus_best", shift={"dino": 0.05, "clip_t": -0.002}, noise=0.0005, seed=2)
    earlier = measured("dpo", shift={}, noise=0.0005, seed=3)
    claim = analysis.Claim("flux_uno", "dip", "focus_best", "dpo", "dino")
    points = [curves.Point(s, {"clip_t": 0.57 - 0.004 * s, "dino": 0.5 + 0.1 * s}) for s in (0.0, 1.0, 2.0)]
    before = analysis.claim_rows({("flux_uno", "dip"): {"focus_best": later, "dpo": earlier}}, PLAN)
    (stated,) = [row for row in before if row["metric"] == "dino"]
    assert stated["verdict"] == "better"
    (moved,) = analysis.judged([analysis.adjusted(claim, later, earlier, curve=points, plan=PLAN)])
    assert moved["clip_t_difference"] == pytest.approx(-0.002, abs=2e-4)
    assert moved["mean"] == pytest.approx(0, abs=0.004)
    assert moved["ties"]
    width = [row["ci_high"] - row["ci_low"] for row in (stated, moved)]
    assert width[1] == pytest.approx(width[0], abs=1e-5)
    flat = [curves.Point(s, {"clip_t": 0.57, "dino": 0.5}) for s in (0.0, 1.0)]
    (never,) = analysis.judged([analysis.adjusted(claim, later, earlier, curve=flat, plan=PLAN)])
    assert (never["mean"], never["p"], never["verdict"]) == (None, None, analysis.NEVER)


def test_trainings_of_other_numbers_are_not_compared() -> None:
    two = measured("two", shift={}, noise=0.01, seed=1, trainings=2)
    with pytest.raises(DataError, match="as many trainings of each"):
        two.minus(measured("three", shift={}, noise=0.01, seed=2), "dino")


def test_the_gap_of_curves_by_hand() -> None:
    """Per unit of CLIP-T one method gains 20 and the other 10 of DINO: over costs to 0.006 in six steps 10 x 0.0035."""
    facts = {f"c{i}": analysis.CaseFacts(frozenset([f"s{i}"]), f"p{i}", "b") for i in range(8)}

    def straight(gain: float, strengths: Sequence[float]) -> Any:
        rows = {
            (case, s): cells(clip_t=0.57 - 0.01 * s, dino=0.5 + gain * 0.01 * s) for case in facts for s in strengths
        }
        return scores.Scores({}, rows)

    base, later, earlier = straight(0, [0.0]), straight(20, [0.5, 1.0]), straight(10, [0.5, 1.0])
    shared = {"strengths": [0.5, 1.0], "facts": facts, "most": 0.006}
    row = analysis.curve_gap(later, earlier, base, metric="dino", **shared)
    assert (row["mean"], row["ci_low"], row["ci_high"]) == pytest.approx((0.035, 0.035, 0.035))
    short = straight(20, [0.1, 0.15])  # reaches 0.0015 only: one of the six costs
    found = analysis.curve_gap(
        short, straight(10, [0.1, 0.15]), base, metric="dino", **{**shared, "strengths": [0.1, 0.15]}
    )
    assert found["mean"] == pytest.approx(0.01)


# -- tables ----------------------------------------------------------------------------------------------------
def test_the_page_is_filled_between_its_marks() -> None:
    page = "# Which\n\n<!-- table flux_uno-dip -->\nold\n<!-- end -->\n\nkept\n"
    found = tables.filled(page, {"flux_uno-dip": "| new |"}, where=Path("page.md"))
    assert found == "# Which\n\n<!-- table flux_uno-dip -->\n| new |\n<!-- end -->\n\nkept\n"
    with pytest.raises(DataError, match="expected tables among none, got flux_uno-dip"):
        tables.filled(page, {}, where=Path("page.md"))


def test_tables_hold_means_claims_and_verdicts() -> None:
    methods = {
        "base": measured("base", shift={}, noise=0.002, seed=1, trainings=1),
        "focus_best": measured("focus_best", shift={"dino": 0.05}, noise=0.002, seed=2),
        "dpo": measured("dpo", shift={}, noise=0.002, seed=3),
    }
    place = {"backbone": "flux_uno", "pairs": "dip"}
    claimed = analysis.claim_rows({("flux_uno", "dip"): methods}, PLAN)
    results = {
        "means": analysis.mean_rows(methods, place=place, metrics=METRICS),
        "claims": claimed,
        "adjusted": [row for row in claimed if row["earlier"] != "base"],
        "differences": analysis.difference_rows(methods, place=place, metrics=METRICS, against=("base", "dpo")),
    }
    text = "\n\n".join(tables.test_sections(results))
    assert "## Test, flux_uno, dip: claims" in text
    (line,) = [each for each in text.splitlines() if each.startswith("| FocusDPO - DPO | DINO | +0.0")][:1]
    assert line.endswith("| 0.01 | better |")
    made = tables.page_tables(results)["flux_uno-dip"]
    assert "| DPO | " in made
    assert made.splitlines()[-1].endswith(
        "attributes equal within the margin; DINO better; leakage equal within the margin |"
    )


# -- all of it, in small ---------------------------------------------------------------------------------------
def small_plan(base: str, *, options: Mapping[str, Any]) -> dict[str, Any]:
    plan = tomllib.loads((ROOT / EXPERIMENT / "plan.toml").read_text(encoding="utf-8"))
    plan["backbones"] = {"flux_uno": {"base": base, "options": dict(options)}}
    plan["pairs"] |= {"n": 8, "losers": "drawn"}
    plan["train"] |= {"train.steps": 2, "train.batch_size": 2, "train.warmup": 1, "train.save_every": 2}
    plan["train"] |= {"train.learning_rate": 1e-3}
    plan["strengths"] = {"search": [1.0], "all": [0.5, 1.0]}
    plan["search"] |= {"pairs": ["redrawn"], "borrowed": {}}
    plan["validation"] = {"world-multi": 2}
    plan["test"] |= {"seeds": [42, 43], "pairs": ["redrawn"], "cases": {"world-multi": 3}}
    plan["test"] |= {"methods": ["focus_best", "dpo", "dpo_matched"]}
    plan["grid"] = {"rate": [{"train.learning_rate": 1e-4}], "preference": plan["grid"]["preference"][:1]}
    plan["readings"] = {"k_2": plan["readings"]["k_2"]}
    plan["methods"] = {name: plan["methods"][name] for name in ("dpo", "focus_dpo")}
    return plan


@pytest.mark.slow
def test_the_whole_experiment_in_small(tmp_path: Path) -> None:
    lab = run.Lab(small_plan("flux", options={"steps": 1}), tmp_path / "out", tmp_path / "results")
    assert do(lab, "validation")
    chosen = read_json(tmp_path / "results" / "chosen.json")["flux_uno"]
    assert {pairs: set(some) for pairs, some in chosen.items()} == {
        "redrawn": {"dpo", "focus_dpo", "focus_best", "dpo_matched"}
    }
    assert do(lab, "test")
    run.write_tables(lab)
    first = {path.name: path.read_bytes() for path in (tmp_path / "results").rglob("*.csv.gz")}
    results = read_json(tmp_path / "results" / "results.json")
    assert {row["metric"] for row in results["claims"]} == set(analysis.CLAIMED)
    assert "## Test, flux_uno, redrawn: claims" in (tmp_path / "results" / "tables.md").read_text()
    assert (tmp_path / "results" / "curves-flux_uno-redrawn.png").stat().st_size > 1000
    (tmp_path / "results" / "scores" / "test" / "flux_uno" / "redrawn" / "dpo-0-seed43.csv.gz").unlink()
    shutil.rmtree(tmp_path / "out")  # another machine: the adapter is trained anew
    assert do(lab, "test")
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "results").rglob("*.csv.gz")}


@pytest.mark.slow
def test_a_piece_on_a_tiny_sdxl(tmp_path: Path) -> None:
    """Trained, scaled, drawn and measured like any other; its weights are those of no trained model."""
    model = build_tiny_sdxl(tmp_path / "sdxl")
    plan = small_plan(str(model), options={"steps": 1})
    lab = run.Lab(plan, tmp_path / "out", tmp_path / "results")
    pair_kinds.build_kind("redrawn", plan=plan, base="flux", place=tmp_path / "out" / "pairs", workers=1)
    one = design.Design(plan, "flux_uno")
    ledger = lab_module["Ledger"](lab)
    for piece in (one.base("validation"), one.search("redrawn")["focus_dpo"][0]):
        assert lab_module["do_piece"](piece, lab=lab)
        assert ledger.is_done(piece)
    found = ledger.curve(piece, strengths=[1.0])
    assert found[0].means["clip_t"] != found[1].means["clip_t"]
    assert ledger.matched_beta(piece) > 0
    assert ledger.scores(piece).meta["options"]["maker"] == "sdxl_ip_adapter"
