"""Votes become pairs that lint accepts and training reads; ratings of people meet the quality gate."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from preference_runs import write_pairs
from study_runs import study_runs

from likeness.core.errors import ConfigError, DataError
from likeness.core.files import read_jsonl, write_jsonl
from likeness.core.images import load_image
from likeness.core.kinds import Category
from likeness.core.pairs import read_pairs
from likeness.data.judging.questions import QUESTIONS
from likeness.data.judging.rated import gate_pairs
from likeness.data.lint.run import lint_pairs
from likeness.study.ballots import Ballot
from likeness.study.build import Wanted, new_study
from likeness.study.design import Query, Study
from likeness.study.pairs import export_pairs
from likeness.study.ratings import questions_text, rate_pairs, ratings


def category(word: str) -> Category:
    return "animal" if word in ("cat", "dog") else "object"


def votes(study: Study, choose: Callable[[Query, int], str], *, raters: int = 3) -> list[Ballot]:
    """Every rater answers every question of every query."""
    return [
        Ballot(q.id, f"r{r}", question.name, "query", tuple(o.run for o in q.options), choose(q, r), None, k, 4.0)
        for k, q in enumerate(study.asked)
        for r in range(raters)
        for question in study.questions_of(q)
    ]


def test_majorities_become_pairs_that_lint_accepts(tmp_path: Path) -> None:
    runs = study_runs(tmp_path / "runs", names=("plain", "focus", "third"), num_cases=8)
    study = new_study(runs, tmp_path / "study", wanted=Wanted(kind="overall"))

    def choose(query: Query, rater: int) -> str:
        if query.case == "case-00003":
            return ("plain", "focus", "third")[rater]  # no majority
        return "focus" if rater < 2 else "plain"

    made = export_pairs(
        study,
        votes(study, choose),
        tmp_path / "pairs",
        folder=tmp_path / "study",
        question="overall",
        category_of=category,
    )
    assert (made.num_pairs, [row.where for row in made.left_out]) == (
        7,
        [q.id for q in study.asked if q.case == "case-00003"],
    )
    pairs = read_pairs(tmp_path / "pairs").pairs
    for pair, query in zip(pairs, [q for q in study.asked if q.case != "case-00003"], strict=True):
        assert (
            load_image(pair.preferred).tobytes() == load_image(runs["focus"] / f"images/{query.case}-0.png").tobytes()
        )
        assert load_image(pair.rejected).tobytes() == load_image(runs["third"] / f"images/{query.case}-0.png").tobytes()
        assert pair.models == {"preferred": "focus", "rejected": "third"}
        assert pair.category == category(pair.references[0].class_name)
    report = lint_pairs(tmp_path / "pairs")
    assert [row for row in report.findings if row.severity == "error"] == []
    assert {row.code for row in report.findings} == {"whole_picture"}


def test_a_full_prior_without_votes_is_still_an_error(tmp_path: Path) -> None:
    runs = study_runs(tmp_path / "runs", names=("a", "b"), num_cases=4)
    study = new_study(runs, tmp_path / "study", wanted=Wanted())
    export_pairs(
        study,
        votes(study, lambda q, r: "a"),
        tmp_path / "pairs",
        folder=tmp_path / "study",
        question="overall",
        category_of=category,
    )
    rows = read_jsonl(tmp_path / "pairs/pairs.jsonl")
    for row in rows:
        row["subjects"][0]["disruption"] = None
    write_jsonl(tmp_path / "pairs/pairs.jsonl", rows)
    assert {row.code for row in lint_pairs(tmp_path / "pairs").findings} == {"large_prior"}


def test_what_gives_no_pair_is_told(tmp_path: Path) -> None:
    runs = study_runs(tmp_path / "runs", names=("a", "b"), num_cases=4)
    study = new_study(runs, tmp_path / "study", wanted=Wanted())

    def export(ballots: list[Ballot], question: str = "overall") -> None:
        out = tmp_path / "pairs"
        export_pairs(study, ballots, out, folder=tmp_path / "study", question=question, category_of=category)

    with pytest.raises(DataError, match="expected one picture that is better, got 'equal'"):
        export(votes(study, lambda q, r: "equal"))
    with pytest.raises(DataError, match="expected votes on the question 'objects', got overall"):
        export(votes(study, lambda q, r: "a"), "objects")
    assert not (tmp_path / "pairs").exists()


# -- ratings ---------------------------------------------------------------------------------------------------
@pytest.fixture
def rating(tmp_path: Path) -> Study:
    wanted = Wanted(kind="identity", votes=2)
    return rate_pairs(
        write_pairs(tmp_path / "pairs", count=4), tmp_path / "study", wanted=wanted, questions=questions_text(QUESTIONS)
    )


def test_each_disrupted_subject_is_asked_about_with_the_ten_questions_of_its_category(
    rating: Study, tmp_path: Path
) -> None:
    pairs = read_pairs(tmp_path / "pairs").pairs
    wanted = {f"{p.id}.preferred.{k}" for p in pairs for k in range(len(p.subjects))}
    wanted |= {f"{p.id}.rejected.{k}" for p in pairs for k in p.disrupted}
    assert {query.id for query in rating.asked} == wanted
    for query in rating.asked:
        pair = next(pair for pair in pairs if pair.id == query.about["pair"])
        subject = pair.subjects[int(query.about["subject"])]
        texts = [q.text for q in QUESTIONS[pair.references[subject.reference_index].category]]
        assert [question.text for question in rating.questions_of(query)] == texts
    assert all(set(query.gold or {}) == {f"q{k}" for k in range(1, 11)} for query in rating.known)


def answers(study: Study, score: Callable[[Query, int], int]) -> Iterable[Ballot]:
    """Ballots of two raters, the first `score` of ten questions answered yes."""
    for ballot in votes(study, lambda q, r: "", raters=2):
        query = next(q for q in study.asked if q.id == ballot.query)
        number = int(ballot.question[1:])
        yield ballot._replace(choice="yes" if number <= score(query, int(ballot.rater[1:])) else "no")


def test_people_s_scores_are_rounded_against_keeping_and_the_gate_reads_them(rating: Study, tmp_path: Path) -> None:
    names = sorted({query.case for query in rating.asked})
    given = {
        names[0]: ((9, 10), (5, 6)),
        names[1]: ((9, 8), (5, 5)),
        names[2]: ((10, 10), (6, 7)),
        names[3]: ((9, 9), (6, 6)),
    }
    found = ratings(rating, list(answers(rating, lambda q, r: given[q.case][q.about["of"] == "rejected"][r])))
    assert [(each.pair, each.preferred, each.rejected, each.raters) for each in found] == [
        (names[0], 9, 6, 2),
        (names[1], 8, 5, 2),
        (names[2], 10, 7, 2),
        (names[3], 9, 6, 2),
    ]
    write_jsonl(tmp_path / "ratings.jsonl", [each.row() for each in found[:3]])
    out = tmp_path / "pairs/rated.jsonl"
    gated = gate_pairs(tmp_path / "pairs", ratings=tmp_path / "ratings.jsonl", out=out)
    assert [pair.id for pair in read_pairs(out).pairs] == [names[0]]
    assert {row.where: row.reason.partition(": ")[2] for row in gated.left_out} == {
        names[1]: "preferred: expected a human score of at least 9, got 8",
        names[2]: "rejected: expected a human score of at most 6, got 7",
        names[3]: "expected people's ratings, got none.",
    }
    assert read_pairs(out).pairs[0].qa.preferred.human == 9
    with pytest.raises(ConfigError, match="expected a file in"):
        gate_pairs(tmp_path / "pairs", ratings=tmp_path / "ratings.jsonl", out=tmp_path / "rated.jsonl")


def test_the_judge_must_agree_as_well(rating: Study, tmp_path: Path) -> None:
    rows = read_jsonl(tmp_path / "pairs/pairs.jsonl")
    for k, row in enumerate(rows):
        yes = {"preferred": 10 if k else 7, "rejected": 2}
        row["qa"] = {side: {"judge": [[n < yes[side] for n in range(10)]] * len(row["subjects"])} for side in yes}
    write_jsonl(tmp_path / "pairs/pairs.jsonl", rows)
    found = ratings(rating, list(answers(rating, lambda q, r: 10 if q.about["of"] == "preferred" else 2)))
    write_jsonl(tmp_path / "ratings.jsonl", [each.row() for each in found])
    gated = gate_pairs(tmp_path / "pairs", ratings=tmp_path / "ratings.jsonl", out=tmp_path / "pairs/rated.jsonl")
    assert gated.num_pairs == 3
    assert "expected at least 9 favourable answers, got 7" in gated.left_out[0].reason


def test_pairs_with_too_few_raters_have_no_score(rating: Study) -> None:
    some = list(answers(rating, lambda q, r: 10))
    assert len(ratings(rating, some, fewest=2)) == 4
    assert ratings(rating, some, fewest=3) == []
    lacking = [ballot for ballot in some if ballot.query != rating.asked[0].id]
    assert len(ratings(rating, lacking, fewest=1)) == 3
