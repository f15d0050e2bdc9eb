"""What `likeness evaluate` does with a folder: finds its cases, chooses encoders, measures, and keeps the cases."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any  # run.json

from likeness.benchmarks import BENCHMARKS, benchmark_cases, copy_truth
from likeness.core.devices import pick_device
from likeness.core.errors import ConfigError
from likeness.core.files import write_jsonl
from likeness.core.jobs import Engine, Progress, unseen
from likeness.core.records import read_cases, write_cases
from likeness.core.runs import open_run, recorded_run
from likeness.core.weights import embedded, embedded_names, weights_facts
from likeness.encoders import ENCODERS, PHOTO_ENCODERS, WORLD_ENCODERS
from likeness.evaluate.measure import has_world_labels
from likeness.evaluate.run import LEFT_OUT, evaluate_run, load_encoders
from likeness.metrics import METRICS


def evaluate_folder(
    run: Path | str,
    *,
    benchmark: str | None = None,
    cases: Path | None = None,
    data: Path | None = None,
    encoders: Mapping[str, str] | None = None,
    metrics: Sequence[str] = (),
    device: str = "cpu",
    workers: int | None = None,
    engine: Engine | None = None,
    features: Path | None = None,
    allow_missing: bool = False,
    progress: Callable[[str], Progress] | None = None,
) -> dict[str, Any]:
    """The summary of a run of `generate`, or of pictures made elsewhere; RUN/evaluation holds it and a row per picture.

    A run knows its cases and its benchmark. For pictures made elsewhere `cases` is the file they answer, or `benchmark`
    names it (`data` is the folder of its photographs, where it needs them). `encoders` maps names of ENCODERS to
    weights, in place of the defaults; `metrics` names further ones of METRICS to measure. `workers`, `engine` and
    `features` are those of `evaluate_run`; `progress` makes a progress callable by label.
    Raises: ConfigError, DataError, WeightsError, OutputError.
    """
    run, bar = Path(run), progress or (lambda _: unseen)
    record = recorded_run(run)
    _require_own_benchmark(benchmark, record=record, run=run)
    recorded = record.get("benchmark")
    named = benchmark or (recorded if cases is None and isinstance(recorded, str) else None)
    if cases is None and benchmark is not None and "benchmark" not in record and run.is_dir():
        file = _benchmark_file(run, benchmark=benchmark, data=data, progress=bar("drawing cases"))
    else:
        file = cases or run / "cases.jsonl"
    is_embedded = _is_embedded(record.get("model"))
    usual = choose_encoders(named, cases=file, is_embedded=is_embedded)
    specs = further_encoders(metrics, usual=usual | dict(encoders or {}))
    summary = evaluate_run(
        run,
        benchmark=named or file.stem,
        cases=file,
        encoders=load_encoders(specs, device=pick_device(device)),
        workers=workers,
        engine=engine,
        features=features,
        allow_missing=allow_missing,
        progress=bar("measuring"),
    )
    _keep_cases(file, run=run)
    return summary


def _require_own_benchmark(benchmark: str | None, *, record: dict[str, Any], run: Path) -> None:
    """Raises: ConfigError when RUN's run.json says that it was made for another benchmark, or for none."""
    if benchmark is not None and record.get("benchmark", benchmark) != benchmark:
        wanted = f"the benchmark {run} was made for ({record['benchmark'] or 'none'})"
        raise ConfigError(f"--benchmark: expected {wanted}, got {benchmark}; leave the flag out.")


def _is_embedded(model: Any) -> bool:
    """Whether the `model` of a run.json is a checkpoint of this package, by its name and its bytes."""
    name, sha256 = (model.get("id"), model.get("sha256")) if isinstance(model, dict) else (None, None)
    return name in embedded_names() and weights_facts(name, embedded(name))["sha256"] == sha256


def choose_encoders(benchmark: str | None, *, cases: Path, is_embedded: bool) -> dict[str, str]:
    """Encoder -> default weights: the world's for labelled cases, the published ones for photographs.

    What an embedded model drew is looked at by the world's encoders, with the probe only where there are labels.
    """
    labelled = any(map(has_world_labels, read_cases(cases).cases))
    is_world = BENCHMARKS[benchmark].domain == "world" if benchmark in BENCHMARKS else labelled
    if is_world:
        return dict(WORLD_ENCODERS)
    return {name: WORLD_ENCODERS[name] if is_embedded else spec for name, spec in PHOTO_ENCODERS.items()}


def further_encoders(metrics: Sequence[str], *, usual: Mapping[str, str]) -> dict[str, str]:
    """Encoder -> weights: the `usual` ones and those that the named metrics need besides.

    Those are embedded ones where the usual ones are, else the published ones. "ips" stands for all columns of IPS.
    Raises: ConfigError for a metric that is none of METRICS, and for one whose weights must be named.
    """
    specs = dict(usual)
    is_world = any(spec == ENCODERS[name].world for name, spec in usual.items())
    for key in metrics:
        named = [metric.facts for name, metric in METRICS.items() if key in (name, metric.facts.name)]
        if not named:
            raise ConfigError(f"--metric: expected one of {', '.join(METRICS)}, got {key!r}; see evaluate --list.")
        for name in dict.fromkeys(name for facts in named for name in facts.needs):
            facts = ENCODERS[name]
            drawn = (facts.world or facts.embedded) if is_world else None
            spec = specs.get(name) or drawn or facts.photo or facts.published
            if spec is None:
                wanted = f"weights for the {facts.noun} that it needs"
                raise ConfigError(f"--metric {key}: expected {wanted}, got none; add --encoder {name}=WEIGHTS.")
            specs[name] = spec
    return specs


def _benchmark_file(run: Path, *, benchmark: str, data: Path | None, progress: Progress) -> Path:
    """RUN-cases/BENCHMARK/cases.jsonl, the cases of a benchmark for pictures made elsewhere; RUN itself stays as is."""
    place = run.resolve()
    folder = place.parent / f"{place.name}-cases" / benchmark
    found = benchmark_cases(benchmark, folder=folder, data=data, progress=progress)
    if BENCHMARKS[benchmark].needs_data:  # the others have written their own
        open_run(folder, identity={"kind": "benchmark_cases", "name": benchmark})
        write_jsonl(folder / LEFT_OUT, [row.model_dump() for row in found.left_out])
        write_cases(folder / "cases.jsonl", found.cases)
    return folder / "cases.jsonl"


def _keep_cases(file: Path, *, run: Path) -> None:
    """RUN/evaluation/cases.jsonl, with RUN/truth, lets `likeness report RUN` show cases that came from elsewhere."""
    kept = run / "evaluation" / "cases.jsonl"
    if file.resolve() == (run / "cases.jsonl").resolve():
        kept.unlink(missing_ok=True)
    else:
        copy_truth(file.parent, run=run)
        write_cases(kept, read_cases(file).cases)
