"""Shape annotations are checked while tests run, in every room that has them, and none is skipped unseen."""

import ast
import importlib
from pathlib import Path

import jaxtyping
import pytest
import torch

from likeness.focus import focus_maps
from likeness.objectives.pair import denoising_errors

SRC = Path(__file__).parents[1] / "src"
SHAPED = {name for name, kind in vars(jaxtyping).items() if isinstance(kind, type)}
FILES = sorted(file for file in SRC.rglob("*.py") if "from jaxtyping import" in file.read_text(encoding="utf-8"))


def test_a_weight_map_for_one_picture_does_not_spread_over_two() -> None:
    velocity = torch.zeros(2, 16, 4, 4)
    assert denoising_errors(velocity, velocity + 1, torch.ones(2, 16)).tolist() == [1, 1]
    with pytest.raises(jaxtyping.TypeCheckError, match="parameter 'focus'"):
        denoising_errors(velocity, velocity + 1, torch.ones(1, 16))


def test_an_unchecked_call_is_possible(unchecked: None) -> None:
    velocity = torch.zeros(2, 16, 4, 4)
    assert denoising_errors(velocity, velocity + 1, torch.ones(1, 16)).tolist() == [1, 1]


def test_focus_maps_want_one_complexity_per_picture_and_masks_of_bools() -> None:
    masks, disrupted = torch.ones(2, 1, 9, dtype=torch.bool), torch.ones(2, 1, dtype=torch.bool)
    scores, complexity = torch.rand(2, 1, 9), torch.rand(2, 9)
    assert focus_maps(scores, masks, disrupted, complexity).weight.shape == (2, 9)
    with pytest.raises(jaxtyping.TypeCheckError, match="parameter 'complexity'"):
        focus_maps(scores, masks, disrupted, complexity[:1])
    with pytest.raises(jaxtyping.TypeCheckError, match="parameter 'subject_masks'"):
        focus_maps(scores, masks.float(), disrupted, complexity)


def test_every_room_but_world_is_checked(pytestconfig: pytest.Config) -> None:
    rooms = {f"likeness.{file.parent.name}" for file in (SRC / "likeness").glob("*/__init__.py")}
    *checked, _ = str(pytestconfig.getoption("--jaxtyping-packages")).split(",")
    assert set(checked) == rooms - {"likeness.world"}
    assert not [file for file in FILES if file.is_relative_to(SRC / "likeness" / "world")], "check `world` as well"


def annotations(tree: ast.Module) -> list[ast.expr]:
    """Annotations, and shapes that a module gives a name."""
    nodes = list(ast.walk(tree))
    named = [node.value for node in tree.body if isinstance(node, ast.Assign)]
    found = [node.annotation for node in nodes if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation]
    return named + found + [node.returns for node in nodes if isinstance(node, ast.FunctionDef) and node.returns]


def has_shape(annotation: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id in SHAPED for node in ast.walk(annotation))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(SRC).as_posix())
def test_every_shape_resolves(file: Path) -> None:
    """An annotation with a name that is not there at run time would be taken for `Any`."""
    module = importlib.import_module(".".join(file.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__"))
    shaped = [a for a in annotations(ast.parse(file.read_text(encoding="utf-8"))) if has_shape(a)]
    assert shaped
    for annotation in shaped:
        assert eval(ast.unparse(annotation), vars(module)) is not None
