"""Values under cards, by hand: which card applies, which pictures count, scale, coverage, and what is refused."""

import math
from typing import Any

import pytest

from likeness.benchmarks.cards import Card, cases_sha256
from likeness.core.records import Case, Labels
from likeness.evaluate.cards import Applied, applies, encoder_fault, under_cards
from likeness.evaluate.scored import different_cards

CASES = [Case(id=f"toy-{number}", prompt=f"a toy {number}") for number in range(4)]
SHA256 = cases_sha256(CASES)
DINO = "vit facebook/dino-vits16@refs/pr/1@0123456789ab; PIL, short side 256, bicubic; batches of 8"


def card(*, sha256: str = SHA256, count: int = 4, per_case: int = 2, select: str = "all", **metric: Any) -> Card:
    cases: dict[str, Any] = {"benchmark": "toys", "count": count, "ids": "toy-[0-9]", "select": select}
    cases |= {"sha256": sha256} if sha256 else {"unpinned": "made up"}
    column = {"column": "DINO", "metric": "dino", "encoder": "dino", "weights": "facebook/dino-vits16@refs/pr/1"}
    return Card.of_row(
        {
            **{"name": "toys/one", "version": 1, "title": "Toys", "cases": cases, "prompt": "as it is"},
            **{"reference_set": "all_photos", "pictures_per_case": per_case, "metrics": [column | metric]},
            "published": [{"method": "A", "source": "B", "values": {"DINO": 0.5}}],
        }
    )


def rows(values: list[list[float | None]], *, subjects: str = "abcd") -> list[dict[str, Any]]:
    """Rows of scores: `values` of the pictures of each case, whose subject is the letter in its place."""
    return [
        {
            **{"id": f"{case.id}-{k}", "case_id": case.id, "prompt": case.prompt, "subjects": [subjects[number]]},
            **{"group": subjects[number], "values": {"dino": {"value": value, "note": "" if value else "no face"}}},
        }
        for number, case in enumerate(CASES)
        for k, value in enumerate(values[number])
    ]


def scored(which: Card, values: list[list[float | None]], *, subjects: str = "abcd") -> dict[str, Any]:
    kinds = {"generated": rows(values, subjects=subjects), "floor": rows([[0.1]] * 4), "ceiling": rows([[0.75]] * 4)}
    found = under_cards(kinds, cases=CASES, benchmark="toys", encoders={"dino": DINO}, known={which.id: which})
    assert found["cards_refused"] == {}
    return found["cards"]["toys/one@1"]


def test_the_first_pictures_of_each_case_count_and_subjects_weigh_the_same() -> None:
    found = scored(card(), [[0.5, 0.25, 1.0], [0.5], [0.25, 0.75], [1.0, 1.0]], subjects="aabc")
    (row,) = found["rows"]
    assert row["mean"] == pytest.approx(((0.5 + 0.25 + 0.5) / 3 + 0.5 + 1.0) / 3)  # a, b, c
    assert (row["n"], row["missing"], row["coverage"], found["coverage"]) == (7, 0, 7 / 8, 7 / 8)
    assert (row["floor"], row["ceiling"]) == (pytest.approx(0.1), pytest.approx(0.75))
    assert row["ci_low"] < row["mean"] < row["ci_high"]
    assert (found["cases"], found["num_cases"], found["num_pictures"]) == ("same", 4, 7)
    assert found["published"] == [{"method": "A", "source": "B", "values": {"DINO": 0.5}, "note": ""}]
    assert row["encoders"] == {"dino": DINO}


def test_scale_and_floor_are_the_cards() -> None:
    (row,) = scored(card(factor=2.5, floor_at_zero=True), [[-0.2], [0.2], [0.4], [0.4]])["rows"]
    assert row["mean"] == pytest.approx(2.5 * (0 + 0.2 + 0.4 + 0.4) / 4)
    assert (row["floor"], row["ceiling"]) == (pytest.approx(0.25), pytest.approx(1.875))
    assert row["ci_low"] >= 0
    (raw,) = scored(card(), [[-0.2], [0.2], [0.4], [0.4]])["rows"]
    assert raw["mean"] == pytest.approx(0.2)


