"""The page of a training run: every number traces to the log, findings follow from numbers planted here."""

import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import SOME, refusals
from PIL import Image
from typer.testing import CliRunner

from likeness.cli import app
from likeness.core.errors import DataError
from likeness.core.files import write_json, write_jsonl
from likeness.core.stats.intervals import wilson
from likeness.report import build_training_page, is_training_run
from likeness.report.curves import Ends, running_mean, ticks
from likeness.report.findings import findings_of
from likeness.report.focus_figure import heat_uri
from likeness.report.samples_figure import sample_rows
from likeness.report.training import read_training_run

Row = dict[str, Any]
RunMaker = Callable[..., Path]
FOCUS = {"mode": "full", "tau": 0.1, "gamma": 0.3}
SAID = {"sft": ("SFT", False), "dpo": ("DPO", True), "patch_dpo": ("PatchDPO", False), "focus_dpo": ("FocusDPO", True)}
PROMPT = "a red fox waves"


def row(step: int, **changes: Any) -> Row:
    """A healthy step: preferred error falls by 0.01, rejected rises by 0.02, A is 0.1 + 0.4 t; 4 pairs a step."""
    wiggle = 0.001 * math.sin(step)
    t = [0.05 + 0.9 * ((step * 4 + k) % 10) / 9 for k in range(4)]
    sums, counts = [0.0] * 10, [0.0] * 10
    for value in t:
        sums[int(value * 10)] += 0.1 + 0.4 * value
        counts[int(value * 10)] += 1
    errors = {"policy_preferred": 0.39 + wiggle, "policy_rejected": 0.52, "ref_preferred": 0.4, "ref_rejected": 0.5}
    return {
        "step": step,
        "num_pairs_seen": 4 * step,
        "loss": 0.5 + wiggle,
        "inside": 0.6 + wiggle,
        "accuracy": 0.75 if step % 2 else 1.0,
        "errors": errors,
        "focus_share": 0.3,
        "focus_share_by_t": {"sum": sums, "count": counts},
        "fused": 0.25,
        "valid": 1.0,
        "t": 0.5,
        "gradient_norm": 0.5,
        "learning_rate": 1e-4,
        "seconds": 0.5,
    } | changes


def maps(step: int, *, prompt: str = PROMPT) -> Row:
    """One pair of 2 x 2 tokens, two references of which the second is disrupted, two noise levels."""
    grid = [[0.25, 0.5], [0.75, 1.0]]
    levels = [
        {
            "t": t,
            "scores": [grid, grid],
            "matched": [[[0, 0], [0, 0]], [[1, 0], [0, 1]]],
            "field": [[0, 1], [0, 0]],
            "weight": [[0, 1], [0, 0]],
            "focus_share": share,
            "fused": share is not None and share < 0.1,
        }
        for t, share in ((0.95, 0.5), (0.05, None if step else 0.05))
    ]
    pair = {
        "id": "p0",
        "prompt": prompt,
        "grid": [2, 2],
        "preferred": "maps/pictures/p0-preferred.png",
        "rejected": "maps/pictures/p0-rejected.png",
        "references": ["maps/pictures/p0-reference0.png", "maps/pictures/p0-reference1.png"],
        "subjects": [f"fox {prompt}", "red cat"],
        "disrupted": [False, True],
        "prior": [[0, 1], [0, 1]],
        "complexity": grid,
        "levels": levels,
    }
    head = {"version": 1, "step": step, "objective": "focus_dpo", **FOCUS}
    return {**head, "times": [0.95, 0.05], "pairs": [pair]}


@pytest.fixture
def run_maker(tmp_path: Path) -> RunMaker:
    """A training run folder by the schema of train/preference, `changes` applied to every row of its log."""

    def make(
        name: str = "run",
        *,
        steps: int = 60,
        objective: str = "focus_dpo",
        with_maps: bool = True,
        prompt: str = PROMPT,
        rows: list[Row] | None = None,
        **changes: Any,
    ) -> Path:
        folder = tmp_path / name
        config = {
            "model": {"rank": 32, "alpha": 32.0},
            "objective": {"kind": objective, "beta": 2000.0, **({"focus": FOCUS} if "focus" in objective else {})},
            "train": {"clip": 1.0, "learning_rate": 1e-4},
        }
        model, data = {"id": f"flux {prompt}", "sha256": "ab" * 32}, {"id": "pairs", "num_pairs": 240}
        said = dict(zip(("label", "compares"), SAID[objective], strict=True))
        identity = {"kind": "train", "model": model, "data": data, "objective": said, "config": config}
        identity["versions"] = {"torch": "2.13.0"}
        write_json(folder / "run.json", identity)
        (folder / "config.toml").write_text(f"[train]\nsteps = {steps}\n")
        logged = rows if rows is not None else [row(step, **changes) for step in range(1, steps + 1)]
        (folder / "log.jsonl").write_text("".join(json.dumps(found) + "\n" for found in logged))
        if with_maps:
            for step in (0, steps):
                write_json(folder / f"maps/{step:06d}.json", maps(step, prompt=prompt))
            (folder / "maps/pictures").mkdir()
            for part in ("preferred", "rejected", "reference0"):  # reference1 is missing
                Image.new("RGB", (32, 32), "teal").save(folder / f"maps/pictures/p0-{part}.png")
        return folder

    return make


