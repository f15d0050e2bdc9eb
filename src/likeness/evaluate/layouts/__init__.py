"""Folders of pictures that other tools wrote: one file per layout, one line per layout below.

A reader tells which picture answers which case, or answers None for a folder that is not in its layout. Whatever a
layout holds besides is refused with a reason. Readers follow no link out of the folder and decode no pixel.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from pkgutil import resolve_name

from likeness.core.records import Case
from likeness.evaluate.layouts.told import Told

__all__ = ["LAYOUTS", "STATED", "Read", "read_layout"]

Read = Callable[..., Told | None]
"""`read(folder, pictures, cases=...)`, where `pictures` are those that lie in the folder or in its images/."""

STATED: dict[str, str] = {
    "manifest": "likeness.evaluate.layouts.manifests:told_by_manifest",
    "stellar": "likeness.evaluate.stellar_folder:told_by_json",
}
"""Layouts in which files say whose the pictures are; they go before names of ours."""

LAYOUTS: dict[str, str] = {
    "dreambench++": "likeness.evaluate.layouts.dreambench_plus:told_by_tree",
    "mip": "likeness.evaluate.layouts.mip:told_by_combination",
    "comfyui": "likeness.evaluate.layouts.comfyui:told_by_chunk",
    "uno": "likeness.evaluate.layouts.uno:told_by_number",
    "prompt-folders": "likeness.evaluate.layouts.prompt_folders:told_by_folder",
}
"""Layouts that are looked for where no picture has the name of a case, in this order."""


def read_layout(
    table: dict[str, str], folder: Path, pictures: Sequence[Path], *, cases: Sequence[Case]
) -> tuple[str, Told] | None:
    """The first layout of the table that the folder is in, and what it tells; every picture has a place or a reason."""
    for name, read in table.items():
        told: Told | None = resolve_name(read)(folder, pictures, cases=cases)
        if told is not None:
            return name, told
    return None
