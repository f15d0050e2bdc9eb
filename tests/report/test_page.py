"""The page: every number traces to summary.json, nothing outside is needed, equal folders give equal bytes."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from likeness.core.errors import DataError
from likeness.core.files import read_json, read_jsonl, write_json, write_jsonl
from likeness.report import build_index, build_report

RunMaker = Callable[..., Path]


class Outside(HTMLParser):
    """Collects every src and href, and every image without alternative text."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.without_alt = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.links += [value for key in ("src", "href") if (value := named.get(key)) is not None]
        self.without_alt += tag == "img" and "data-zoom" in named and not named.get("alt")


def page_of(run: Path) -> str:
    return build_report(run).read_text(encoding="utf-8")


def test_every_summary_number_stands_on_the_page(run_maker: RunMaker) -> None:
    run = run_maker(num_cases=4)
    html = page_of(run)
    for row in read_json(run / "evaluation" / "summary.json")["rows"]:
        if row["mean"] is not None:
            assert f"{row['mean']:.3f}" in html
            assert f'title="{row["mean"]}"' in html  # in full precision as well
        if row["mean"] is not None and row["row"] == "generated":
            assert f"{row['ci_low']:.3f} to {row['ci_high']:.3f}" in html


def test_a_metric_without_value_shows_its_reason_and_count(run_maker: RunMaker) -> None:
    html = page_of(run_maker(num_cases=4))
    assert "not measured" in html
    assert '<td class="wide" data-label="Missing">4<small>prompt longer than 77 tokens</small></td>' in html


def test_the_interval_drawing_puts_the_mean_between_floor_and_ceiling(run_maker: RunMaker) -> None:
    html = page_of(run_maker())
    label = "Attributes right: generated 0.812 \\(95% interval 0.761 to 0.859\\); floor 0.232"
    svg = re.search(f'<svg[^>]*aria-label="{label}.*?</svg>', html, flags=re.S)
    assert svg is not None
    (dot,) = map(float, re.findall(r'class="dot" cx="([\d.]+)"', svg[0]))
    # axis 0..1 over 300 px after a margin of 10 px
    assert dot == pytest.approx(10 + 0.8125 * 300, abs=0.01)


def test_the_page_needs_nothing_outside_itself(run_maker: RunMaker) -> None:
    parser = Outside()
    parser.feed(page_of(run_maker()))
    assert parser.links
    assert all(link.startswith(("data:image/webp;base64,", "#")) for link in parser.links)
    assert parser.without_alt == 0


def test_links_lead_to_places_on_the_page(run_maker: RunMaker) -> None:
    html = page_of(run_maker(num_cases=6))
    anchors = set(re.findall(r'href="#([^"]+)"', html))
    assert anchors <= set(re.findall(r'id="([^"]+)"', html))


def test_equal_folders_give_equal_bytes(run_maker: RunMaker, tmp_path: Path) -> None:
    first = build_report(run_maker("one/run")).read_bytes()
    assert first == build_report(tmp_path / "one/run").read_bytes()
    assert first == build_report(run_maker("two/run")).read_bytes()


def test_prompts_are_escaped_everywhere(run_maker: RunMaker) -> None:
    attack = "<script>alert(1)</script> \"><img onerror='x' src=y>"
    run = run_maker(prompt=attack)
    write_jsonl(run / "rejected.jsonl", [{"where": "cases.jsonl:9", "reason": attack}])
    html = page_of(run)
    assert "<script>alert" not in html
    assert "<img onerror" not in html
    assert html.count("<script>") == 1


def test_without_evaluation_the_page_shows_pictures_and_says_so(run_maker: RunMaker) -> None:
    html = page_of(run_maker(evaluated=False))
    assert "have not been evaluated" in html
    assert html.count("true picture</figcaption>") == 3
    assert 'class="chips"' not in html
    assert "Worst cases" not in html


def entries(html: str) -> dict[str, str]:
    """The list items of an index by their anchors."""
    return {anchor: item for anchor, item in re.findall(r'<li id="([^"]+)"(.*?)</li>', html, flags=re.S)}


