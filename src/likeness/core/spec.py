"""The base of every settings table, and what its mistakes are called."""

import difflib
from collections.abc import Iterable
from typing import Any  # pydantic's mistakes are JSON

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """A table of settings. Strict: "true" is no boolean and 1.5 no count; whole numbers may stand for fractions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def closest(name: str, known: Iterable[str], *, otherwise: str) -> str:
    """Advice for a name that is not known: the one that is nearest to it, or `otherwise`."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]}" if close else otherwise


def wrong_value(key: str, mistake: Any) -> str:
    """A mistake of pydantic's list as "key: expected X, got Y; correct it."."""
    wanted = mistake["msg"][:1].lower() + mistake["msg"][1:]
    return f"{key}: expected {wanted.removeprefix('input should be ')}, got {mistake['input']!r}; correct it."
