"""When an evaluation was made: the user says it, since no file of a run has a time in it."""

from datetime import date, datetime

from likeness.core.errors import ConfigError


def iso_date(text: str) -> datetime:
    """The moment of an ISO-8601 date or time, a date alone at its midnight. Raises: ConfigError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"date: expected ISO-8601 such as {date(2026, 1, 31)}, got {text!r}; correct it.") from None
    return found