def test_every_case_stands_in_the_index_once_with_all_its_pictures(run_maker: RunMaker) -> None:
    html = page_of(run_maker(num_cases=60))
    found = entries(html)
    assert list(found) == [f"run1-case-{index:05d}" for index in range(60)]
    kinds = re.compile(
        r'loading="lazy" decoding="async" src="data:[^"]+" width="96" height="96" alt="([^"]+)" data-kind'
    )
    assert {tuple(kinds.findall(item)) for item in found.values()} == {("reference: cat", "generated", "true picture")}
    assert "<summary>All cases <span" in html
    assert "60 cases, to filter and sort" in html
    assert html.count("<noscript>") == 1


def test_an_entry_holds_what_it_can_be_sorted_and_found_by(run_maker: RunMaker) -> None:
    html = page_of(run_maker(num_cases=4))
    options = re.findall(r'<option value="(\d)" data-sign="(-?1)" data-as="(\w+)">([^<]+)<', html)
    assert options[:4] == [
        ("0", "-1", "percent", "Attributes right: best first"), ("0", "1", "percent", "Attributes right: worst first"),
        ("1", "1", "percent", "Leaked from another subject: best first"),
        ("1", "-1", "percent", "Leaked from another subject: worst first"),
    ]  # fmt: skip
    item = entries(html)["run1-case-00003"]
    assert 'data-subjects="cat-3" data-values="0.25;0.03;1"' in item
    assert "<small>Attributes 25% · Leakage 3% · Action yes</small>" in item


def test_an_entry_says_what_was_not_measured_what_failed_and_what_is_below_the_floor(run_maker: RunMaker) -> None:
    run = run_maker(num_cases=10)  # the floor of attribute accuracy is 0.23: cases 8 and 9 are below it
    path = run / "evaluation" / "scores.jsonl"
    rows = read_jsonl(path)
    for row in rows[1:]:
        row["values"]["clip_t"] |= {"status": "not_applicable"}
    rows[2]["values"]["dino"] = {"value": None, "note": "no <face>", "status": "failed"}
    write_jsonl(path, rows)
    (run / "images" / "case-00004-0.png").unlink()
    html = page_of(run)
    marks = {anchor[-1]: re.findall(r'data-marks="([^"]*)"', item)[0] for anchor, item in entries(html).items()}
    assert {key: mark for key, mark in marks.items() if mark} == {
        "0": "unmeasured", "2": "failed unmeasured", "4": "absent", "8": "below", "9": "below",
    }  # fmt: skip
    for text in (
        *("no picture (1)", "failed (1)", "not measured (2)", "below floor (2)", "below the floor in Attributes"),
        *("CLIP-T not measured (prompt longer than 77 tokens)", "DINO failed (no &lt;face&gt;)"),
    ):
        assert text in html
    assert "case-00004-0.png: expected" in entries(html)["run1-case-00004"]


def test_worst_cases_come_in_the_order_of_the_scores(run_maker: RunMaker) -> None:
    html = page_of(run_maker(num_cases=6))  # accuracy falls with the number of the case
    worst = html[html.index("Worst cases") : html.index("Best cases")]
    assert re.findall(r'href="#run1-case-0000(\d)"', worst) == ["5", "4", "3"]


def restated(run: Path, **changes: dict[str, object] | None) -> Path:
    """The run with other facts of some metrics in its summary; None drops a metric's facts."""
    path = run / "evaluation" / "summary.json"
    summary = read_json(path)
    for name, facts in changes.items():
        summary["metrics"][name] = {**summary["metrics"].get(name, {}), **(facts or {})}
    summary["metrics"] = {name: facts for name, facts in summary["metrics"].items() if changes.get(name, facts)}
    write_json(path, summary)
    return run


