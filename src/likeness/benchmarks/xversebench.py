"""XVerseBench: one to three people, objects or animals with a photo each, from a local copy of XVerse's folder.

    DATA/eval/tools/XVerseBench_single.json, DATA/eval/tools/XVerseBench_multi.json
    DATA/assets/XVerseBench/{human,object,animal}/NN_<name>.jpg

Source: XVerse (arXiv:2506.21416), github.com/bytedance/XVerse: its lists (90 and 210 prompts, as copied in
github.com/zsxkib/cog-XVerse), read as UMO's `eval/UNO/inference_xversebench.py` does. The people come with XVerse;
objects and animals are DreamBench++'s, renamed and cut out by `assets/rename.py` and `assets/segmentation.py`.
"""

import re
from pathlib import Path, PurePosixPath

from pydantic import Field

from likeness.benchmarks.photo_folder import ForeignRow, Gathered, PhotoFolder
from likeness.core.jobs import Progress
from likeness.core.kinds import Split
from likeness.core.records import MAX_SUBJECTS, Case, CasesFile

LISTS = {"single": "eval/tools/XVerseBench_single.json", "multi": "eval/tools/XVerseBench_multi.json"}
HOLDS = f"{LISTS['single']} or {LISTS['multi']}, and assets/XVerseBench, of XVerse"
PUBLISHED = (
    "it is published at github.com/bytedance/XVerse (CC0, except for objects and animals, which are made from "
    "DreamBench++ under its terms by assets/rename.py and assets/segmentation.py)"
)
_ARTICLE = re.compile(r"^(an?|the) ", re.IGNORECASE)


class _Photo(ForeignRow):
    image_path: str = Field(min_length=1)
    caption: str = Field(min_length=1)


class _Adapter(ForeignRow):
    src_inputs: list[_Photo] = Field(min_length=1, max_length=MAX_SUBJECTS)


class _Row(ForeignRow):
    index: int = Field(ge=0)
    prompt: str
    modulation: list[_Adapter] = Field(min_length=1)


def build(
    name: str, *, folder: Path, data: Path | None, limit: int | None, split: Split, progress: Progress
) -> CasesFile:
    """The cases of both lists in their order, or `limit` of them, balanced over subjects and prompts.

    Ids are single-NNN and multi-NNN with the index of the list. A subject is called after its photo, such as
    human/05_man, its class is the caption without its article. A list that is absent and a case without its photos
    are left out and listed. Nothing is written to `folder`.
    Raises: DataError without data, for another split, and for a folder without a usable case.
    """
    found = PhotoFolder.of_test_split(name, data=data, split=split, holds=HOLDS, published=PUBLISHED)
    gathered = Gathered(found)
    for done, (kind, file) in enumerate(LISTS.items(), start=1):
        for number, row in enumerate(gathered.rows(file), start=1):
            gathered.add(f"{file}:{number}", lambda kind=kind, row=row: [_case(kind, _Row.of_row(row), found)])
        progress(done, len(LISTS))
    return gathered.cases_file(limit)


def _case(kind: str, row: _Row, folder: PhotoFolder) -> Case:
    subjects = [_subject(photo, folder) for photo in row.modulation[0].src_inputs]
    return Case.of_row({"id": f"{kind}-{row.index:03d}", "prompt": row.prompt, "subjects": subjects})


def _subject(photo: _Photo, folder: PhotoFolder) -> dict[str, object]:
    path = folder.file(photo.image_path, what="the photo")
    place = PurePosixPath(photo.image_path.replace("\\", "/"))
    name = f"{place.parent.name}/{place.stem}"
    return {"id": name, "class_name": _ARTICLE.sub("", photo.caption), "reference_image": path, "photos": [path]}
