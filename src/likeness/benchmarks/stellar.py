"""Stellar: photographed people x their prompts, from a folder in Stellar's layout.

Source: Stellar (arXiv:2312.06116): 200 people of the test split with 2 photos and 100 prompts each are 40,000 cases,
the other 200 with 2 prompts each are 800. The data is under terms of its own and not part of this package.
Differs: the published loader counts prompts through the whole split; here each person's begin at 00.
"""

from pathlib import Path

from likeness.core.errors import DataError
from likeness.core.jobs import Progress
from likeness.core.kinds import Split
from likeness.core.records import Case, CasesFile
from likeness.core.sampling import balanced_sample
from likeness.data.formats.stellar_files import Person, filled, person_folders, read_person

FIRST_VALIDATION = "200"


def build(
    name: str, *, folder: Path, data: Path | None, limit: int | None, split: Split, progress: Progress
) -> CasesFile:
    """The cases of a split in the order person, photo, prompt, or `limit` of them, balanced over people and prompts.

    With P prompts per person, case n is that of photo n // P and prompt n % P of the person n // P // (photos per
    person). Ids are NNN-I-PP. A subject is the person, conditioned on photo I; `photos` are all of the person's.
    Nothing is written to `folder`. Masks are not read, since no metric looks at them.
    Raises: DataError without data, for the split "train", and for a folder with a file that cannot be used.
    """
    if data is None or split == "train":
        raise DataError(
            f"{name}: expected a folder of photos and the test or validation split, got {data} and {split}."
        )
    folders = [each for each in person_folders(data) if (each.name >= FIRST_VALIDATION) == (split == "validation")]
    if not folders:
        numbers = "000 to 199" if split == "test" else "200 to 399"
        raise DataError(f"{data}: expected people of the {split} split ({numbers}), found none; check the path.")
    cases: list[Case] = []
    for done, each in enumerate(folders, start=1):
        cases += cases_of(read_person(each))
        progress(done, len(folders))
    return CasesFile(cases=balanced_sample(cases, limit), left_out=())


def cases_of(person: Person) -> list[Case]:
    """The cases of one person, photo by photo. Raises: DataError for a prompt that no case can hold."""
    return [
        _case(person, photo, number) for photo in range(len(person.photos)) for number in range(len(person.prompts))
    ]


def _case(person: Person, photo: int, number: int) -> Case:
    prompt, case_id = person.prompts[number], f"{person.name}-{photo}-{number:02d}"
    subject = {
        "id": person.name,
        "class_name": "person",
        "reference_image": person.photos[photo],
        "photos": person.photos,
        "attributes": person.attributes[photo],
    }
    labels = {"detectables": prompt.detectables, "triplets": prompt.relations}
    row = {"id": case_id, "prompt": filled(prompt.text), "subjects": [subject], "labels": labels}
    try:
        return Case.of_row(row)
    except DataError as error:
        raise DataError(f"{person.photos[0].parent}: prompt {number}: {error}") from None
