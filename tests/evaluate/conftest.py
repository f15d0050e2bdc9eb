"""A small benchmark with photos and labels, pictures for it, and tiny encoders."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_encoders as tiny
from fixture_types import Maker
from metric_facts import metric_facts
from PIL import Image

from likeness.core.files import write_json, write_jsonl
from likeness.evaluate import Encoders, evaluate_run, load_encoders


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Specs of tiny encoders on disk."""
    folder = tmp_path_factory.mktemp("weights")
    written = {
        "clip": tiny.write_clip(folder / "clip"),
        "dino": tiny.write_vit(folder / "dino"),
        "probe": tiny.write_probe(folder / "probe"),
    }
    return {name: str(path) for name, path in written.items()}


@pytest.fixture(scope="session")
def encoders(weights: dict[str, str]) -> Encoders:
    return load_encoders(weights)


def draw(seed: int) -> Image.Image:
    """A picture of four coloured fields, different for each seed."""
    fields = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return Image.fromarray(fields.repeat(24, axis=0).repeat(24, axis=1))


SPECIES, COLORS = ("cat", "dog", "teapot"), ("red", "green", "blue")


def _subject(number: int, *, photos: int, labelled: bool) -> dict[str, object]:
    species = SPECIES[number % 3]
    names = [f"photos/{number}-{k}.png" for k in range(photos)]
    attributes = {"species": species, "color": COLORS[number % 2], "hat": "none", "hat_color": "none"}
    subject: dict[str, object] = {
        "id": f"{species}-{number}",
        "class_name": species,
        "reference_image": names[0],
        "photos": names,
    }
    return subject | ({"attributes": attributes} if labelled else {})


@pytest.fixture
def make_benchmark(tmp_path: Path) -> Maker:
    """Writes a benchmark folder with `num_cases` cases: case i has subjects i % 6 and, when multi, (i + 1) % 6."""

    def make(
        *, num_cases: int = 6, photos: int = 3, multi: bool = True, labelled: bool = True, truth: bool = False
    ) -> Path:
        folder = tmp_path / "benchmark"
        (folder / "photos").mkdir(parents=True)
        for number in range(6):
            for k in range(photos):
                draw(100 * number + k).save(folder / "photos" / f"{number}-{k}.png")
        rows = []
        for i in range(num_cases):
            numbers = [i % 6, (i + 1) % 6] if multi and i % 2 else [i % 6]
            subjects = [_subject(n, photos=photos, labelled=labelled) for n in numbers]
            further = {"detectables": ["cat", "clown"], "triplets": [["cat", "next to", "dog"]]}
            labels = {"action": "hug", "scene": "beach", "labels": further} if labelled else {}
            rows.append({"id": f"case-{i}", "prompt": f"a cat {i}", "seed": i, "subjects": subjects} | labels)
            if truth:
                (folder / "truth").mkdir(exist_ok=True)
                draw(7000 + i).save(folder / "truth" / f"case-{i}.png")
        (folder / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    return make


@pytest.fixture
def make_pictures(tmp_path: Path) -> Maker:
    """Writes a folder of pictures named <case_id>-<k>.png."""

    def make(*, num_cases: int = 6, per_case: int = 2) -> Path:
        folder = tmp_path / "pictures"
        folder.mkdir()
        for i in range(num_cases):
            for k in range(per_case):
                draw(9000 + 10 * i + k).save(folder / f"case-{i}-{k}.png")
        return folder

    return make


@pytest.fixture
def run_maker(tmp_path: Path) -> Maker:
    """A run with one picture per case, measured as told: run_maker("name", [{metric: value}, ...], groups="aabc")."""

    def make(name: str, values: list[dict[str, float | None]], *, groups: str = "", prompt: str = "a cat") -> Path:
        folder, ids = tmp_path / name, [f"c-{k}" for k in range(len(values))]
        write_jsonl(folder / "cases.jsonl", [{"id": case_id, "prompt": prompt} for case_id in ids])
        rows = [
            {
                **{"id": f"{case_id}-0", "case_id": case_id, "prompt": prompt, "subjects": []},
                "group": groups[k] if groups else case_id,
                "values": {key: {"value": value, "note": ""} for key, value in values[k].items()},
            }
            for k, case_id in enumerate(ids)
        ]
        write_jsonl(folder / "evaluation" / "scores.jsonl", rows)
        summary = {"benchmark": "world-multi", "inputs_sha256": f"hash of {name}", "metrics": metric_facts()}
        write_json(folder / "evaluation" / "summary.json", summary)
        return folder

    return make


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the evaluated run is kept that tests have their own copies of."""
    return tmp_path_factory.mktemp("kept") / "pictures"


@pytest.fixture
def evaluated(make_benchmark: Maker, make_pictures: Maker, encoders: Encoders, kept: Path, tmp_path: Path) -> Path:
    """An evaluated run that holds all it needs: six cases, two pictures each, photos and true pictures."""
    if not kept.is_dir():
        benchmark, pictures = make_benchmark(truth=True), make_pictures()
        for name in ("photos", "truth"):
            shutil.copytree(benchmark / name, pictures / name)
        (pictures / "images").mkdir()
        for path in pictures.glob("*.png"):
            path.rename(pictures / "images" / path.name)
        shutil.copy(benchmark / "cases.jsonl", pictures / "cases.jsonl")
        evaluate_run(pictures, benchmark="small", encoders=encoders)
        shutil.copytree(pictures, kept)
    return Path(shutil.copytree(kept, tmp_path / "run"))
