"""The real backbone in a generation run: a tiny FLUX with random weights, in one process and in two."""

from pathlib import Path

import pytest
from PIL import Image
from preference_runs import write_model

from likeness.core.errors import WeightsError
from likeness.core.files import read_json
from likeness.core.records import Case, Subject
from likeness.generate.run import generate_run
from likeness.pretrain.tiny_flux import build_tiny_flux


def test_damaged_numbers_end_the_run_and_leave_no_picture(tmp_path: Path) -> None:
    weights = build_tiny_flux(tmp_path / "tiny", corpus=["a cat"])
    path = weights / "transformer/diffusion_pytorch_model.safetensors"
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + b"\xff" * 4096 + data[middle + 4096 :])
    case, options = Case(id="one", prompt="a cat", seed=1), {"steps": 1}
    with pytest.raises(WeightsError, match="tiny: expected finite pixels"):
        generate_run([case], out=tmp_path / "run", model=str(weights), options=options, device="cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.slow), "bfloat16"])
def test_pictures_do_not_depend_on_workers_or_order(tmp_path: Path, dtype: str) -> None:
    import torch

    weights = write_model(tmp_path / "tiny")
    subjects: list[Subject] = []
    for name in ("red", "blue"):
        Image.new("RGB", (64, 48), name).save(tmp_path / f"{name}.png")
        subjects.append(Subject(id=name, class_name="cat", reference_image=tmp_path / f"{name}.png"))
    cases = [
        Case(id="two", prompt="a cat hugs a dog", subjects=tuple(subjects), seed=5),
        Case(id="one", prompt="a cat in the snow", subjects=(subjects[0],), seed=6),
        Case(id="none", prompt="a zebra", seed=7),
    ]
    threads = torch.get_num_threads()
    for out, order, workers in (("here", cases, 1), ("two", cases[::-1], 2)):
        options = {"steps": 2}
        generate_run(
            order, out=tmp_path / out, model=str(weights), options=options, device="cpu", dtype=dtype, workers=workers
        )
    assert torch.get_num_threads() == threads
    images = sorted((tmp_path / "here" / "images").iterdir())
    assert [path.name for path in images] == ["none-0.png", "one-0.png", "two-0.png"]
    for path in images:
        assert path.read_bytes() == (tmp_path / "two" / "images" / path.name).read_bytes()
    identity = read_json(tmp_path / "here" / "run.json")
    assert identity["settings"]["maker"] == "flux_uno"
    own = read_json(weights / "likeness.json")
    told = {"size": own["size"], "steps": 2, "guidance": 4.0, "cfg_scale": 1.0, "reference_cfg_scale": 1.0}
    told |= {"schedule": "flux", "reference_sizes": [own["reference_size_single"], own["reference_size_multi"]]}
    assert identity["settings_in_force"] == told
    assert '"unknown words: zebra"' in (tmp_path / "here" / "manifest.jsonl").read_text()
