"""A few of many cases, chosen so that a small run already says something about all subjects and prompts."""

import heapq
import re
from collections import Counter
from collections.abc import Hashable, Sequence

from likeness.core.records import Case


def balanced_sample(cases: Sequence[Case], limit: int | None) -> tuple[Case, ...]:
    """`limit` of the cases (all when None), as even over subjects and then over prompts as the cases allow.

    One case after another is taken: of the combination of subjects that was taken least, of its prompts the one taken
    least, of the subjects those taken least, then the first in order. So the sample of M cases begins that of N > M,
    and nothing is drawn at random. Prompts that differ only in the class words of their subjects count as one.
    """
    if limit is None or limit >= len(cases):
        return tuple(cases)
    taken: Counter[Hashable] = Counter()

    def key(place: int) -> tuple[int, int, int, int]:
        group, prompt, subjects = kinds[place]
        return taken[group], taken[prompt], sum(taken[subject] for subject in subjects), place

    kinds = [_kinds(case) for case in cases]
    heap = [key(place) for place in range(len(cases))]  # in order, which is a heap
    chosen: list[Case] = []
    while len(chosen) < limit:
        *_, place = known = heapq.heappop(heap)
        if (now := key(place)) != known:  # counts only grow, so what is least after an update is least
            heapq.heappush(heap, now)
            continue
        group, prompt, subjects = kinds[place]
        taken.update((group, prompt, *subjects))
        chosen.append(cases[place])
    return tuple(chosen)


def _kinds(case: Case) -> tuple[Hashable, Hashable, tuple[Hashable, ...]]:
    """What is counted of a case: its combination of subjects, its prompt without their class words, its subjects."""
    ids = tuple(sorted({subject.id for subject in case.subjects}))
    prompt = case.prompt.casefold()
    for word in sorted({subject.class_name.casefold() for subject in case.subjects}, key=len, reverse=True):
        prompt = re.sub(rf"\b{re.escape(word)}\b", "*", prompt)
    return ("group", ids), ("prompt", prompt), tuple(("subject", name) for name in ids)
