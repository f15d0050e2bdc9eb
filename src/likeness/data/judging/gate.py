"""The quality gate: a pair is kept when its preferred picture is surely right and its rejected one surely wrong.

Source: FocusDPO (arXiv:2509.01181v1), section 4: of ten questions at least 9 favourable answers for the preferred
picture, at most 6 for the rejected one, by the automatic judge and by people alike.
Differs: people's scores are optional; with several subjects every subject of the preferred picture and every disrupted
one of the rejected picture must pass (the paper does not say). Unsure answers count against keeping on both sides.
"""

from collections.abc import Sequence
from typing import NamedTuple

from likeness.core.errors import ConfigError
from likeness.core.pairs import NUM_QUESTIONS, PictureScore
from likeness.data.judging.judges import Answers

__all__ = ["Thresholds", "refuse_preferred", "refuse_rejected", "require_sound"]


class Thresholds(NamedTuple):
    """Favourable answers of ten: at least `preferred_min` to keep a preferred picture, at most `rejected_max`."""

    preferred_min: int = 9
    rejected_max: int = 6


def require_sound(thresholds: Thresholds) -> None:
    """Nothing happens. Raises: ConfigError unless 0 <= rejected_max < preferred_min <= 10."""
    if not 0 <= thresholds.rejected_max < thresholds.preferred_min <= NUM_QUESTIONS:
        got = f"rejected_max {thresholds.rejected_max}, preferred_min {thresholds.preferred_min}"
        wanted = f"0 <= rejected_max < preferred_min <= {NUM_QUESTIONS}"
        raise ConfigError(f"thresholds: expected {wanted}, got {got}; the paper has 6 and 9.")


def refuse_preferred(score: PictureScore, *, thresholds: Thresholds) -> str | None:
    """Why the preferred picture cannot be kept, None when it can; every subject counts.

    Its score is what is surely right: the sure yeses.
    """
    least = thresholds.preferred_min
    for index, answers in enumerate(score.judge):
        if (favourable := answers.count(True)) < least:
            return _reason("preferred", index, f"at least {least}", favourable, answers)
    if score.human is not None and score.human < least:
        return f"preferred: expected a human score of at least {least}, got {score.human}"
    return None


def refuse_rejected(score: PictureScore, *, disrupted: Sequence[int], thresholds: Thresholds) -> str | None:
    """Why the rejected picture cannot be kept, None when it can; every disrupted subject counts.

    Its score is what is not surely wrong: ten less the sure noes.
    """
    most = thresholds.rejected_max
    for index in disrupted if score.judge else ():
        answers = score.judge[index]
        if (favourable := len(answers) - answers.count(False)) > most:
            return _reason("rejected", index, f"at most {most}", favourable, answers)
    if score.human is not None and score.human > most:
        return f"rejected: expected a human score of at most {most}, got {score.human}"
    return None


def _reason(picture: str, subject: int, wanted: str, got: int, answers: Answers) -> str:
    no = [str(number) for number, answer in enumerate(answers, start=1) if answer is False]
    unsure = [str(number) for number, answer in enumerate(answers, start=1) if answer is None]
    notes = [f"{word} to {', '.join(numbers)}" for word, numbers in (("no", no), ("unsure", unsure)) if numbers]
    answered = "; ".join(notes) or "all yes"
    return f"{picture}, subject {subject}: expected {wanted} favourable answers, got {got} ({answered})"
