"""The folder in which everything is kept that costs only time when it is lost."""

import os
from pathlib import Path


def user_cache() -> Path:
    """The user's cache folder of this package: likeness in $XDG_CACHE_HOME, else in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "likeness")
