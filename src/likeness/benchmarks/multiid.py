"""MultiID-Bench: one to four people from a photo each, with a true picture, from a local folder of the data set.

    DATA/v200_single.json, DATA/v202.json, DATA/v200_m.json   [{"prompt", "image_paths", "ori_img_path", "name"?}]
    DATA/v200_single/untar/0001_1.jpg, DATA/v202/untar/0002_1.jpg, DATA/v200_m/refs/person_1/0003_1.jpg

Source: WithAnyone (arXiv:2510.14975), github.com/Doby-Xu/WithAnyone: what `MultiID-Bench/hf2bench.py` writes of the
published data set; paths in a list are relative to the folder beside them, as `infer_withanyone.py` reads them.
The true pictures (`ori_img_path`) are not read: no metric of this package looks at a true photograph.
"""

from pathlib import Path, PurePosixPath

from pydantic import Field

from likeness.benchmarks.photo_folder import ForeignRow, Gathered, PhotoFolder
from likeness.core.jobs import Progress
from likeness.core.kinds import Split
from likeness.core.records import MAX_SUBJECTS, Case, CasesFile

PARTS = {"v200_single": "v200_single/untar", "v202": "v202/untar", "v200_m": "v200_m"}
"""Part of the benchmark (one, two, three or four people) -> the folder that the paths of its list begin in."""
HOLDS = "v200_single.json, v202.json or v200_m.json of MultiID-Bench with their folders"
PUBLISHED = (
    "it is published at huggingface.co/datasets/WithAnyone/MultiID-Bench (non-commercial) and written as files by "
    "MultiID-Bench/hf2bench.py of github.com/Doby-Xu/WithAnyone"
)


class _Row(ForeignRow):
    prompt: str
    image_paths: list[str] = Field(min_length=1, max_length=MAX_SUBJECTS)
    ori_img_path: str = Field(min_length=1)


def build(
    name: str, *, folder: Path, data: Path | None, limit: int | None, split: Split, progress: Progress
) -> CasesFile:
    """The cases of all three parts in the order of their lists, or `limit`, balanced.

    Ids are the part and the number of the true picture, such as v202-0412; people have ids of their own in every case,
    since the lists do not say who returns. A list that is absent and a case without its photos are left out and listed.
    Nothing is written to `folder`.
    Raises: DataError without data, for another split, and for a folder without a usable case.
    """
    found = PhotoFolder.of_test_split(name, data=data, split=split, holds=HOLDS, published=PUBLISHED)
    gathered = Gathered(found)
    for done, part in enumerate(PARTS, start=1):
        for number, row in enumerate(gathered.rows(f"{part}.json"), start=1):
            where = f"{part}.json:{number}"
            gathered.add(where, lambda part=part, row=row: [_case(part, _Row.of_row(row), found)])
        progress(done, len(PARTS))
    return gathered.cases_file(limit)


def _case(part: str, row: _Row, folder: PhotoFolder) -> Case:
    case_id = f"{part}-{PurePosixPath(row.ori_img_path).stem}"
    photos = [folder.file(f"{PARTS[part]}/{path}", what="the photo") for path in row.image_paths]
    subjects = [
        {"id": f"{case_id}-{number}", "class_name": "person", "reference_image": photo, "photos": [photo]}
        for number, photo in enumerate(photos, start=1)
    ]
    return Case.of_row({"id": case_id, "prompt": row.prompt, "subjects": subjects})
