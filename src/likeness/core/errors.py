"""Every error a caller may want to catch.

    LikenessError
    ├── ConfigError        a setting, flag or recipe is wrong
    ├── DataError          an input file, picture, prompt or record is wrong
    │   └── NoCaseError    of all cases not one can be used
    ├── WeightsError       a checkpoint is missing, damaged or cannot be downloaded
    ├── MeasurementError   a metric or an interval was asked for something it cannot measure
    ├── DivergenceError    a training run produced non-finite numbers or a spike
    ├── LostProcessError   another process of a training run died
    └── OutputError        a result cannot be written, or its folder belongs to another run

Messages read "Where: expected X, got Y; what to do." and are part of the interface: the command line prints them as
they are and ends with exit code 2.
"""

__all__ = [
    "ConfigError",
    "DataError",
    "DivergenceError",
    "LikenessError",
    "LostProcessError",
    "MeasurementError",
    "NoCaseError",
    "OutputError",
    "WeightsError",
]


class LikenessError(Exception):
    """Base of all errors raised on purpose by likeness.

    Of the processes of one command only one `tells` of an error; the others end in silence.
    """

    tells: bool = True


class ConfigError(LikenessError):
    """A setting, flag or recipe is wrong."""


class DataError(LikenessError):
    """An input file, picture, prompt or record is wrong."""


class NoCaseError(DataError):
    """Of all cases not one can be used; `reason` is what is wrong with the first."""

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class WeightsError(LikenessError):
    """A checkpoint is missing, damaged or cannot be downloaded."""


class MeasurementError(LikenessError):
    """A metric or an interval was asked for something it cannot measure."""


class DivergenceError(LikenessError):
    """A training run produced non-finite numbers or a spike."""


class LostProcessError(LikenessError):
    """Another process of a training run died."""


class OutputError(LikenessError):
    """A result cannot be written, or its folder belongs to another run."""
