"""UNO's results: {item}_{j}.png, where item counts the list of cases from 0 and j the pictures of a case.

Source: UNO (bytedance/UNO), `inference.py --eval_json_path`; its {item}_{j}.json beside a picture holds the prompt.
The order of the cases is that of their file: results of a whole list are read with the whole list.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from likeness.core.errors import DataError
from likeness.core.files import is_inside, read_json
from likeness.core.records import Case
from likeness.evaluate.layouts.told import OUTSIDE, Told, plain

_NAME = re.compile(r"([0-9]{1,7})_([0-9]{1,4})")


def told_by_number(folder: Path, pictures: Sequence[Path], *, cases: Sequence[Case]) -> Told | None:
    """Places by number; a JSON beside that states another prompt than the case's refuses the picture."""
    if not any(_NAME.fullmatch(path.stem) for path in pictures):
        return None
    told = Told()
    for path in pictures:
        told.claim(path, lambda path=path: _place(path, folder, cases))
    return told


def _place(path: Path, folder: Path, cases: Sequence[Case]) -> tuple[Case, int]:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise DataError("expected the name {item}_{j} of UNO's results, got another; rename or remove it.")
    if not is_inside(path, folder):
        raise DataError(OUTSIDE)
    item = int(match[1])
    if item >= len(cases):
        raise DataError(f"expected an item of the {len(cases)} cases, which count from 0, got {item}; check the cases.")
    stated = _stated(path.with_suffix(".json"), folder)
    if stated is not None and plain(stated) != plain(cases[item].prompt):
        got = f"{stated[:80]!r} in {path.stem}.json"
        raise DataError(f"expected the prompt of {cases[item].id}, got {got}; give the list that was drawn.")
    return cases[item], int(match[2])


def _stated(path: Path, folder: Path) -> str | None:
    """The prompt in the JSON beside a picture; None without one. Raises: DataError for a damaged file."""
    if not path.is_file():
        return None
    if not is_inside(path, folder):
        raise DataError(f"expected {path.name} inside the folder, got a link that leaves it; copy the file instead.")
    row = read_json(path)
    prompt = row.get("prompt") if isinstance(row, dict) else None
    if not isinstance(prompt, str):
        raise DataError(f"{path}: expected an object with a prompt as text, got {str(row)[:60]}; correct or remove it.")
    return prompt
