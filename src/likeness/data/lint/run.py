"""`likeness data lint`: what is wrong with a pair set, before a training run finds out.

Every pair is looked at alone (files, sizes, masks against the difference of its pictures, who wins, which subject is
whose), then the set as a whole (duplicates, benchmark subjects, balance). `findings.CODES` lists what can be found.
Nothing is mended and no picture is written.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from PIL import Image

from likeness.core.errors import DataError
from likeness.core.hashing import pixels_sha256
from likeness.core.images import load_image
from likeness.core.jobs import Progress, unseen
from likeness.core.kinds import CATEGORIES, SPLITS, SUBSETS
from likeness.core.pairs import PAIRS_NAME, PreferencePair, read_pairs
from likeness.core.records import read_cases
from likeness.data.judging.gate import Thresholds
from likeness.data.lint.findings import HELD, Finding, LintReport, finding
from likeness.data.lint.mask_evidence import held_shares
from likeness.data.lint.pair import PairRules, load_pair, pair_findings
from likeness.data.lint.rows import row_findings
from likeness.data.lint.subjects import Encode, LoadedPair

__all__ = ["benchmark_subjects", "lint_pairs"]

FEWEST_FOR_BALANCE = 30
"""Below this many pairs, counts say nothing about balance."""
IMBALANCE = 2.0


def lint_pairs(
    folder: Path | str,
    *,
    benchmarks: Sequence[Path] = (),
    encode: Encode | None = None,
    tolerance: int = 0,
    token: int = 16,
    thresholds: Thresholds | None = None,
    progress: Progress = unseen,
) -> LintReport:
    """Everything found in the pair set of `folder`.

    `benchmarks` are case files whose subjects must not appear. `encode` turns pictures into features of unit length
    (such as `VitEncoder.features`) and then decides, in place of colours, who wins and whose subject is whose.
    `tolerance` is the difference in grey levels that outside the prior still counts as the same; `token` the side of a
    target token in px (16 for FLUX). Raises: DataError when the set or a case file holds nothing usable.
    """
    folder = Path(folder)
    found = read_pairs(folder)
    rules = PairRules(tolerance, token, thresholds or Thresholds(), encode)
    seen, known = _Seen(), benchmark_subjects(benchmarks)
    path = folder / PAIRS_NAME if folder.is_dir() else folder
    findings = row_findings(path, found.left_out, ids=[pair.id for pair in found.pairs], make=finding)
    held: list[dict[str, float]] = []
    for number, pair in enumerate(found.pairs, start=1):
        findings += _of_pair(pair, rules=rules, seen=seen, known=known, held=held)
        progress(number, len(found.pairs))
    counts = _counts(found.pairs)
    findings += _balance(counts, num_pairs=len(found.pairs))
    return LintReport(
        folder=folder,
        num_pairs=len(found.pairs),
        num_benchmarks=len(benchmarks),
        counts=counts,
        filled=found.filled,
        held={name: round(fmean(shares[name] for shares in held), 4) for name in HELD} if held else {},
        findings=tuple(findings),
    )


def _of_pair(
    pair: PreferencePair, *, rules: PairRules, seen: "_Seen", known: dict[str, str], held: list[dict[str, float]]
) -> Iterator[Finding]:
    """What is found in the pair; what its prior holds of the difference goes to `held`."""
    try:
        loaded = load_pair(pair)
    except DataError as error:
        yield finding(pair.id, "unreadable_picture", str(error))
        return
    yield from pair_findings(loaded, rules=rules)
    if loaded.preferred.shape[:2] == loaded.rejected.shape[:2] == loaded.prior.shape:  # else told as wrong sizes
        shares = held_shares(loaded.preferred, loaded.rejected, loaded.prior, token=rules.token)
        held += [] if shares is None else [shares]
    pictures = (loaded.preferred, loaded.rejected, *(picture for picture, _ in loaded.references))
    preferred, rejected, *references = (pixels_sha256(Image.fromarray(picture)) for picture in pictures)
    hashes = _Hashes(preferred, rejected, references)
    yield from seen.findings(loaded, hashes)
    yield from _overlaps(loaded, hashes, known=known)


# -- duplicates ------------------------------------------------------------------------------------------------
class _Hashes(NamedTuple):
    """Content hashes of a pair's pictures."""

    preferred: str
    rejected: str
    references: list[str]


