"""What fixtures that make things give, as types for the tests that ask for them."""

from collections.abc import Callable
from pathlib import Path

Maker = Callable[..., Path]  # the folder it wrote
