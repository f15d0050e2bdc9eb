"""Studies go to other platforms and their answers come back: files made by hand in the forms those platforms write."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from study_runs import answer_all, begin, shown_pictures, study_runs
from typer.testing import CliRunner

from likeness.cli import app
from likeness.core.errors import ConfigError, DataError
from likeness.core.files import read_json, read_jsonl, write_json, write_jsonl
from likeness.core.stats.agreement import read_votes
from likeness.study.ballots import ballots_of
from likeness.study.build import Wanted, new_study
from likeness.study.command import Wish, export_study, import_answers, opened
from likeness.study.platforms import PLATFORMS
from likeness.study.platforms.task import Task, tasks_of
from likeness.study.store import open_store
from likeness.study.tables_csv import csv_text, read_csv
from likeness.study.web import links_of, open_site, study_app

URL = "https://host/pictures"


@pytest.fixture
def study(runs: dict[str, Path], tmp_path: Path) -> Path:
    """Two runs side by side; whoever answers 1 prefers the first picture shown."""
    two = {name: runs[name] for name in ("plain", "focus")}
    new_study(two, tmp_path / "study", wanted=Wanted(votes=2))
    return tmp_path / "study"


def exported(study: Path, to: str) -> Path:
    out = study.parent / to
    export_study(study, out, to=to, wish=Wish(url=URL))
    return out


def tasks(study: Path) -> list[Task]:
    with opened(study, None) as (design, _):
        return list(tasks_of(design, URL))


def mturk(study: Path, choices: list[str]) -> Path:
    with (exported(study, "mturk") / "hits.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["picture_1"].startswith(f"{URL}/")
    given = [
        {f"Input.{k}": v for k, v in row.items()} | {"Answer.overall": c} for row, c in zip(rows, choices, strict=True)
    ]
    path = study.parent / "batch.csv"
    more = {"WorkerId": "A1B2", "WorkTimeInSeconds": "12", "AssignmentStatus": "Submitted"}
    path.write_text(csv_text([{**more, **row} for row in given]), encoding="utf-8")
    return path


def label_studio(study: Path, choices: list[str]) -> Path:
    rows = read_json(exported(study, "label-studio") / "tasks.json")
    for row, choice in zip(rows, choices, strict=True):
        result = [{"from_name": "overall", "to_name": "picture_1", "type": "choices", "value": {"choices": [choice]}}]
        row["annotations"] = [{"completed_by": {"id": 7}, "lead_time": 4.5, "result": result}]
    write_json(study.parent / "export.json", rows)
    return study.parent / "export.json"


def potato(study: Path, choices: list[str]) -> Path:
    folder = exported(study, "potato")
    config = read_json(folder / "config.yaml")
    assert [each["name"] for each in config["annotation_schemes"]] == ["overall"]
    rows = read_jsonl(folder / "data.jsonl")
    path = study.parent / "annotation_output" / "ann" / "annotated_instances.jsonl"
    found = [
        {"id": row["id"], "label_annotations": {"overall": {c: "true"}}} for row, c in zip(rows, choices, strict=True)
    ]
    write_jsonl(path, found)
    return path


def rapidata(study: Path, choices: list[str], question: str = "overall") -> Path:
    job = read_json(exported(study, "rapidata") / f"job-{question}.json")
    results: list[dict[str, Any]] = []
    for pair, context, choice in zip(job["datapoints"], job["contexts"], choices, strict=True):
        names = [address.rpartition("/")[2] for address in pair]
        voted = {"1": names[0], "2": names[1], "equal": "Both", "neither": "Neither"}[choice]
        counts = {name: int(name == voted) for name in names}
        results.append({"context": context, "aggregatedResults": counts, "detailedResults": [{"votedFor": voted}]})
    info = {"version": "4.0.0", "type": "Compare", "name": job["name"], "instruction": job["instruction"]}
    write_json(study.parent / f"{question}.json", {"info": info, "results": results})
    return study.parent / f"{question}.json"


@pytest.mark.parametrize("name", PLATFORMS)
def test_answers_come_back_to_the_pictures_that_were_shown(study: Path, name: str) -> None:
    make = {"mturk": mturk, "label-studio": label_studio, "potato": potato, "rapidata": rapidata}[name]
    shown = tasks(study)
    choices = [("1", "2", "equal", "neither")[k % 4] for k in range(len(shown))]
    path = make(study, choices)
    told = import_answers(study, path, source=name)
    assert (told["num_votes"], told["left_out"]) == (len(shown), [])
    assert import_answers(study, path, source=name)["num_votes"] == 0  # once is enough
    with opened(study, None) as (design, store):
        ballots = {ballot.query: ballot for ballot in ballots_of(design, store.votes())}
        pictures = {query.id: {o.picture: o.run for o in query.options} for query in design.queries}
    for task, choice in zip(shown, choices, strict=True):
        query = task.id.partition("@")[0]
        wanted = pictures[query][task.pictures[int(choice) - 1].rpartition("/")[2]] if choice.isdecimal() else choice
        assert ballots[query].choice == wanted
        assert ballots[query].kind == ("gold" if query.startswith("gold") else "query")


def test_what_cannot_be_read_is_listed(study: Path) -> None:
    path = mturk(study, ["1"] * len(tasks(study)))
    rows = read_csv(path, needed=("WorkerId",))
    rows[0]["Answer.overall"], rows[1]["Input.query"], rows[2]["WorkerId"] = "3", "case-9@01", ""
    rows[3]["AssignmentStatus"] = "Rejected"
    path.write_text(csv_text(rows), encoding="utf-8")
    told = import_answers(study, path, source="mturk")
    assert told["num_votes"] == len(rows) - 4
    assert [row["reason"].partition(": ")[2].partition(",")[0] for row in told["left_out"]] == [
        "overall: expected an answer",
        "expected a task of this study",
        "expected the id of a rater",
        "expected an assignment that was not rejected.",
    ]
    with pytest.raises(DataError, match=r"expected a column Input\.query"):
        import_answers(study, exported(study, "mturk") / "hits.csv", source="mturk")
    write_json(study.parent / "other.json", [{"data": {}}, 3])
    assert len(import_answers(study, study.parent / "other.json", source="label-studio")["left_out"]) == 2


def test_mturk_s_crowd_form_has_a_column_a_choice(study: Path) -> None:
    """`<crowd-form>` gives {"overall": {"1": true, "2": false ...}}, which a batch's table spreads over columns."""
    path = mturk(study, ["1"] * len(tasks(study)))
    rows = read_csv(path, needed=("WorkerId",))
    choices = [("1", "2", "equal", "neither")[k % 4] for k in range(len(rows))]
    for row, choice in zip(rows, choices, strict=True):
        del row["Answer.overall"]
        row |= {f"Answer.overall.{each}": str(each == choice).lower() for each in ("1", "2", "equal", "neither")}
    rows[0]["Answer.overall.2"] = "true"  # two at once are no answer
    path.write_text(csv_text(rows), encoding="utf-8")
    told = import_answers(study, path, source="mturk")
    assert (told["num_votes"], [row["where"] for row in told["left_out"]]) == (len(rows) - 1, [f"{path}:2"])
    with opened(study, None) as (_, store):
        places = {"1": "0", "2": "1"}
        assert [vote.answer for vote in store.votes()] == [places.get(choice, choice) for choice in choices[1:]]


