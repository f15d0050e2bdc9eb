"""What a recipe of pairs from models will take, before anything is loaded: `likeness data dip --dry-run`.

Parameters are counted on the meta device, from the configs alone. Seconds and bytes per record are those that the
ledger measured in the same folder; where it measured none they are unknown, never guessed.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any  # configs are JSON, classes are whatever they name

from likeness.core.errors import LikenessError
from likeness.core.files import read_json
from likeness.core.weights import resolve_processing
from likeness.data.staged.ledger import Entry, read_entries
from likeness.data.staged.model_pairs import records_of
from likeness.data.staged.recipe import ModelRecipe

__all__ = ["DryRun", "StageCost", "dry_run", "num_parameters"]

GIB = 2**30
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "auto": 2}
"""Of a weight; "auto" as on a GPU. Encoders and vision-language models are loaded in float32."""


@dataclass(frozen=True)
class StageCost:
    """What is known of a stage; what is not is NaN, with the reason in `note`.

    `gib`: weights of its models on one device, without what they compute with. `seconds` and `bytes` are means over
    the `measured` records of the ledger.
    """

    name: str
    models: dict[str, str]
    num_gpus: float
    batch_size: int
    gib: float
    seconds: float
    bytes: float
    measured: int
    note: str


@dataclass(frozen=True)
class DryRun:
    """All stages, for `num_records` records of which `num_begun` are in the ledger of the folder already."""

    num_records: int
    num_begun: int
    workers: int
    stages: tuple[StageCost, ...]

    @property
    def hours(self) -> float:
        """For all records that are still to be begun, if every one came through all stages; NaN where unmeasured."""
        each = sum(stage.seconds for stage in self.stages)
        return each * (self.num_records - self.num_begun) / self.workers / 3600

    @property
    def gigabytes(self) -> float:
        """Of pictures and masks, for all records; NaN where unmeasured."""
        return sum(stage.bytes for stage in self.stages) * self.num_records / 1e9

    def facts(self) -> dict[str, Any]:
        """As JSON: what is unknown is null."""
        rows = [{key: _known(value) for key, value in asdict(stage).items()} for stage in self.stages]
        numbers = {"hours": _known(self.hours), "gigabytes": _known(self.gigabytes)}
        return {"num_records": self.num_records, "num_begun": self.num_begun, **numbers, "stages": rows}

    def text(self) -> str:
        """For people."""
        told = f"{self.num_records} records, {self.num_begun} of them begun; nothing was loaded or written."
        lines = [
            told,
            "Estimates: memory is that of weights alone, seconds and disk are means of records in the ledger.",
        ]
        for stage in self.stages:
            seconds = "not measured" if math.isnan(stage.seconds) else f"{stage.seconds:.2f} s a record"
            memory = "memory unknown" if math.isnan(stage.gib) else f"{stage.gib:.1f} GiB of weights"
            how = f"{stage.num_gpus:g} GPU, batches of {stage.batch_size}"
            lines.append(f"  {stage.name:<9} {memory}, {seconds}, {how}")
            lines += [f"            {what}: {spec}" for what, spec in stage.models.items()]
            lines += [f"            {stage.note}"] if stage.note else []
        if math.isnan(self.hours):
            return "\n".join([*lines, "Time and disk: not measured yet; make some first, with --limit 8."])
        workers = "one worker" if self.workers == 1 else f"{self.workers} workers"
        return "\n".join(
            [*lines, f"About {self.hours:.1f} h with {workers}, {self.gigabytes:.2f} GB of pictures in all."]
        )


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def dry_run(recipe: ModelRecipe, *, out: Path, limit: int | None = None, workers: int = 1) -> DryRun:
    """The stages of a recipe and what they take, as far as it is known. Raises: ConfigError, DataError."""
    asked, entries = records_of(recipe, limit=limit), read_entries(out)
    begun = {record for record, _ in entries}
    drawn, located, told = recipe.generate, recipe.locate, recipe.caption
    filled, judged = recipe.inpaint, recipe.judge
    loras = {f"LoRA {place + 1}": spec for place, spec in enumerate(drawn.loras)}
    parts: list[tuple[str, Any, dict[str, str], str]] = [
        ("generate", drawn, {"model": drawn.model} | loras, drawn.dtype),
        ("locate", located, {"detector": located.detector, "segmenter": located.segmenter}, "float32"),
        ("caption", told, {"model": told.model}, "float32"),
        ("inpaint", filled, {"model": filled.model}, filled.dtype),
        ("judge", judged, {"model": judged.model}, "float32"),
    ]
    stages = [_stage(name, table, models, dtype=dtype, entries=entries) for name, table, models, dtype in parts]
    gate = StageCost("gate", {}, 0.0, 8, 0.0, *_measured("gate", entries), note="")
    num_begun = sum(each.id in begun for each in asked)
    return DryRun(len(asked), num_begun, workers, (*stages, gate))


def _stage(
    name: str, table: Any, models: dict[str, str], *, dtype: str, entries: Mapping[tuple[str, str], Entry]
) -> StageCost:
    counts, notes = list[float](), list[str]()
    for what, spec in models.items():
        if what.startswith("LoRA"):
            notes.append(f"{what} is not counted")
            continue
        try:
            counts.append(float(num_parameters(resolve_processing(spec))))
        except (LikenessError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            counts.append(math.nan)
            notes.append(f"{what} not counted: {str(error).partition('; ')[0]}")
    gib = sum(counts) * BYTES[dtype] / GIB
    seconds, size, number = _measured(name, entries)
    return StageCost(name, models, table.num_gpus, table.batch_size, gib, seconds, size, number, "; ".join(notes))


def _measured(name: str, entries: Mapping[tuple[str, str], Entry]) -> tuple[float, float, int]:
    """Seconds and bytes a record, and how many records the means are of."""
    own = [entry for (_, stage), entry in entries.items() if stage == name and entry.outcome != "failed"]
    if not own:
        return math.nan, math.nan, 0
    sizes = [sum(file.bytes for file in entry.files.values()) for entry in own]
    return fmean(entry.seconds for entry in own), fmean(sizes), len(own)


# -- parameters ------------------------------------------------------------------------------------------------
def num_parameters(folder: Path) -> int:
    """Of a folder in stock layout, all parts of a pipeline together; from the configs, without weights.

    Raises: KeyError, AttributeError or ValueError for a config that names no class of transformers or diffusers.
    """
    index = folder / "model_index.json"
    if not index.is_file():
        return _of_config(folder / "config.json")
    parts = [name for name, value in read_json(index).items() if isinstance(value, list) and value[0] is not None]
    return sum(_of_config(path) for name in parts if (path := folder / name / "config.json").is_file())


def _of_config(path: Path) -> int:
    import torch

    with torch.device("meta"):
        model = _empty(path.parent, read_json(path))
    return sum(parameter.numel() for parameter in model.parameters())  # tied ones count once


def _empty(folder: Path, config: Mapping[str, Any]) -> Any:
    """The model of a config on the current device."""
    import diffusers
    import transformers

    if "_class_name" in config:
        kind: Any = getattr(diffusers, config["_class_name"])
        return kind.from_config(dict(config))
    kind = getattr(transformers, config["architectures"][0])
    return kind(transformers.AutoConfig.from_pretrained(folder, local_files_only=True))
