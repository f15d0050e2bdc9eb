"""Which cases a named benchmark holds. A benchmark gives cases; generating and measuring are other rooms' work.

`world.py` and `stellar_world.py` draw their own subjects; the other files read photographed ones from a local folder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Literal

from likeness.core.errors import ConfigError
from likeness.core.files import atomic_write_bytes
from likeness.core.jobs import Progress, unseen

if TYPE_CHECKING:
    from likeness.core.kinds import Split
    from likeness.core.records import CasesFile


@dataclass(frozen=True)
class Benchmark:
    """What is known of a benchmark before it is built.

    `build` is the "module:function" to which `benchmark_cases` hands its arguments. With data it reads photographs and
    writes nothing, else it writes cases.jsonl and its pictures to the folder. The domain says which encoders measure it
    by default. Results of different versions must not be compared.
    """

    summary: str
    build: str
    domain: Literal["world", "photo"]
    version: int
    needs_data: bool = False


_from_folder = partial(Benchmark, domain="photo", version=1, needs_data=True)
_photographed = partial(_from_folder, build="likeness.benchmarks.dreambench:build")
# Version 1 of the world asked for hair styles that a hat hides.
_drawn = partial(Benchmark, build="likeness.benchmarks.world:build", domain="world", version=2)
BENCHMARKS: dict[str, Benchmark] = {
    "dreambench-single": _photographed("30 photographed subjects x 25 prompts, one subject each"),
    "dreambench-multi": _photographed("30 pairs of photographed subjects x 25 prompts"),
    "dreambench++": _from_folder("150 subjects x 9 prompts", build="likeness.benchmarks.dreambench_plus:build"),
    "concept101": _from_folder("101 pairs of photographed concepts", build="likeness.benchmarks.concept101:build"),
    "concept101-single": _from_folder("101 photographed concepts", build="likeness.benchmarks.concept101:build"),
    "multiid": _from_folder("one to four people, a photo of each", build="likeness.benchmarks.multiid:build"),
    "xversebench": _from_folder(
        "one to three people, objects or animals", build="likeness.benchmarks.xversebench:build"
    ),
    "stellar": _from_folder(
        "200 photographed people x 2 photos x 100 prompts",
        build="likeness.benchmarks.stellar:build",
    ),
    "world-single": _drawn("drawn characters, one per picture"),
    "world-multi": _drawn("drawn characters, two per picture"),
    "world-hard": _drawn("two to four drawn characters: look-alikes, small, overlapping, rare relations"),
    "world-relationbench": _drawn("the 25 RelationBench prompts with drawn characters, four times"),
    "relation-world": _drawn("the same prompts twenty times, with triplets and things as labels", version=1),
    "stellar-world": Benchmark(
        "100 drawn people x 2 photos x 6 prompts of Stellar's form",
        build="likeness.benchmarks.stellar_world:build",
        domain="world",
        version=1,
    ),
}


def benchmark_names(*, needs_data: bool) -> list[str]:
    """The benchmarks that need a folder of photographs, or those that do not, in the table's order."""
    return [name for name, known in BENCHMARKS.items() if known.needs_data == needs_data]


def benchmark_cases(
    name: str,
    *,
    folder: Path | str,
    data: Path | str | None = None,
    limit: int | None = None,
    split: Split = "test",
    progress: Progress = unseen,
) -> CasesFile:
    """The cases of a named benchmark, or `limit` of them: built in `folder`, or read from the photographs in `data`.

    The first M of `limit` cases are those of a limit of M. Photographed cases are balanced over subjects and prompts;
    those of the drawn world are in random order by seed, so there the first are taken.

    Raises: ConfigError for another name or without data that is needed; DataError for unusable data or a split that
    the benchmark does not have; OutputError when `folder` holds something else.
    """
    if name not in BENCHMARKS:
        raise ConfigError(f"--benchmark: expected one of {', '.join(BENCHMARKS)}, got {name}; correct the name.")
    known = BENCHMARKS[name]
    if known.needs_data and data is None:
        raise ConfigError(f"--data: expected the folder of the photos for {name}, got none; add --data FOLDER.")
    build: Callable[..., CasesFile] = resolve_name(known.build)
    data = None if data is None else Path(data)
    return build(name, folder=Path(folder), data=data, limit=limit, split=split, progress=progress)


def copy_truth(folder: Path, *, run: Path) -> None:
    """RUN/truth holds the true pictures that the embedded world drew beside its cases, where there are any."""
    for path in sorted((folder / "truth").glob("*.png")):
        target = run / "truth" / path.name
        data = path.read_bytes()
        if not target.is_file() or target.read_bytes() != data:
            atomic_write_bytes(target, data)
