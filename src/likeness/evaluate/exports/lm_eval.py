"""results.json as lm-evaluation-harness writes it, and under "likeness" all that it has no word for.

A task is the benchmark, or a protocol card. A metric's key is "name,filter" with the filters none (the pictures), floor
and ceiling; "name_stderr,filter" is its standard error over subjects and prompts, or "N/A". What was not measured has
no key: a reader takes every value for a number. The reasons stand in "likeness".
Source: lm-evaluation-harness 0.4, `simple_evaluate` and `EvaluationTracker.save_results_aggregated`.
Differs: keys that ask for a clock or a git checkout are null, since a run holds neither; the user may give the date.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any  # JSON

import numpy as np

from likeness.benchmarks import BENCHMARKS
from likeness.core.files import read_jsonl
from likeness.core.rows import LeftOut
from likeness.core.runs import recorded_run
from likeness.core.stats.intervals import mean_and_spread
from likeness.evaluate.aggregate import shown_in
from likeness.evaluate.exports.dates import iso_date
from likeness.evaluate.scored import Scored

Json = dict[str, Any]
FILTERS = {"generated": "none", "floor": "floor", "ceiling": "ceiling"}
NO_ERROR = "N/A"
"""What lm-eval says where there is no standard error."""
_NO_TIME = ("start_time", "end_time", "total_evaluation_time_seconds")
_OF_TEXT = (
    "system_instruction",
    "system_instruction_sha",
    "fewshot_as_multiturn",
    "chat_template",
    "chat_template_sha",
)


def results(scored: Scored, options: Mapping[str, str]) -> tuple[bytes, list[LeftOut]]:
    """The bytes of the file; left out is nothing, since all is under "likeness"."""
    summary = scored.summary
    tasks = {scored.benchmark: _benchmark(scored), **{name: _card(card) for name, card in _cards(summary)}}
    record = recorded_run(scored.folder)
    model = record.get("model") or {}
    date = options.get("date")
    found = {
        "results": {name: {"alias": name, **task["results"]} for name, task in tasks.items()},
        "group_subtasks": {name: [] for name in tasks},
        "configs": {name: _config(name, task) for name, task in tasks.items()},
        "versions": {name: task["version"] for name, task in tasks.items()},
        "n-shot": dict.fromkeys(tasks, 0),
        "higher_is_better": {name: task["higher_is_better"] for name, task in tasks.items()},
        "n-samples": {name: task["samples"] for name, task in tasks.items()},
        "config": _run_config(record, model),
        "git_hash": None,
        "date": None if date is None else iso_date(date).timestamp(),
        "pretty_env_info": None,
        "transformers_version": summary["versions"].get("transformers"),
        "lm_eval_version": None,
        "upper_git_hash": None,
        "task_hashes": {name: task["hash"] for name, task in tasks.items()},
        "model_source": "likeness",
        "model_name": model.get("id"),
        "model_name_sanitized": re.sub(r"[\"<>:/\\|?*\[\]]+", "__", model["id"]) if model.get("id") else None,
        **dict.fromkeys((*_OF_TEXT, *_NO_TIME)),
        "likeness": {
            "not_measured": {name: task["not_measured"] for name, task in tasks.items()},
            "summary": summary,
            "run": record,
        },
    }
    return (json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(), []


def _cards(summary: Mapping[str, Any]) -> list[tuple[str, Json]]:
    return list(summary.get("cards", {}).items())


def _benchmark(scored: Scored) -> Json:
    """The task of a run's benchmark."""
    summary, known = scored.summary, BENCHMARKS.get(scored.benchmark)
    task: Json = _task(version=known.version if known else None, sha256=summary["inputs_sha256"])
    task["samples"] = {
        "original": summary["num_samples"] + len(summary.get("missing_images", [])),
        "effective": summary["num_samples"],
    }
    task["results"]["sample_len"] = summary["num_samples"]
    rows = _rows_by_kind(scored)
    keys = {(facts["name"], facts["column"]): key for key, facts in scored.metrics.items()}
    for row in summary["rows"]:
        key, name = keys[row["metric"], row["column"]], FILTERS[row["row"]]
        _add(task, key, row, filter=name, error=_standard_error(rows.get(row["row"], []), key))
    return task


def _rows_by_kind(scored: Scored) -> dict[str, list[Json]]:
    path = scored.folder / "evaluation" / "bounds.jsonl"
    kinds: dict[str, list[Json]] = {"generated": list(scored.rows)}
    for row in read_jsonl(path) if path.is_file() else []:
        kinds.setdefault(row["row"], []).append(row)
    return kinds


def _standard_error(rows: Sequence[Json], key: str) -> float | str:
    values = np.array([row["values"][key]["value"] for row in rows if key in row["values"]], dtype=np.float64)
    kept = [row for row in rows if key in row["values"]]
    if not kept:
        return NO_ERROR
    _, spread = mean_and_spread(values, [shown_in(row) for row in kept], prompts=[row["prompt"] for row in kept])
    return NO_ERROR if spread is None else math.sqrt(spread.variance)


def _card(card: Json) -> Json:
    """The task of a protocol card, with the card's own columns and scales."""
    task = _task(version=None, sha256=card.get("sha256"))
    task["samples"] = {
        "original": card.get("num_pictures_of_card") or card["num_pictures"],
        "effective": card["num_pictures"],
    }
    task["results"]["sample_len"] = card["num_pictures"]
    for row in card["rows"]:
        for name, value in (("none", row["mean"]), ("floor", row["floor"]), ("ceiling", row["ceiling"])):
            if name == "none" or value is not None:
                _add(task, _plain(row["column"]), {**row, "mean": value}, filter=name, error=NO_ERROR)
    return task


def _plain(column: str) -> str:
    """A column's name without the comma that parts a metric from its filter."""
    return column.replace(",", ";")


def _task(*, version: int | None, sha256: str | None) -> Json:
    return {"results": {}, "higher_is_better": {}, "not_measured": {}, "version": version, "hash": sha256}


def _add(task: Json, key: str, row: Mapping[str, Any], *, filter: str, error: float | str) -> None:
    task["higher_is_better"][key] = row["higher_is_better"]
    if row["mean"] is None:
        task["not_measured"][f"{key},{filter}"] = row["reason"]
    else:
        task["results"] |= {f"{key},{filter}": row["mean"], f"{key}_stderr,{filter}": error}


def _config(name: str, task: Json) -> Json:
    listed = [
        {"metric": key, "aggregation": "mean", "higher_is_better": better}
        for key, better in task["higher_is_better"].items()
    ]
    return {
        "task": name,
        "output_type": "generate_image",
        "num_fewshot": 0,
        "metric_list": listed,
        "metadata": {"version": task["version"]},
    }


def _run_config(record: Mapping[str, Any], model: Mapping[str, Any]) -> Json:
    """What drew the pictures, where a run of `generate` says it."""
    settings = record.get("settings") or {}
    loras = [lora["id"] for lora in model.get("loras", [])]
    args = {"pretrained": model.get("id"), "sha256": model.get("sha256"), **({"loras": loras} if loras else {})}
    return {
        "model": settings.get("maker"),
        "model_args": args if model else None,
        "batch_size": 1 if model else None,
        "batch_sizes": [],
        "device": settings.get("device"),
        "use_cache": None,
        "limit": None,
        "bootstrap_iters": 0,
        "gen_kwargs": settings or None,
        **dict.fromkeys(("random_seed", "numpy_seed", "torch_seed", "fewshot_seed")),
    }
