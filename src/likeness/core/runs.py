"""Run folders: a folder belongs to one identity, written in its run.json before anything else."""

import os
import platform
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any  # identities are JSON

from likeness import __version__
from likeness.core.errors import DataError, OutputError
from likeness.core.files import TEMPORARY_PATTERN, canonical_json, read_json, remove_stale_temporaries, write_json

_ABSENT = "(absent)"


def open_run(folder: Path | str, *, identity: dict[str, Any], told: dict[str, Any] | None = None) -> Path:
    """A folder whose run.json equals `identity`: a new one, or the same run's to be continued.

    `told` is written beside the identity of a new run for who reads it, and is never compared.
    Raises: OutputError when the folder belongs to another run (the differing keys are listed), holds other files, or
    cannot be written; DataError when `identity` is no JSON.
    """
    folder, told = Path(folder), told or {}
    canonical_json(identity | told)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"{folder}: expected a folder that can be created, got {error.strerror or error}"
        raise OutputError(f"{what}; choose another folder or fix its permissions.") from error
    record = folder / "run.json"
    if record.exists():
        _require_same(record, identity=identity, ignored=told)
    else:
        require_free(folder, facts=identity)
        write_json(record, identity | told)
    return folder


def grow_run(folder: Path | str, *, identity: dict[str, Any], key: str, may_grow: Callable[[Any], bool]) -> None:
    """The `key` of run.json becomes that of `identity` where no other differs and `may_grow` accepts the old value.

    Called before `open_run`, which refuses every other difference. Raises: OutputError when another process holds the
    folder, or it cannot be written.
    """
    record = Path(folder) / "run.json"
    if not record.is_file():
        return
    with hold_run(folder):
        try:
            found = read_json(record)
        except DataError:
            return  # `open_run` says what is wrong with it
        if not isinstance(found, dict) or key not in found or found[key] == identity[key]:
            return
        grown = {**found, key: identity[key]}  # with what was told beside the identity
        if grown | identity == grown and may_grow(found[key]):
            write_json(record, grown)


def recorded_run(run: Path) -> dict[str, Any]:
    """What RUN/run.json says; nothing where there is no such file or it is no object."""
    path = run / "run.json"
    found = read_json(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


def told_path(text: str) -> str:
    """A relative path as it is; an absolute one from the working folder if it lies in there, else its last name."""
    path = Path(text)
    if not path.is_absolute():
        return text
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else path.name


def require_free(folder: Path | str, *, facts: dict[str, Any]) -> None:
    """Asked before long work: could a run of which `facts` are known so far, keys of its identity, go to `folder`?

    Writes nothing. Raises: OutputError when the folder holds other files or a run whose record says otherwise.
    """
    folder = Path(folder)
    if (folder / "run.json").exists():
        return _require_same(folder / "run.json", identity=facts, keys=facts)
    others = sorted(e.name for e in folder.iterdir() if not e.match(TEMPORARY_PATTERN)) if folder.is_dir() else []
    if others:
        found = f"{folder}: expected an empty folder or a run, got {others[0]!r} and no run.json"
        raise OutputError(f"{found}; choose a new folder.")


def _require_same(
    record: Path, *, identity: dict[str, Any], keys: Collection[str] | None = None, ignored: Collection[str] = ()
) -> None:
    """Raises: OutputError unless the record equals `identity`, in all its keys but the `ignored`, or in `keys`."""
    try:
        found = read_json(record)
    except DataError as error:
        raise OutputError(f"{record}: expected the record of a run, got damage ({error}); use a new folder.") from None
    if isinstance(found, dict):
        found = {key: value for key, value in found.items() if key not in ignored and (keys is None or key in keys)}
    if canonical_json(found) == canonical_json(identity):
        return
    differing = "; ".join(_differences(found, identity, at=""))
    what = f"{record.parent}: expected the folder of this run, got the folder of another run ({differing})"
    raise OutputError(f"{what}; choose a new folder or repeat the old settings.")


def _differences(found: Any, wanted: Any, *, at: str) -> list[str]:
    """One "key: old there, new here" per leaf that differs, keys dotted and sorted."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = sorted(found.keys() | wanted.keys())
        pairs = [(f"{at}.{key}".lstrip("."), found.get(key, _ABSENT), wanted.get(key, _ABSENT)) for key in keys]
        return [line for key, old, new in pairs for line in _differences(old, new, at=key)]
    return [] if found == wanted else [f"{at or 'run.json'}: {found!r} there, {wanted!r} here"]


@contextmanager
def hold_run(folder: Path | str) -> Generator[None, None, None]:
    """This process alone writes to the run folder, which is free of interrupted writes at the start and at the end.

    The hold ends with the process, however that ends. File systems that know no locks are used without.
    Raises: OutputError when another process holds the folder.
    """
    folder = Path(folder)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, folder=folder)
        remove_stale_temporaries(folder)
        yield
        remove_stale_temporaries(folder)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, *, folder: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        wanted = f"{folder}: expected a free run folder, got one that another process is writing"
        raise OutputError(f"{wanted}; wait for it or end it.") from error
    except OSError:
        return  # some network file systems have no locks


def package_versions(*packages: str) -> dict[str, str]:
    """The versions of likeness, Python and `packages` ("not installed" for what is not there), for run.json."""
    own = {"likeness": __version__, "python": platform.python_version()}
    return own | {package: _version(package) for package in packages}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