def test_a_flat_mean_of_unequal_subjects_has_no_interval() -> None:
    values: list[list[float | None]] = [[0.5, 0.5], [0.5], [1.0], [1.0]]
    (row,) = scored(card(aggregation="flat"), values, subjects="aabc")["rows"]
    assert (row["mean"], row["ci_low"]) == (pytest.approx(0.7), None)
    assert "flat" in row["reason"]
    (even,) = scored(card(aggregation="flat"), [[0.5], [0.5], [1.0], [1.0]], subjects="aabb")["rows"]
    assert (even["mean"], even["ci_low"] is not None) == (pytest.approx(0.75), True)


def test_what_was_not_measured_lowers_coverage_and_says_why() -> None:
    (row,) = scored(card(per_case=1), [[0.5], [None], [0.5], [None]])["rows"]
    assert (row["mean"], row["n"], row["missing"], row["coverage"]) == (0.5, 2, 2, 0.5)
    assert row["reason"] == "2 x no face"
    (none,) = scored(card(metric="ips_paper", encoder=""), [[0.5], [0.5], [0.5], [0.5]])["rows"]
    assert (none["mean"], none["n"]) == (None, 0)
    assert none["reason"] == "this evaluation did not ask for it; add --metric ips_paper"
    (barred,) = scored(card(metric="", encoder="", weights="", not_measured="a paid judge"), [[0.5]] * 4)["rows"]
    assert (barred["mean"], barred["reason"], barred["encoders"]) == (None, "a paid judge", {})


def test_cases_are_told_by_their_hash_else_by_their_ids() -> None:
    def standing(which: Card, cases: list[Case], benchmark: str = "toys") -> str:
        found = applies(which, cases=cases, benchmark=benchmark)
        return found.standing if isinstance(found, Applied) else found

    assert standing(card(), CASES[::-1], "anything") == "same"
    assert standing(card(), CASES[:2]) == "part"
    assert standing(card(), CASES[:2], "anything") == ""
    assert standing(card(sha256=""), CASES) == "declared"
    assert standing(card(sha256=""), CASES, "anything") == ""
    changed = [*CASES[:3], CASES[3].model_copy(update={"prompt": "a doll"})]
    assert "others (their hash differs)" in standing(card(), changed)
    assert "got doll-1" in standing(card(), [CASES[0].model_copy(update={"id": "doll-1"})])
    assert "at most 3 cases, got 4" in standing(card(sha256="0" * 64, count=3), CASES)
    assert "expected cases with detectables, got none of 4" in standing(card(select="with_detectables"), CASES)
    labelled = CASES[0].model_copy(update={"labels": Labels(detectables=("cat",))})
    found = applies(card(sha256="", select="with_detectables"), cases=[labelled, *CASES[1:]], benchmark="toys")
    assert isinstance(found, Applied)
    assert found.cases == [labelled]


def test_a_card_that_does_not_apply_is_listed_with_the_reason() -> None:
    which = card(sha256="0" * 64)
    found = under_cards({"generated": []}, cases=CASES, benchmark="toys", encoders={}, known={which.id: which})
    assert found["cards"] == {}
    assert "hash differs" in found["cards_refused"]["toys/one@1"]


IDS = {
    "vit facebook/dino-vits16@refs/pr/1@0123456789ab; PIL, short side 256, bicubic": "",
    "vit facebook/dino-vits16@main@0123456789ab; PIL, short side 256, bicubic": "where the card has facebook",
    "vit facebook/dino-vits8@refs/pr/1@0123456789ab; PIL, short side 256, bicubic": "where the card has facebook",
    "vit dino@0123456789ab; PIL, short side 256, bicubic": "measured with dino dino",
    "vit facebook/dino-vits16@refs/pr/1@0123456789ab; squashed to 224": "where the card has short side 256",
}


