"""A study made of run folders: pictures of one case side by side, joined by case id and by what the case says.

Nothing in the made folder but study.json and queries.jsonl names a run: pictures are saved anew without the notes that
`generate` writes into them, and are called after their pixels.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from likeness.core.errors import ConfigError, DataError
from likeness.core.files import read_jsonl
from likeness.core.hashing import json_sha256, pixels_sha256, short
from likeness.core.images import load_image, pictures_in, save_png
from likeness.core.records import Case, case_file, read_cases
from likeness.core.rng import seed_for
from likeness.core.rows import LeftOut
from likeness.study.design import KINDS, KindName, Option, Query, Study, write_study

__all__ = ["Wanted", "new_study"]

NEAR = 2.0
"""Grey levels (0 to 255), root mean square over thumbnails: nearer pictures look the same to people."""
_THUMBNAIL = 64
TRUTH = "truth"


class Wanted(NamedTuple):
    """How a study is to be: the fields of `Study` of the same names, and `limit`, the most queries."""

    kind: KindName = "pairwise"
    title: str = ""
    votes: int = 3
    per_rater: int = 20
    repeats: int = 2
    golds: int = 2
    seed: int = 0
    limit: int | None = None
    reward: float | None = None
    currency: str = "USD"
    consent: str = ""


class _Run(NamedTuple):
    """A run as far as a study needs it: its cases by id, and the file of each sample (case id, number)."""

    name: str
    cases: Mapping[str, Case]
    samples: Mapping[tuple[str, int], Path]


class Pictures:
    """Pictures by the name that they have in the study: the hash of their pixels."""

    def __init__(self) -> None:
        self._sources: dict[str, Path | Image.Image] = {}
        self._names: dict[Path, str] = {}
        self._thumbnails: dict[str, Float[np.ndarray, "h w 3"]] = {}

    def add(self, path: Path) -> str:
        """The name of a picture. Raises: DataError for one that cannot be read."""
        if path not in self._names:
            image = load_image(path)
            self._names[path] = self._keep(image, source=path)
        return self._names[path]

    def add_image(self, image: Image.Image) -> str:
        """The name of a picture that is no file."""
        return self._keep(image, source=image)

    def _keep(self, image: Image.Image, *, source: Path | Image.Image) -> str:
        name = f"{short(pixels_sha256(image))}.png"
        if name not in self._sources:
            small = image.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
            self._thumbnails[name] = np.asarray(small, dtype=np.float64)
            self._sources[name] = source
        return name

    def distance(self, one: str, other: str) -> float:
        """How far two pictures are apart, in grey levels."""
        return float(np.sqrt(((self._thumbnails[one] - self._thumbnails[other]) ** 2).mean()))

    def save(self, folder: Path, *, used: frozenset[str]) -> None:
        """The folder holds the used pictures, without any note."""
        for name in sorted(used):
            source = self._sources[name]
            save_png(load_image(source) if isinstance(source, Path) else source, folder / name)


def new_study(runs: Mapping[str, Path], out: Path, *, wanted: Wanted) -> Study:
    """The study of the runs, in the folder `out`; `left_out` tells which cases are not asked, and why.

    Raises: ConfigError for too few runs, DataError where the runs share no case, OutputError for a folder in use.
    """
    kind = KINDS[wanted.kind]
    if wanted.kind == "identity" or len(runs) < 2:
        got = f"{len(runs)} for a study of kind {wanted.kind}"
        raise ConfigError(f"RUN: expected two or more runs of one benchmark, got {got}; name more, or --pairs FOLDER.")
    read = [_read_run(name, folder) for name, folder in runs.items()]
    pictures, left_out = Pictures(), list[LeftOut]()
    groups = list(combinations(range(len(read)), kind.num_options or len(read)))
    queries = [
        query
        for sample in _shared_samples(read, left_out=left_out)
        for group in groups
        if (query := _query([read[k] for k in group], sample, pictures=pictures, left_out=left_out)) is not None
    ]
    if not queries:
        first = left_out[0].reason if left_out else "the runs have no picture of one case in common"
        raise DataError(f"study: expected at least one case to ask about, got none; first: {first}")
    queries = _limited(queries, wanted)
    size = kind.num_options or len(read)
    golds = _golds(runs, read[0], pictures=pictures, size=size, kind=wanted.kind, count=4 * wanted.golds)
    folders = {name: relative(folder, out) for name, folder in runs.items()}
    study = study_of(wanted, queries=[*queries, *golds], runs=folders, left_out=left_out, name=out.name)
    write_study(study, out, fill=partial(pictures.save, used=study.pictures))
    return study


def study_of(
    wanted: Wanted, *, queries: Sequence[Query], runs: Mapping[str, str], left_out: Sequence[LeftOut], name: str
) -> Study:
    """The study as it is wanted, of these queries."""
    fields = wanted._asdict()
    del fields["limit"]
    fields["title"] = wanted.title or "Which picture is better?"
    more = {"name": name, "queries": tuple(queries), "runs": dict(runs), "left_out": tuple(left_out)}
    return Study.model_validate(fields | more)


def relative(folder: Path, out: Path) -> str:
    """The way from the study to a folder, so that both can move together."""
    return Path(os.path.relpath(folder.resolve(), out.resolve())).as_posix()


def _read_run(name: str, folder: Path) -> _Run:
    file = case_file(folder)
    if not file.is_file():
        raise DataError(f"{folder}: expected a run with cases.jsonl, got none; name a folder of likeness generate.")
    cases = {case.id: case for case in read_cases(file).cases}
    manifest = folder / "manifest.jsonl"
    if manifest.is_file():
        rows = read_jsonl(manifest)
        samples = {(str(row["case_id"]), int(row["k"])): folder / str(row["image"]) for row in rows}
    else:
        samples = {key: path for path in pictures_in(folder) if (key := _sample_of(path.stem, cases)) is not None}
    return _Run(name, cases, {key: path for key, path in samples.items() if key[0] in cases and path.is_file()})


def _sample_of(stem: str, cases: Mapping[str, Case]) -> tuple[str, int] | None:
    """(case id, number) of a picture called after its case, or after case and number."""
    if stem in cases:
        return stem, 0
    case, _, number = stem.rpartition("-")
    return (case, int(number)) if case in cases and number.isdecimal() else None


def _shared_samples(read: Sequence[_Run], *, left_out: list[LeftOut]) -> Iterator[tuple[str, int]]:
    """Samples that every run has of a case that says the same everywhere, by its text and its photos' pixels."""
    hashes: dict[Path, str] = {}

    def content(case: Case) -> str:
        photos = [photo for subject in case.subjects for photo in (subject.reference_image, *subject.measured_photos)]
        for photo in photos:
            hashes.setdefault(photo, pixels_sha256(load_image(photo)))
        return json_sha256([case.prompt, [hashes[photo] for photo in photos]])

    same: dict[str, bool] = {}
    for sample in dict.fromkeys(sample for run in read for sample in run.samples):
        case, number = sample
        lacking = [run.name for run in read if sample not in run.samples]
        if lacking:
            left_out.append(
                LeftOut.at(f"{case}-{number}", f"expected a picture in every run, got none in {', '.join(lacking)}.")
            )
            continue
        if case not in same:
            same[case] = len({content(run.cases[case]) for run in read}) == 1
            if not same[case]:
                left_out.append(LeftOut.at(case, "expected one prompt and the same photos in all runs, got others."))
        if same[case]:
            yield sample


