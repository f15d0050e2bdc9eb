"""DreamBench++: 150 photographed or drawn subjects x 9 prompts, from a local folder of the data set.

    DATA/images/live_subject/animal/00.jpg     (also live_subject/human, object, style)
    DATA/captions/live_subject/animal/00.txt   first the subject, then its prompts, a line each

Source: DreamBench++ (arXiv:2406.16855), github.com/yuangpeng/dreambench_plus: `dreambench_plus_dataset.py`, by which a
collection is called <kind>_<number>_<subject>, such as live_subject_animal_00_kitten. The subject is called so; a case
by kind, number and the prompt's number from 0. The folders below images/ are those of XVerse's `assets/rename.py`.
"""

from collections.abc import Iterator
from pathlib import Path

from likeness.benchmarks.photo_folder import Gathered, PhotoFolder
from likeness.core.errors import DataError
from likeness.core.jobs import Progress
from likeness.core.kinds import Split
from likeness.core.records import Case, CasesFile

NUM_PROMPTS = 9
HOLDS = "the folders images and captions of DreamBench++"
PUBLISHED = (
    "it is published at github.com/yuangpeng/dreambench_plus and huggingface.co/datasets/yuangpeng/dreambench_plus "
    "(the list under Apache-2.0, the pictures under their authors' terms, for academic use)"
)


def build(
    name: str, *, folder: Path, data: Path | None, limit: int | None, split: Split, progress: Progress
) -> CasesFile:
    """All cases in the order of the caption files, or `limit` of them, balanced over subjects and prompts.

    A subject has one picture, which conditions and is compared with. A picture without captions or captions without a
    picture are left out and listed, and so is what lacks of NUM_PROMPTS prompts. Nothing is written to `folder`.
    Raises: DataError without data, for another split, and for a folder without a usable case.
    """
    found = PhotoFolder.of_test_split(name, data=data, split=split, holds=HOLDS, published=PUBLISHED)
    captions = _below(found.root, "captions", ".txt")
    gathered = Gathered(found)
    for done, stem in enumerate(captions, start=1):
        gathered.add(f"captions/{stem}.txt", lambda stem=stem: _cases(stem, found, gathered))
        progress(done, len(captions))
    for stem in _below(found.root, "images", ".jpg"):
        if stem not in captions:
            gathered.leave_out(
                f"images/{stem}.jpg", f"expected its prompts in captions/{stem}.txt, found no such file."
            )
    return gathered.cases_file(limit)


def _below(root: Path, part: str, suffix: str) -> list[str]:
    """The files of one kind below a part of the data set, by their place in it without the suffix, sorted."""
    top = root / part
    return sorted(path.relative_to(top).with_suffix("").as_posix() for path in top.rglob(f"*{suffix}"))


def _cases(stem: str, folder: PhotoFolder, gathered: Gathered) -> Iterator[Case]:
    where = f"captions/{stem}.txt"
    class_name, *prompts = folder.lines(where, what="the captions")
    picture = folder.file(f"images/{stem}.jpg", what="the picture")
    place = f"{_kind(stem)}_{Path(stem).name}"
    if not prompts:
        raise DataError("expected prompts after the subject, got none; copy the file again.")
    subject_id = f"{place}_{class_name.lower().replace(' ', '_')}"
    subject = {"id": subject_id, "class_name": class_name, "reference_image": picture, "photos": [picture]}
    made = [
        Case.of_row({"id": f"{place}-{i}", "prompt": text, "subjects": [subject]}) for i, text in enumerate(prompts)
    ]
    if len(prompts) != NUM_PROMPTS:
        gathered.leave_out(where, f"expected {NUM_PROMPTS} prompts, got {len(prompts)}; copy the file again.")
    yield from made


def _kind(stem: str) -> str:
    """The name of the folder as DreamBench++ has it in the names of its results."""
    last = Path(stem).parent.name
    return f"live_subject_{last}" if last in ("animal", "human") else last
