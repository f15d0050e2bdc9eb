"""`.eval_results/*.yaml` of a model on the Hugging Face hub: an entry for every column of every card that applies.

What the hub must know and a run does not is told by the user: the data set that has the leaderboard, the date, the
source. What nobody told is left out. `verifyToken` is the hub's to give.
Source: huggingface/hub-docs, docs/hub/eval-results.md; `huggingface_hub.EvalResultEntry` knows the keys.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any  # JSON

from likeness.core.errors import ConfigError, DataError
from likeness.core.rows import LeftOut
from likeness.evaluate.exports.dates import iso_date
from likeness.evaluate.scored import Scored

_HUB_DATASET = re.compile(r"[\w.-]+/[\w.-]+")
_PASSED_ON = ("source_url", "source_name", "source_user", "source_org")


def eval_results(scored: Scored, options: Mapping[str, str]) -> tuple[bytes, list[LeftOut]]:
    """The bytes of the YAML file, and the columns without an entry.

    Options: `dataset` (its hub id, required), `revision`, `date`, `source_url`, `source_name`, `source_user`,
    `source_org`, `notes` (before ours); `card` and `column` to enter only these, `task` the id of a single column
    (default: `task_id`); `partial` "yes" to enter columns that only part of a card's pictures were measured for.
    Raises: ConfigError for options that are missing or malformed, DataError where no column has a value to enter.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
    from huggingface_hub.utils import yaml_dump

    given = _checked(options)
    entries: list[EvalResultEntry] = []
    left_out: list[LeftOut] = []
    for name, card, row in _columns(scored.summary, options):
        where = f"{name}, {row['column']}"
        if reason := _unfit(card, row, partial=options.get("partial") == "yes"):
            left_out.append(LeftOut(where=where, reason=reason))
            continue
        notes = "; ".join(filter(None, (options.get("notes"), _notes(where, card, row))))
        task = options.get("task") or task_id(name, row["column"])
        entries.append(EvalResultEntry(task_id=task, value=row["mean"], notes=notes, **given))
    if not entries:
        first = f"; first: {left_out[0].where}: {left_out[0].reason}" if left_out else ""
        wanted = "a column of a protocol card that can be entered"
        raise DataError(
            f"{scored.folder}: expected {wanted}, got none of {len(left_out)}{first}; see `likeness cards`."
        )
    _require_apart(entries)
    text: str = yaml_dump(eval_result_entries_to_yaml(entries), sort_keys=False, width=120)
    return text.encode(), left_out


def task_id(card: str, column: str) -> str:
    """The id of a card's column as a task: small letters, digits and single low lines, a dash between the two."""
    return "-".join(re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") for text in (card, column))


def _columns(
    summary: Mapping[str, Any], options: Mapping[str, str]
) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """The columns of all cards, or those that were asked for, each with its card."""
    for name, card in summary.get("cards", {}).items():
        for row in card["rows"]:
            if options.get("card", name) == name and options.get("column", row["column"]) == row["column"]:
                yield name, card, row


def _checked(options: Mapping[str, str]) -> dict[str, Any]:
    """What all entries have in common, by the names of EvalResultEntry. Raises: ConfigError."""
    dataset = options.get("dataset", "")
    if not _HUB_DATASET.fullmatch(dataset):
        wanted = "dataset=OWNER/NAME, the hub's data set with the leaderboard"
        raise ConfigError(f"--option: expected {wanted}, got {dataset or 'none'}; add it.")
    if options.get("partial", "no") not in ("yes", "no"):
        raise ConfigError(f"partial: expected yes or no, got {options['partial']!r}; correct it.")
    source = {name: options[name] for name in _PASSED_ON if name in options}
    if source and "source_url" not in source:
        raise ConfigError(f"--option: expected source_url=URL with {next(iter(source))}, got none; add it.")
    found: dict[str, Any] = {"dataset_id": dataset, **source}
    if "date" in options:
        iso_date(options["date"])
        found["date"] = options["date"]
    return found | ({"dataset_revision": options["revision"]} if "revision" in options else {})


def _unfit(card: Mapping[str, Any], row: Mapping[str, Any], *, partial: bool) -> str:
    """Why a column gets no entry; "" where it does."""
    if row["mean"] is None:
        return str(row["reason"])
    coverage = row["coverage"]
    is_part = card["cases"] == "part" or (coverage is not None and coverage < 1)
    if is_part and not partial:
        share = "part" if coverage is None else f"{coverage:.1%}"
        return f"measured on {share} of the card's pictures; add --option partial=yes to enter it all the same"
    return ""


def _notes(where: str, card: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """What the number is: card and column with its scale, how many pictures, and the interval."""
    parts = [f"{where} ({row['scale']})", f"{row['n']} pictures"]
    if row["ci_low"] is not None and row["ci_high"] is not None:
        parts.append(f"95% interval {row['ci_low']:.4g} to {row['ci_high']:.4g}")
    if row["coverage"] is not None:
        parts.append(f"{row['coverage']:.1%} of the card's pictures")
    return ", ".join([*parts, f"card hash {str(card['sha256'])[:12]}, cases {card['cases']}"])


def _require_apart(entries: list[Any]) -> None:
    seen: set[str] = set()
    for entry in entries:
        if entry.task_id in seen:
            what = f"task: expected one column for the task {entry.task_id}, got several"
            raise ConfigError(f"{what}; name one with card and column, or leave task out.")
        seen.add(entry.task_id)
