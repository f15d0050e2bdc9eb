"""The template engine, set up once: everything that came from a user is escaped, a missing value is an error."""

from __future__ import annotations

from functools import cache
from typing import Any  # the filters, whose types jinja joins in one

from jinja2 import Environment, PackageLoader, StrictUndefined

from likeness.report.figures import interval_svg
from likeness.report.tables import counted, flatten, number


def render(template: str, **values: object) -> str:
    """The page that `template` makes of `values`; equal values give equal text."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("likeness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {"counted": counted, "flatten": flatten, "interval_svg": interval_svg, "number": number}
    environment.filters.update(filters)
    return environment
