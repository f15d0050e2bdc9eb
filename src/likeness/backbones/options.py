"""What may be asked of one picture: each backbone has a model of its own options, and only that knows their names."""

from pathlib import Path
from typing import Any  # values are checked by the model; pydantic's list of errors is JSON

from pydantic import BaseModel, ConfigDict, ValidationError

from likeness.core.errors import ConfigError
from likeness.core.spec import closest, wrong_value

__all__ = ["Options"]


class Options(BaseModel):
    """Base of every backbone's options; a field that is None means the model's own default.

    Raises: ConfigError naming the option, its value and, for an unknown name, the closest known one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(_mistake(error.errors()[0], known=list(type(self).model_fields))) from None

    def settings(self) -> dict[str, Any]:
        """JSON values by name, as run.json and the proof inside each picture record them."""
        return self.model_dump(mode="json")

    def in_force(self, folder: Path) -> dict[str, Any]:
        """The settings as they act on the model in `folder`: its own defaults stand where nothing was asked for.

        Loads no weights. A backbone whose options have defaults of the model's own says here what those are.
        Raises: WeightsError for a folder whose settings cannot be read.
        """
        return self.settings()


def _mistake(item: Any, *, known: list[str]) -> str:
    name, given, kind = ".".join(map(str, item["loc"])), item["input"], item["type"]
    if kind == "extra_forbidden":
        advice = closest(name, known, otherwise="correct the name or leave it out")
        return f"{name}: expected an option among {', '.join(known)}, got {name!r}; {advice}."
    if kind == "greater_than_equal":
        return f"{name}: expected at least {item['ctx']['ge']:g}, got {given}; raise it."
    return wrong_value(name, item)
