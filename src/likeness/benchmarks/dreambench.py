"""DreamBench: 30 photographed subjects x 25 prompts, alone or in 30 pairs, from a local folder of the photos.

Source: DreamBooth (arXiv:2208.12242) for photos and prompts; the lists of prompts with their conditioning photos are
UNO's `dreambench_singleip.json` and `dreambench_multiip.json` (arXiv:2504.02160), whose choice of photos is Kosmos-G's.
The folder holds those two lists, `prompts_and_classes.txt` and one folder of jpgs per subject; nothing is copied.
"""

from collections import Counter
from pathlib import Path
from typing import Any  # rows of the list are checked here

from likeness.core.errors import DataError
from likeness.core.files import read_json, read_text
from likeness.core.jobs import Progress
from likeness.core.kinds import Split
from likeness.core.records import Case, CasesFile, Subject
from likeness.core.sampling import balanced_sample

LISTS = {"dreambench-single": "dreambench_singleip.json", "dreambench-multi": "dreambench_multiip.json"}


def build(
    name: str, *, folder: Path, data: Path | None, limit: int | None, split: Split, progress: Progress
) -> CasesFile:
    """The cases of "dreambench-single" or "dreambench-multi" in the list's order, or `limit` of them.

    Those are balanced over subjects and prompts, as `likeness.core.sampling.balanced_sample` says.

    `data` is the folder of the photographs; nothing is written to `folder`. Ids are the subjects and the prompt's
    number, such as "backpack-00" or "cat-dog-24". `photos` are all jpgs of the subject, the reference image is the one
    the list names. Seeds are 0: the generator varies them per sample.
    Raises: DataError without data, for data without the files, for a list of another shape or another split.
    """
    if data is None or split != "test":
        raise DataError(f"{name}: expected a folder of photos and the test split, got {data} and {split}.")
    path = data / LISTS[name]
    rows = read_json(path)
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{path}: expected a list of prompts with image paths, got {type(rows).__name__}.")
    classes = class_words(data)
    counts: Counter[str] = Counter()
    cases: list[Case] = []
    for number, row in enumerate(rows, start=1):
        images = _image_paths(row, f"{path}:{number}")
        subjects = tuple(_subject(image, folder=data, classes=classes) for image in images)
        group = "-".join(subject.id for subject in subjects)
        cases.append(Case(id=f"{group}-{counts[group]:02d}", prompt=row["prompt"], subjects=subjects))
        counts[group] += 1
    return CasesFile(cases=balanced_sample(cases, limit), left_out=())


def class_words(folder: Path) -> dict[str, str]:
    """Subject -> class word, from the first table of `prompts_and_classes.txt`."""
    words: dict[str, str] = {}
    for line in read_text(folder / "prompts_and_classes.txt").splitlines():
        subject, comma, word = line.strip().partition(",")
        if line.startswith("Prompts"):
            break
        if comma and subject != "subject_name":
            words[subject] = word
    return words


def _image_paths(row: Any, where: str) -> list[str]:
    if not isinstance(row, dict) or not isinstance(row.get("prompt"), str) or not row.get("image_paths"):
        raise DataError(f'{where}: expected {{"prompt": text, "image_paths": [paths]}}, got {str(row)[:80]}.')
    return row["image_paths"]


def _subject(image: str, *, folder: Path, classes: dict[str, str]) -> Subject:
    """The subject of ".../<subject>/<NN>.jpg", with the photos that lie in <folder>/<subject>."""
    name = Path(image).parent.name
    reference_image = folder / name / Path(image).name
    photos = tuple(sorted((folder / name).glob("*.jpg")))
    if reference_image not in photos:
        raise DataError(f"DreamBench: expected {reference_image}, found no such photo; download the whole data set.")
    if name not in classes:
        raise DataError(f"{folder / 'prompts_and_classes.txt'}: expected a class word for {name}, found none.")
    return Subject(id=name, class_name=classes[name], reference_image=reference_image, photos=photos)