def test_what_a_metric_is_called_and_which_is_best_come_from_the_summary(run_maker: RunMaker) -> None:
    facts: dict[str, object] = {
        "label": "Harm done",
        "short": "Harm",
        "shown_as": "number",
        "ranks": -1,
        "headline": -1,
    }
    html = page_of(restated(run_maker(num_cases=6), leakage=facts))  # leakage rises with the number of the case
    assert html[html.index('<dl class="tiles">') :].partition("<dt>")[2].startswith("Harm done</dt>")
    assert 'title="leakage = 0.03, mean of 1 picture">Harm 0.030</li>' in html
    worst = html[html.index("Worst cases by harm done") : html.index("Best cases by harm done")]
    assert re.findall(r'href="#run1-case-0000(\d)"', worst) == ["5", "4", "3"]


def test_equal_cases_are_ordered_by_the_card_metric_of_which_less_is_better(run_maker: RunMaker) -> None:
    run = run_maker(num_cases=6)
    rows = read_jsonl(run / "evaluation" / "scores.jsonl")
    for index, row in enumerate(rows):
        row["values"]["attribute_accuracy"]["value"], row["values"]["leakage"]["value"] = 0.5, 0.1 * (index % 3)
    write_jsonl(run / "evaluation" / "scores.jsonl", rows)
    html = page_of(run)
    best = html[html.index("Best cases") :]
    assert re.findall(r'href="#run1-case-0000(\d)"', best) == ["0", "3", "1"]


def test_a_metric_without_facts_goes_by_its_name_and_is_neither_large_nor_on_cards(run_maker: RunMaker) -> None:
    run = run_maker(num_cases=4)
    html = page_of(run)
    assert html.count(">Leakage ") == 4
    html = page_of(restated(run, leakage=None))
    assert '<td class="name">Leakage<small>share, lower is better</small></td>' in html
    assert ">Leakage " not in html
    assert "<dt>Leakage</dt>" not in html
    summary = read_json(run / "evaluation" / "summary.json")
    del summary["metrics"]
    write_json(run / "evaluation" / "summary.json", summary)
    html = page_of(run)
    assert '<td class="name">Attribute accuracy<small>' in html
    assert "Worst cases" not in html


@pytest.mark.parametrize("damage", [b"", b"not a picture"])
def test_a_damaged_picture_is_named_and_the_rest_is_shown(run_maker: RunMaker, damage: bytes) -> None:
    run = run_maker()
    (run / "images" / "case-00001-0.png").write_bytes(damage)
    html = page_of(run)
    assert "case-00001-0.png: expected" in entries(html)["run1-case-00001"]
    assert html.count("<article") == 2
    assert len(entries(html)) == 3


def test_more_samples_than_fit_are_counted(run_maker: RunMaker) -> None:
    html = page_of(run_maker(num_cases=1, num_samples=10))
    assert "generated, 8 of 10" in html
    assert html.count("and 2 more samples") == 2  # on its card and in the index


def test_several_runs_share_one_page(run_maker: RunMaker, tmp_path: Path) -> None:
    page = build_index([run_maker("a"), run_maker("b", evaluated=False)], out=tmp_path / "all.html", title="Both & all")
    html = page.read_text(encoding="utf-8")
    assert "<h1>Both &amp; all</h1>" in html
    assert html.count("<article") == 4  # the first of each run by turns
    assert list(entries(html)) == [f"run{run}-case-0000{case}" for run in (1, 2) for case in range(3)]


def test_pictures_made_elsewhere_are_shown_from_their_scores(run_maker: RunMaker) -> None:
    run = run_maker()
    (run / "manifest.jsonl").unlink()
    (run / "run.json").unlink()
    assert page_of(run).count('alt="generated: a cat') >= 3


def test_what_was_run_names_model_settings_and_rejects(run_maker: RunMaker) -> None:
    run = run_maker()
    write_jsonl(run / "rejected.jsonl", [{"where": "cases.jsonl:9", "reason": "empty prompt"}])
    html = page_of(run)
    for text in ("tiny-flux", "ab" * 32, "settings.steps", "tiny-probe 12ab", "cases.jsonl:9", "empty prompt", "0.1.0"):
        assert text in html