def page_of(run: Path) -> str:
    return build_training_page(run).read_text(encoding="utf-8")


def titles_of(run: Path) -> list[str]:
    return [finding.title for finding in findings_of(read_training_run(run))]


# numbers -------------------------------------------------------------------------------------------------------------


def test_the_page_contains_the_numbers(run_maker: RunMaker) -> None:
    run = run_maker()
    html = page_of(run)
    # the last fifth is 12 steps, but at least 20; wiggles of 0.001 vanish in three digits
    assert "FocusDPO on 240 pairs" in html
    assert "60 steps of 4 pairs" in html
    assert "learning rate 0.0001, beta 2000" in html
    losses = [row(step)["loss"] for step in range(41, 61)]
    assert f"<dd>{np.mean(losses):.3g}<small>" in html
    preferred = [row(step)["errors"]["policy_preferred"] - 0.4 for step in range(41, 61)]
    assert f"<dd>{np.mean(preferred):+.3g}<small>" in html
    assert "<dd>+0.02<small>" in html  # rejected
    assert "<dd>0.875<small>" in html  # accuracy: 0.75 and 1 in turn


def test_a_run_made_before_objectives_had_tables_of_their_own_reads_as_before(run_maker: RunMaker) -> None:
    run = run_maker()
    identity = json.loads((run / "run.json").read_text())
    del identity["objective"]
    config = identity["config"]
    config["objective"] = {"name": "focus_dpo", "beta": 2000.0}
    config["focus"] = FOCUS
    new = read_training_run(run)
    (run / "run.json").write_text(json.dumps(identity))
    old = read_training_run(run)
    for read in (new, old):
        assert (read.objective, read.is_preference, read.mode) == ("focus_dpo", True, "full")
        assert read.setting("focus", "tau") == 0.1
    assert (new.label, old.label) == ("FocusDPO", "focus_dpo")


def test_columns_that_the_page_does_not_know_stand_in_the_numbers_by_their_words(run_maker: RunMaker) -> None:
    run = run_maker(rows=[row(step, sharp_share=0.625, parts={"left_half": 0.375}) for step in range(1, 61)])
    html = page_of(run)
    assert "Sharp share" in html
    assert "0.625" in html
    assert "Parts, left half" in html
    assert "Learning rate" not in html.split("What was run")[0]


def test_the_beta_matched_dpo_run_is_told_as_a_command(run_maker: RunMaker) -> None:
    """2000 x (0.2 + 0.3 + 0.1) / (1.0 + 0.9 + 0.5): steps count by size, and one without a number is left out."""
    sizes = [(0.2, 1.0), (0.3, 0.9), (0.1, 0.5), (None, 7.0)]
    rows = [row(step, inside_size=size, plain_inside_size=plain) for step, (size, plain) in enumerate(sizes, start=1)]
    run = run_maker(rows=rows)
    assert read_training_run(run).matched_beta == pytest.approx(500.0)
    assert "--set objective.kind=dpo --set objective.beta=500 --out dpo-matched" in page_of(run)
    for others in ([row(1)], [row(1, inside_size=0.0, plain_inside_size=0.0)]):
        other = run_maker("other", rows=others)
        assert read_training_run(other).matched_beta is None
        assert "dpo-matched" not in page_of(other)
        shutil.rmtree(other)


