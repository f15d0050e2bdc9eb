"""The relation task: noise error, joints as in the references, and a predicate that looks at the subjects.

Source: DreamRelation (arXiv:2410.23280) for what is learnt; weights, threshold and optimizer of its published code
(design note dreamrelation.md, 2.4 to 2.7): LoRA of rank 4, learning rate 1e-4, 500 steps of 4 examples.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, cast  # Any: identities are JSON; conditions of any backbone

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from likeness.backbones.base import Backbone, ReadsLocalTokens, ShowsText, TokenGrid
from likeness.backbones.local_tokens import LocalTokens
from likeness.backbones.open import backbone_class
from likeness.backbones.sdxl.local_encoder import require_trainable_injection, save_injection
from likeness.backbones.sdxl.local_settings import uses_local_tokens
from likeness.core.errors import ConfigError, DataError
from likeness.core.hashing import file_sha256, json_sha256
from likeness.core.kinds import Split
from likeness.core.records import Case, Layout, Subject
from likeness.core.rng import seed_for
from likeness.core.spec import Spec
from likeness.core.weights import public_name
from likeness.data.relations.read import read_relations
from likeness.data.relations.records import RELATIONS_NAME, RelationExample, example_files, example_row
from likeness.objectives.pair import denoising_errors
from likeness.objectives.relation import keypoint_matching_loss, predicate_attention_loss
from likeness.train.config import TrainConfig
from likeness.train.pairs.step import autocast
from likeness.train.relations.encode import encode_example
from likeness.train.relations.show import NUM_SHOWN, TIME, example_facts, is_shown, mean_attention, write_step
from likeness.train.task import Draw, Progress, Step, Trainable
from likeness.train.trainable.joined import Joined
from likeness.train.trainable.weights import TunedWeights

_OWN = ("target", "cells", "shown", "valid", "objects", "words")


class DataTable(Spec):
    """`relations`: folder of `likeness data relations`. `split` names the rows used, `limit` the first of them.

    `size`: long side in px of targets and, for their joints, of references. `local_tokens`: the model also reads those
    of its Local Image Encoder, which its folder must have. `train_injection`: the parameters of what joins them to the
    image tokens are trained together with the LoRA and saved beside it.
    """

    relations: str = Field(min_length=1)
    split: Split = "train"
    size: int = Field(default=1024, ge=16)
    limit: int | None = Field(default=None, ge=1)
    local_tokens: bool = False
    train_injection: bool = False

    @model_validator(mode="after")
    def _has_something_to_inject(self) -> "DataTable":
        if self.train_injection and not self.local_tokens:
            raise ValueError("train_injection: expected local_tokens beside it, got false; set both, or none of them")
        return self


class Relation(Spec):
    """Weights of the keypoint matching loss, which acts at times up to `keypoint_until`, and of the predicate's.

    The published code's last step for joints is 333 of 0 to 999, whose times lie below 0.334. 0 leaves a loss out.
    `legacy`: joints as the published code reads them (`encode_example`), to study its LoRAs.
    """

    kind: Literal["relation"] = "relation"
    keypoint_weight: float = Field(default=0.1, ge=0)
    keypoint_until: float = Field(default=0.334, gt=0, le=1)
    attention_weight: float = Field(default=0.001, ge=0)
    legacy: bool = False


class RelationBatch(NamedTuple):
    """B examples with their noise and times; see `encode_example`."""

    target: Float[Tensor, "B C h w"]
    eps: Float[Tensor, "B C h w"]
    t: Float[Tensor, " B"]
    condition: Any
    cells: Int[Tensor, "B R K 2"]
    shown: Float[Tensor, "B R K C"]
    valid: Bool[Tensor, "B R K"]
    objects: Bool[Tensor, "B h w"]
    words: Bool[Tensor, "B T"] | None


class RelationTask:
    """The examples of a config; once prepared, encoded and kept in memory: there are few of them."""

    data: ClassVar[type[Spec]] = DataTable
    objectives: ClassVar[Mapping[str, Callable[[], type[Spec]]]] = {"relation": lambda: Relation}
    noun: ClassVar[str] = "examples"
    added: ClassVar[Sequence[str]] = ()
    by_t: ClassVar[Sequence[str]] = ()
    columns: Sequence[str] = ("loss", "error", "keypoint", "attention", "t")
    reference_decay: float | None = None

    def __init__(self, config: TrainConfig, *, model: Path, precision: torch.dtype) -> None:
        self._config, self._precision = config, precision
        self._table, self.objective = cast(DataTable, config.data), cast(Relation, config.objective)
        self.examples = find_examples(self._table.relations, split=self._table.split, limit=self._table.limit)
        self._rows: list[dict[str, Tensor]] = []
        self._shapes: list[tuple[tuple[int, ...], ...]] = []
        self._injection: LocalTokens | None = None
        if self._table.local_tokens:
            _require_local_encoder(model, injection=self._table.train_injection)
        if self.objective.attention_weight:
            _require_text_attention(model, config)

    @classmethod
    def find(cls, config: TrainConfig, *, model: Path, precision: torch.dtype) -> "RelationTask":
        """The examples of a config. Raises: ConfigError, DataError."""
        return cls(config, model=model, precision=precision)

    def __len__(self) -> int:
        return len(self.examples)

    def identity(self) -> dict[str, Any]:
        """The examples by their hash, and what pages say of the objective."""
        rows = [_facts(example) for example in self.examples]
        data = {"id": public_name(self._table.relations), "num_examples": len(rows), "sha256": json_sha256(rows)}
        facts = {"label": "Relation LoRA", "compares": False, "loss": "noise error, joints and the predicate's places"}
        told = {name: getattr(self._table, name) for name in ("split", "size", "local_tokens", "train_injection")}
        return {"data": {**data, **told}, "objective": facts}

    def prepare(self, backbone: Backbone[Any], *, is_main: bool, wait: Callable[[], None], progress: Progress) -> None:
        """Every process encodes all examples; pictures drawn beside the run have local tokens where the run has them.

        Raises: DataError naming the example.
        """
        if isinstance(backbone, ReadsLocalTokens):
            backbone.local_tokens = self._table.local_tokens
            if self._table.train_injection:
                self._injection = cast(LocalTokens, backbone.tune_injection())
        tell = progress("encoding examples")
        for done, example in enumerate(self.examples, start=1):
            row = encode_example(backbone, example, size=self._table.size, legacy=self.objective.legacy)
            self._rows.append(row)
            others = (tuple(row[name].shape) for name in sorted(row) if name != "target")
            self._shapes.append((tuple(row["target"].shape), *others))
            tell(done, len(self.examples))

    def with_more(self, adapter: Trainable, /) -> Trainable:
        """The LoRA, and the injection of local tokens where the config says so. After `prepare`."""
        if (tokens := self._injection) is None:
            return adapter
        named = {f"injection.{name}": parameter for name, parameter in tokens.named_parameters()}
        return Joined([adapter, TunedWeights(named, save=partial(save_injection, tokens))])

    def cases(self, limit: int) -> Sequence[Case]:
        """The first examples, to be drawn anew: their prompts, references and places."""
        return [_case(example, seed=self._config.train.seed) for example in self.examples[:limit]]

    @property
    def shapes(self) -> Sequence[tuple[tuple[int, ...], ...]]:
        """Sizes of the target and of all other tensors, per example."""
        return self._shapes

    def batch(self, rows: Sequence[int], draws: Sequence[Draw], *, backbone: Backbone[Any]) -> RelationBatch:
        """The examples with their noise and times."""
        chosen, device = [self._rows[row] for row in rows], backbone.device

        def stacked(name: str) -> Tensor:
            return torch.stack([row[name] for row in chosen]).to(device)

        told = [{name: tensor for name, tensor in row.items() if name not in _OWN} for row in chosen]
        own = {name: stacked(name) for name in _OWN if name != "words"}
        return RelationBatch(
            eps=torch.stack([draw.eps for draw in draws]).to(device),
            t=torch.tensor([draw.t for draw in draws], device=device),
            condition=backbone.collate(told, guidance=self._config.train.guidance),
            words=stacked("words") if "words" in chosen[0] else None,
            **own,
        )

    def step(self, batch: RelationBatch, *, backbone: Backbone[Any], trainable: Trainable) -> Step:
        """Noise error + keypoint_weight x joints + attention_weight x the predicate's attention, a mean over examples.

        What an example does not have, joints above the threshold or a predicate, adds nothing and is NaN in the log.
        """
        wanted, t = self.objective, batch.t
        x_t = backbone.noise(batch.target, batch.eps, t)
        grid, words = TokenGrid(batch.target.shape[-2], batch.target.shape[-1]), batch.words
        looks = bool(wanted.attention_weight) and words is not None and isinstance(backbone, ShowsText)
        watch = cast(ShowsText, backbone).text_attention(cast(Tensor, words), grid=grid) if looks else nullcontext()
        with autocast(backbone, self._precision), watch as seen:
            prediction = backbone.predict(x_t, t, batch.condition).float()
        error = denoising_errors(prediction, backbone.target(batch.target, batch.eps, t))
        loss, logged = error, {"error": error, "t": t}
        if wanted.keypoint_weight:
            gate = t <= wanted.keypoint_until
            joints = keypoint_matching_loss(
                backbone.clean(x_t, prediction, t), batch.shown, cells=batch.cells, valid=batch.valid, gate=gate
            )
            loss = loss + wanted.keypoint_weight * joints
            logged["keypoint"] = torch.where(gate & batch.valid.any(dim=(1, 2)), joints, torch.nan)
        if seen is not None:
            looking = predicate_attention_loss(seen.maps(), batch.objects)
            loss = loss + wanted.attention_weight * looking
            logged["attention"] = torch.where(cast(Tensor, words).any(dim=1), looking, torch.nan)
        return Step(loss.mean(), {"loss": loss.detach()} | {name: each.detach() for name, each in logged.items()})

    def show(self, folder: Path, *, step: int, backbone: Backbone[Any]) -> None:
        """The first examples seen from inside (`show.py`); a file that is there already is left."""
        if is_shown(folder, step=step):
            return
        found: list[dict[str, Any]] = []
        for number in range(min(NUM_SHOWN, len(self))):
            clean, attention = self._seen(number, backbone)
            sizes: Any = {"size": self._table.size, "multiple": backbone.facts.px_per_token}
            example, row = self.examples[number], self._rows[number]
            found.append(example_facts(folder, example, row, **sizes, clean=clean, attention=attention))
        write_step(folder, found, step=step)

    @torch.no_grad()
    def _seen(self, number: int, backbone: Backbone[Any]) -> tuple[Tensor, Tensor | None]:
        """The clean estimate of an example under noise of its own, and the attention to its predicate."""
        shape, words = self._rows[number]["target"].shape, self._rows[number].get("words")
        draw = torch.Generator().manual_seed(seed_for(self._config.train.seed, "shown", self.examples[number].id))
        batch = self.batch([number], [Draw(torch.randn(shape, generator=draw), TIME)], backbone=backbone)
        grid, x_t = (shape[-2], shape[-1]), backbone.noise(batch.target, batch.eps, batch.t)
        looks = words is not None and bool(words.any()) and isinstance(backbone, ShowsText)
        told = cast(Tensor, batch.words)
        watch = cast(ShowsText, backbone).text_attention(told, grid=TokenGrid(*grid)) if looks else nullcontext()
        with autocast(backbone, self._precision), watch as seen:
            prediction = backbone.predict(x_t, batch.t, batch.condition).float()
        clean = backbone.clean(x_t, prediction, batch.t)[0].float()
        return clean, None if seen is None else mean_attention(seen.maps(), grid=grid)


def find_examples(
    folder: str, *, split: Split, limit: int | None, key: str = "relations"
) -> tuple[RelationExample, ...]:
    """The examples of the split in a folder that stands at data.`key`. Raises: ConfigError, DataError."""
    place = Path(folder).expanduser()
    if not (place / RELATIONS_NAME).is_file() and not place.is_file():
        wanted = f"data.{key}: expected a folder with {RELATIONS_NAME}, got nothing at {place}"
        raise ConfigError(f"{wanted}; make one with `likeness data relations`.")
    found = read_relations(place)
    if found.left_out:
        got = f"{len(found.left_out)} bad; first: {found.left_out[0].reason}"
        raise DataError(f"{place}: expected sound rows only, got {got}; see `likeness data lint {place}`.")
    kept = tuple(example for example in found.examples if example.split == split)[:limit]
    if not kept:
        splits = ", ".join(sorted({example.split for example in found.examples}))
        raise ConfigError(f"data.split: expected examples of {split}, got only {splits}; choose another.")
    return kept


def _require_local_encoder(model: Path, *, injection: bool) -> None:
    """Raises: ConfigError where the model reads no local tokens, has no encoder, or no `injection` to be trained."""
    kind = backbone_class(model)
    try:
        if not getattr(kind, "reads_local_tokens", False):
            raise ConfigError(f"local_tokens: expected sdxl_ms_diffusion, got {kind.__name__}; set it to false.")
        uses_local_tokens(model, True)
        if injection:
            require_trainable_injection(model)
    except ConfigError as error:
        raise ConfigError(f"data.{error}") from None


def _require_text_attention(model: Path, config: TrainConfig) -> None:
    """Raises: ConfigError where the predicate's attention cannot be seen, or not with a gradient."""
    kind = backbone_class(model)
    if not hasattr(kind, "text_attention"):
        wanted = "objective.attention_weight: expected 0, since this model has no cross-attention with the text"
        raise ConfigError(f"{wanted}, got a weight ({kind.__name__}); set it to 0.")
    if config.train.gradient_checkpointing:
        wanted = (
            "train.gradient_checkpointing: expected false beside objective.attention_weight, whose maps it cuts off"
        )
        raise ConfigError(f"{wanted} from their gradient, got true; set one of them to 0 or false.")


