"""What can be chosen of the focus maps (note section 4); the defaults are the paper's, or our reading of it."""

import re
from typing import Literal

from pydantic import Field, field_validator

from likeness.core.spec import Spec
from likeness.focus.complexity import Kind
from likeness.focus.fusion import Mode


class FocusOptions(Spec):
    """`features` (None: the backbone's usual ones) and `layers` (a pattern for whole names; None: all) choose what the
    attention field is read from.

    `source` is the pass that is watched. The weight map enters the error to the `weight_power`.
    """

    mode: Mode = "full"
    tau: float = Field(default=0.1, ge=0, le=1)
    gamma: float = Field(default=0.3, ge=0, le=1)
    features: str | None = None
    layers: str | None = None
    center: bool = False
    per_subject: bool = True
    exclusive: bool = False
    source: Literal["policy", "ref"] = "policy"
    entropy: Kind = "kde32"
    weight_power: Literal[1, 2] = 2

    @field_validator("layers")
    @classmethod
    def _is_a_pattern(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"expected a regular expression, got {value!r} ({error}); correct it") from None
        return value