def test_commands_repeat_the_recorded_settings(run_maker: RunMaker) -> None:
    run = run_maker()
    write_json(
        run / "run.json",
        {"num_images": 2, "settings": {"steps": 25, "size": None, "cfg_scale": 2.5, "reference_cfg_scale": 4.0}},
    )
    html = page_of(run)
    assert "--model tiny-flux --num-images 2 --steps 25 --cfg-scale 2.5 --reference-cfg-scale 4.0 --out" in html


def test_recorded_commands_are_shown_as_they_were_given(run_maker: RunMaker) -> None:
    run = run_maker()
    write_json(run / "commands.json", {"generate": "likeness generate --benchmark world-multi --seed 7 --out run"})
    html = page_of(run)
    remark = "# evaluate: not recorded; this line repeats it"
    line = "likeness generate --benchmark world-multi --seed 7 --out run"
    assert f"{line}\n{remark}\nlikeness evaluate run --benchmark" in html
    assert "--out repeated" not in html


@pytest.mark.parametrize("name", ["run.json", "commands.json"])
def test_a_file_that_holds_no_object_is_named(run_maker: RunMaker, name: str) -> None:
    run = run_maker()
    write_json(run / name, ["likeness generate"])
    with pytest.raises(DataError, match=rf"{name}: expected a JSON object, got list"):
        page_of(run)


def test_a_run_that_knows_its_benchmark_is_evaluated_without_naming_it(run_maker: RunMaker) -> None:
    run = run_maker()
    write_json(run / "run.json", {"benchmark": None})
    assert "likeness evaluate run</pre>" in page_of(run)


def test_cases_from_elsewhere_are_those_of_the_evaluation(run_maker: RunMaker) -> None:
    run = run_maker()
    rows = [{"id": f"case-{k:05d}", "prompt": f"from elsewhere {k}"} for k in range(3)]
    write_jsonl(run / "evaluation" / "cases.jsonl", rows)
    assert "from elsewhere 2" in page_of(run)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a run, got no manifest\.jsonl"):
        build_report(tmp_path)