def _query(
    group: Sequence[_Run], sample: tuple[str, int], *, pictures: Pictures, left_out: list[LeftOut]
) -> Query | None:
    """The runs of a group side by side; None where two of their pictures look the same, which is listed."""
    case = group[0].cases[sample[0]]
    names = [pictures.add(run.samples[sample]) for run in group]
    for one, other in combinations(range(len(group)), 2):
        if (distance := pictures.distance(names[one], names[other])) < NEAR:
            both = f"{group[one].name} and {group[other].name}"
            reason = f"expected pictures that differ, got the same of {both} ({distance:.2f} grey levels apart)."
            left_out.append(LeftOut.at(f"{sample[0]}-{sample[1]}", reason))
            return None
    number = short(json_sha256([run.name for run in group]))[:4]
    return Query(
        id=f"{sample[0]}-{sample[1]}.{number}",
        case=case.id,
        prompt=case.prompt,
        options=tuple(Option(run=run.name, picture=name) for run, name in zip(group, names, strict=True)),
        references=tuple(pictures.add(subject.reference_image) for subject in case.subjects),
        subjects=tuple((subject.id, subject.class_name) for subject in case.subjects),
        about={"sample": f"{sample[0]}-{sample[1]}"},
    )


def _limited(queries: Sequence[Query], wanted: Wanted) -> list[Query]:
    """At most `limit` queries, drawn by seed and kept in order."""
    if wanted.limit is None or wanted.limit >= len(queries):
        return list(queries)
    drawn = sorted(queries, key=lambda query: seed_for("study limit", wanted.seed, query.id))[: wanted.limit]
    kept = {query.id for query in drawn}
    return [query for query in queries if query.id in kept]


def _golds(
    runs: Mapping[str, Path], run: _Run, *, pictures: Pictures, size: int, kind: KindName, count: int
) -> list[Query]:
    """Queries whose answer is known: a case's true picture among true pictures of cases that are clearly others."""
    folders = [folder / TRUTH for folder in runs.values() if (folder / TRUTH).is_dir()]
    if not folders or not count:
        return []
    true = {case.id: folders[0] / f"{case.id}.png" for case in run.cases.values()}
    usable = [case for case in run.cases.values() if true[case.id].is_file()]
    found: list[Query] = []
    for case in sorted(usable, key=lambda case: seed_for("study gold", case.id)):
        if len(found) == count:
            break
        others = sorted(
            (other for other in usable if _is_other(case, other)), key=lambda o: seed_for("study gold", case.id, o.id)
        )
        shown = list(dict.fromkeys(pictures.add(true[other.id]) for other in others))[: size - 1]
        if len(shown) < size - 1 or pictures.add(true[case.id]) in shown:
            continue
        options = [Option(run=TRUTH, picture=pictures.add(true[case.id]))]
        options += [Option(run=f"other {k}", picture=name) for k, name in enumerate(shown, 1)]
        gold = {question.name: TRUTH for question in KINDS[kind].questions}
        photos = tuple(pictures.add(subject.reference_image) for subject in case.subjects)
        found.append(
            Query(
                id=f"gold-{case.id}",
                case=case.id,
                prompt=case.prompt,
                options=tuple(options),
                references=photos,
                gold=gold,
            )
        )
    return found


def _is_other(case: Case, other: Case) -> bool:
    """Whether nothing that the text names is in the other's picture: neither the action nor any kind of subject."""
    words, theirs = ({subject.class_name for subject in each.subjects} for each in (case, other))
    return not words & theirs and (case.action is None or case.action != other.action)
