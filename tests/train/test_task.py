"""The loop knows no task: a regression with a data table, an objective and columns of its own trains as pairs do."""

from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from likeness.core.spec import Spec
from likeness.train.config import ModelTable, TrainConfig, TrainTable
from likeness.train.loop import Training
from likeness.train.task import TASKS, Draw, Step, Task, task_of

pytestmark = pytest.mark.usefixtures("unchecked")  # a toy is no whole backbone


class Rows(Spec):
    """How many rows."""

    count: int = 6


class Square(Spec):
    """Squared error, with a small pull towards 0."""

    kind: Literal["square"] = "square"
    pull: float = 0.01


class Lines:
    """Numbers x, to be mapped to 3 x; "even" is measured of even rows alone, "absent" never."""

    data: ClassVar[type[Spec]] = Rows
    objectives: ClassVar[dict[str, Any]] = {"square": lambda: Square}
    noun: ClassVar[str] = "lines"
    added: ClassVar[Sequence[str]] = ("pull",)
    by_t: ClassVar[Sequence[str]] = ("even",)
    columns = ("loss", "pull", "parts/first", "parts/absent", "even", "absent", "t")
    shapes = [((1, 2, 2),)] * 6
    reference_decay: float | None = None

    def batch(self, rows: Sequence[int], draws: Sequence[Draw], *, backbone: Any) -> tuple[Tensor, Tensor, Tensor]:
        x = torch.tensor([[1.0 + row] for row in rows])
        return x, torch.tensor([draw.t for draw in draws]), torch.tensor([row % 2 == 0 for row in rows])

    def step(self, batch: tuple[Tensor, Tensor, Tensor], *, backbone: Any, trainable: Any) -> Step:
        x, t, even = batch
        each = (backbone.network(x) - 3 * x).square().mean(1)
        pull = Square().pull * torch.stack([p.square().sum() for _, p in trainable.named]).sum()
        rows = each.detach()
        kept = torch.where(even, rows, torch.nan)
        pulled = torch.full_like(rows, float(pull.detach()))
        logged = {"loss": rows, "pull": pulled, "parts/first": 2 * rows, "even": kept, "t": t}
        return Step(each.mean() + pull, logged)


class Toy:
    """Of a backbone, what the loop asks for."""

    facts = SimpleNamespace(latents_per_token=1)
    time_laws = ("uniform",)

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.network = nn.Linear(1, 1)

    def draw_t(self, generator: torch.Generator, *, grid: tuple[int, int], law: str) -> float:
        return float(torch.rand((), generator=generator))


class Whole:
    """All of a network is trained."""

    def __init__(self, network: nn.Module) -> None:
        self.named = list(network.named_parameters())

    def off(self) -> Any:
        return nullcontext()


def training() -> Training:
    config = TrainConfig(
        model=ModelTable(base="toy"),
        data=Rows(),
        objective=Square(),
        train=TrainTable(batch_size=2, accumulation=2, learning_rate=0.05, warmup=1, ema=0.9, clip=100.0),
    )
    toy: Any = Toy()
    task: Any = Lines()
    whole: Any = Whole(toy.network)
    return Training(config, task=task, backbone=toy, trainable=whole, accelerator=Accelerator(cpu=True))


def rows_of(run: Training, count: int) -> list[dict[str, Any]]:
    rows = [run.train_step(checkpoint="none yet") for _ in range(count)]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_another_task_trains_and_logs_columns_of_its_own() -> None:
    rows = rows_of(training(), 60)
    assert rows[-1]["loss"] < 0.05 * rows[0]["loss"]
    first = rows[0]
    assert list(first)[:4] == ["step", "num_lines_seen", "loss", "pull"]
    assert (first["step"], first["num_lines_seen"], rows[-1]["num_lines_seen"]) == (1, 4, 240)
    assert first["parts"] == {"first": pytest.approx(2 * first["loss"]), "absent": None}
    assert first["absent"] is None
    for row in rows:
        table = row["even_by_t"]
        assert (table is None) == (row["even"] is None)
        if table is not None:
            assert sum(table["sum"]) / sum(table["count"]) == pytest.approx(row["even"])
            assert sum(table["count"]) < 4


def test_what_is_added_counts_for_the_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    run, seen = training(), []
    monkeypatch.setattr(run.guard, "check", lambda step, numbers, checkpoint: seen.append(numbers["loss"]))
    (row,) = rows_of(run, 1)
    assert seen == [row["loss"] + row["pull"]]
    assert row["pull"] > 0


def test_a_run_goes_on_from_its_state_as_if_nothing_had_happened() -> None:
    whole, parts, later = training(), training(), training()
    expected = rows_of(whole, 6)
    found = rows_of(parts, 3)
    state = parts.state()
    later.restore(state, where="state")
    assert [*found, *rows_of(later, 3)] == expected
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(whole.named, later.named, strict=True))


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_of_the_table_keeps_the_protocol(name: str) -> None:
    task = task_of(name)
    wanted = {member for member in vars(Task) if not member.startswith("_")} | {"data", "objectives", "noun", "added"}
    assert wanted - set(dir(task)) == set()
    assert issubclass(task.data, Spec)
    for kind, options in task.objectives.items():
        assert options().model_fields["kind"].default == kind
