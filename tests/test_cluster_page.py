"""docs/cluster.md: its two scripts are whole, and every likeness command in them parses."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from likeness.cli import app

TEXT = (Path(__file__).parents[1] / "docs" / "cluster.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)
    return found


def task() -> dict[str, Any]:
    return yaml.safe_load(block("yaml"))


SCRIPTS = {"slurm": block("bash"), "setup": task()["setup"], "run": task()["run"]}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_scripts_are_whole(name: str) -> None:
    done = subprocess.run(["bash", "-n"], input=SCRIPTS[name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_this_would_notice_a_script_that_is_not() -> None:
    for name in ("slurm", "run"):
        cut = SCRIPTS[name].replace("\nfi\n", "\n").removesuffix("fi")
        assert subprocess.run(["bash", "-n"], input=cut, capture_output=True, text=True, check=False).returncode != 0


@pytest.mark.parametrize(("name", "workers"), [("slurm", 16), ("run", 4)])
def test_every_command_parses_and_asks_for_the_engine(name: str, workers: int) -> None:
    lines = [line.strip() for line in SCRIPTS[name].replace("\\\n", " ").splitlines()]
    calls = [shlex.split(line.replace("$workers", "16")) for line in lines if line.startswith("likeness ")]
    assert [call[1] for call in calls] == ["generate", "evaluate"]
    for call in calls:
        command: Any = typer.main.get_command(app)
        context = command.commands[call[1]].make_context(call[1], call[2:])
        assert (context.params["engine"], context.params["workers"]) == ("ray", workers)


def test_the_task_says_how_many_nodes_and_what_they_run() -> None:
    found = task()
    assert set(found) == {"name", "num_nodes", "workdir", "resources", "envs", "setup", "run"}
    assert found["num_nodes"] > 1
    assert all(isinstance(value, str) for value in found["envs"].values())


def test_the_variables_of_the_scripts_are_those_of_a_cluster_that_we_start() -> None:
    from likeness.core.ray_jobs import SETTINGS

    assert {name: task()["envs"][name] for name in SETTINGS} == SETTINGS
    assert all(f"{name}={value}" in SCRIPTS["slurm"] for name, value in SETTINGS.items())
