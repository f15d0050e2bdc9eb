"""What the owner sees: shares, agreement, and how many more votes an interval takes."""

import math
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from preference_runs import write_pairs
from starlette.testclient import TestClient
from study_runs import answer_all, begin

from likeness.data.judging.questions import QUESTIONS
from likeness.study.agree import more_votes, shares
from likeness.study.assignment import assign
from likeness.study.ballots import Ballot
from likeness.study.build import Wanted
from likeness.study.progress import Missing, progress_of
from likeness.study.ratings import questions_text, rate_pairs
from likeness.study.store import StoredVote, open_store
from likeness.study.web import Site, links_of, open_site, study_app

BASE = "http://testserver"


def throws(count: int, *, seed: int) -> list[Ballot]:
    """Votes that have nothing to do with each other: each of a rater and on a query of its own."""
    rng = random.Random(seed)
    return [
        Ballot(f"q{k}", f"r{k}", "overall", "query", ("a", "b"), rng.choice("ab"), None, 0, 5.0) for k in range(count)
    ]


def half_of(ballots: list[Ballot]) -> float:
    return max((row["ci_high"] - row["ci_low"]) / 2 for row in shares(ballots))


def test_as_many_more_votes_give_the_interval_that_was_wanted() -> None:
    few = throws(200, seed=1)
    more = more_votes(len(few), half=half_of(few), wanted=0.03)
    assert more is not None
    assert more == pytest.approx(0.25 * (1.96 / 0.03) ** 2 - 200, rel=0.03)  # the textbook's number for a coin
    assert half_of([*few, *throws(more, seed=2)]) == pytest.approx(0.03, rel=0.05)
    assert more_votes(len(few), half=half_of(few), wanted=0.2) == 0
    assert more_votes(0, half=math.nan, wanted=0.05) is None


def votes_of(site: Site, answer: dict[int, str]) -> list[StoredVote]:
    """All items of all places, answered by place: the k-th rater's answer to every question."""
    found: list[StoredVote] = []
    for slot, given in answer.items():
        for item, shown in enumerate(assign(site.plan, slot)):
            for question in site.study.questions_of(site.queries[shown.query]):
                common = (f"r{slot}", item, shown.query, question.name, shown.kind, shown.order)
                found.append(StoredVote(*common, given, 5.0, float(slot)))
    return found


def test_nothing_is_said_of_an_interval_that_is_not_known(site: Site) -> None:
    alike = progress_of(site.study, raters=[], votes=votes_of(site, {0: "equal", 1: "equal"})).questions[0]
    assert alike.missing.votes is None
    assert all(row["ci_low"] is None for row in alike.shares)
    few = progress_of(site.study, raters=[], votes=votes_of(site, {0: "0", 1: "1"})[:6]).questions[0]
    assert few.missing == Missing(math.inf, None, None)  # cut at both ends
    assert progress_of(site.study, raters=[], votes=[]).questions == []


@pytest.fixture
def rating(tmp_path: Path) -> Iterator[Site]:
    wanted = Wanted(kind="identity", votes=2, per_rater=20)
    rate_pairs(
        write_pairs(tmp_path / "pairs", count=4), tmp_path / "study", wanted=wanted, questions=questions_text(QUESTIONS)
    )
    store = open_store(tmp_path / "votes.sqlite")
    yield open_site(tmp_path / "study", store)
    store.close()


def test_ratings_have_shares_alpha_and_missing_votes_as_well(rating: Site) -> None:
    rng = random.Random(3)
    counts: dict[str, list[int]] = {"preferred": [], "rejected": []}
    options = {o.picture: q.options[0].run for q in rating.study.asked for o in q.options}
    for link in links_of(rating, BASE, count=2)["personal"]:
        with TestClient(study_app(rating)) as client:
            answer_all(client, begin(client, link), lambda page, question: rng.choice(["yes", "yes", "no"]))
    found = progress_of(rating.study, raters=rating.store.raters(), votes=rating.store.votes())
    question = found.questions[0]
    for query in rating.study.asked:
        mine = [vote.answer for vote in rating.store.votes() if vote.query == query.id and vote.kind == "query"]
        counts[options[query.options[0].picture]].append(mine.count("yes"))
    assert [row["answer"] for row in question.shares] == ["preferred", "rejected"]
    for row in question.shares:
        given = counts[row["answer"]]
        assert row["mean"] == pytest.approx(sum(given) / (20 * len(given)))
    assert (question.kept, question.votes) == (None, 2 * len(rating.study.asked))
    assert not math.isnan(question.alpha.value)
    with TestClient(study_app(rating)) as owner:
        owner.get(links_of(rating, BASE)["owner"])
        text = owner.get("/progress?within=2").text
    assert f"yes to the ten questions, {question.votes} ratings" in text
    assert "have a majority" not in text
    missing = progress_of(rating.study, raters=[], votes=rating.store.votes(), within=0.02).questions[0].missing
    assert f"About {missing.votes} more votes ({missing.raters} raters)" in text
    assert missing.raters == math.ceil((missing.votes or 0) / rating.plan.per_rater)


def test_the_owner_asks_about_an_interval_of_whole_points(site: Site, client: TestClient) -> None:
    client.get(links_of(site, BASE)["owner"])
    assert 'value="7"' in client.get("/progress?within=7").text
    for wrong in ("0", "26", "-5", "5.5", "x", "", "1" * 900, "<b>", "²"):
        for path in ("/progress", "/progress/now"):
            answer = client.get(path, params={"within": wrong})
            assert answer.status_code == 400, wrong
            assert "whole number of points from 1 to 25" in answer.text
    assert site.store.count("refused_wrong_interval") == 18
