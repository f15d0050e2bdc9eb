"""What people wrote, against the rules: each fault is one line with its place."""

import json
from pathlib import Path

import pytest

from likeness.core.errors import DataError
from likeness.data.prompts.collected import BANNED, FIELDS, MOST_TASKS, fault_of, read_collected

GOOD = ("{} juggling on the moon", "{} as a baker in Rome", "an owl lands on {}")


def row(worker: str = "w", task: str = "t1", photo: str = "000", prompts: tuple[str, ...] = GOOD) -> dict[str, str]:
    return dict(zip(FIELDS, (worker, task, photo, *prompts), strict=True))


def write(path: Path, *rows: dict[str, str]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def test_good_answers_are_kept_by_photo(tmp_path: Path) -> None:
    again = (*GOOD[:1], "{} reads  a book", "{} in a boat")
    found = read_collected(write(tmp_path / "a.jsonl", row(), row(task="t2", photo="001"), row("v", prompts=again)))
    assert found.by_photo == {"000": (*GOOD, "{} reads a book", "{} in a boat"), "001": GOOD}
    assert (found.num_prompts, found.num_workers) == (8, 2)
    assert [each.reason for each in found.left_out] == [
        f"{tmp_path / 'a.jsonl'}:3: prompt_1: written before for this photo: '{GOOD[0]}'."
    ]


def test_csv_says_the_same_as_jsonl(tmp_path: Path) -> None:
    lines = [",".join([*FIELDS, "age"]), ",".join(["w", "t1", "000", *GOOD, "30"]), "w,t2,000,,,,"]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    found = read_collected(tmp_path / "a.csv")
    assert found.by_photo == {"000": GOOD}
    (fault,) = found.left_out
    assert fault.where == f"{tmp_path / 'a.csv'}:3"
    assert "expected prompt_1, prompt_2, prompt_3, got nothing" in fault.reason


def test_a_task_counts_once_and_a_worker_has_ten(tmp_path: Path) -> None:
    rows = [row(task=f"t{k}", photo=f"{k:03d}") for k in range(MOST_TASKS + 1)]
    found = read_collected(write(tmp_path / "a.jsonl", rows[0], *rows))
    assert [each.where.rpartition(":")[2] for each in found.left_out] == ["2", "12"]
    assert "'t0' of 'w' again" in found.left_out[0].reason
    assert "at most 10 tasks" in found.left_out[1].reason
    assert len(found.by_photo) == MOST_TASKS


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("a man runs", "expected {} once"),
        ("{} and {} dance", "expected {} once"),
        ("{} runs", "expected two words or more"),
        ("{} " + "word " * 70, "at most 300 characters"),
        ("{} with a Beard in Rome", "changes the body (beard)"),
        ("{} wearing a crown", "asks for clothes, glasses or jewellery (wearing)"),
        ("{} eats a whole chair", ""),
    ],
)
def test_a_prompt_that_breaks_a_rule_says_which(prompt: str, told: str) -> None:
    assert told in fault_of(prompt) if told else fault_of(prompt) == ""


def test_every_banned_word_is_found() -> None:
    for reason, words in BANNED.items():
        assert all(fault_of(f"{{}} sees {word} today") == f"{reason} ({word})" for word in words.split())


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", "worker,task\nw,t\n", "none named photo"),
        ("a.txt", "x", "a .csv or .jsonl file"),
        ("a.jsonl", "[1]\n", "expected a JSON object, got list"),
        ("a.jsonl", "", "the file holds no rows"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, content: str, told: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=told):
        read_collected(tmp_path / name)
