"""What lint can find in a set of relation examples: one code per kind of fault, and the report as JSON and as text."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple  # Any: the JSON of the report

from pydantic import BaseModel

from likeness.data.lint.findings import Code, Severity

__all__ = ["CODES", "RelationFinding", "RelationLint", "relation_finding"]

CODES: dict[str, Code] = {
    "bad_row": Code("error", "the row cannot be read, or a file it names is missing"),
    "duplicate_id": Code("error", "an earlier row has the same id"),
    "changed_file": Code("error", "a file holds other bytes than when the set was made"),
    "unreadable_picture": Code("error", "a picture or mask cannot be decoded"),
    "wrong_size": Code("error", "a picture or mask has another size than the row says"),
    "predicate_not_in_prompt": Code("error", "the predicate is not in the prompt, so that its tokens cannot be found"),
    "no_predicate": Code("warning", "nobody knows the predicate; the attention loss has nothing to look at"),
    "phrase_not_in_prompt": Code("warning", "a subject's phrase is not in the prompt"),
    "small_mask": Code("error", "a mask covers under 0.5% of its picture"),
    "large_mask": Code("error", "a mask covers over 95% of its picture"),
    "box_off_mask": Code("error", "a box is not the smallest box around its mask"),
    "overlapping_masks": Code("warning", "the masks of two subjects share over half of the smaller"),
    "rectangle_mask": Code("warning", "a mask is a filled rectangle; the silhouette would say more"),
    "swapped_subjects": Code("error", "masks or keypoints in the target belong to another subject"),
    "doubtful_order": Code("warning", "masks or keypoints in the target may belong to another subject"),
    "swapped_references": Code("error", "the subjects look like each other's references"),
    "doubtful_references": Code("warning", "by colours the subjects belong to other references; look at them"),
    "keypoint_outside": Code("error", "a keypoint marked valid lies outside its picture"),
    "keypoint_off_mask": Code("error", "a keypoint marked valid lies beside the mask of its subject"),
    "invalid_on_mask": Code("warning", "several keypoints marked not valid lie well inside the subject's mask"),
    "piled_keypoints": Code("error", "three or more keypoints marked valid lie at one place"),
    "few_keypoints": Code("warning", "under 3 keypoints are valid in target and reference; the loss sees nothing"),
    "no_limb": Code("warning", "no limb is valid from root to end in both pictures; is the subject without limbs?"),
    "self_reference": Code("error", "a reference is the target itself, which teaches copying"),
    "repeated_reference": Code("error", "two subjects of an example have the same reference"),
    "duplicate_target": Code("error", "an earlier example has the same target"),
    "benchmark_overlap": Code("error", "a subject or picture also belongs to a benchmark"),
}


class RelationFinding(BaseModel, frozen=True, extra="forbid"):
    """One fault: the example (None for a row without id), the code, what was seen, and the numbers behind it."""

    example: str | None
    code: str
    severity: Severity
    what: str
    evidence: dict[str, float | int | str | None]


def relation_finding(
    example: str | None, code: str, what: str, **evidence: float | int | str | None
) -> RelationFinding:
    """A finding of `code` with its severity; numbers are rounded to four digits."""
    rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in evidence.items()}
    return RelationFinding(example=example, code=code, severity=CODES[code].severity, what=what, evidence=rounded)


class KeypointCounts(NamedTuple):
    """Keypoints of the set in targets and references: all, and those marked valid."""

    num: int
    num_valid: int


class RelationLint(BaseModel, frozen=True, extra="forbid"):
    """Everything lint found in a set; `counts` are examples by predicate.

    `num_benchmarks` case files were looked at for subjects that the set must not hold; with 0, overlap is not known.
    """

    folder: Path
    num_examples: int
    num_benchmarks: int
    counts: dict[str, int]
    keypoints: KeypointCounts
    findings: tuple[RelationFinding, ...]

    @property
    def num_errors(self) -> int:
        """Findings that must not reach training."""
        return sum(found.severity == "error" for found in self.findings)

    @property
    def by_code(self) -> dict[str, int]:
        """Code -> findings, in the order of CODES."""
        found = Counter(finding.code for finding in self.findings)
        return {code: found[code] for code in CODES if found[code]}

    def facts(self) -> dict[str, Any]:
        """The report as JSON."""
        dumped = self.model_dump(mode="json") | {"keypoints": self.keypoints._asdict()}
        return {**dumped, "num_errors": self.num_errors, "by_code": self.by_code}

    def text(self, *, limit: int = 5) -> str:
        """The report for people: counts, then per kind of fault its meaning and the first `limit` findings."""
        num_warnings = len(self.findings) - self.num_errors
        lines = [f"{self.folder}: {self.num_examples} examples, {self.num_errors} errors, {num_warnings} warnings"]
        lines.append("  predicates " + ", ".join(f"{name} {count}" for name, count in self.counts.items()))
        lines.append(f"  keypoints  {self.keypoints.num_valid} of {self.keypoints.num} are valid")
        if not self.num_benchmarks:
            lines.append("  overlap with benchmarks: not checked; name them by --benchmark or --cases")
        for code in self.by_code:
            own = [found for found in self.findings if found.code == code]
            lines.append(f"\n{CODES[code].severity} {code} ({len(own)}): {CODES[code].meaning}")
            lines += [f"  {found.example or 'a row'}: {found.what}" for found in own[:limit]]
            if len(own) > limit:
                lines.append(f"  ... and {len(own) - limit} more; all of them with --json")
        return "\n".join(lines)
