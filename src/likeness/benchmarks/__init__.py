"""Which cases a named benchmark holds. A benchmark gives cases; generating and measuring are other rooms' work.

`dreambench.py` reads photographed subjects from a local folder, `world.py` draws its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Literal

from likeness.core.errors import ConfigError

if TYPE_CHECKING:
    from likeness.core.records import CasesFile
    from likeness.world.identity import Split

Progress = Callable[[int, int], None]
"""Called with (cases built, cases in all)."""


@dataclass(frozen=True)
class Benchmark:
    """What is known of a benchmark before it is built.

    `build` is the "module:function" that gives its cases; it takes the arguments of `benchmark_cases`. A benchmark that
    needs data reads photographs and writes nothing; any other writes cases.jsonl and its pictures to the folder. The
    domain says which encoders measure it by default. Results of different versions must not be compared.
    """

    summary: str
    build: str
    domain: Literal["world", "photo"]
    version: int
    needs_data: bool = False


_PHOTOS, _WORLD = "likeness.benchmarks.dreambench:build", "likeness.benchmarks.world:build"
# Version 1 of the world asked for hair styles that a hat hides.
BENCHMARKS: dict[str, Benchmark] = {
    "dreambench-single": Benchmark(
        "30 photographed subjects x 25 prompts, one subject each", _PHOTOS, "photo", version=1, needs_data=True
    ),
    "dreambench-multi": Benchmark(
        "30 pairs of photographed subjects x 25 prompts", _PHOTOS, "photo", version=1, needs_data=True
    ),
    "world-single": Benchmark("drawn characters, one per picture", _WORLD, "world", version=2),
    "world-multi": Benchmark("drawn characters, two per picture", _WORLD, "world", version=2),
    "world-hard": Benchmark(
        "two to four drawn characters: look-alikes, small, overlapping, rare relations", _WORLD, "world", version=2
    ),
    "world-relationbench": Benchmark(
        "the 25 RelationBench prompts with drawn characters, four times", _WORLD, "world", version=2
    ),
}


def benchmark_names(*, needs_data: bool) -> list[str]:
    """The benchmarks that need a folder of photographs, or those that do not, in the table's order."""
    return [name for name, known in BENCHMARKS.items() if known.needs_data == needs_data]


def benchmark_cases(
    name: str,
    *,
    folder: Path,
    data: Path | None = None,
    limit: int | None = None,
    split: Split = "test",
    progress: Progress | None = None,
) -> CasesFile:
    """The cases of a named benchmark, or its first `limit`: built in `folder`, or read from the photographs in `data`.

    Raises: ConfigError for another name or without data that is needed; DataError for unusable data or a split that
    the benchmark does not have; OutputError when `folder` holds something else.
    """
    if name not in BENCHMARKS:
        raise ConfigError(f"--benchmark: expected one of {', '.join(BENCHMARKS)}, got {name}; correct the name.")
    known = BENCHMARKS[name]
    if known.needs_data and data is None:
        raise ConfigError(f"--data: expected the folder of the photos for {name}, got none; add --data FOLDER.")
    build: Callable[..., CasesFile] = resolve_name(known.build)
    return build(name, folder=folder, data=data, limit=limit, split=split, progress=progress)
