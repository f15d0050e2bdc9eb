"""The task page of a study that collects prompts: one static HTML file, which answers with a row of JSON.

The page sends nothing anywhere: the platform that shows it takes the row from the form's fields, or the owner from the
file that the page offers. What comes back is checked by `likeness data prompt-check`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from likeness.core.files import atomic_write_text
from likeness.report.html import render


class FormRules(NamedTuple):
    """What the page says and which fields it has."""

    rules: Sequence[str]
    fields: Sequence[str]
    num_prompts: int
    slot: str
    most_characters: int


def build_prompt_form(rules: FormRules, *, out: Path, title: str = "Write prompts for a photo") -> Path:
    """The page at `out`; PAGE?photo=URL&task=ID&worker=ID shows that photo. Raises: OutputError."""
    atomic_write_text(out, render("prompt_form.html.j2", title=title, rules=rules))
    return out
