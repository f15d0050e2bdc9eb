"""CustomConcept101: 101 concepts with 20 prompts each, or 101 combinations of two, from a local folder of the data set.

    DATA/dataset.json, DATA/dataset_multiconcept.json   lists with class words, folders of photos and prompt files
    DATA/prompts/*.txt                                  a prompt per line, {} or {0} and {1} for the class words
    DATA/benchmark_dataset/<concept>/*                  3 to 15 photos of a concept

Source: Custom Diffusion (arXiv:2212.04488), github.com/adobe-research/custom-diffusion, `customconcept101`; pairs and
their prompts are composed as in MIP-Adapter (arXiv:2409.17920), `data/concept101_dataset.py`, whose results count the
combinations from 0, as ids do here. The prompt files of combinations that we have read hold 12 prompts each.
Differs: MIP-Adapter conditions on the mean of all photos of a concept; here the first by name is the reference image.
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from likeness.benchmarks.photo_folder import ForeignRow, Gathered, PhotoFolder
from likeness.core.errors import DataError
from likeness.core.jobs import Progress
from likeness.core.kinds import Split
from likeness.core.records import Case, CasesFile

LISTS = {"concept101": "dataset_multiconcept.json", "concept101-single": "dataset.json"}
HOLDS = "dataset.json or dataset_multiconcept.json, prompts and benchmark_dataset of CustomConcept101"
PUBLISHED = (
    "it is published at github.com/adobe-research/custom-diffusion, folder customconcept101 (photos under the Unsplash "
    "License or CC BY-SA 4.0; benchmark_dataset.zip is linked there)"
)


class _Concept(ForeignRow):
    class_prompt: str = Field(min_length=1)
    instance_data_dir: str = Field(min_length=1)
    prompt_filename: str = Field(min_length=1)


class _Composed(ForeignRow):
    prompt_filename_compose: str = Field(min_length=1)


def build(
    name: str, *, folder: Path, data: Path | None, limit: int | None, split: Split, progress: Progress
) -> CasesFile:
    """The cases of "concept101" (two subjects) or "concept101-single" in the list's order, or `limit`, balanced.

    Ids are comb_CCC-PP and concept_CCC-PP: the row of the list and the line of its prompt file, both from 0. `photos`
    are all pictures of the concept's folder. A row whose photos or prompts are missing is left out and listed. Nothing
    is written to `folder`.
    Raises: DataError without data, for another split, and for a folder without a usable case.
    """
    found = PhotoFolder.of_test_split(name, data=data, split=split, holds=HOLDS, published=PUBLISHED)
    gathered = Gathered(found)
    rows = gathered.rows(LISTS[name])
    make = _composed if name == "concept101" else _single
    for number, row in enumerate(rows):
        gathered.add(f"{LISTS[name]}:{number + 1}", lambda number=number, row=row: make(number, row, found))
        progress(number + 1, len(rows))
    return gathered.cases_file(limit)


def _single(number: int, row: object, folder: PhotoFolder) -> Iterator[Case]:
    concept = _Concept.of_row(row)
    subject = _subject(concept, folder)
    for line, prompt in enumerate(folder.lines(concept.prompt_filename, what="the prompts")):
        text = prompt.replace("{}", concept.class_prompt)
        yield Case.of_row({"id": f"concept_{number:03d}-{line:02d}", "prompt": text, "subjects": [subject]})


def _composed(number: int, row: object, folder: PhotoFolder) -> Iterator[Case]:
    if not isinstance(row, list) or len(row) != 3:
        raise DataError(f"expected two concepts and their prompt file, got {str(row)[:60]}; copy the list again.")
    concepts = [_Concept.of_row(each) for each in row[:2]]
    subjects = [_subject(concept, folder) for concept in concepts]
    file = _Composed.of_row(row[2]).prompt_filename_compose
    for line, prompt in enumerate(folder.lines(file, what="the prompts")):
        text = prompt
        for place, concept in enumerate(concepts):
            text = text.replace(f"{{{place}}}", concept.class_prompt)
        yield Case.of_row({"id": f"comb_{number:03d}-{line:02d}", "prompt": text, "subjects": subjects})


def _subject(concept: _Concept, folder: PhotoFolder) -> dict[str, object]:
    """The concept by the name of its folder, wherever the list says that this lies."""
    name = Path(concept.instance_data_dir.replace("\\", "/")).name
    photos = folder.pictures(f"benchmark_dataset/{name}")
    return {"id": name, "class_name": concept.class_prompt, "reference_image": photos[0], "photos": photos}
