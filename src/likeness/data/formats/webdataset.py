"""Pair sets as WebDataset shards: plain tar files whose members share a key per pair.

    OUT/pairs-000000.tar:  00000000.json  00000000.preferred.png  00000000.rejected.png  00000000.reference_0.png ...
    OUT/shards.json:       how many pairs and which bytes every shard holds, written last

Keys are the places of the pairs in the set: WebDataset ends a key at the first dot, and ids may hold dots. Tar headers
carry no time, user or mode of this machine, so that equal sets give equal bytes.
Source: naming rules of webdataset (README: "files that share a basename belong to one sample").
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any  # JSON of others

from likeness.core.errors import DataError
from likeness.core.files import atomic_write_bytes, read_json, write_json
from likeness.core.hashing import file_sha256
from likeness.core.pairs import PreferencePair, pair_files, read_pairs
from likeness.core.rows import LeftOut
from likeness.data.formats.packed import (
    MAX_SHARD_BYTES,
    ExportSummary,
    ImportSummary,
    Numbered,
    PackedPair,
    packed,
    require_own_folder,
    shards_of,
    write_unpacked,
)

__all__ = ["export_webdataset", "import_webdataset"]

INDEX = "shards.json"


def export_webdataset(folder: Path | str, out: Path, *, max_shard_bytes: int = MAX_SHARD_BYTES) -> ExportSummary:
    """`out` holds the pair set of `folder` as tar shards, in the order of the set; equal sets give equal bytes.

    Raises: DataError when the set cannot be read; OutputError when `out` holds other shards or cannot be written.
    """
    folder = Path(folder)
    found = read_pairs(folder)
    runs = shards_of(list(enumerate(found.pairs)), max_bytes=max_shard_bytes)
    plan = {f"pairs-{index:06d}.tar": run for index, run in enumerate(runs)}
    require_own_folder(out, planned=plan, pattern="*.tar")
    rows: list[dict[str, object]] = []
    for name, numbered in plan.items():
        data = _shard(numbered, folder=folder)
        atomic_write_bytes(out / name, data)
        rows.append({"name": name, "num_pairs": len(numbered), "sha256": hashlib.sha256(data).hexdigest()})
    write_json(out / INDEX, {"num_pairs": len(found.pairs), "shards": rows})
    return ExportSummary(out, len(found.pairs), tuple(out / name for name in plan), found.left_out)


def _shard(numbered: list[Numbered], *, folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, pair in numbered:
            for name, data in sorted(_members(*packed(pair, folder=folder)).items()):
                info = tarfile.TarInfo(f"{number:08d}.{name}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _members(pair: PreferencePair, files: dict[str, bytes]) -> dict[str, bytes]:
    """Member name without key -> bytes. The last suffix is that of the file, by which loaders decode it."""
    named = {f"{slot}{path.suffix.lower()}": files[slot] for slot, path in pair_files(pair).items()}
    return named | {"json": json.dumps(pair.model_dump(mode="json"), ensure_ascii=False, allow_nan=False).encode()}


def import_webdataset(source: Path | str, out: Path) -> ImportSummary:
    """`out` holds the pair set that `export_webdataset` wrote to `source`: the same rows, order and files.

    Without shards.json the shards are read as they are found.
    Raises: DataError for missing, damaged or foreign shards; OutputError when `out` holds a set.
    """
    source = Path(source)
    shards = sorted(source.glob("*.tar"))
    if not shards:
        raise DataError(f"{source}: expected tar shards, got none; check the path.")
    if (source / INDEX).is_file():
        _require_listed(source)
    return write_unpacked((pair for shard in shards for pair in _pairs(shard)), out=out, source=source)


def _require_listed(source: Path) -> None:
    """Every shard of shards.json is there with its bytes."""
    listed = read_json(source / INDEX)
    rows = listed.get("shards") if isinstance(listed, dict) else None
    if not isinstance(rows, list) or not all(_is_shard(row) for row in rows):
        wanted = 'an object with "shards", a list of {"name", "sha256"}'
        raise DataError(f"{source / INDEX}: expected {wanted}, got something else; export the set again.")
    for row in rows:
        path = source / row["name"]
        found = file_sha256(path) if path.is_file() else "no such file"
        if found != row["sha256"]:
            what = f"expected the bytes with SHA-256 {row['sha256'][:12]}, got {found[:12]}"
            raise DataError(f"{path}: {what}; copy or export it again.")


def _is_shard(row: Any) -> bool:
    """Whether a row names a shard beside the list and its hash."""
    named = isinstance(row, dict) and isinstance(row.get("name"), str) and isinstance(row.get("sha256"), str)
    return named and row["name"] == PurePosixPath(row["name"]).name and "\0" not in row["name"]


def _pairs(shard: Path) -> Iterator[PackedPair | LeftOut]:
    """The pairs of a shard. Members are read by name; nothing is extracted to where the shard says."""
    try:
        with tarfile.open(shard, mode="r:") as tar:
            for key, infos in groupby(tar, lambda info: _named(info)[0]):
                found = _members_of(tar, list(infos), where=f"{shard}:{key}", most=shard.stat().st_size)
                if found is not None:
                    yield found
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise DataError(f"{shard}: expected a whole tar file, got {error}; copy or export it again.") from error


def _members_of(
    tar: tarfile.TarFile, infos: list[tarfile.TarInfo], *, where: str, most: int
) -> PackedPair | LeftOut | None:
    """The pair of one key, None for folders alone. A link leads elsewhere, so its pair is left out."""
    files = [info for info in infos if not info.isdir()]
    if not files:
        return None
    for info in files:
        if not info.isreg():
            return LeftOut.at(where, f"expected plain files, got {info.name}, a link or device; export it again.")
        if info.size > most:
            return LeftOut.at(where, f"expected {info.name} of at most {most} bytes, got {info.size}; export it again.")
    members = {_named(info)[1]: file.read() for info in files if (file := tar.extractfile(info)) is not None}
    return _packed(members, where=where)


def _named(info: tarfile.TarInfo) -> tuple[str, str]:
    """Key and name of a member."""
    key, _, name = PurePosixPath(info.name).name.partition(".")
    return key, name


def _packed(members: dict[str, bytes], *, where: str) -> PackedPair | LeftOut:
    try:
        row = json.loads(members["json"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        return LeftOut.at(where, f"expected the row of a pair in its json member, got {error!r}.")
    return PackedPair(row, {name.partition(".")[0]: data for name, data in members.items() if name != "json"}, where)
