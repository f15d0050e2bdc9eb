"""What a finished command says: a line for people, or one JSON object for machines. stdout carries nothing else."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead of a line for people.")]


def answer(facts: dict[str, Any], *, text: str, as_json: bool) -> None:  # JSON values
    """`facts` as one JSON object when `as_json`, else `text`."""
    typer.echo(json.dumps(facts, ensure_ascii=False, default=str) if as_json else text)
