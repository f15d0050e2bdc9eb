"""The settings in force are what `FluxUno` draws with: the folder's own where nothing was asked for."""

import json
from pathlib import Path
from typing import Any

import pytest

from likeness.backbones.flux.options import FluxOptions
from likeness.backbones.options import Options

OWN = {"size": 96, "default_steps": 7, "default_cfg_scale": 2.5, "default_reference_cfg_scale": 4.0, "guidance": 3.0}


@pytest.mark.parametrize(
    ("asked", "steps_and_scales"),
    [
        ({}, (7, 2.5, 4.0)),
        ({"steps": 3}, (3, 2.5, 4.0)),
        ({"cfg_scale": 0.5}, (7, 1.0, 1.0)),
        ({"cfg_scale": 3.0}, (7, 3.0, 3.0)),
        ({"reference_cfg_scale": 0.0}, (7, 2.5, 0.0)),
        ({"cfg_scale": 1.5, "reference_cfg_scale": 0.5}, (7, 1.5, 0.5)),
    ],
)
def test_defaults_of_the_folder_stand_where_nothing_was_asked_for(
    tmp_path: Path, asked: dict[str, Any], steps_and_scales: tuple[float, ...]
) -> None:
    (tmp_path / "likeness.json").write_text(json.dumps(OWN))
    found = FluxOptions(**asked).in_force(tmp_path)
    assert (found["steps"], found["cfg_scale"], found["reference_cfg_scale"]) == steps_and_scales
    assert (found["size"], found["guidance"]) == (96, 3.0)


def test_flux_dev_needs_no_file_of_its_own(tmp_path: Path) -> None:
    found = FluxOptions(width=256).in_force(tmp_path)
    assert found == {
        **{"size": 512, "width": 256, "steps": 25, "guidance": 4.0},
        **{"cfg_scale": 1.0, "reference_cfg_scale": 1.0, "schedule": "flux", "reference_sizes": [512, 320]},
    }


def test_options_without_defaults_of_a_model_are_in_force_as_given(tmp_path: Path) -> None:
    class Painted(Options):
        shade: int = 3

    assert Painted().in_force(tmp_path) == {"shade": 3}
