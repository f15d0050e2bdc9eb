"""What can be chosen of the focus maps (note section 4); the defaults are the paper's, or our reading of it."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from likeness.core.spec import Spec
from likeness.focus.complexity import Kind
from likeness.focus.field import Similarity
from likeness.focus.fusion import Mode
from likeness.focus.masks import Coverage


class FocusOptions(Spec):
    """`features` (None: the backbone's usual ones) and `layers` (a pattern for whole names; None: all) choose what the
    attention field is read from.

    `similarity` says how tokens are compared with a reference. `k`, the number of tokens sought for a subject, is that
    multiple of its own tokens, or as many as its "reference" has. The prior is made of masks of the `area`: of the
    preferred picture, or of both; `coverage` says how much of a token a mask must cover ("soft": any, and the share
    counts), and masks grow by `dilation` tokens. M_d has one value per token, or per pixel before these are averaged
    (`entropy_stride`). `source` is the pass that is watched. The weight map enters the error to the `weight_power`.
    """

    mode: Mode = "full"
    tau: float = Field(default=0.1, ge=0, le=1)
    gamma: float = Field(default=0.3, ge=0, le=1)
    features: str | None = None
    layers: str | None = None
    center: bool = False
    similarity: Similarity = "cosine"
    k: Annotated[float, Field(gt=0)] | Literal["reference"] = 1.0
    per_subject: bool = True
    exclusive: bool = False
    area: Literal["preferred", "both"] = "preferred"
    coverage: Coverage = "half"
    dilation: int = Field(default=0, ge=0, le=16)
    source: Literal["policy", "ref"] = "policy"
    entropy: Kind = "kde32"
    entropy_stride: Literal["token", "pixel"] = "token"
    weight_power: Literal[1, 2] = 2

    @field_validator("layers")
    @classmethod
    def _is_a_pattern(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"expected a regular expression, got {value!r} ({error}); correct it") from None
        return value
