"""The frozen list of commands and flags: changing one is a decision, taken here."""

from typing import Any

import pytest
import typer

from likeness.cli import app

FLAGS = {
    "": ["--version"],
    "cards": ["--json", "NAME"],
    "compare": ["--base", "--json", "--margin", "--metric", "--out", "--title", "--votes", "RUN..."],
    "data": [],
    "data dip": [
        "--captions", "--device", "--dry-run", "--engine", "--hard", "--json", "--limit", "--losers", "--masks",
        "--model", "--out", "--photos", "--preferred-min", "--probe", "--recipe", "--rejected-max", "--retry-failed",
        "--seed", "--size", "--source", "--split", "--subset", "--workers", "-n",
    ],
    "data export": ["--json", "--out", "--shard-size", "--to", "DIR"],
    "data gate": ["--json", "--out", "--preferred-min", "--ratings", "--rejected-max", "PAIRS"],
    "data import": [
        "--category", "--json", "--layout", "--masks", "--out", "--references", "--rejected", "SRC",
    ],
    "data lint": ["--benchmark", "--cases", "--encoder", "--json", "--token", "--tolerance", "DIR"],
    "data relations": [
        "--action", "--detector", "--device", "--folder", "--json", "--lora", "--model", "--out", "--pose", "--seed",
        "--segmenter", "--size", "--source", "--split", "--steps", "--subject", "--workers", "-n",
    ],
    "data new": ["--category", "--json", "--out", "DIR"],
    "data prompt-check": ["--json", "--out", "FILE"],
    "data prompt-form": ["--json", "--out"],
    "data prompt-report": [
        "--device", "--encoder", "--json", "--out", "--seed", "--vocabulary", "--words-only", "SET...",
    ],
    "data stellar-images": [
        "--faces", "--json", "--min-area", "--min-score", "--out", "--people", "--prompts", "--seed", "CELEBA",
    ],
    "data stellar-prompts": [
        "--candidates", "--device", "--each", "--encoder", "--json", "--out", "--people", "--reference", "--seed",
        "--validation-each", "-n",
    ],
    "demo": ["--cases", "--json", "--out", "--tuning-steps", "--workers"],
    "doctor": ["--json"],
    "evaluate": [
        "--allow-missing", "--benchmark", "--cases", "--clip", "--data", "--device", "--dino", "--encoder",
        "--engine", "--features", "--json", "--list", "--metric", "--probe", "--track", "--workers", "RUN",
    ],
    "export": ["--json", "--option", "--out", "--to", "RUN"],
    "fetch": ["--all", "--base", "--dry-run", "--from", "--json", "NAME"],
    "generate": [
        "--benchmark", "--cases", "--cfg-scale", "--data", "--device", "--dtype", "--engine", "--guidance", "--json",
        "--layout", "--limit", "--lora", "--merge-lora", "--model", "--num-images", "--offload", "--option", "--out",
        "--prompt", "--quantise", "--ref", "--reference-cfg-scale", "--reference-size", "--schedule", "--seed",
        "--size", "--steps", "--video", "--video-option", "--width", "--workers", "-n",
    ],
    "loras": [],
    "loras scale": ["--json", "--out", "LORA", "STRENGTH"],
    "loras fuse": [
        "--device", "--dtype", "--json", "--model", "--num-images", "--out", "--prompt", "--ridge", "--seed", "--size",
        "--steps", "-n", "LORA...",
    ],
    "train": ["--device", "--json", "--out", "--plan", "--set", "--track", "RUN.toml"],
    "report": ["--cases", "--json", "--out", "--picture", "--single-file", "--title", "RUN..."],
    "study": [],
    "study agree": ["--database", "--json", "--out", "--run", "--without-flagged", "STUDY"],
    "study export": [
        "--count", "--database", "--fewest", "--json", "--out", "--question", "--to", "--url", "--without-flagged",
        "STUDY",
    ],
    "study import": ["--database", "--json", "--source", "FILE", "STUDY"],
    "study new": [
        "--consent", "--currency", "--golds", "--json", "--kind", "--limit", "--out", "--pairs", "--per-rater",
        "--repeats", "--reward", "--seed", "--title", "--votes", "RUN...",
    ],
    "study serve": [
        "--behind-proxy", "--completion-url", "--database", "--host", "--joins-per-minute", "--port", "--url", "STUDY",
    ],
    "verify": [
        "--device", "--encoder", "--json", "--lora", "--model", "--redraw", "--sample", "--seed", "--tolerance", "RUN",
    ],
    "world": [],
    "world portrait": ["--json", "--out", "--seed", "--size", "PHRASE"],
    "world pretrain": ["--from", "--json", "--stage", "CONFIG.toml"],
    "world sample": ["--json", "--out", "--seed", "--size", "--split", "--workers", "N"],
}  # fmt: skip


def commands() -> dict[str, Any]:
    """Every command by its words, groups included."""

    def walk(command: Any, words: str) -> dict[str, Any]:
        children = getattr(command, "commands", {})
        found = {words: command}
        for name, child in children.items():
            found |= walk(child, f"{words} {name}".strip())
        return found

    return walk(typer.main.get_command(app), "")


def flags(command: Any) -> list[str]:
    named = [
        name for item in command.params for name in (item.opts if item.param_type_name == "option" else [item.metavar])
    ]
    return sorted(name for name in named if name != "--help")


def test_the_commands_are_the_frozen_ones() -> None:
    assert sorted(commands()) == sorted(FLAGS)


@pytest.mark.parametrize("words", sorted(FLAGS))
def test_the_flags_are_the_frozen_ones(words: str) -> None:
    assert flags(commands()[words]) == FLAGS[words]


@pytest.mark.parametrize("words", [words for words in FLAGS if words not in {"", "data", "loras", "study", "world"}])
def test_every_flag_is_explained_and_every_command_has_examples(words: str) -> None:
    command = commands()[words]
    assert all(item.help for item in command.params)
    assert f"likeness {words}" in command.epilog


def test_no_example_uses_a_flag_that_does_not_exist() -> None:
    for words, command in commands().items():
        lines = (command.epilog or "").replace("[", " ").splitlines()
        ours = [line.partition("-m likeness")[2] or line for line in lines]  # before it stand the flags of a launcher
        used = {word for line in ours for word in line.split() if word.startswith("-")}
        known = set(FLAGS[words]) | ({"--out"} if words == "" else set())
        assert used <= known, words
