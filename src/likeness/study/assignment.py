"""Who sees what, in which order and on which side: a pure function of the study and the rater's place.

Places ("slots") are numbered from 0. Each pass over the queries gives every query one more vote; raters take
`per_rater` queries after one another from these passes. The options of a query turn through the rows of a Williams
square from vote to vote, so each stands in each place, and right after each other one, equally often.
Source: Williams, Experimental designs balanced for the estimation of residual effects of treatments (1949).
"""

import math
import random
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from likeness.core.rng import seed_for
from likeness.study.design import Study

__all__ = ["Item", "Plan", "assign", "num_slots", "plan_of", "shown_order"]

ItemKind = Literal["query", "repeat", "gold"]


class Item(NamedTuple):
    """What a rater sees at one step: a query with its options in this order (indices of `Query.options`)."""

    query: str
    order: tuple[int, ...]
    kind: ItemKind


class Plan(NamedTuple):
    """What assignment needs to know of a study: ids with their number of options, and how much a rater gets."""

    queries: tuple[tuple[str, int], ...]
    golds: tuple[tuple[str, int], ...]
    votes: int
    per_rater: int
    repeats: int
    golds_per_rater: int
    seed: int


def plan_of(study: Study) -> Plan:
    """The plan of a study; a rater never gets a query twice, so there are no more per rater than there are."""
    asked, known = (tuple((q.id, len(q.options)) for q in group) for group in (study.asked, study.known))
    per_rater = min(study.per_rater, len(asked))
    repeats, golds = min(study.repeats, per_rater // 2), min(study.golds, len(known))
    return Plan(asked, known, study.votes, per_rater, repeats, golds, study.seed)


def num_slots(plan: Plan) -> int:
    """How many raters give every query its votes."""
    return math.ceil(len(plan.queries) * plan.votes / plan.per_rater) if plan.queries else 0


def assign(plan: Plan, slot: int) -> tuple[Item, ...]:
    """Everything that the rater of a slot sees, in order; nothing beyond the last slot.

    Repeats come from the first half of the own queries, turned round, in the second half; gold items lie between.
    """
    rng = random.Random(seed_for("study slot", plan.seed, slot))
    first = slot * plan.per_rater
    last = min(first + plan.per_rater, len(plan.queries) * plan.votes)
    own = [Item(name, order, "query") for name, order in _votes(plan, first, last)]
    rng.shuffle(own)
    if not own:
        return ()
    half = (len(own) + 1) // 2
    again = [Item(item.query, item.order[::-1], "repeat") for item in rng.sample(own[:half], min(plan.repeats, half))]
    golds = [Item(name, shown_order(size, rng.randrange(2 * size)), "gold") for name, size in _golds(plan, slot)]
    seen = [*own[:half], *_mixed(own[half:], again, rng=rng)]
    return tuple(_mixed(seen, golds, rng=rng))


def _golds(plan: Plan, slot: int) -> list[tuple[str, int]]:
    """The gold queries of a slot: they take turns."""
    start = slot * plan.golds_per_rater
    return [plan.golds[(start + i) % len(plan.golds)] for i in range(plan.golds_per_rater)]


def _mixed(items: Sequence[Item], others: Sequence[Item], *, rng: random.Random) -> list[Item]:
    """The items in their order with the others at places drawn for them."""
    mixed = list(items)
    for other in others:
        mixed.insert(rng.randrange(len(mixed) + 1), other)
    return mixed


def _votes(plan: Plan, first: int, last: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Votes `first` to `last` of the study: a query each, with its options in order."""
    size = len(plan.queries)
    for place in range(first, last):
        number, position = divmod(place, size)
        index = _passes(size, plan.per_rater, plan.seed, number + 1)[number][position]
        name, options = plan.queries[index]
        yield name, shown_order(options, number + seed_for("study sides", plan.seed, name))


@lru_cache(maxsize=64)
def _passes(size: int, per_rater: int, seed: int, count: int) -> tuple[tuple[int, ...], ...]:
    """Orders of the queries, one a pass; a rater whose queries end one pass and begin the next meets none twice."""
    if count == 0:
        return ()
    before = _passes(size, per_rater, seed, count - 1)
    drawn = random.Random(seed_for("study pass", seed, count - 1)).sample(range(size), size)
    left = (count - 1) * size % per_rater  # the part of a rater's share that the passes before hold
    taken = frozenset(before[-1][size - left :]) if left and before else frozenset[int]()
    wanted = per_rater - left if left else 0
    head = [index for index in drawn if index not in taken][:wanted]
    chosen = frozenset(head)
    return (*before, (*head, *(index for index in drawn if index not in chosen)))


def shown_order(size: int, number: int) -> tuple[int, ...]:
    """Row `number` of a Williams square for `size` options; odd sizes need the reversed rows as well."""
    zigzag = [(i + 1) // 2 if i % 2 else -(i // 2) for i in range(size)]
    number %= 2 * size if size % 2 else size
    turned = tuple((step + number) % size for step in zigzag)
    return turned[::-1] if number >= size else turned
