"""A layout goes from the case to a backbone that reads one, and into the proof of its pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_ms import build_tiny_ms
from typer.testing import CliRunner

from likeness.backbones.open import open_backbone
from likeness.backbones.sdxl.attended import box_around
from likeness.backbones.sdxl.options import MsOptions
from likeness.cli import app
from likeness.core.errors import ConfigError
from likeness.core.files import read_json, read_jsonl
from likeness.core.images import load_image, png_text
from likeness.core.records import Case, Layout, read_cases
from likeness.data.relations.layout import propose_layout
from likeness.generate.makers import layout_asked
from likeness.generate.placing import Placing, layout_mode, placing_of
from likeness.generate.redraw import redraw

PROMPT = "a cat hugs a dog"
BOXES = [[0.0, 0.2, 0.5, 0.8], [0.5, 0.2, 1.0, 0.8]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_ms(tmp_path_factory.mktemp("ms") / "ms")


def write_cases(folder: Path) -> list[Image.Image]:
    """Three cases that differ in their layout alone: none, one, and the same with its boxes swapped."""
    shown: list[Image.Image] = []
    for seed in range(2):
        colours = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        shown.append(Image.fromarray(colours).resize((40, 40)))
        shown[-1].save(folder / f"{seed}.png")
    subjects = [
        {"id": f"s{i}", "class_name": name, "reference_image": f"{i}.png"} for i, name in enumerate(("cat", "dog"))
    ]
    rows: list[dict[str, Any]] = [{"id": name, "prompt": PROMPT, "seed": 3, "subjects": subjects} for name in "abc"]
    rows[1]["layout"] = {"boxes": BOXES, "phrases": ["cat", "dog"]}
    rows[2]["layout"] = {"boxes": BOXES, "phrases": ["dog", "cat"]}
    (folder / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return shown


def drawn(folder: Path, tmp_path: Path, *more: str) -> Path:
    """The run of the cases with what else was asked."""
    run = tmp_path / ("run" + "".join(more).replace("-", "").replace("=", ""))
    command = ["generate", "--model", str(folder), "--cases", str(tmp_path / "cases.jsonl"), "--out", str(run)]
    place = ["--device", "cpu", "--dtype", "float32", "--workers", "1"]
    result = CliRunner().invoke(app, [*command, *place, "--option", "subject_scales=0.6,1", *more])
    assert result.exit_code == 0, result.output
    return run


def pixels(run: Path) -> list[np.ndarray]:
    return [np.asarray(load_image(run / "images" / f"{name}-0.png")) for name in "abc"]


def again(backbone: Any, shown: list[Image.Image], boxes: Any) -> np.ndarray:
    """The picture that the layout makes, or none at all."""
    layout = None if boxes is None else Layout(boxes=boxes, phrases=("cat", "dog"))
    options = MsOptions(subject_scales=(0.6, 1.0))
    return np.asarray(backbone.generate(PROMPT, shown, seed=3, options=options, layout=layout))


def test_pictures_follow_the_layout_of_their_case_else_the_places_of_their_action(folder: Path, tmp_path: Path) -> None:
    shown = write_cases(tmp_path)
    run = drawn(folder, tmp_path)
    hug = propose_layout("hug", 2).boxes
    backbone: Any = open_backbone(folder, device="cpu", dtype="float32")
    given: list[Any] = [hug, tuple(map(tuple, BOXES)), tuple(map(tuple, reversed(BOXES)))]
    for found, boxes in zip(pixels(run), given, strict=True):
        assert np.array_equal(again(backbone, shown, boxes), found)
    proofs = [json.loads(png_text(run / "images" / f"{name}-0.png")["likeness"]) for name in "abc"]
    assert [proof["layout"]["phrases"] for proof in proofs] == [["cat", "dog"]] * 3
    assert [proof.get("layout_source") for proof in proofs] == ["hug: mean of 96 drawn pictures", None, None]
    rows = read_jsonl(run / "manifest.jsonl")
    assert [row["layout"]["source"] for row in rows] == ["hug: mean of 96 drawn pictures", "given", "given"]
    assert [tuple(map(tuple, row["layout"]["boxes"])) for row in rows] == given
    assert read_json(run / "run.json")["settings"]["layout"] == "proposed"
    assert [row.same_bytes for row in redraw(run, count=3, model=str(folder)).pictures] == [True] * 3


def test_a_layout_that_was_given_alone_or_none_at_all(folder: Path, tmp_path: Path) -> None:
    shown = write_cases(tmp_path)
    backbone: Any = open_backbone(folder, device="cpu", dtype="float32")
    alone = again(backbone, shown, None)
    placed = [tuple(map(tuple, BOXES)), tuple(map(tuple, reversed(BOXES)))]
    wanted: dict[str, list[np.ndarray]] = {
        "given": [alone, *(again(backbone, shown, boxes) for boxes in placed)],
        "none": [alone] * 3,
    }
    for mode, expected in wanted.items():
        run = drawn(folder, tmp_path, "--layout", mode)
        for found, theirs in zip(pixels(run), expected, strict=True):
            assert np.array_equal(found, theirs)
        sources = ["none", "given", "given"] if mode == "given" else ["none"] * 3
        assert [row["layout"]["source"] for row in read_jsonl(run / "manifest.jsonl")] == sources


def test_an_unknown_action_is_placed_by_text_attention(folder: Path, tmp_path: Path) -> None:
    shown = write_cases(tmp_path)
    row = json.loads((tmp_path / "cases.jsonl").read_text().splitlines()[0])
    prompt = "a cat in the snow on the beach, a dog"
    (tmp_path / "cases.jsonl").write_text(json.dumps({**row, "prompt": prompt}) + "\n")
    run = drawn(folder, tmp_path)
    backbone: Any = open_backbone(folder, device="cpu", dtype="float32")
    options = MsOptions(subject_scales=(0.6, 1.0))
    layout = backbone.attended_layout(prompt, ("cat", "dog"), seed=3, options=options)
    expected = backbone.generate(prompt, shown, seed=3, options=options, layout=layout)
    assert np.array_equal(np.asarray(load_image(run / "images" / "a-0.png")), np.asarray(expected))
    (told,) = read_jsonl(run / "manifest.jsonl")
    assert told["layout"] == {"source": "text attention"}
    assert told["notes"][-1] == f"layout by text attention: {json.dumps([list(box) for box in layout.boxes])}"


def test_subjects_get_the_place_of_their_word_in_the_sentence() -> None:
    boxes = propose_layout("hug", 2).boxes
    subjects = [{"id": name, "class_name": name, "reference_image": f"{name}.png"} for name in ("dog", "cat")]
    case = Case.model_validate({"id": "a", "prompt": "a cat is hugging a dog", "subjects": subjects})
    placed = Placing("proposed", 1.0)(case)
    assert placed.layout is not None
    assert placed.layout.boxes == (boxes[1], boxes[0])
    alike = [{**each, "class_name": "cat"} for each in subjects]
    twins = Placing("proposed", 1.0)(case.model_validate({**case.model_dump(mode="json"), "subjects": alike}))
    assert twins.layout is not None
    assert twins.layout.boxes == propose_layout(None, 2).boxes


def test_a_model_that_finds_no_boxes_gets_proposed_ones_with_the_names() -> None:
    subjects = [{"id": name, "class_name": name, "reference_image": f"{name}.png"} for name in ("cat", "dog")]
    case = Case.model_validate({"id": "a", "prompt": "a cat in the snow, a dog", "subjects": subjects})
    sides = {"settings_in_force": {"width": 64, "size": 64}}
    for maker, source in (("sdxl_ms_diffusion", "text attention"), ("sd15_ssr_encoder", "together: mean of")):
        placing = placing_of({"settings": {"layout": "proposed", "maker": maker}, **sides})
        assert placing is not None
        placed = placing(case)
        assert placed.source.startswith(source)
        assert placed.layout is None or placed.layout.phrases == ("cat", "dog")


def test_a_mode_for_a_model_that_reads_no_layout_is_refused() -> None:
    with pytest.raises(
        ConfigError,
        match=r"--layout: expected a model that reads one \(sdxl_ms_diffusion, sd15_ssr_encoder\), got flux_uno",
    ):
        layout_mode("given", kind="flux_uno")
    assert layout_mode(None, kind="flux_uno") is None


def test_a_box_is_around_the_upper_half_of_attention() -> None:
    seen = torch.zeros(4, 8)
    seen[1, 2], seen[2, 5], seen[3, 7] = 1.0, 0.5, 0.4
    assert box_around(seen + 0.1) == (2 / 8, 1 / 4, 6 / 8, 3 / 4)
    assert box_around(torch.full((4, 8), 0.2)) == (0.0, 0.0, 1.0, 1.0)


def test_a_maker_that_reads_none_is_given_none(tmp_path: Path) -> None:
    write_cases(tmp_path)
    case = read_cases(tmp_path / "cases.jsonl").cases[1]

    class Maker:
        def generate(self, prompt: str, references: Any = (), *, seed: int, options: Any = None) -> Image.Image:
            raise NotImplementedError

    assert layout_asked(case, maker=Maker()) == {}
