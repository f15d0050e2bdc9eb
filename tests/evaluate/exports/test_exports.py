"""Exports, read back by other libraries and compared with the rows value by value."""

import csv
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import parse_eval_result_entries
from scipy import stats

from likeness.core.errors import ConfigError, DataError
from likeness.core.files import read_json, read_jsonl, write_json, write_jsonl
from likeness.core.hashing import file_sha256
from likeness.evaluate.exports import EXPORTS, export_run
from likeness.evaluate.exports.hub import task_id
from likeness.evaluate.exports.lm_eval import _standard_error


def scores(run: Path) -> list[dict[str, Any]]:
    return read_jsonl(run / "evaluation" / "scores.jsonl")


def unmeasure(run: Path) -> None:
    """The first picture has no DINO, for a reason, and a prompt with everything that CSV must quote."""
    rows = scores(run)
    rows[0]["values"]["dino"] = {"value": None, "note": "no photo, to compare", "status": "missing"}
    rows[0]["prompt"] = 'a "cat",\na dög'
    write_jsonl(run / "evaluation" / "scores.jsonl", rows)


def test_parquet_has_every_value_as_a_number_or_null_with_its_reason(evaluated: Path, tmp_path: Path) -> None:
    unmeasure(evaluated)
    out = tmp_path / "deep" / "run.parquet"
    assert export_run(evaluated, to="parquet", out=out) == ()
    table = pq.read_table(out)
    rows, summary = scores(evaluated), read_json(evaluated / "evaluation" / "summary.json")
    assert table.num_rows == len(rows) == 12
    read: list[dict[str, Any]] = table.to_pylist()
    for cells, row in zip(read, rows, strict=True):
        for name in ("id", "case_id", "group", "prompt", "subjects", "sha256"):
            assert cells[name] == row[name]
        for key, value in row["values"].items():
            assert cells[key] == value["value"]  # null is None; float64 to the bit
            assert cells[f"{key}_status"] == value["status"]
            assert cells[f"{key}_reason"] == (value["note"] or None)
        assert json.loads(cells["per_subject"]) == row["per_subject"]
    assert read[0]["dino"] is None
    assert read[0]["dino_reason"] == "no photo, to compare"
    for key in summary["metrics"]:
        assert str(table.schema.field(key).type) == "double"
    about = json.loads(table.schema.metadata[b"likeness"])
    assert about["encoders"] == summary["encoders"]
    assert about["versions"] == summary["versions"]
    assert about["cards"] == {name: card["sha256"] for name, card in summary["cards"].items()}


