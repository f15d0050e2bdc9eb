"""What a tracker is told: every mean as the summary has it, through an interface that refuses unknown words."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from likeness.core.errors import ConfigError
from likeness.core.files import read_json
from likeness.evaluate.track import Tracking, metric_numbers, track_summary, tracking


class FakeRun:
    """A run of trackio 0.43, as far as it is used: other arguments are a TypeError."""

    def __init__(self, calls: list[tuple[str, Any]]) -> None:
        self.calls = calls

    def log(self, metrics: dict[str, Any], step: int | None = None) -> None:
        assert all(type(value) in (int, float) for value in metrics.values())
        self.calls.append(("log", metrics))

    def finish(self) -> None:
        self.calls.append(("finish", None))


class FakeConfig(dict[str, Any]):
    """trackio.config."""

    def update(self, values: dict[str, Any], *, allow_val_change: bool) -> None:  # pyright: ignore
        super().update(values)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """A trackio that notes its calls and prints as the real one does."""
    found: list[tuple[str, Any]] = []

    def init(
        project: str,
        name: str | None = None,
        *,
        embed: bool = True,
        auto_log_cpu: bool | None = None,
        auto_log_gpu: bool | None = None,
    ) -> FakeRun:
        print("* Trackio project initialized")
        found.append(("init", (project, name)))
        return FakeRun(found)

    module = ModuleType("trackio")
    module.__dict__.update(init=init, config=FakeConfig())
    monkeypatch.setitem(sys.modules, "trackio", module)
    return found


def test_every_mean_is_logged_and_every_gap_is_told(
    evaluated: Path, calls: list[tuple[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    summary = read_json(evaluated / "evaluation" / "summary.json")
    track_summary(summary, run=evaluated, to=tracking("trackio:mine"))
    assert [name for name, _ in calls] == ["init", "log", "finish"]
    assert calls[0][1] == ("mine", "run")
    logged = calls[1][1]
    for row in summary["rows"]:
        key = next(
            k for k, f in summary["metrics"].items() if (f["name"], f["column"]) == (row["metric"], row["column"])
        )
        name = f"{row['row']}/{key}"
        if row["mean"] is None:
            assert name not in logged
            assert sys.modules["trackio"].config["not_measured"][name] == row["reason"]
        else:
            assert logged[name] == row["mean"]
            assert logged[f"{name}/n"] == row["n"]
    assert sys.modules["trackio"].config["encoders"] == summary["encoders"]
    assert capsys.readouterr().out == ""  # stdout is for the answer alone


def test_cards_are_named_with_their_columns() -> None:
    row = {"column": "DINO", "mean": 0.5, "ci_low": None, "ci_high": None, "n": 1, "reason": "one subject"}
    gap = {**row, "column": "CLIP-T", "mean": None, "reason": "no clip encoder"}
    found = metric_numbers({"metrics": {}, "rows": [], "cards": {"c@1": {"rows": [row, gap]}}})
    assert found == ({"c@1/DINO": 0.5, "c@1/DINO/n": 1}, {"c@1/CLIP-T": "no clip encoder"})


def test_a_tracker_is_asked_for_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackio", ModuleType("trackio"))
    assert tracking("trackio") == Tracking("trackio", "likeness")
    monkeypatch.delitem(sys.modules, "trackio")
    monkeypatch.setattr("likeness.core.tracking.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"--track trackio: expected the package trackio, .*'likeness\[trackio\]'"):
        tracking("trackio")
    for text in ("wandb", "trackio:", ""):
        with pytest.raises(ConfigError, match=r"--track: expected trackio, or with :PROJECT, got"):
            tracking(text)
