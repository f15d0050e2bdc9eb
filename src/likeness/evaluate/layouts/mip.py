"""MIP-Adapter's results on CustomConcept101: comb_{i}/{prompt}_gen.png, with prompts.json {file name: prompt}.

Source: MIP-Adapter, `evaluation/inference_func.py`. i counts the combinations of the data set from 0. Cases of
`concept101` say theirs in their ids (comb_007-03), so that some of them are enough; the combinations of other cases
count in the order of their first case. Without prompts.json the file's name is the prompt.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from likeness.core.errors import DataError
from likeness.core.files import is_inside, read_json
from likeness.core.records import Case
from likeness.evaluate.layouts.told import Told, Wanted, pictures_below

_FOLDER = re.compile(r"comb_([0-9]{1,5})")
_FOLDER_OF_ID = re.compile(r"comb_([0-9]{1,5})-[0-9]+")


def told_by_combination(folder: Path, pictures: Sequence[Path], *, cases: Sequence[Case]) -> Told | None:
    """Places by the number of the combination and the prompt."""
    if not any(path.is_dir() and _FOLDER.fullmatch(path.name) for path in folder.iterdir()):
        return None
    combinations = _combinations(cases)
    told, wanted, stated = Told(), Wanted(cases), dict[Path, Any]()
    for path in pictures_below(folder, told):
        told.claim(path, lambda path=path: (_case(path, folder, wanted, combinations, stated), 0))
    return told


def _combinations(cases: Sequence[Case]) -> dict[int, tuple[str, ...]]:
    """Number -> the subjects of a combination."""
    stated = [(_FOLDER_OF_ID.fullmatch(case.id), _subjects(case)) for case in cases]
    by_id = {int(match[1]): subjects for match, subjects in stated if match}
    return by_id if all(match for match, _ in stated) else dict(enumerate(dict.fromkeys(map(_subjects, cases))))


def _subjects(case: Case) -> tuple[str, ...]:
    return tuple(subject.id for subject in case.subjects)


def _case(
    path: Path, folder: Path, wanted: Wanted, combinations: dict[int, tuple[str, ...]], stated: dict[Path, Any]
) -> Case:
    parts = path.relative_to(folder).parts
    match = _FOLDER.fullmatch(parts[0])
    if len(parts) != 2 or match is None:
        raise DataError("expected the place comb_<number>/<prompt>_gen.png, got another; move or remove it.")
    if "_entity_" in path.stem:
        raise DataError("expected a generated picture, got the reference of an entity; nothing is measured on it.")
    number = int(match[1])
    if number not in combinations:
        wanted_range = f"one of {len(combinations)} combinations, which count from 0"
        raise DataError(f"expected {wanted_range}, got {number}; check the cases.")
    chosen = combinations[number]
    prompt = _prompt(path, folder, stated)
    return wanted.find(prompt, fits=lambda case: _subjects(case) == chosen, whose=" + ".join(chosen))


def _prompt(path: Path, folder: Path, stated: dict[Path, Any]) -> str:
    file = path.parent / "prompts.json"
    if not file.is_file():
        return path.stem.removesuffix("_gen")
    if not is_inside(file, folder):
        raise DataError("expected prompts.json inside the folder, got a link that leaves it; copy the file instead.")
    if file not in stated:
        stated[file] = read_json(file)
    rows = stated[file]
    prompt = (rows.get(path.name) or rows.get(path.stem)) if isinstance(rows, dict) else None
    if not isinstance(prompt, str):
        where = file.relative_to(folder).as_posix()
        raise DataError(f"expected the prompt of {path.name} as text in {where}, got {str(prompt)[:60]}; correct it.")
    return prompt.removesuffix(".").removesuffix("_gen")  # the script keeps the end of the name