def test_evaluate_itself_writes_the_same_parquet(evaluated: Path, tmp_path: Path) -> None:
    export_run(evaluated, to="parquet", out=tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (evaluated / "evaluation" / "scores.parquet").read_bytes()


def test_csv_has_the_same_numbers_and_survives_odd_prompts(evaluated: Path, tmp_path: Path) -> None:
    unmeasure(evaluated)
    export_run(evaluated, to="csv", out=tmp_path / "run.csv")
    with (tmp_path / "run.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    for cells, row in zip(read, scores(evaluated), strict=True):
        assert cells["prompt"] == row["prompt"]
        assert json.loads(cells["subjects"]) == row["subjects"]
        for key, value in row["values"].items():
            assert (float(cells[key]) if cells[key] else None) == value["value"]


def lm_eval_table(found: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What lm-eval's table shows of a results file: task, version, filter, shots, metric, direction, value, error."""
    rows: list[tuple[Any, ...]] = []
    for task, cells in found["results"].items():
        metrics = {key: value for key, value in cells.items() if key not in ("alias", "sample_len")}
        for key, value in metrics.items():
            metric, comma, filtered = key.partition(",")
            assert comma
            if metric.endswith("_stderr"):
                continue
            error = metrics[f"{metric}_stderr,{filtered}"]
            better = found["higher_is_better"][task][metric]
            shown = error if error == "N/A" else f"{error:.4f}"
            version, shots = found["versions"][task], found["n-shot"][task]
            rows.append((task, version, filtered, shots, metric, better, f"{value:.4f}", shown))
    return rows


def test_lm_eval_readers_find_every_mean(evaluated: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    export_run(evaluated, to="lm-eval", out=out, options={"date": "2026-11-26T10:00:00+00:00"})
    found, summary = read_json(out), read_json(evaluated / "evaluation" / "summary.json")
    wanted = {
        *("results", "group_subtasks", "configs", "versions", "n-shot", "higher_is_better", "n-samples", "config"),
        *("git_hash", "date", "pretty_env_info", "transformers_version", "upper_git_hash", "task_hashes"),
        *("model_source", "model_name", "model_name_sanitized", "start_time", "end_time"),
        "total_evaluation_time_seconds",
    }
    assert wanted <= found.keys()
    table = {(row[2], row[4]): row for row in lm_eval_table(found)}
    names = {"generated": "none", "floor": "floor", "ceiling": "ceiling"}
    for row in summary["rows"]:
        key = next(
            k for k, f in summary["metrics"].items() if (f["name"], f["column"]) == (row["metric"], row["column"])
        )
        if row["mean"] is None:
            assert (names[row["row"]], key) not in table
            assert found["likeness"]["not_measured"]["small"][f"{key},{names[row['row']]}"] == row["reason"]
        else:
            assert table[names[row["row"]], key][6] == f"{row['mean']:.4f}"
    assert found["n-samples"] == {"small": {"original": 12, "effective": 12}}
    assert found["task_hashes"]["small"] == summary["inputs_sha256"]
    assert found["date"] == datetime(2026, 11, 26, 10, tzinfo=UTC).timestamp()
    assert found["likeness"]["summary"] == summary


def test_the_standard_error_is_scipys_where_all_pictures_differ() -> None:
    values = [0.1, 0.5, 0.45, 0.9]
    rows = [
        {"subjects": [str(i)], "group": str(i), "prompt": f"p {i}", "values": {"dino": {"value": value}}}
        for i, value in enumerate(values)
    ]
    assert _standard_error(rows, "dino") == pytest.approx(stats.sem(values))
    assert _standard_error(rows[:1], "dino") == "N/A"
    assert _standard_error(rows, "clip_t") == "N/A"


def card(**changes: Any) -> dict[str, Any]:
    row = {
        **{"column": "CLIP-I, mean", "metric": "clip_i", "mean": 0.81, "ci_low": 0.8, "ci_high": 0.82, "n": 750},
        **{"floor": 0.5, "ceiling": None, "coverage": 1.0, "scale": "raw cosine", "higher_is_better": True},
        **{"reason": "", "missing": 0, "encoders": {}},
    }
    missing = {**row, "column": "CLIP-T", "mean": None, "ci_low": None, "ci_high": None, "reason": "no clip encoder"}
    rows = [row, {**row, "column": "DINO", "mean": 0.6, "coverage": 0.5}, missing]
    whole = {"sha256": "ab" * 32, "cases": "same", "num_pictures": 750, "num_pictures_of_card": 750, "rows": rows}
    return {**whole, **changes}


def with_card(run: Path, **changes: Any) -> Path:
    path = run / "evaluation" / "summary.json"
    write_json(path, {**read_json(path), "cards": {"dreambench/x@1": card(**changes)}})
    return run


def test_hub_entries_keep_the_documented_schema(evaluated: Path, tmp_path: Path) -> None:
    out = tmp_path / ".eval_results" / "dreambench.yaml"
    told = {"date": "2026-11-26", "source_url": "https://a.b/c", "source_user": "me", "revision": "0123", "notes": "x"}
    left_out = export_run(with_card(evaluated), to="hub", out=out, options={"dataset": "owner/dreambench", **told})
    assert {row.where: row.reason.partition(";")[0] for row in left_out} == {
        "dreambench/x@1, DINO": "measured on 50.0% of the card's pictures",
        "dreambench/x@1, CLIP-T": "no clip encoder",
    }
    (entry,) = yaml.safe_load(out.read_text())
    assert entry.keys() == {"dataset", "value", "date", "source", "notes"}  # and no verifyToken
    assert entry["dataset"] == {
        "id": "owner/dreambench",
        "task_id": "dreambench_x_1-clip_i_mean",
        "revision": "0123",
    }
    assert entry["value"] == 0.81
    assert entry["date"] == "2026-11-26"  # text, not a YAML timestamp
    assert entry["source"] == {"url": "https://a.b/c", "user": "me"}
    assert entry["notes"].startswith("x; dreambench/x@1, CLIP-I, mean (raw cosine), 750 pictures, 95% interval 0.8 to")
    (parsed,) = parse_eval_result_entries([entry])
    assert (parsed.dataset_id, parsed.value, parsed.verify_token) == ("owner/dreambench", 0.81, None)


def test_what_nobody_told_the_hub_is_left_out(evaluated: Path, tmp_path: Path) -> None:
    out, options = tmp_path / "a.yaml", {"dataset": "o/d", "partial": "yes", "column": "DINO", "task": "default"}
    assert export_run(with_card(evaluated, cases="part"), to="hub", out=out, options=options) == ()
    (entry,) = yaml.safe_load(out.read_text())
    assert entry.keys() == {"dataset", "value", "notes"}
    assert entry["dataset"] == {"id": "o/d", "task_id": "default"}
    assert task_id("stellar/t@1", "Obj. (GOA)") == "stellar_t_1-obj_goa"


@pytest.mark.parametrize(
    ("to", "name", "options", "told"),
    [
        ("xml", "a.xml", {}, "--to: expected one of lm-eval, parquet, csv, hub, got 'xml'"),
        ("csv", "a.parquet", {}, r"--out: expected a file that ends in \.csv, got .*a\.parquet"),
        ("csv", "a.csv", {"date": "2026"}, r"--option: expected one of csv's \(none\), got 'date'; leave it out"),
        ("hub", "a.yaml", {"datset": "o/d"}, "got 'datset'; did you mean dataset"),
        ("hub", "a.yaml", {}, "expected dataset=OWNER/NAME, .*, got none"),
        ("hub", "a.yaml", {"dataset": "x"}, "expected dataset=OWNER/NAME, .*, got x"),
        ("hub", "a.yaml", {"dataset": "o/d", "source_name": "x"}, "expected source_url=URL with source_name"),
        ("hub", "a.yaml", {"dataset": "o/d", "date": "today"}, "date: expected ISO-8601 such as .*, got 'today'"),
        ("hub", "a.yaml", {"dataset": "o/d", "partial": "1"}, "partial: expected yes or no, got '1'"),
        ("hub", "a.yaml", {"dataset": "o/d", "partial": "yes", "task": "t"}, "expected one column for the task t"),
        ("lm-eval", "a.json", {"date": "x"}, "date: expected ISO-8601"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_written(
    evaluated: Path, tmp_path: Path, to: str, name: str, options: dict[str, str], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        export_run(with_card(evaluated), to=to, out=tmp_path / name, options=options)
    assert not (tmp_path / name).exists()


def test_a_run_without_cards_has_nothing_for_the_hub(evaluated: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a column of a protocol card that can be entered, got none of 0"):
        export_run(evaluated, to="hub", out=tmp_path / "a.yaml", options={"dataset": "o/d"})
    with pytest.raises(DataError, match="call `likeness evaluate`"):
        export_run(tmp_path, to="csv", out=tmp_path / "a.csv")


@pytest.mark.parametrize("to", sorted(EXPORTS))
def test_equal_runs_give_equal_bytes_and_finite_numbers(evaluated: Path, tmp_path: Path, to: str) -> None:
    options = {"dataset": "o/d"} if to == "hub" else {}
    names = [tmp_path / f"{number}{EXPORTS[to].suffix}" for number in range(2)]
    for name in names:
        export_run(with_card(evaluated), to=to, out=name, options=options)
    assert file_sha256(names[0]) == file_sha256(names[1])
    if to == "lm-eval":
        json.loads(names[0].read_text(), parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
        assert math.isfinite(read_json(names[0])["results"]["dreambench/x@1"]["CLIP-I; mean,none"])
