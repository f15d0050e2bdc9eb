"""DreamBench++'s results: tgt_image/<collection>/{i}_{j}.jpg with the prompt in text/<collection>/{i}_{j}.txt.

Source: DreamBench++, README (output of one method). A collection is <kind>_<number>_<subject>; the case's subject is
called so, or by the end of it.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from likeness.core.errors import DataError
from likeness.core.files import is_inside, read_text
from likeness.core.records import Case
from likeness.evaluate.layouts.told import Told, Wanted, called, pictures_below

_NAME = re.compile(r"[0-9]{1,4}_([0-9]{1,4})")


def told_by_tree(folder: Path, pictures: Sequence[Path], *, cases: Sequence[Case]) -> Told | None:
    """Places by collection and prompt; pictures elsewhere than in tgt_image and src_image are refused."""
    if not (folder / "tgt_image").is_dir():
        return None
    told, wanted = Told(), Wanted(cases)
    for path in pictures_below(folder, told):
        if path.relative_to(folder).parts[0] != "src_image":  # photos that went in
            told.claim(path, lambda path=path: _place(path, folder, wanted))
    return told


def _place(path: Path, folder: Path, wanted: Wanted) -> tuple[Case, int]:
    parts, match = path.relative_to(folder).parts, _NAME.fullmatch(path.stem)
    if len(parts) != 3 or parts[0] != "tgt_image" or match is None:
        raise DataError("expected the place tgt_image/<collection>/{i}_{j}, got another; move or remove it.")
    text = folder / "text" / parts[1] / f"{path.stem}.txt"
    if not text.is_file() or not is_inside(text, folder):
        where = text.relative_to(folder).as_posix()
        raise DataError(f"expected its prompt in {where} inside the folder, got none; copy the whole tree.")
    return wanted.find(read_text(text), fits=lambda case: _shows(case, parts[1]), whose=parts[1]), int(match[1])


def _shows(case: Case, collection: str) -> bool:
    plain = {name.replace(" ", "_") for name in called(case)}
    return any(collection == name or collection.endswith(f"_{name}") for name in plain)