def test_sample_pictures_stand_in_a_grid_of_cases_and_steps(run_maker: RunMaker) -> None:
    run = run_maker(with_maps=False)
    assert 'id="samples"' not in page_of(run)
    cases = [
        {
            "id": "c1",
            "prompt": "a <b> fox",
            "seed": 1,
            "subjects": ["fox"],
            "references": ["samples/references/c1-0.png"],
        },
        {"id": "c2", "prompt": "a cat", "seed": 2, "subjects": [], "references": []},
    ]
    write_json(run / "samples" / "samples.json", {"version": 1, "cases": cases})
    assert sample_rows(run) == []
    for step in range(0, 120, 10):
        for name in ("c1", "c2") if step else ("c1",):
            path = run / "samples" / f"{step:06d}" / f"{name}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (400, 200), (step, 0, 0)).save(path)
    first, second = sample_rows(run)
    assert [picture.caption for picture in first.pictures][:2] == ["step 0, the untuned model", "step 20"]
    assert len(first.pictures) == 8
    assert first.pictures[-1].caption == "step 110"
    assert [picture.caption for picture in first.references] == ["reference: fox"]
    assert first.references[0].picture.problem == "samples/references/c1-0.png: no readable picture"
    assert (first.pictures[0].picture.width, first.pictures[0].picture.height) == (192, 96)
    assert second.pictures[0].picture.problem == "samples/000000/c2.png: no readable picture"
    html = page_of(run)
    assert html.count("a &lt;b&gt; fox") >= 2
    assert "<b> fox" not in html
    assert html.index('id="samples"') < html.index('id="curves"')
    write_json(run / "samples" / "samples.json", {"cases": [{"id": "c1", "prompt": 3}]})
    with pytest.raises(DataError, match=r"samples\.json: expected Unicode text as 'cases.0.prompt', got 3"):
        page_of(run)


def test_a_focus_by_t_is_the_mean_over_pairs_with_n(run_maker: RunMaker) -> None:
    html = page_of(run_maker())
    # every tenth of t is hit once in ten pairs, and its one t is 0.05 + 0.1 k
    for k in (0, 9):
        mean = 0.1 + 0.4 * (0.05 + 0.1 * k)
        assert re.search(rf"<td>{k / 10:.1f} to {(k + 1) / 10:.1f}</td><td>{mean:.3g} \(.*?</td>.*?>24</td>", html)
    assert html.count("n=24") == 10


