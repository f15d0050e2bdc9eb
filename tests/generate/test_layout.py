"""A layout goes from the case to a backbone that reads one, and into the proof of its pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_ms import build_tiny_ms
from typer.testing import CliRunner

from likeness.backbones.open import open_backbone
from likeness.backbones.sdxl.options import MsOptions
from likeness.cli import app
from likeness.core.images import load_image, png_text
from likeness.core.layouts import proposed_boxes
from likeness.core.records import Layout, read_cases
from likeness.generate.makers import layout_asked

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


def test_pictures_follow_the_layout_of_their_case(folder: Path, tmp_path: Path) -> None:
    shown, run = write_cases(tmp_path), tmp_path / "run"
    command = ["generate", "--model", str(folder), "--cases", str(tmp_path / "cases.jsonl"), "--out", str(run)]
    place = ["--device", "cpu", "--dtype", "float32", "--workers", "1"]
    result = CliRunner().invoke(app, [*command, *place, "--option", "subject_scales=0.6,1"])
    assert result.exit_code == 0, result.output
    pictures = [np.asarray(load_image(run / "images" / f"{name}-0.png")) for name in "abc"]
    assert not any(np.array_equal(one, two) for one, two in ((pictures[0], pictures[1]), (pictures[1], pictures[2])))
    backbone: Any = open_backbone(folder, device="cpu", dtype="float32")
    given: list[Any] = [proposed_boxes(2), tuple(map(tuple, BOXES)), tuple(map(tuple, reversed(BOXES)))]
    for found, boxes in zip(pictures, given, strict=True):
        layout = Layout(boxes=boxes, phrases=("cat", "dog"))
        options = MsOptions(subject_scales=(0.6, 1.0))
        again = backbone.generate(PROMPT, shown, seed=3, options=options, layout=layout)
        assert np.array_equal(np.asarray(again), found)
    proofs = [json.loads(png_text(run / "images" / f"{name}-0.png")["likeness"]) for name in "abc"]
    assert "layout" not in proofs[0]
    assert [proof["layout"]["phrases"] for proof in proofs[1:]] == [["cat", "dog"], ["dog", "cat"]]


def test_a_maker_that_reads_none_is_given_none(tmp_path: Path) -> None:
    write_cases(tmp_path)
    case = read_cases(tmp_path / "cases.jsonl").cases[1]

    class Maker:
        def generate(self, prompt: str, references: Any = (), *, seed: int, options: Any = None) -> Image.Image:
            raise NotImplementedError

    assert layout_asked(case, maker=Maker()) == {}