class _Seen:
    """The pairs looked at so far, by content."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[str, str], str] = {}
        self._preferred: dict[str, str] = {}

    def findings(self, loaded: LoadedPair, hashes: _Hashes) -> Iterator[Finding]:
        """What this pair repeats of earlier ones, and of itself."""
        name = loaded.pair.id
        both = (hashes.preferred, hashes.rejected)
        earlier = self._pairs.get(both) or self._pairs.get((both[1], both[0]))
        if earlier is not None:
            yield finding(name, "duplicate_pair", f"has both pictures of {earlier}", earlier=earlier)
        elif hashes.preferred in self._preferred:
            first = self._preferred[hashes.preferred]
            yield finding(name, "repeated_picture", f"has the preferred picture of {first}", earlier=first)
        if hashes.preferred == hashes.rejected:
            yield finding(name, "identical_pictures", "the preferred and the rejected picture are the same")
        for index, digest in enumerate(hashes.references):
            if digest == hashes.preferred:
                yield finding(name, "self_reference", f"reference {index} is the preferred picture", reference=index)
        self._pairs.setdefault(both, name)
        self._preferred.setdefault(hashes.preferred, name)


# -- benchmarks ------------------------------------------------------------------------------------------------
def benchmark_subjects(files: Sequence[Path]) -> dict[str, str]:
    """Subject ids and content hashes of their photos -> where they belong. Raises: DataError."""
    known: dict[str, str] = {}
    hashed: set[Path] = set()
    for file in files:
        for case in read_cases(file).cases:
            for subject in case.subjects:
                place = f"case {case.id} of {file}"
                known.setdefault(f"id {subject.id}", place)
                for photo in {subject.reference_image, *subject.measured_photos} - hashed:
                    hashed.add(photo)
                    known.setdefault(pixels_sha256(load_image(photo)), place)
    return known


def _overlaps(loaded: LoadedPair, hashes: _Hashes, *, known: dict[str, str]) -> Iterator[Finding]:
    if not known:
        return
    references = zip(loaded.pair.references, hashes.references, strict=True)
    traces = [(f"reference {i}", reference.id, digest) for i, (reference, digest) in enumerate(references)]
    traces += [("the preferred picture", "", hashes.preferred), ("the rejected picture", "", hashes.rejected)]
    for what, subject, digest in traces:
        place = known.get(f"id {subject}") if subject else None
        if place is not None:
            yield finding(loaded.pair.id, "benchmark_overlap", f"{what} shows {subject}, who is in {place}", case=place)
        elif (place := known.get(digest)) is not None:
            yield finding(loaded.pair.id, "benchmark_overlap", f"{what} is a photo in {place}", case=place)


# -- balance ---------------------------------------------------------------------------------------------------
def _counts(pairs: Sequence[PreferencePair]) -> dict[str, dict[str, int]]:
    subsets, splits = Counter(pair.subset for pair in pairs), Counter(pair.split for pair in pairs)
    categories = Counter(pair.category for pair in pairs)
    return {
        "subset": {name: subsets[name] for name in SUBSETS},
        "category": {name: categories[name] for name in CATEGORIES},
        "split": {name: splits[name] for name in SPLITS if splits[name]},
    }


def _balance(counts: dict[str, dict[str, int]], *, num_pairs: int) -> Iterator[Finding]:
    """A set of one subset or one category alone is a choice, not an imbalance."""
    if num_pairs < FEWEST_FOR_BALANCE:
        return
    for kind in ("subset", "category"):
        present = {name: count for name, count in counts[kind].items() if count}
        if len(present) > 1 and max(present.values()) > IMBALANCE * min(present.values()):
            listed = ", ".join(f"{name} {count}" for name, count in present.items())
            yield finding(None, "unbalanced", f"pairs per {kind}: {listed}", **present)
