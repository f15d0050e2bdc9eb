"""PatchDPO's results, {subject}/{prompt}.png; several subjects are joined by +, - or _, as MS-Diffusion's may be kept.

Source: PatchDPO, the folder that its scorer reads. MS-Diffusion publishes no layout of results; its pictures fit here,
or into a manifest.
"""

from collections.abc import Sequence
from pathlib import Path

from likeness.core.errors import DataError
from likeness.core.records import Case
from likeness.evaluate.layouts.told import Told, Wanted, called, pictures_below


def told_by_folder(folder: Path, pictures: Sequence[Path], *, cases: Sequence[Case]) -> Told | None:
    """Places by the subjects' folder and the prompt in the file's name."""
    names = {name for case in cases for name in called(case)}
    if not any(path.is_dir() and path.name in names for path in folder.iterdir()):
        return None
    told, wanted = Told(), Wanted(cases)
    for path in pictures_below(folder, told):
        told.claim(path, lambda path=path: (_case(path, folder, wanted, names), 0))
    return told


def _case(path: Path, folder: Path, wanted: Wanted, names: set[str]) -> Case:
    parts = path.relative_to(folder).parts
    if len(parts) != 2:
        raise DataError("expected the place <subject>/<prompt>.png, got another; move or remove it.")
    if parts[0] not in names:
        raise DataError(f"expected a folder called after the subjects of a case, got {parts[0][:80]!r}; rename it.")
    return wanted.find(path.stem, fits=lambda case: parts[0] in called(case), whose=parts[0])
