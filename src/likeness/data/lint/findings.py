"""What lint can find: one code per kind of fault, and the report as JSON and as text."""

from collections import Counter
from pathlib import Path
from typing import Any, Literal, NamedTuple  # Any: the JSON of the report

from pydantic import BaseModel, Field

__all__ = ["CODES", "Code", "Finding", "LintReport", "finding"]

Severity = Literal["error", "warning"]


class Code(NamedTuple):
    """A kind of fault: whether it must not reach training, and what it means in one sentence."""

    severity: Severity
    meaning: str


CODES: dict[str, Code] = {
    "bad_row": Code("error", "the row cannot be read, or a file it names is missing"),
    "unreadable_picture": Code("error", "a picture or mask cannot be decoded"),
    "wrong_size": Code("error", "a picture or mask has another size than the row says"),
    "duplicate_id": Code("error", "an earlier row has the same id"),
    "duplicate_pair": Code("error", "an earlier pair has the same two pictures"),
    "identical_pictures": Code("error", "the preferred and the rejected picture are the same"),
    "empty_prior": Code("error", "the prior mask, or the mask of a disrupted subject, covers nothing"),
    "tiny_prior": Code("error", "the prior covers under 1% of the picture or no token by half"),
    "large_prior": Code("error", "the prior covers over 90% of the tokens, so that it focuses on nothing"),
    "whole_picture": Code(
        "warning", "people chose between whole pictures, so the prior is all of it: focus maps gain nothing"
    ),
    "prior_not_union": Code("error", "the prior is not the union of the masks of the disrupted subjects"),
    "shifted_mask": Code("warning", "a mask seems to lie beside what it is the mask of; look at it"),
    "leaked_background": Code("error", "the two pictures differ outside the dilated prior"),
    "recompressed": Code("warning", "the background differs by noise, as after JPEG; keep both pictures as PNG"),
    "unchanged_subject": Code("error", "a subject called disrupted is the same in both pictures"),
    "empty_reference": Code("error", "a reference mask covers nothing"),
    "swapped_winner": Code("error", "the rejected picture keeps the reference better than the preferred one"),
    "wrong_subject_order": Code("error", "subjects belong to other references or masks than the row says"),
    "doubtful_winner": Code("warning", "by colours the rejected picture is nearer to the reference; try --encoder"),
    "doubtful_order": Code("warning", "by colours the subjects belong to other references; try --encoder"),
    "gate_failed": Code("error", "the recorded judgement does not pass the quality gate"),
    "benchmark_overlap": Code("error", "a subject or picture also belongs to a benchmark"),
    "self_reference": Code("warning", "the reference is the preferred picture itself, which teaches copying"),
    "repeated_picture": Code("warning", "an earlier pair has the same preferred picture"),
    "few_tokens": Code("error", "a disrupted subject covers fewer than 4 tokens, too few to be located"),
    "grey_mask": Code("warning", "a mask has values other than 0 and 255"),
    "unusual_mask": Code("warning", "a mask is stored in another way than black and white, and was read all the same"),
    "unbalanced": Code("warning", "one category or subset has over twice as many pairs as another"),
}


class Finding(BaseModel, frozen=True, extra="forbid"):
    """One fault: the pair (None for the whole set), the code, what was seen, and the numbers behind it."""

    pair: str | None
    code: str
    severity: Severity
    what: str
    evidence: dict[str, float | int | str | None]


HELD = {
    "mask": "the mask itself",
    "half": "tokens covered by half",
    "any": "tokens it touches",
    "half_dilated": "tokens covered by half and their neighbours",
    "any_dilated": "tokens it touches and their neighbours",
}
"""What a prior may be on the way to the loss: its pixels, or tokens by the recipe's `coverage` and `dilation`."""


def finding(pair: str | None, code: str, what: str, **evidence: float | int | str | None) -> Finding:
    """A finding of `code` with its severity; numbers are rounded to four digits."""
    rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in evidence.items()}
    return Finding(pair=pair, code=code, severity=CODES[code].severity, what=what, evidence=rounded)


class LintReport(BaseModel, frozen=True, extra="forbid"):
    """Everything lint found in a set; `counts` are pairs by subset, category and split.

    `filled` counts the pairs whose rows lacked a key that was derived. `held`: the share of the difference of both
    pictures that lies inside the prior, read in each way of HELD, a mean over pairs; empty where none was readable.
    `num_benchmarks` case files were looked at for subjects that the set must not hold; with 0, overlap is not known.
    """

    folder: Path
    num_pairs: int
    num_benchmarks: int
    counts: dict[str, dict[str, int]]
    filled: dict[str, int] = Field(default_factory=dict[str, int])
    held: dict[str, float] = Field(default_factory=dict[str, float])
    findings: tuple[Finding, ...]

    @property
    def num_errors(self) -> int:
        """Findings that must not reach training."""
        return sum(found.severity == "error" for found in self.findings)

    def facts(self) -> dict[str, Any]:
        """The report as JSON."""
        by_code = Counter(found.code for found in self.findings)
        shown = {code: by_code[code] for code in CODES if by_code[code]}
        return {**self.model_dump(mode="json"), "num_errors": self.num_errors, "by_code": shown}

    def text(self, *, limit: int = 5) -> str:
        """The report for people: counts, then per kind of fault its meaning and the first `limit` findings."""
        num_warnings = len(self.findings) - self.num_errors
        lines = [f"{self.folder}: {self.num_pairs} pairs, {self.num_errors} errors, {num_warnings} warnings"]
        for name, counts in self.counts.items():
            lines.append(f"  {name:<9} " + ", ".join(f"{value} {count}" for value, count in counts.items()))
        if self.filled:
            lines.append("  filled in " + ", ".join(f"{key} {count}" for key, count in self.filled.items()))
        if self.held:
            shares = ", ".join(f"{share:.1%} {HELD[name]}" for name, share in self.held.items())
            lines.append(f"  the prior holds of the difference of both pictures: {shares}")
        if not self.num_benchmarks:
            lines.append("  overlap with benchmarks: not checked; name them by --benchmark or --cases")
        for code in CODES:
            own = [found for found in self.findings if found.code == code]
            if not own:
                continue
            lines.append(f"\n{CODES[code].severity} {code} ({len(own)}): {CODES[code].meaning}")
            lines += [f"  {found.pair or 'the set'}: {found.what}" for found in own[:limit]]
            if len(own) > limit:
                lines.append(f"  ... and {len(own) - limit} more; all of them with --json")
        return "\n".join(lines)