def test_prompts_stay_text_on_mturk(tmp_path: Path) -> None:
    """Variables are put into MTurk's layout as they are."""
    runs = study_runs(tmp_path / "runs", names=("a", "b"), num_cases=4, prompt='<script>a</script> & "b"')
    new_study(runs, tmp_path / "study", wanted=Wanted())
    rows = read_csv(exported(tmp_path / "study", "mturk") / "hits.csv", needed=("query",))
    assert {row["prompt"] for row in rows} == {"&lt;script&gt;a&lt;/script&gt; &amp; &quot;b&quot;"}
    row = read_jsonl(exported(tmp_path / "study", "potato") / "data.jsonl")[0]
    assert "<script>" not in row["text"]


@pytest.mark.parametrize("shape", ["folder", "pairs", "flags", "export"])
def test_potato_s_answers_are_read_in_every_shape_that_it_writes(study: Path, shape: str) -> None:
    """Its version 2 keeps RATER/user_state.json, whose labels its documentation shows in three shapes, and exports."""
    ids = [row["id"] for row in read_jsonl(exported(study, "potato") / "data.jsonl")]
    given = {name: ("1", "2", "equal", "neither")[k % 4] for k, name in enumerate(ids)}
    output = study.parent / "annotation_output"
    make = {
        "folder": lambda choice: {"overall": {choice: "true"}},
        "pairs": lambda choice: [[{"schema": "overall", "name": choice}, "true"]],
        "flags": lambda choice: {"overall": {"labels": {choice: True}}},
    }
    if shape == "export":
        path = output / "exports/jsonl/annotations.jsonl"
        rows = [{"instance_id": n, "user_id": "ann", "labels": {"overall": {c: "true"}}} for n, c in given.items()]
        write_jsonl(path, rows)
    else:
        path = output / "ann/user_state.json"
        labels = {name: make[shape](choice) for name, choice in given.items()}
        write_json(path, {"user_id": "ann", "instance_id_to_label_to_value": labels})
        if shape == "folder":
            write_json(output / "bob/user_state.json", {"user_id": "bob", "instance_id_to_label_to_value": labels})
            path = output
    told = import_answers(study, path, source="potato")
    assert (told["num_raters"], told["left_out"]) == (2 if shape == "folder" else 1, [])
    with opened(study, None) as (design, store):
        item = {query.id: k for k, query in enumerate(design.queries)}
        wanted = {item[name.partition("@")[0]]: {"1": "0", "2": "1"}.get(c, c) for name, c in given.items()}
        assert {vote.item: vote.answer for vote in store.votes()} == wanted


