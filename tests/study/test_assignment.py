"""Assignment: every query gets its votes, sides and neighbours are balanced, nobody meets a query twice."""

from collections import Counter
from itertools import pairwise

import pytest

from likeness.study.assignment import Item, Plan, assign, num_slots


def plan(queries: int, options: int, *, votes: int = 3, per_rater: int = 7, golds: int = 4) -> Plan:
    asked = tuple((f"q{i}", options) for i in range(queries))
    return Plan(asked, tuple((f"gold{i}", options) for i in range(golds)), votes, per_rater, 2, 2, 5)


def everything(design: Plan) -> list[Item]:
    return [item for slot in range(num_slots(design)) for item in assign(design, slot)]


@pytest.mark.parametrize(("queries", "per_rater"), [(10, 7), (12, 4), (7, 7), (9, 2), (500, 20), (5, 5)])
def test_every_query_gets_its_votes_and_no_rater_meets_one_twice(queries: int, per_rater: int) -> None:
    design = plan(queries, 2, per_rater=per_rater)
    counts = Counter(item.query for item in everything(design) if item.kind == "query")
    assert counts == {f"q{i}": 3 for i in range(queries)}
    for slot in range(num_slots(design)):
        own = [item.query for item in assign(design, slot) if item.kind == "query"]
        assert len(set(own)) == len(own) <= per_rater
    assert assign(design, num_slots(design)) == ()


@pytest.mark.parametrize("options", [2, 3, 4])
def test_each_option_stands_in_each_place_equally_often(options: int) -> None:
    rounds = 2 * options
    items = [item for item in everything(plan(20, options, votes=rounds)) if item.kind == "query"]
    for query in {item.query for item in items}:
        orders = [item.order for item in items if item.query == query]
        assert len(orders) == rounds
        for place in range(options):
            assert Counter(order[place] for order in orders) == {option: 2 for option in range(options)}
        after = Counter(step for order in orders for step in pairwise(order))
        assert set(after.values()) == {2}
        assert len(after) == options * (options - 1)


def test_a_rater_s_sides_are_mixed() -> None:
    design = plan(500, 2, per_rater=20)
    first = Counter(item.order[0] for item in everything(design) if item.kind == "query")
    assert first[0] + first[1] == 1500
    assert abs(first[0] - first[1]) <= 500
    lefts = [sum(item.order[0] for item in assign(design, slot)) for slot in range(num_slots(design))]
    assert min(lefts) > 2
    assert max(lefts) < 22


def test_repeats_are_turned_round_and_come_later() -> None:
    design = plan(30, 2, per_rater=10)
    for slot in range(num_slots(design)):
        items = assign(design, slot)
        assert Counter(item.kind for item in items) == {"query": 10, "repeat": 2, "gold": 2}
        place = {(item.query, item.kind): k for k, item in enumerate(items)}
        orders = {(item.query, item.kind): item.order for item in items}
        for item in items:
            if item.kind == "repeat":
                assert place[item.query, "repeat"] > place[item.query, "query"]
                assert orders[item.query, "repeat"] == orders[item.query, "query"][::-1]


def test_golds_take_turns() -> None:
    golds = Counter(item.query for item in everything(plan(40, 2, per_rater=10)) if item.kind == "gold")
    assert golds == {f"gold{i}": 6 for i in range(4)}


def test_it_is_a_function_of_study_and_place_alone() -> None:
    design = plan(50, 4)
    one = assign(design, 9)
    for slot in (3, 0, 12):
        assign(design, slot)
    assert assign(design, 9) == one
    assert assign(design._replace(seed=6), 9) != one
