"""Plain data as bytes and back: numbers, texts, arrays, and dataclasses, tuples, lists and dicts of those.

Arrays travel as safetensors, all else as JSON among them: nothing is ever unpickled. `unpack` rebuilds a value from
the annotations of its type, so that it equals what was packed, bit for bit; JSON writes float64 exactly.
"""

import json
import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints  # Any: what is packed is the caller's

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from likeness.core.errors import DataError

_TREE = "tree"


def pack(value: Any) -> bytes:
    """The bytes of plain data. Raises: DataError for anything else."""
    arrays: dict[str, np.ndarray] = {}
    tree = json.dumps(_stored(value, arrays))
    return save({_TREE: np.frombuffer(tree.encode(), np.uint8), **arrays})


def unpack(data: bytes, kind: Any) -> Any:
    """The value of type `kind` whose bytes these are. Raises: DataError for bytes that hold none."""
    try:
        arrays = load(data)
        return _restored(json.loads(arrays.pop(_TREE).tobytes()), kind, arrays)
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        name = getattr(kind, "__name__", str(kind))
        raise DataError(f"Stored value: expected {name}, got bytes that hold none ({error}); delete it.") from error


def _stored(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, np.ndarray):
        name = str(len(arrays))
        arrays[name] = np.ascontiguousarray(value).reshape(value.shape)
        return name
    if is_dataclass(value):
        return {field.name: _stored(getattr(value, field.name), arrays) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _stored(each, arrays) for key, each in value.items()}
    if isinstance(value, Sequence):  # a NamedTuple too: its fields in order
        return [_stored(each, arrays) for each in value]
    raise DataError(f"Stored value: expected plain data, got {type(value).__name__}; give numbers, texts or arrays.")


def _restored(tree: Any, kind: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if _is_array(kind):
        return arrays[tree]
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, types.UnionType):
        return None if tree is None else _restored(tree, next(k for k in inner if k is not type(None)), arrays)
    if is_dataclass(origin):
        hints = get_type_hints(origin)
        make: Any = origin
        return make(**{name: _restored(tree[name], hints[name], arrays) for name in tree})
    if hasattr(origin, "_fields"):
        hints = get_type_hints(origin)
        return origin(*(_restored(each, hints[name], arrays) for name, each in zip(origin._fields, tree, strict=True)))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _restored(each, inner[1], arrays) for key, each in tree.items()}
    if origin in (tuple, list) or (isinstance(origin, type) and issubclass(origin, Sequence) and origin is not str):
        kinds = [inner[0]] * len(tree) if len(inner) == 1 or inner[-1] is Ellipsis else inner
        made = [_restored(each, one, arrays) for each, one in zip(tree, kinds, strict=True)]
        return tuple(made) if origin is tuple else made
    return _scalar(tree, kind)


def _scalar(tree: Any, kind: Any) -> Any:
    if kind is Any:
        return tree
    if kind is float and isinstance(tree, int | float) and not isinstance(tree, bool):
        return float(tree)
    if kind in (str, bool, int) and type(tree) is kind:
        return tree
    raise TypeError(f"{str(tree)[:40]!r} is no {kind}")


def _is_array(kind: Any) -> bool:
    """Whether an annotation is an array's, plain or with a shape (jaxtyping)."""
    return kind is np.ndarray or get_origin(kind) is np.ndarray or getattr(kind, "array_type", None) is np.ndarray
