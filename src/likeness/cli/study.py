"""`likeness study`: people compare pictures in a browser, and what they say meets the metrics and the training."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from likeness.cli.answer import Json, answer, counted, told_left_out
from likeness.cli.choices import choice
from likeness.cli.group import command_group
from likeness.core.errors import ConfigError

app = command_group("Human studies in the browser: make one, serve it, export it, and see which metric agrees.")

KINDS = ("overall", "relations", "pairwise", "identity")
FORMATS = ("pairs", "votes", "csv", "ratings", "raters", "links", "mturk", "rapidata", "label-studio", "potato")
SOURCES = ("prolific", "mturk", "rapidata", "label-studio", "potato")

NEW_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness study new runs/plain runs/focus --out study\n\n"
    "likeness study new a=runs/a b=runs/b c=runs/c d=runs/d --kind overall --votes 3 --out study\n\n"
    "likeness study new --pairs pairs --kind identity --votes 2 --out rating"
)
SERVE_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness study serve study\n\n"
    "likeness study serve study --host 0.0.0.0 --port 8080 --url https://study.example.org --behind-proxy\n\n"
    "likeness study serve study --database postgresql://study@localhost/study\n\n"
    "Interrupted? Run the same command again to continue: every vote that was given is kept."
)
EXPORT_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness study export study --to pairs --out pairs-voted\n\n"
    "likeness study export study --to links --count 40 --url https://study.example.org --out links.csv\n\n"
    "likeness study export study --to mturk --url https://study.example.org/pictures --out mturk"
)
IMPORT_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness study import study Batch_results.csv --source mturk\n\n"
    "likeness study import study prolific_export.csv --source prolific"
)
AGREE_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness study agree study\n\n"
    "likeness study agree study --run focus=moved/focus --without-flagged --out agree.json"
)

StudyFolder = Annotated[Path, typer.Argument(metavar="STUDY", help="A folder that `study new` made.")]
Database = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Of Postgres, as postgresql://user@host/name (default: votes.sqlite in STUDY)."),
]


@app.command(epilog=NEW_EXAMPLES)
def new(
    out: Annotated[Path, typer.Option(help="Folder to create.")],
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN...", help="Runs of one benchmark; NAME=RUN names one.")
    ] = None,
    kind: Annotated[
        str, choice(KINDS, help="Best of all, objects and relations of two, two with ties, or a rating.")
    ] = "pairwise",
    pairs: Annotated[Path | None, typer.Option(help="A pair set whose subjects are rated (--kind identity).")] = None,
    title: Annotated[str, typer.Option(help="Heading of the pages (default: a question).")] = "",
    votes: Annotated[int, typer.Option(min=1, max=200, help="Raters per query.")] = 3,
    per_rater: Annotated[int, typer.Option(min=1, help="Queries per rater.")] = 20,
    repeats: Annotated[int, typer.Option(min=0, help="Of these, how many come again.")] = 2,
    golds: Annotated[
        int, typer.Option(min=0, help="Queries with a known answer per rater, where the runs have true pictures.")
    ] = 2,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many queries (of pairs: pairs), drawn by --seed.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal orders and sides.")] = 0,
    reward: Annotated[float | None, typer.Option(min=0, help="Paid to a rater, for the cost.")] = None,
    currency: Annotated[str, typer.Option(help="Of the reward.")] = "USD",
    consent: Annotated[str, typer.Option(help="A sentence more for the consent page, such as whom to write to.")] = "",
    as_json: Json = False,
) -> None:
    """A study of run folders: cases joined by id and content, pictures that look the same left out and listed."""
    from likeness.cli.progress import quiet_libraries
    from likeness.study.command import require_extra

    require_extra()
    quiet_libraries()
    from likeness.study.assignment import num_slots, plan_of
    from likeness.study.build import Wanted, new_study
    from likeness.study.design import KindName

    wanted = Wanted(
        cast(KindName, kind), title, votes, per_rater, repeats, golds, seed, limit, reward, currency, consent
    )
    if kind == "identity" or pairs is not None:
        if kind != "identity" or pairs is None or runs:
            raise ConfigError(
                "--pairs: expected with --kind identity and without RUN, got one without the other; name both."
            )
        from likeness.data.judging.questions import QUESTIONS
        from likeness.study.ratings import questions_text, rate_pairs

        study = rate_pairs(pairs, out, wanted=wanted, questions=questions_text(QUESTIONS))
    else:
        study = new_study(_named(runs or []), out, wanted=wanted)
    left_out, places = [row.model_dump() for row in study.left_out], num_slots(plan_of(study))
    facts = {"out": out, "kind": kind, "num_queries": len(study.asked), "num_golds": len(study.known)}
    line = f"{counted(len(study.asked), 'item')} in {out}, for {counted(places, 'rater')}."
    told = f"{told_left_out(left_out, where=out / 'study.json')}{line} Now: likeness study serve {out}"
    answer({**facts, "num_raters": places, "left_out": left_out}, text=told, as_json=as_json)


@app.command(epilog=SERVE_EXAMPLES)
def serve(
    study: StudyFolder,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at.")] = 8000,
    url: Annotated[
        str | None, typer.Option(help="Where raters find it (default: host and port); https makes cookies secure.")
    ] = None,
    database: Database = None,
    completion_url: Annotated[str, typer.Option(help="Where the last page leads, such as Prolific's.")] = "",
    joins_per_minute: Annotated[int, typer.Option(min=1, help="Raters that may begin from one address.")] = 60,
    behind_proxy: Annotated[bool, typer.Option("--behind-proxy", help="Believe the proxy about who asks.")] = False,
) -> None:
    """The study at an address, until it is interrupted; the owner's link leads to its progress."""
    from likeness.study.command import opened, require_extra

    require_extra()
    import uvicorn

    from likeness.study.guard import LIMITS
    from likeness.study.web import links_of, open_site, study_app

    base = url or f"http://{host}:{port}"
    if completion_url and not completion_url.startswith("https://"):
        raise ConfigError(f"--completion-url: expected an address with https://, got {completion_url}; copy it whole.")
    with opened(study, database) as (_, store):
        limits = LIMITS._replace(joins=joins_per_minute)
        site = open_site(study, store, limits=limits, completion_url=completion_url, secure=base.startswith("https://"))
        links = links_of(site, base, count=1)
        told = [f"for you         {links['owner']}", f"one rater       {links['personal'][0]}"]
        told += [f"Prolific        {links['join']}?PROLIFIC_PID={{{{%PROLIFIC_PID%}}}}"]
        print("\n".join([*told, "more links: likeness study export --to links"]), file=sys.stderr, flush=True)
        trusted = "*" if behind_proxy else ""
        uvicorn.run(
            study_app(site),
            host=host,
            port=port,
            log_level="warning",
            proxy_headers=behind_proxy,
            forwarded_allow_ips=trusted,
            server_header=False,
        )


