"""What checks the annotations of the package while tests run (`--jaxtyping-packages` in pyproject.toml)."""

from typing import Any, Self

import typer
from beartype import BeartypeConf, FrozenDict, beartype

# typer asks for its two names in commands and passes instances of their base classes, which are private;
# `Self` has no meaning to a checker that sees functions one by one
OVERRIDES = {typer.Context: typer.Context.__base__, typer.CallbackParam: typer.CallbackParam.__base__, Self: Any}
check = beartype(conf=BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict(OVERRIDES)))
