"""The cases a command is about, from exactly one of --prompt, --cases and --benchmark."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from likeness.benchmarks import benchmark_cases
from likeness.core.errors import ConfigError, DataError
from likeness.core.images import load_image
from likeness.core.jobs import Progress, unseen
from likeness.core.records import Case, CasesFile, Subject, read_cases
from likeness.core.rng import seed_for
from likeness.core.sampling import balanced_sample


class CaseSource(NamedTuple):
    """Where cases come from, as the flags say it."""

    prompt: str | None
    references: tuple[Path, ...]
    cases: Path | None
    benchmark: str | None
    data: Path | None


def find_cases(
    source: CaseSource, *, limit: int | None, seed: int | None, folder: Path, progress: Progress = unseen
) -> CasesFile:
    """Cases with their own seeds unless `seed` is given: all of them, or `limit` balanced over subjects and prompts.

    Of a benchmark of the drawn world, whose order is random by seed, the first are taken. Either way the sample of a
    smaller limit begins that of a larger one, so that a run can grow.

    `folder` is where the cases of the embedded world are built: beside the run, since a run folder holds only its run.
    Raises: ConfigError unless exactly one source is given; DataError when its files are unusable.
    """
    _require_one(source)
    if source.prompt is not None:
        return CasesFile(cases=(_prompted(source.prompt, source.references, seed=seed or 0),), left_out=())
    if source.cases:
        found = read_cases(source.cases)
    else:
        found = benchmark_cases(str(source.benchmark), folder=folder, data=source.data, limit=limit, progress=progress)
    cases = balanced_sample(found.cases, limit) if source.cases else found.cases[:limit]
    if seed is not None:
        cases = tuple(case.model_copy(update={"seed": seed_for("generate", seed, case.id)}) for case in cases)
    return CasesFile(cases=cases, left_out=found.left_out)


def _require_one(source: CaseSource) -> None:
    flags = {"--prompt": source.prompt, "--cases": source.cases, "--benchmark": source.benchmark}
    given = [flag for flag, value in flags.items() if value is not None]
    if len(given) != 1:
        got = " and ".join(given) or "none of them"
        raise ConfigError(f"cases: expected exactly one of --prompt, --cases, --benchmark, got {got}; give one.")
    if source.references and given != ["--prompt"]:
        raise ConfigError(f"--ref: expected it beside --prompt, got it beside {given[0]}; write the cases to a file.")


def _prompted(prompt: str, references: tuple[Path, ...], *, seed: int) -> Case:
    for path in references:
        if not os.path.isfile(path):  # unlike Path.is_file, also answers for names no file system accepts
            raise ConfigError(f"--ref: expected a picture, got nothing at {path}; check the path.")
        try:
            load_image(path)
        except DataError as error:
            raise DataError(f"--ref {error}") from None
    subjects = tuple(
        Subject(id=f"subject-{number}", class_name=path.stem, reference_image=path.resolve())
        for number, path in enumerate(references, start=1)
    )
    return Case(id="prompt", prompt=prompt, subjects=subjects, seed=seed)
