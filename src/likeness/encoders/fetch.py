"""`likeness fetch`: published pickles, converted once to a folder of safetensors that encoders find by name."""

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NamedTuple  # Any: JSON

from likeness.core.download import download
from likeness.core.errors import ConfigError, DataError, WeightsError
from likeness.core.fetched import RECORD, fetched_folder, weights_cache
from likeness.core.files import read_json, recover_folder, replaced_folder, write_json
from likeness.core.jobs import Progress, unseen
from likeness.core.spec import closest
from likeness.core.weights import resolve_processing
from likeness.encoders.archive import opened_parts, parts_sha256
from likeness.encoders.fetchable import FETCHABLE, Fetchable


class Fetched(NamedTuple):
    """Where the converted weights lie, and whether they were there already."""

    folder: Path
    was_there: bool


def fetch(name: str, *, source: Path | None = None, base: str | None = None, progress: Progress = unseen) -> Fetched:
    """The converted weights `name` of FETCHABLE in the user's cache, from the web or from `source`.

    `source` is the published file; for an archive, the folder that it was extracted to will do. `base` is
    a folder or hub id in place of the one that completes them. Weights that are there are kept, unless a `source` is
    given that they were not made from.
    Raises: ConfigError for another name, WeightsError when the file cannot be had, is not the published one, or holds
    code; OutputError when the cache cannot be written.
    """
    if name not in FETCHABLE:
        advice = closest(name, FETCHABLE, otherwise="see `likeness fetch`")
        raise ConfigError(f"NAME: expected one of {', '.join(FETCHABLE)}, got {name!r}; {advice}.")
    facts, folder = FETCHABLE[name], fetched_folder(name)
    recover_folder(folder)
    if source is None and recorded(folder) is not None:
        return Fetched(folder, was_there=True)
    if base is not None and not facts.base:
        raise ConfigError(f"--base: expected it with a file that lacks something, got {name}; leave the flag out.")
    file = source or _downloaded(name, facts, progress=progress)
    sha256 = _checked_sha256(file, facts)
    if (recorded(folder) or {}).get("sha256") == sha256 and base is None:
        return Fetched(folder, was_there=True)
    _convert(name, file, sha256=sha256, base=base or facts.base, folder=folder)
    if source is None:
        shutil.rmtree(_downloads(name), ignore_errors=True)
    return Fetched(folder, was_there=False)


def recorded(folder: Path) -> dict[str, Any] | None:
    """What a fetched folder says of itself, or None where there is none."""
    try:
        record = read_json(folder / RECORD)
    except DataError:
        return None
    return record if isinstance(record, dict) else None


def _require_base(base: str) -> None:
    """Raises: WeightsError for a base that cannot be had, before anything is written."""
    try:
        resolve_processing(base)
    except WeightsError as error:
        raise WeightsError(f"{str(error).removesuffix('.')}: --base FOLDER.") from error


def _convert(name: str, file: Path, *, sha256: str, base: str, folder: Path) -> None:
    with _opened(name, file) as source:
        if base:
            _require_base(base)
        with replaced_folder(folder) as fresh:
            try:
                resolve_name(FETCHABLE[name].convert)(source, fresh, base)
            except WeightsError as error:
                raise WeightsError(f"{file}: {error}") from error
            write_json(fresh / RECORD, {"name": name, "sha256": sha256, "base": _public(base)})


@contextmanager
def _opened(name: str, file: Path) -> Generator[Any]:
    """What `convert` gets of a published file: its tensors, or a folder with the parts of an archive."""
    if parts := FETCHABLE[name].parts:
        with opened_parts(file, parts, place=_downloads(name) / "parts") as folder:
            yield folder
    else:
        from likeness.encoders.checkpoint import read_checkpoint

        yield read_checkpoint(file)


def _public(base: str) -> str:
    return Path(base).name if Path(base).is_dir() else base


def _downloads(name: str) -> Path:
    return weights_cache() / ".downloads" / name


def _downloaded(name: str, facts: Fetchable, *, progress: Progress) -> Path:
    by_hand = f"`likeness fetch {name} --from FILE` with a copy of the file"
    if facts.url is None:
        what = f"{name}: expected a file to convert, got none, and it cannot be downloaded from here"
        raise WeightsError(f"{what}; get it by hand ({facts.page}), then run {by_hand}.")
    place = _downloads(name) / facts.url.rpartition("/")[2]
    advice = f"check the network, or run {by_hand} (converted weights go to {fetched_folder(name)})"
    return download(facts.url, place, advice=f"for {name}, {advice}", progress=progress)


def _checked_sha256(file: Path, facts: Fetchable) -> str:
    """The hash of what is read. Raises: WeightsError when it is missing or not the published file."""
    if not file.is_file() and not (facts.parts and file.is_dir()):
        raise WeightsError(f"{file}: expected a file of weights, got none; correct the path.")
    sha256 = parts_sha256(file, facts.parts)
    if file.is_file() and facts.sha256 not in (None, sha256):
        got = f"{file.stat().st_size} bytes with {sha256[:12]}..."
        what = f"{file}: expected the published file with SHA-256 {facts.sha256[:12]}..., got {got}"
        raise WeightsError(f"{what}; delete it and get it again from {facts.page}.")
    return sha256