def test_a_malformed_manifest_is_refused_with_its_line(run_maker: RunMaker) -> None:
    run = run_maker()
    (run / "manifest.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"manifest\.jsonl:1"):
        build_report(run)


def test_an_evaluated_run_is_never_called_not_evaluated(run_maker: RunMaker) -> None:
    """A single case has no best and worst, and its picture is no less evaluated."""
    for count in (1, 2, 12):
        html = page_of(run_maker(f"run-{count}", num_cases=count))
        assert "not evaluated" not in html
        assert "not been evaluated" not in html
    assert "world-multi, 1 case, 1 picture<" in page_of(run_maker("one", num_cases=1))


def test_an_evaluation_that_measured_nothing_is_not_called_absent(run_maker: RunMaker) -> None:
    run = run_maker()
    path = run / "evaluation" / "summary.json"
    summary = read_json(path)
    summary["rows"] = [row for row in summary["rows"] if row["mean"] is None]
    write_json(path, summary)
    html = page_of(run)
    assert "measured nothing" in html
    assert "have not been evaluated" not in html


def test_the_heading_names_the_run_and_runs_of_one_name_are_told_apart(run_maker: RunMaker, tmp_path: Path) -> None:
    one, two = run_maker("a/multi"), run_maker("b/multi")
    assert "<h1>multi</h1>" in page_of(one)
    html = build_index([one, two], out=tmp_path / "both.html").read_text(encoding="utf-8")
    assert "<h2>a/multi</h2>" in html
    assert "<h2>b/multi</h2>" in html


def test_values_in_force_stand_where_nothing_was_asked_for(run_maker: RunMaker) -> None:
    run = run_maker()
    settings = {"steps": None, "size": 96, "cfg_scale": None}
    write_json(run / "run.json", {"settings": settings, "settings_in_force": {"steps": 25, "size": 96}})
    html = page_of(run)
    assert "<dt>settings.steps</dt><dd>25 (the model&#39;s default)</dd>" in html
    assert "<dt>settings.size</dt><dd>96</dd>" in html
    default = "<dd>the model&#39;s default (its value was not recorded)</dd>"
    assert f"<dt>settings.cfg_scale</dt>{default}" in html


def test_command_lines_name_the_folder_as_it_was_typed(run_maker: RunMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_maker("runs/multi")
    monkeypatch.chdir(run.parent.parent)
    html = page_of(Path("runs/multi"))
    assert "likeness report runs/multi</pre>" in html
    assert "likeness evaluate runs/multi" in html
    assert "likeness report runs/multi</pre>" in page_of(run)  # typed absolute, told from the working folder


def test_the_first_cases_stand_at_the_top_with_their_references(run_maker: RunMaker) -> None:
    html = page_of(run_maker(num_cases=12))
    first = html[: html.index("</header>")]
    assert html.count("<article") == first.count("<article") == 4
    assert first.count('alt="reference: cat"') == 4
    assert "nothing was picked" in first


def test_likeness_to_the_reference_stands_beside_likeness_to_the_photos(run_maker: RunMaker) -> None:
    run = run_maker()
    path = run / "evaluation" / "summary.json"
    summary = read_json(path)
    (dino,) = (row for row in summary["rows"] if row["metric"] == "dino" and row["row"] == "generated")
    summary["rows"].append({**dino, "column": "conditioning_photo", "mean": 0.7713})
    write_json(path, summary)
    html = page_of(run)
    assert "true picture 0.812<br>to the reference alone 0.771" in html
    assert "<small>against the reference picture alone, cosine, higher is better</small>" in html
    assert "copies the reference" in html
    assert "eiling<" not in html


def test_what_was_not_measured_or_not_shown_is_listed(run_maker: RunMaker) -> None:
    run = run_maker()
    path = run / "evaluation" / "summary.json"
    write_json(path, {**read_json(path), "missing_images": ["case-00002-0"], "extra_images": ["odd.png"]})
    rows = read_jsonl(run / "manifest.jsonl")
    write_jsonl(run / "manifest.jsonl", [*rows, {**rows[0], "case_id": "gone", "image": "images/gone-0.png"}])
    html = page_of(run)
    assert '-rejected">3 left out</a>' in html
    for text in ("case-00002-0", "odd.png", "images/gone-0.png", "not shown: no case gone"):
        assert text in html


def test_each_number_under_a_card_names_it_and_published_ones_are_marked(run_maker: RunMaker) -> None:
    run = run_maker()
    assert "Protocol cards" not in page_of(run)
    path = run / "evaluation" / "summary.json"
    row = {"column": "DINO", "mean": 0.6125, "ci_low": 0.5, "ci_high": 0.75, "n": 7, "n_subjects": 3, "missing": 1}
    row |= {"floor": 0.25, "ceiling": None, "coverage": 0.875, "reason": "", "scale": "raw", "higher_is_better": True}
    barred = row | {
        "column": "Judge",
        "mean": None,
        "ci_low": None,
        "ci_high": None,
        "n": 0,
        "reason": "a <paid> judge",
    }
    published = [{"method": "UNO & co", "source": "UNO T1", "note": "second-hand", "values": {"DINO": 0.76}}]
    card = {"title": "Toys", "sha256": "ab" * 32, "cases": "part", "rows": [row, barred], "published": published}
    write_json(path, read_json(path) | {"cards": {"toys/one@1": card}})
    html = page_of(run)
    section = html[html.index("Protocol cards") :]
    for text in (
        "Column of toys/one@1",
        "some of the card",
        "hash abababababab",
        'title="0.6125">0.61',
        "0.250",
        "87.5%",
    ):
        assert text in section
    for text in ("a &lt;paid&gt; judge", "Published, not rerun", "UNO &amp; co", "0.76", "UNO T1 (second-hand)"):
        assert text in section
    for wrong in ({"rows": [{"column": 7}]}, {"published": [{"method": "A"}]}, {"title": None}):
        write_json(path, read_json(path) | {"cards": {"toys/one@1": card | wrong}})
        with pytest.raises(DataError, match="cards"):
            page_of(run)
