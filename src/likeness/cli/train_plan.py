"""The plan of a run as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any  # a plan is JSON

from likeness.cli.answer import aligned

GIB = 2**30


def plan_text(plan: Mapping[str, Any]) -> str:
    """The plan for people: what goes where, and which cards fit."""
    pair, step = plan["pair"], plan["step"]
    references = ", ".join(f"{wide} x {high}" for wide, high in pair["references"]) or "none"
    assumed = "" if pair["found"] else " (assumed: the pair set is not there)"
    head = f"{plan['model']['id']} in {plan['model']['precision']}; {pair['num_pairs']} pairs, the largest of "
    head += f"{pair['size'][0]} x {pair['size'][1]} px with references of {references} px{assumed}"
    saved, disk = plan["saved_activations"], plan["disk"]
    training = {**plan["memory"]["training"], "together": sum(plan["memory"]["training"].values())}
    caching = {**plan["memory"]["caching"], "together": sum(plan["memory"]["caching"].values())}
    rows = [
        head,
        "",
        _table("parameters (millions)", {name: f"{count / 1e6:,.1f}" for name, count in plan["parameters"].items()}),
        _table("memory in steps (GiB)", {name: _gib(count) for name, count in training.items()}),
        _table("memory while pairs are encoded (GiB)", {name: _gib(count) for name, count in caching.items()}),
        f"Saved activations: {_gib(saved['plain'])} GiB, {_gib(saved['checkpointed'])} with gradient checkpointing.",
        f"Disk: cache {_gib(disk['cache'])} GiB at most, state {_gib(disk['state'])} GiB, adapter "
        f"{_gib(disk['adapter'])} GiB.",
        f"A step has {step['flops'] / 1e12:,.1f} TFLOP, on this machine at least {step['machine_seconds']:,.1f} s: it "
        f"multiplies matrices at {step['machine_flops_per_second'] / 1e12:,.2f} TFLOP/s (measured now).",
        "",
        _cards(plan["cards"]),
        "Seconds are an estimate: of the card's dense bf16 rate, as its maker states it, 40% is assumed to be reached. "
        "Room is the card without CUDA's own memory and 4% for fragments.",
    ]
    return "\n".join(rows)


def _gib(count: int) -> str:
    return f"{count / GIB:.2f}"


def _table(title: str, rows: Mapping[str, str]) -> str:
    from rich.table import Table

    table = Table(title, "", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for name, value in rows.items():
        table.add_row(name, value)
    return aligned(table) + "\n"


def _cards(cards: list[dict[str, Any]]) -> str:
    from rich.table import Table

    table = Table("card", "room", "as it is", "needs", "s a step", "with", box=None, pad_edge=False)
    for card in cards:
        fits, found = card["fits"], card["settings"] is not None
        table.add_row(
            f"{card['gib']} GB ({card['name']})",
            _gib(card["usable"]),
            "fits" if fits else "too large",
            _gib(card["needs"]) if found else "-",
            f"{card['seconds']:.2f}" if found else "-",
            (card["settings"] or "nothing to change") if found else "no setting makes it fit",
        )
    return aligned(table) + "\n"