@app.command(epilog=EXPORT_EXAMPLES)
def export(
    study: StudyFolder,
    to: Annotated[str, choice(FORMATS, help="What to write; docs/study.md shows each.")],
    out: Annotated[Path, typer.Option(help="Folder (pairs and platforms) or file to write.")],
    question: Annotated[str, typer.Option(help="Of pairs: the question that decides.")] = "overall",
    without_flagged: Annotated[
        bool, typer.Option("--without-flagged", help="Of pairs: leave out raters with a flag.")
    ] = False,
    fewest: Annotated[int, typer.Option(min=1, help="Of ratings: raters that every subject needs.")] = 2,
    url: Annotated[
        str, typer.Option(help="Of links: where the study is served; of platforms: below which pictures lie.")
    ] = "",
    count: Annotated[int, typer.Option(min=1, help="Of links: how many.")] = 50,
    database: Database = None,
    as_json: Json = False,
) -> None:
    """Votes as training pairs, as tables, or the study itself for another platform."""
    from likeness.study.command import Wish, export_study, require_extra

    require_extra()
    from likeness.core.kinds import Category
    from likeness.world.identity import CATEGORY

    def category_of(word: str) -> Category:
        return CATEGORY.get(word, "object")

    wish = Wish(question, without_flagged, fewest, url, count, category_of)
    facts = export_study(study, out, to=to, wish=wish, database=database)
    told = told_left_out(facts.get("left_out", []), where=out / "rejected.jsonl")
    numbers = ", ".join(
        f"{value} {name.removeprefix('num_')}" for name, value in facts.items() if name.startswith("num_")
    )
    answer({"out": out, "format": to, **facts}, text=f"{told}{out}: {numbers}", as_json=as_json)


