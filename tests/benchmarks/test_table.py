"""The table: every line leads to a function of one form, and a benchmark is one module and one line."""

import inspect
import json
import sys
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from likeness.benchmarks import BENCHMARKS, Benchmark, benchmark_cases, benchmark_names
from likeness.cli import app
from likeness.core.errors import ConfigError
from likeness.core.files import write_jsonl
from likeness.core.records import CasesFile, read_cases
from likeness.encoders import WORLD_ENCODERS


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_line_leads_to_a_function_that_takes_what_is_asked_for(name: str) -> None:
    given = inspect.signature(benchmark_cases).parameters
    assert list(inspect.signature(resolve_name(BENCHMARKS[name].build)).parameters) == list(given)
    assert BENCHMARKS[name].summary


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("world-triple", "--benchmark: expected one of dreambench-single, .*stellar-world, got world-triple"),
        ("dreambench-multi", "--data: expected the folder of the photos for dreambench-multi, got none"),
    ],
)
def test_an_unknown_name_and_absent_data_are_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        benchmark_cases(name, folder=tmp_path / "cases")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A benchmark as somebody would add it, "toy-colours"; the list holds what its build was called with."""
    asked: list[dict[str, Any]] = []

    def build(name: str, *, folder: Path, **options: Any) -> CasesFile:
        asked.append({"name": name, "folder": folder, **options})
        write_jsonl(folder / "cases.jsonl", [{"id": "toy-v1-0", "prompt": "a red cat"}])
        return read_cases(folder / "cases.jsonl")

    module = ModuleType("toy_benchmark")
    module.build = build  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "toy_benchmark", module)
    monkeypatch.setitem(BENCHMARKS, "toy-colours", Benchmark("colours", "toy_benchmark:build", "world", version=1))
    return asked


def test_one_module_and_one_line_add_a_benchmark(tmp_path: Path, toy: list[dict[str, Any]]) -> None:
    found = benchmark_cases("toy-colours", folder=tmp_path, limit=3, split="validation", progress=print)
    assert [case.prompt for case in found.cases] == ["a red cat"]
    given = {"folder": tmp_path, "data": None, "limit": 3, "split": "validation", "progress": print}
    assert toy == [{"name": "toy-colours", **given}]
    assert benchmark_names(needs_data=False)[-1] == "toy-colours"
    assert "toy-colours" not in benchmark_names(needs_data=True)


@pytest.mark.usefixtures("toy")
def test_the_command_line_measures_an_added_benchmark_by_its_domain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, str]] = []
    monkeypatch.setattr("likeness.evaluate.folder.load_encoders", lambda specs, **_: asked.append(specs) or {})
    (tmp_path / "made").mkdir()
    Image.new("RGB", (16, 16), "red").save(tmp_path / "made" / "toy-v1-0.png")
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path / "made"), "--benchmark", "toy-colours", "--json"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["benchmark"] == "toy-colours"
    assert asked == [WORLD_ENCODERS]


def test_data_lint_takes_what_needs_no_data(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["data", "lint", str(tmp_path), "--benchmark", "dreambench-single"])
    assert result.exit_code == 2
    said = " ".join(result.stderr.split())
    assert "expected one of world-single, world-multi" in said
    assert "stellar-world, got dreambench-single" in said
