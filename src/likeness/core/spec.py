"""The base of every settings table: frozen, unknown keys refused, no value converted silently."""

from pydantic import BaseModel, ConfigDict

__all__ = ["Spec"]


class Spec(BaseModel):
    """A table of settings. Strict: "true" is no boolean and 1.5 no count; whole numbers may stand for fractions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