@app.command("import", epilog=IMPORT_EXAMPLES)
def import_(
    study: StudyFolder,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What the platform gave.")],
    source: Annotated[str, choice(SOURCES, help="The platform.")],
    database: Database = None,
    as_json: Json = False,
) -> None:
    """Answers given on another platform join the votes; for Prolific, which submissions to approve."""
    from likeness.study.command import import_answers, require_extra

    require_extra()
    facts = import_answers(study, file, source=source, database=database)
    if "decisions" in facts:
        lines = [f"{row['participant']} {row['decision']} {row['reason']}".rstrip() for row in facts["decisions"]]
        text = "\n".join(lines) or "no submission awaits a decision"
    else:
        told = told_left_out(facts["left_out"], where="the answer with --json")
        text = f"{told}{facts['num_votes']} new votes of {facts['num_raters']} raters"
    answer(facts, text=text, as_json=as_json)


@app.command(epilog=AGREE_EXAMPLES)
def agree(
    study: StudyFolder,
    run: Annotated[list[str] | None, typer.Option(metavar="NAME=RUN", help="Where a run lies now, repeatable.")] = None,
    without_flagged: Annotated[bool, typer.Option("--without-flagged", help="Leave out raters with a flag.")] = False,
    out: Annotated[Path | None, typer.Option(help="JSON file to write as well.")] = None,
    database: Database = None,
    as_json: Json = False,
) -> None:
    """Majorities, agreement of raters, strengths of runs, tau-b of every metric with the votes, and cost."""
    from likeness.core.files import write_json
    from likeness.study.command import agree_study, require_extra

    require_extra()
    facts = agree_study(study, runs=_named(run or []), without_flagged=without_flagged, database=database)
    if out is not None:
        write_json(out, facts)
    answer(facts, text="\n".join(_lines(facts)), as_json=as_json)


def _lines(facts: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{counted(facts['raters'], 'rater')}, {len(facts['flagged'])} with a flag, {len(facts['left_out'])} left out"
    ]
    lines += [f"  {each['rater']}: {'; '.join(each['flags'])}" for each in facts["flagged"]]
    for row in facts["questions"]:
        lines += ["", f"{row['question']}: {row['votes']} votes on {row['queries']} queries"]
        lines.append(f"  alpha {_interval(row['alpha'], 'value')}")
        if "kept" in row:
            lines += _choice_lines(row)
        lines += [f"  {name} {mean:.2f} of 10" for name, mean in row.get("means", {}).items()]
    cost = facts["cost"]
    paid = "" if cost["paid"] is None else f", {cost['paid']:.2f} {cost['currency']} paid"
    if facts["without_scores"]:
        lines += [
            "",
            f"no scores of {', '.join(facts['without_scores'])}: likeness evaluate them, or name them by --run",
        ]
    return [*lines, "", f"{cost['hours']:.1f} hours of answering{paid}"]


def _choice_lines(row: Mapping[str, Any]) -> list[str]:
    lines = [f"  {row['kept']} queries have a majority: " + ", ".join(f"{n} {c}" for n, c in row["majorities"].items())]
    lines += [f"  {each['answer']:<20} chosen {_interval(each, 'mean')}" for each in row["shares"]]
    for each in row["strengths"]:
        ranks = f"rank {each['rank']} (open: {each['rank_low']} to {each['rank_high']})"
        lines.append(f"  {each['run']:<20} strength {_interval(each, 'value')}, {ranks}")
    if row["strengths_reason"]:
        lines.append(f"  no strengths: {row['strengths_reason']}")
    lines += [f"  {each['metric']:<20} tau-b {_interval(each, 'tau')}, n {each['n']}" for each in row["metrics"]]
    return lines


def _interval(row: Mapping[str, Any], name: str) -> str:
    if row[name] is None:
        return f"not known: {row.get('reason', '')}"
    ends = "" if row["ci_low"] is None else f" ({row['ci_low']:.3f} to {row['ci_high']:.3f})"
    return f"{row[name]:.3f}{ends}"


def _named(texts: Sequence[str]) -> dict[str, Path]:
    """Name -> folder, of RUN and NAME=RUN. Raises: ConfigError for a name given twice."""
    found: dict[str, Path] = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        name, folder = (name, folder) if equals and not Path(text).is_dir() else (Path(text).name, text)
        if not name or not folder or name in found:
            raise ConfigError(f"RUN: expected NAME=RUN with each name once, got {text}; as in focus=runs/focus.")
        found[name] = Path(folder)
    return found
