"""Scripts beside the package (figures/, experiments/, tests/helpers/): loaded as modules or run as processes."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
HELPERS = Path(__file__).parent


def load_script(path: str) -> ModuleType:
    """The script at `path`, relative to the root of the repository; it finds its neighbours by name, as when run.

    Of experiments, neighbours are their own: those of another one that bear the same name are loaded apart.
    """
    spec = importlib.util.spec_from_file_location(path.removesuffix(".py").replace("/", "_"), ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend((ROOT / path).parent)
        before = set(sys.modules)
        spec.loader.exec_module(module)
    for name in set(sys.modules) - before if path.startswith("experiments/") else ():
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to((ROOT / path).parent):
            del sys.modules[name]
    return module


def child_environment() -> dict[str, str]:
    """For a process that imports what this one can, helpers included, and computes in one thread."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