def test_potato_s_unclear_answers_are_listed(study: Path) -> None:
    path = potato(study, ["1"] * len(tasks(study)))
    rows = read_jsonl(path)
    rows[0]["label_annotations"] = {"overall": {"1": "true", "2": "true"}}
    rows[1]["label_annotations"] = {"overall": {"1": "false"}}
    rows[2] = 7
    write_jsonl(path, rows)
    told = import_answers(study, path, source="potato")
    assert [row["where"] for row in told["left_out"]] == [f"{path}:{k}" for k in (1, 2, 3)]
    for other in (study.parent / "potato", study / "study.json"):
        with pytest.raises(DataError, match=r"expected (RATER/user_state.json|the state of a rater)"):
            import_answers(study, other, source="potato")


def test_rapidata_s_jobs_take_these_arguments_and_no_others(study: Path) -> None:
    job = read_json(exported(study, "rapidata") / "job-overall.json")
    taken = {"name", "instruction", "responses_per_datapoint", "datapoints", "contexts", "media_contexts"}
    assert set(job) == taken
    lengths = {len(job[name]) for name in ("datapoints", "contexts", "media_contexts")}
    assert lengths == {len(tasks(study))}
    assert all(photo.startswith(URL) for photos in job["media_contexts"] for photo in photos)


def test_rapidata_asks_each_question_of_a_study_in_a_job_of_its_own(runs: dict[str, Path], tmp_path: Path) -> None:
    study = tmp_path / "study"
    two = {name: runs[name] for name in ("plain", "focus")}
    new_study(two, study, wanted=Wanted(kind="relations", votes=2))
    count = len(tasks(study))
    for question, choice in (("objects", "1"), ("relations", "neither")):
        path = rapidata(study, [choice] * count, question)
        assert "media_contexts" not in read_json(tmp_path / f"rapidata/job-{question}.json")  # Fig. 10: no photos
        assert import_answers(study, path, source="rapidata")["num_votes"] == count
    with opened(study, None) as (_, store):
        assert {(vote.question, vote.answer) for vote in store.votes()} == {("objects", "0"), ("relations", "equal")}
    found = read_json(tmp_path / "objects.json")
    write_json(tmp_path / "objects.json", {**found, "info": {"version": "3.0.0"}})
    with pytest.raises(DataError, match="expected results that name one of the questions objects, relations"):
        import_answers(study, tmp_path / "objects.json", source="rapidata")


def test_cells_are_never_formulas() -> None:
    text = csv_text([{"a": "=1+1", "b": -3, "c": "plain", "d": "@x"}])
    assert text == "a,b,c,d\n'=1+1,-3,plain,'@x\n"


def test_formats_that_do_not_fit_say_so(runs: dict[str, Path], tmp_path: Path) -> None:
    new_study(runs, tmp_path / "study", wanted=Wanted(kind="overall"))
    with pytest.raises(ConfigError, match="expected two pictures a query, got 3"):
        export_study(tmp_path / "study", tmp_path / "out", to="rapidata", wish=Wish(url=URL))
    with pytest.raises(ConfigError, match="--url: expected the address below which the pictures lie"):
        export_study(tmp_path / "study", tmp_path / "out", to="mturk", wish=Wish())