def _facts(example: RelationExample) -> dict[str, Any]:
    """The row without paths, and the bytes of its files."""
    row = example_row(example)
    hashes = {slot: file_sha256(file) for slot, file in sorted(example_files(example).items())}
    kept = {name: row[name] for name in ("id", "prompt", "predicate")}
    subjects = [
        {"phrase": subject.phrase, "box": subject.box, "keypoints": subject.keypoints.model_dump(mode="json"),
         "reference": subject.reference.keypoints.model_dump(mode="json")}
        for subject in example.subjects
    ]  # fmt: skip
    return {**kept, "files": hashes, "subjects": subjects}


def _case(example: RelationExample, *, seed: int) -> Case:
    """What the target answers, to be answered again, with every subject where it stands there."""
    subjects = tuple(
        Subject(
            id=subject.id or f"{example.id}-{number}",
            class_name=subject.phrase,
            reference_image=subject.reference.image,
            mask=subject.reference.mask,
        )
        for number, subject in enumerate(example.subjects)
    )
    boxes = tuple(subject.box for subject in example.subjects)
    layout = Layout(boxes=boxes, phrases=tuple(subject.phrase for subject in example.subjects))
    drawn = seed_for(seed, "samples", example.id)
    return Case(id=example.id, prompt=example.prompt, subjects=subjects, layout=layout, seed=drawn)
