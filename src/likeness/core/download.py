"""A file from the web: resumed where it was cut, and under its name only when it is whole."""

import http.client
import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any  # JSON

from likeness.core.errors import DataError, WeightsError
from likeness.core.files import atomic_write_text, read_json, unwritable
from likeness.core.jobs import Progress, unseen

CHUNK = 1 << 20
TIMEOUT_SECONDS = 60


def download(url: str, path: Path, *, advice: str, progress: Progress = unseen) -> Path:
    """The file at `path`, fetched unless it is there; what an earlier call began is gone on with.

    `progress` is told megabytes. Raises: WeightsError with `advice` when the file cannot be had, OutputError when it
    cannot be written.
    """
    if path.is_file():
        return path
    part, about = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.json")
    try:
        total = _fetch(url, part, about, progress=progress)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise WeightsError(f"{url}: expected a file, got {_reason(error)}; {advice}.") from error
    except OSError as error:
        raise unwritable(part, error) from error
    size = part.stat().st_size
    if total is not None and size != total:
        what = f"{url}: expected {total} bytes, got {size} before the connection ended"
        raise WeightsError(f"{what}; run the same command to continue, or {advice}.")
    os.replace(part, path)
    about.unlink(missing_ok=True)
    return path


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(getattr(error, 'reason', '') or error).strip()}"


def _fetch(url: str, part: Path, about: Path, *, progress: Progress) -> int | None:
    """What is missing from `part` is appended; returned is how many bytes the whole file has, if the server says so."""
    part.parent.mkdir(parents=True, exist_ok=True)
    done, version = _begun(part, about, url=url)
    headers = {"User-Agent": "likeness"} | ({"Range": f"bytes={done}-", "If-Range": version} if done else {})
    try:
        response: Any = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and done:
            return done  # whole already: the connection ended behind the last byte
        raise
    with response:
        goes_on = response.status == http.HTTPStatus.PARTIAL_CONTENT
        done = done if goes_on else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        atomic_write_text(about, json.dumps({"url": url, "version": _version(response.headers)}))
        with part.open("ab" if goes_on else "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                done += len(chunk)
                progress(done >> 20, (total or done) >> 20)
            os.fsync(file.fileno())
    return total


def _begun(part: Path, about: Path, *, url: str) -> tuple[int, str]:
    """How many bytes are there of this version of the file; none where it is not known which version they are of."""
    try:
        told = read_json(about)
    except DataError:
        return 0, ""
    version: str = told["version"] if isinstance(told, dict) and told.get("url") == url else ""
    return (part.stat().st_size if part.is_file() and version else 0), version


def _version(headers: Any) -> str:
    tag: str = headers.get("ETag") or ""
    return "" if tag.startswith("W/") else tag