# -- the commands ----------------------------------------------------------------------------------------------
def command(*words: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, ["study", *map(str, words), "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout) if code == 0 else result.stderr


def test_from_runs_to_pairs_by_commands(runs: dict[str, Path], tmp_path: Path) -> None:
    study, named = tmp_path / "study", [f"{name}={runs[name]}" for name in ("plain", "focus")]
    made = command("new", *named, "--votes", 2, "--per-rater", 12, "--golds", 0, "--reward", 1.5, "--out", study)
    assert (made["num_queries"], made["num_golds"], made["num_raters"], made["left_out"]) == (12, 0, 2, [])
    store = open_store(study / "votes.sqlite")
    site = open_site(study, store)
    best = {option.picture for query in site.study.queries for option in query.options if option.run == "plain"}
    for link in links_of(site, "http://testserver", count=2)["personal"]:
        with TestClient(study_app(site)) as client:
            begun = begin(client, link)
            answer_all(client, begun, lambda page, question: str([n in best for n in shown_pictures(page)].index(True)))
    store.close()
    agreed = command("agree", study, "--out", tmp_path / "agree.json")
    question = agreed["questions"][0]
    assert (question["majorities"], question["kept"]) == ({"plain": 12, "focus": 0}, 12)
    taus = {row["metric"]: row["tau"] for row in question["metrics"]}
    assert taus == {"good": 1, "distance": 1, "constant": None}
    assert (agreed["cost"]["paid"], agreed["without_scores"]) == (3.0, [])
    flags = [flag for each in agreed["flagged"] for flag in each["flags"]]
    assert [flag.partition(" ")[2] for flag in flags] == ["s an item"] * 2  # no person is that fast
    assert read_json(tmp_path / "agree.json") == agreed
    assert command("export", study, "--to", "pairs", "--out", tmp_path / "pairs")["num_pairs"] == 12
    assert command("export", study, "--to", "votes", "--out", tmp_path / "votes.jsonl")["num_rows"] == 24
    assert {vote.choice for vote in read_votes(tmp_path / "votes.jsonl")} == {"plain"}
    assert command("export", study, "--to", "csv", "--out", tmp_path / "all.csv")["num_rows"] == 2 * (12 + 2)
    assert command("export", study, "--to", "raters", "--out", tmp_path / "raters.csv")["num_rows"] == 2
    url = ("--url", "https://host", "--count", 3)
    assert command("export", study, "--to", "links", *url, "--out", tmp_path / "links.csv")["num_links"] == 3
    assert "expected with --kind identity" in command("new", "--kind", "identity", "--out", tmp_path / "x", code=2)
    assert "with each name once" in command("new", "a=x", "a=y", "--out", tmp_path / "x", code=2)


def test_prolific_s_table_becomes_decisions_and_nobody_is_rejected(study: Path) -> None:
    store = open_store(study / "votes.sqlite")
    site = open_site(study, store)
    join = links_of(site, "http://testserver")["join"]
    chosen = {"done": lambda page, question: "equal", "left": None}
    for name, choose in chosen.items():
        with TestClient(study_app(site)) as client:
            page = begin(client, f"{join}?PROLIFIC_PID={name}")
            if choose:
                answer_all(client, page, choose)
    store.close()
    export_study(study, study.parent / "raters.csv", to="raters", wish=Wish())
    codes = {row["participant"]: row["code"] for row in read_csv(study.parent / "raters.csv", needed=("code",))}
    rows = [
        ("done", "AWAITING REVIEW", codes["done"]),
        ("left", "AWAITING REVIEW", "NOCODE"),
        ("never", "AWAITING REVIEW", "X"),
    ]
    rows.append(("old", "APPROVED", "X"))
    table = [{"Submission id": "1", "Participant id": n, "Status": s, "Completion code": c} for n, s, c in rows]
    path = study.parent / "prolific.csv"
    path.write_text(csv_text(table), encoding="utf-8")
    decisions = {
        row["participant"]: (row["decision"], row["reason"])
        for row in import_answers(study, path, source="prolific")["decisions"]
    }
    assert decisions["left"] == ("look", "answered 0 and stopped")
    assert decisions["never"] == ("look", "never began here")
    assert decisions["done"][0] == "look"
    assert decisions["done"][1].startswith("0 of 2 known answers right; ")
    assert set(decisions) == {"done", "left", "never"}
