"""What is published elsewhere and may be needed here: weights and data, with where they come from and where they go."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple  # Any: JSON

Way = Literal["hub", "convert", "package", "hand"]
"""How it comes here. hub: a snapshot of the Hugging Face hub. convert: one file, turned into safetensors. package: with
pip. hand: no program may or can fetch it."""
NOT_KNOWN = "not known here"


class Published(NamedTuple):
    """One thing that `likeness fetch` lists. What nobody stated is None or NOT_KNOWN and never a guess.

    `source` is a hub id with its revision, a requirement of pip, an address or words; `files` what of it is needed (for
    the hub patterns of names); `num_bytes` the exact size of all and `sha256` the hash by file name, where they are
    known. `place` is where a copy must lie to be found offline, or how it is named in a command. `texts_only` marks
    hub ids of which no weights are needed, `only_files` those of which nothing but `files` is.
    """

    what: str
    way: Way
    source: str
    files: tuple[str, ...]
    needed_by: str
    licence: str
    place: str
    num_bytes: int | None = None
    sha256: Mapping[str, str] = {}
    texts_only: bool = False
    only_files: bool = False
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """For machines; a size or hash that is not known is null."""
        return {
            **self._asdict(),
            "files": list(self.files),
            "sha256": dict(self.sha256) or None,
            "revision": self.source.partition("@")[2] or None if self.way == "hub" else None,
        }


def told_size(num_bytes: int | None) -> str:
    """The size for people."""
    return "size unknown" if num_bytes is None else f"{num_bytes / 1e6:.1f} MB"