@pytest.mark.parametrize("made", IDS, ids=[str(number) for number in range(len(IDS))])
def test_other_weights_or_preprocessing_have_no_number_under_the_card(made: str) -> None:
    which = card(preprocessing="short side 256, bicubic")
    fault = encoder_fault(which.metrics[0], {"dino": made}, card=which)
    assert (IDS[made] in fault, bool(fault)) == (True, bool(IDS[made]))
    assert encoder_fault(which.metrics[0], {}, card=which) == "no dino encoder was given"
    free = card(weights="facebook/dino-vits16")
    assert (encoder_fault(free.metrics[0], {"dino": made}, card=free) == "") == ("dino-vits16@" in made)


def pinned(digest: str, *, version: int = 1) -> Card:
    return card(weights="dino", encoder="dino").model_copy(
        update={"weights_sha256": {"dino": digest * 64}, "version": version}
    )


def of_weights(digest: str, known: list[Card], name: str = "dino") -> dict[str, Any]:
    kinds = {"generated": rows([[0.5], [0.5], [1.0], [1.0]])}
    encoders = {"dino": f"vit {name}@{digest * 12}; PIL; batches of 8"}
    return under_cards(kinds, cases=CASES, benchmark="toys", encoders=encoders, known={each.id: each for each in known})


def test_pinned_weights_count_by_their_content_and_not_by_their_name() -> None:
    which = pinned("a")
    (row,) = of_weights("a", [which], name="copied-elsewhere")["cards"]["toys/one@1"]["rows"]
    assert row["mean"] == pytest.approx(0.75)
    (row,) = of_weights("b", [which])["cards"]["toys/one@1"]["rows"]
    assert (row["mean"], row["n"], row["coverage"]) == (None, 0, 0.0)
    assert row["reason"] == f"measured with dino weights {'b' * 12}, where the card has {'a' * 12}"
    assert encoder_fault(which.metrics[0], {}, card=which) == "no dino encoder was given"


def test_of_several_versions_the_one_with_the_runs_weights_stands() -> None:
    old, new = pinned("a"), pinned("b", version=2)
    for digest, stands, other in (("a", "toys/one@1", "toys/one@2"), ("b", "toys/one@2", "toys/one@1")):
        found = of_weights(digest, [old, new])
        assert found["cards"].keys() == {stands}
        assert found["cards"][stands]["rows"][0]["mean"] == pytest.approx(0.75)
        assert found["cards_refused"] == {other: f"another version of the card stands for this run, {stands}"}
    strange = of_weights("c", [old, new])
    assert strange["cards"].keys() == {"toys/one@2"}
    assert strange["cards"]["toys/one@2"]["rows"][0]["mean"] is None
    by_name = card(weights="dino", encoder="dino")
    assert of_weights("a", [by_name, new])["cards"].keys() == {"toys/one@2"}


def summary(name: str, **changes: Any) -> dict[str, Any]:
    entry = {"sha256": "a" * 64, "rows": [{"column": "DINO", "encoders": {"dino": DINO}}]}
    return {"cards": {name: entry | changes}}


def test_summaries_under_other_cards_do_not_go_into_one_table() -> None:
    one = summary("toys/one@1")
    assert different_cards(one, one) is None
    assert different_cards({}, {}) is None
    others = [
        summary("toys/two@1"),
        summary("toys/one@1", sha256="b" * 64),
        summary("toys/one@1", rows=[{"column": "x"}]),
    ]
    for other in (*others, {}):
        found = different_cards(one, other)
        assert found is not None
        assert found[0].startswith("toys/one@1")
        assert found[0] != found[1]


def test_nan_is_written_as_null() -> None:
    (row,) = scored(card(), [[None]] * 4)["rows"]
    assert (row["mean"], row["ci_low"], row["n"]) == (None, None, 0)
    assert not any(isinstance(value, float) and math.isnan(value) for value in row.values())
