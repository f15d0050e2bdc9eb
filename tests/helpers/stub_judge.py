"""A judge that looks at nothing: it gives preferred and rejected pictures the scores it was told. Found by name in
worker processes, so it lies beside the tests as a module of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from likeness.data.judging.judges import Answers, Judge, SubjectView


@dataclass
class StubJudge:
    """Preferred and rejected pictures are shown to a judge in turn. `every` > 1 lets only each n-th picture pass."""

    preferred: int
    rejected: int
    id: str
    calls: int = 0

    def answer(self, views: Sequence[SubjectView]) -> list[Answers]:
        score = self.preferred if self.calls % 2 == 0 else self.rejected
        self.calls += 1
        return [(True,) * score + (False,) * (10 - score) for _ in views]


@dataclass
class PickyJudge(StubJudge):
    """Refuses preferred pictures whose first subject stands on the left, so that some attempts fail."""

    def answer(self, views: Sequence[SubjectView]) -> list[Answers]:
        answers = super().answer(views)
        if self.calls % 2 == 0:
            return answers
        return [(False,) * 10 if view.box[0] < 0.2 else given for view, given in zip(views, answers, strict=True)]


@dataclass(frozen=True)
class LoadStub:
    preferred: int = 10
    rejected: int = 0
    picky: bool = False

    @property
    def id(self) -> str:
        return f"stub {self.preferred}/{self.rejected}/{self.picky}"

    def __call__(self) -> Judge:
        return (PickyJudge if self.picky else StubJudge)(self.preferred, self.rejected, self.id)