def test_wilson_has_a_width_at_one_and_matches_a_known_value() -> None:
    # Wilson (1927) for 8 of 10: 0.4902 to 0.9433
    found = wilson(0.8, 10)
    assert (found.ci_low, found.ci_high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert wilson(1.0, 20).ci_low < 0.85


def test_running_mean_is_the_mean_of_measured_neighbours() -> None:
    values = np.array([1.0, np.nan, 4.0, 7.0, np.nan, np.nan, np.nan, 2.0])
    found = running_mean(values, window=2)  # one to either side
    assert found == pytest.approx([1.0, 2.5, 5.5, 5.5, 7.0, np.nan, 2.0, 2.0], nan_ok=True)


def test_ticks_are_round_and_inside() -> None:
    assert ticks(Ends(0.0, 1.0), about=4) == pytest.approx([0.0, 0.5, 1.0])
    assert ticks(Ends(-3.0, 47.0), about=4) == pytest.approx([0, 20, 40])


# findings ------------------------------------------------------------------------------------------------------------


def test_a_healthy_run_has_no_warning(run_maker: RunMaker) -> None:
    found = findings_of(read_training_run(run_maker()))
    assert [finding.title for finding in found if finding.tone == "poor"] == []
    titles = {finding.title for finding in found}
    assert {"The preferred picture's error falls", "A_focus falls as t falls", "Both branches are used"} <= titles


def errors(preferred: float, rejected: float) -> dict[str, float]:
    return {
        "policy_preferred": 0.4 + preferred,
        "policy_rejected": 0.5 + rejected,
        "ref_preferred": 0.4,
        "ref_rejected": 0.5,
    }


@pytest.mark.parametrize(
    ("changes", "title", "number"),
    [
        ({"errors": errors(0.01, 0.05)}, "Both errors rise", "+2.5% of the reference"),
        ({"errors": errors(0.01, -0.01)}, "The preferred picture's error rises", "rejected -0.01"),
        ({"accuracy": 1.0}, "Implicit accuracy is saturated", "1 (0.954 to 1), 80 pairs"),
        ({"accuracy": 0.25}, "Implicit accuracy is below chance", "0.25 ("),
        ({"inside": 12.0}, "Inside is very large", "sigmoid(-inside) = 6.1e-06"),
        ({"inside": 0.001}, "The policy has hardly moved", "+0.001"),
        ({"loss": 0.9}, "The loss lies above ln 2", "0.9"),
        ({"fused": 0.0}, "The fusion branch never fires", "0.0% of pairs have A at or below tau = 0.1"),
        ({"fused": 1.0}, "The fusion branch fires almost always", "100.0%"),
        ({"valid": 0.75}, "Some pairs have an empty prior", "25.0% of pairs"),
        ({"num_pairs_seen": 240 * 21}, "Few pairs, seen often", "21.0 times each"),
    ],
)
def test_a_planted_fault_is_named_with_its_number(run_maker: RunMaker, changes: Row, title: str, number: str) -> None:
    if "num_pairs_seen" not in changes:
        run = run_maker(**changes)
    else:
        run = run_maker(rows=[row(step, num_pairs_seen=84 * step) for step in range(1, 61)])
    found = {finding.title: finding for finding in findings_of(read_training_run(run))}
    assert title in found
    assert found[title].tone == "poor"
    assert number in found[title].numbers
    html = page_of(run)
    assert title in html.replace("&#39;", "'")


@pytest.mark.parametrize(("slope", "title"), [(0.0, "does not fall with t"), (-0.4, "rises as t falls")])
def test_a_field_that_does_not_follow_t_is_named(run_maker: RunMaker, slope: float, title: str) -> None:
    def by_t(step: int) -> dict[str, list[float]]:
        shares = [0.5 + slope * (k + 0.5) / 10 + 0.05 * math.sin(3 * k + step) for k in range(10)]
        return {"sum": shares, "count": [1.0] * 10}

    run = run_maker(rows=[row(step, focus_share_by_t=by_t(step)) for step in range(1, 61)])
    assert f"A_focus {title}" in titles_of(run)


def test_a_slight_rise_of_both_errors_is_no_warning(run_maker: RunMaker) -> None:
    found = findings_of(read_training_run(run_maker(errors=errors(0.002, 0.05))))  # 0.5% of 0.4
    assert [finding.title for finding in found if finding.tone == "poor"] == []
    assert "Both errors rise, slightly" in [finding.title for finding in found]


def test_a_growing_gradient_is_named(run_maker: RunMaker) -> None:
    run = run_maker(rows=[row(step, gradient_norm=0.1 * 1.1**step) for step in range(1, 61)])
    assert "Gradients grow" in titles_of(run)


def test_a_run_too_short_is_not_judged(run_maker: RunMaker) -> None:
    found = findings_of(read_training_run(run_maker(steps=6, accuracy=1.0, fused=0.0)))
    assert "Too short to judge" in [finding.title for finding in found]
    assert all(finding.tone == "plain" for finding in found)


def test_an_unfinished_run_says_so(run_maker: RunMaker) -> None:
    run = run_maker()
    (run / "config.toml").write_text("[train]\nsteps = 100\n")
    html = page_of(run)
    assert "60 of 100 steps" in html
    assert "Not finished" in html


# rows that are not there ---------------------------------------------------------------------------------------------


def test_rows_without_numbers_are_left_out_and_counted(run_maker: RunMaker) -> None:
    rows = [row(step) for step in range(1, 61)]
    rows[50] = row(51, loss=math.nan, gradient_norm=math.inf, inside=None, accuracy=None)
    run = run_maker(rows=rows)
    log = read_training_run(run).log
    assert log.last("loss").n == 19
    html = page_of(run)
    assert "The loss is not a number" in html
    assert "1 step, the first is step 51" in html
    assert "nan" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", html)


@SOME
@pytest.mark.parametrize("name", ["run.json", "log.jsonl", "commands.json"])
def test_damage_is_shown_or_named_with_file_and_row(run_maker: RunMaker, name: str, every: int) -> None:
    run = run_maker(steps=3, with_maps=False)
    write_json(run / "commands.json", {"train": "likeness train a.toml"})
    said = refusals(run / name, lambda: build_training_page(run), every=every)
    assert said
    place = f"{run / name}:2: " if name.endswith(".jsonl") else f"{run}"
    assert [line for line in said if not line.startswith(place)] == []


def test_a_last_line_cut_short_is_left_out_and_another_is_refused(run_maker: RunMaker) -> None:
    run = run_maker(steps=30)
    log = run / "log.jsonl"
    log.write_text(log.read_text() + '{"step": 31, "lo')
    assert len(read_training_run(run).log) == 30
    log.write_text("{broken\n" + log.read_text())
    with pytest.raises(DataError, match=r"log\.jsonl:1: expected a row of the log"):
        build_training_page(run)


def test_without_maps_and_without_log_there_is_still_a_page(run_maker: RunMaker) -> None:
    assert 'id="maps"' not in page_of(run_maker(with_maps=False))
    html = page_of(run_maker("empty", rows=[], with_maps=False))
    assert "No step was logged" in html
    assert "<svg" not in html


def test_sft_shows_what_it_measures_and_says_what_it_does_not(run_maker: RunMaker) -> None:
    alone = {"policy_preferred": 0.4, "policy_rejected": None, "ref_preferred": None, "ref_rejected": None}
    none = {"inside": None, "accuracy": None, "focus_share": None, "focus_share_by_t": None, "fused": None}
    html = page_of(run_maker(objective="sft", with_maps=False, errors=alone, valid=None, **none))
    assert "Under sft there is no reference policy" in html
    assert "Implicit accuracy</b>" not in html
    assert "ln 2" not in html


def test_maps_of_another_shape_are_refused_by_name(run_maker: RunMaker) -> None:
    run = run_maker()
    write_json(run / "maps/000000.json", {"pairs": [{"id": "p0"}]})
    with pytest.raises(DataError, match="expected maps of version 1, got KeyError"):
        build_training_page(run)


# the page ------------------------------------------------------------------------------------------------------------


def test_the_maps_show_rows_over_noise_levels_at_first_and_last_step(run_maker: RunMaker) -> None:
    html = page_of(run_maker())
    assert html.count('<article class="pairfig"') == 1
    assert "Step 0 <small>· the untuned model" in html
    assert "Step 60" in html
    # per step: similarity and M' of the disrupted reference alone, M_s, M; two levels each; M_prior and M_d once
    assert html.count('<button type="button" class="map"') == 2 * 4 * 2 + 2
    assert "M&#39; of reference 2" in html
    assert "M&#39; of reference 1" not in html
    assert "1 of 2 inside" in html  # M' has (0,0) and (1,1), the prior has the right column
    assert "A 0.50" in html
    assert "A not measured" in html
    assert "fused with M_d" in html
    assert "p0-reference1.png" in html  # the missing picture is named


def test_a_heat_map_has_a_pixel_per_token_as_opaque_as_its_value() -> None:
    import base64
    import io

    uri = heat_uri(np.array([[0.0, 0.5, 1.0]]))
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert image.size == (3, 1)
    alphas = np.asarray(image)[0, :, 3].tolist()
    assert alphas == [0, pytest.approx(alphas[2] / 2, abs=1), alphas[2]]
    assert alphas[2] > 200


def test_user_text_is_escaped_everywhere(run_maker: RunMaker) -> None:
    attack = "<script>alert(1)</script> \"><img onerror='x' src=y>"
    html = page_of(run_maker(prompt=attack))
    assert "<script>alert" not in html
    assert "<img onerror" not in html


def test_the_page_needs_nothing_outside_and_its_links_lead_somewhere(run_maker: RunMaker) -> None:
    html = page_of(run_maker())
    assert set(re.findall(r'(?:src|href)="(?!data:image/png;base64,|#)([^"]*)"', html)) == set()
    assert set(re.findall(r'href="#([^"]+)"', html)) <= set(re.findall(r'id="([^"]+)"', html))


def test_equal_folders_give_equal_bytes(run_maker: RunMaker) -> None:
    first = build_training_page(run_maker("one/run")).read_bytes()
    assert first == build_training_page(run_maker("two/run")).read_bytes()


def test_a_page_is_built_without_torch(run_maker: RunMaker) -> None:
    code = "import sys; from pathlib import Path; from likeness.report import build_training_page as b; "
    code += "b(Path(sys.argv[1])); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code, str(run_maker())], check=True)


# the command ---------------------------------------------------------------------------------------------------------


def test_the_command_writes_the_training_page(run_maker: RunMaker) -> None:
    run = run_maker()
    result = CliRunner().invoke(app, ["report", str(run)])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == str(run / "report.html")
    assert "How this run looks" in (run / "report.html").read_text(encoding="utf-8")


def test_a_training_run_among_others_is_refused(run_maker: RunMaker) -> None:
    runs = [str(run_maker("a", steps=1)), str(run_maker("b", steps=1))]
    result = CliRunner().invoke(app, ["report", *runs, "--out", "page.html"])
    assert result.exit_code == 2
    assert "expected a training run alone" in result.stderr


def test_only_training_runs_are_taken_for_one(run_maker: RunMaker, tmp_path: Path) -> None:
    assert is_training_run(run_maker(steps=1))
    write_jsonl(tmp_path / "other/manifest.jsonl", [])
    assert not is_training_run(tmp_path / "other")
    with pytest.raises(DataError, match=r"expected a training run, got no run\.json of one"):
        build_training_page(tmp_path / "other")
