"""What a training task gives the loop: rows, batches, the loss of a step and what to log. The loop knows no task.

A task is a folder of this room and one line in TASKS. `pairs` are preference pairs; `local_encoder` trains no generator
but an encoder, which it opens itself (`OwnNetwork`), and `stellarnet` more than an adapter. A trainable is what a run
changes.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeVar, runtime_checkable  # Any: JSON

from likeness.core.spec import Spec

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from likeness.backbones.base import Backbone
    from likeness.core.records import Case
    from likeness.train.config import BaseTable, TrainConfig

TASKS: dict[str, str] = {
    "pairs": "likeness.train.pairs.task:PairsTask",
    "local_encoder": "likeness.train.local.task:LocalEncoderTask",
    "relations": "likeness.train.relations.task:RelationTask",
    "textual_inversion": "likeness.train.subjects.textual_inversion:TextualInversionTask",
    "dreambooth": "likeness.train.subjects.dreambooth:DreamBoothTask",
    "custom_diffusion": "likeness.train.subjects.custom_diffusion:CustomDiffusionTask",
    "ed_lora": "likeness.train.subjects.ed_lora:EdLoraTask",
    "stellarnet": "likeness.train.inversion.task:StellarNetTask",
    "elite": "likeness.train.inversion.elite:EliteTask",
    "reversion": "likeness.train.reversion.task:ReversionTask",
}
"""Every task by the name that a config gives, as "module:Class"; reading the table imports no torch."""

BatchT = TypeVar("BatchT")
Progress = Callable[[str], Callable[[int, int], None]]
"""A maker of progress callables by label, each called with (done, total)."""


class Draw(NamedTuple):
    """Noise (C, h, w) and time in (0, 1) of one row of a batch; what else a task draws for it follows from `seed`."""

    eps: "Tensor"
    t: float
    seed: int = 0


class Step(NamedTuple):
    """`loss`, a scalar mean over rows, is what a micro-batch minimises; `logged` has a number (B,) per column."""

    loss: "Tensor"
    logged: "Mapping[str, Tensor]"


@runtime_checkable
class Trainable(Protocol):
    """What a run changes of a network: an adapter, say.

    Where its parameters have learning rates of their own, it also has `rate_shares`: by name, each as a share of the
    run's.
    """

    named: "list[tuple[str, torch.nn.Parameter]]"
    """Its parameters by name, in a fixed order."""

    def off(self) -> AbstractContextManager[None]:
        """Within it the network answers as it did before training: the reference policy."""
        ...

    def save(self, folder: Path, *, metadata: Mapping[str, Any]) -> None:
        """`folder` holds it in a format that stock loaders read, with `metadata` in its header."""
        ...


@runtime_checkable
class Task(Protocol[BatchT]):
    """Rows that can be trained on. `data` and `objectives` are the tables that a config may hold for it.

    `columns` are the log's, in order, among them "loss" and "t" ("a/b" stands as b inside a); one that a step does not
    give is null there. With those `added`, "loss" is what is minimised; those `by_t` are also logged per tenth of the
    time. `noun` names rows.
    """

    data: ClassVar[type[Spec]]
    objectives: ClassVar[Mapping[str, Callable[[], type[Spec]]]]
    noun: ClassVar[str]
    columns: Sequence[str]
    added: ClassVar[Sequence[str]]
    by_t: ClassVar[Sequence[str]]

    @classmethod
    def find(cls, config: "TrainConfig", *, model: Path, precision: "torch.dtype") -> "Task[BatchT]":
        """The rows of a config, found and checked before any weights are loaded. Raises: ConfigError, DataError."""
        ...

    def __len__(self) -> int:
        """How many rows."""
        ...

    def identity(self) -> dict[str, Any]:
        """What of the rows and their options decides the result: {"data": ..., "settings"?: ...} for run.json."""
        ...

    def prepare(
        self, backbone: "Backbone[Any]", *, is_main: bool, wait: Callable[[], None], progress: Progress
    ) -> None:
        """Rows are encoded: by the main process, while the others `wait`."""
        ...

    def cases(self, limit: int) -> "Sequence[Case]":
        """At most `limit` cases of its own by which a run can be looked at, always the same; there may be none."""
        ...

    @property
    def reference_decay(self) -> float | None:
        """Decay of the average of what is trained that is the reference policy; None: the network before training."""
        ...

    @property
    def shapes(self) -> Sequence[tuple[tuple[int, ...], ...]]:
        """What must agree within a batch, per row; the first is (C, h, w) of its latents. After `prepare`."""
        ...

    def batch(self, rows: Sequence[int], draws: Sequence[Draw], *, backbone: "Backbone[Any]") -> BatchT:
        """The rows, which agree in shape, with their noise and times, on the backbone's device."""
        ...

    def step(self, batch: BatchT, *, backbone: "Backbone[Any]", trainable: Trainable) -> Step:
        """The loss of a micro-batch, with gradient to the trainable."""
        ...

    def show(self, folder: Path, *, step: int, backbone: "Backbone[Any]") -> None:
        """What the report draws of this step lies in the run folder; what is there already is left."""
        ...


def task_of(name: str) -> Any:  # a class that keeps Task; no checker can tell by the protocol, which has attributes
    """The class of a task of TASKS."""
    return resolve_name(TASKS[name])


@runtime_checkable
class Network(Protocol):
    """What the loop asks of a backbone, and so of a network that a task opens itself."""

    time_laws: ClassVar[tuple[str, ...]]
    facts: Any
    """`latents_per_token`: what divides the sides of a row's noise."""

    @property
    def network(self) -> "nn.Module":
        """What training changes."""
        ...

    @property
    def device(self) -> "torch.device":
        """Where it computes."""
        ...

    def draw_t(self, generator: "torch.Generator", *, grid: tuple[int, int], law: str) -> float:
        """A number in (0, 1) for a row, by one of the laws."""
        ...

    def encode_exactly(self) -> None:
        """From now on rows are encoded in fp32, where anything is encoded."""
        ...

    def put_encoders_away(self) -> None:
        """What only encodes leaves memory."""
        ...


@runtime_checkable
class OwnNetwork(Protocol):
    """What a task has besides that trains no generator, or more of it than an adapter.

    `model` is its table [model], `product` the folder of the run in which the trainable is saved.
    """

    model: "ClassVar[type[BaseTable]]"
    product: ClassVar[str]
    time_laws: ClassVar[tuple[str, ...]]

    def open_network(self, folder: Path, *, device: str, precision: "torch.dtype") -> Network:
        """The network of the weights in `folder`. Raises: ConfigError, WeightsError."""
        ...

    def make_trainable(self, network: Any, /) -> Trainable:
        """What the run changes of it. Raises: ConfigError."""
        ...


@runtime_checkable
class TrainsMore(Protocol):
    """What a task has besides that may train something of a generator beside the adapter."""

    def with_more(self, adapter: Trainable, /) -> Trainable:
        """What the run changes: the adapter alone, or with what else there is. After `prepare`."""
        ...


def owns_network(task: type[Any]) -> bool:
    """Whether the class of a task keeps OwnNetwork; without `open_network` the run opens a generator."""
    return hasattr(task, "open_network")
