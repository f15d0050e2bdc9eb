"""What may be answered to a question, on our pages and elsewhere."""

from likeness.study.design import NO, YES, Question

__all__ = ["allowed_answers"]


def allowed_answers(question: Question, *, options: int) -> frozenset[str]:
    """Places of pictures from 0 on and the other answers; without pictures to choose from, yes and no."""
    if not question.is_choice:
        return frozenset((YES, NO))
    return frozenset((*map(str, range(options)), *question.others))
