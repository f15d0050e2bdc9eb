"""The pages of a study in a browser: wide and narrow, light and dark, by keyboard alone, by touch, without scripts."""

import socket
import threading
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple  # Any: playwright may be absent, so its types are not named

import pytest
import uvicorn
from browser_views import NARROW, OFF_SCREEN, WIDE
from preference_runs import write_pairs
from study_runs import study_runs

from likeness.data.judging.questions import QUESTIONS
from likeness.study.assignment import assign
from likeness.study.build import Wanted, new_study
from likeness.study.ratings import questions_text, rate_pairs
from likeness.study.store import Store, open_store
from likeness.study.web import Site, links_of, open_site, study_app

pytestmark = pytest.mark.browser
SERIOUS = ("serious", "critical")
LONG = "a cat and a dog hug each other in front of a lighthouse while averyveryverylongwordwithoutanyspaceinit flies by"


class Served(NamedTuple):
    """A study at an address, with a link for each rater."""

    site: Site
    base: str
    links: dict[str, Any]

    @property
    def store(self) -> Store:
        return self.site.store


def make(folder: Path, kind: str) -> None:
    """A study of the kind, with long words."""
    wanted = Wanted(kind=kind, votes=3, per_rater=3, repeats=1, golds=1)  # type: ignore[arg-type]
    if kind == "identity":
        pairs = write_pairs(folder / "pairs", count=4)
        rate_pairs(pairs, folder / "study", wanted=wanted, questions=questions_text(QUESTIONS))
        return
    names = ("alpha", "beta", "gamma", "delta")[: 4 if kind == "overall" else 2]
    new_study(study_runs(folder / "runs", names=names, num_cases=8, prompt=LONG), folder / "study", wanted=wanted)


def serve(folder: Path, kind: str) -> Iterator[Served]:
    """A study of the kind, on a free port, until the test ends."""
    make(folder, kind)
    store = open_store(folder / "study/votes.sqlite")
    site = open_site(folder / "study", store)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(study_app(site), host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    base = f"http://127.0.0.1:{port}"
    yield Served(site, base, links_of(site, base, count=9))
    server.should_exit = True
    thread.join()
    store.close()


@pytest.fixture
def overall(tmp_path: Path) -> Iterator[Served]:
    yield from serve(tmp_path, "overall")


@pytest.fixture
def relations(tmp_path: Path) -> Iterator[Served]:
    yield from serve(tmp_path, "relations")


@pytest.fixture
def pairwise(tmp_path: Path) -> Iterator[Served]:
    yield from serve(tmp_path, "pairwise")


@pytest.fixture
def identity(tmp_path: Path) -> Iterator[Served]:
    yield from serve(tmp_path, "identity")


def view_of(chromium: Any, *, size: tuple[int, int] = WIDE, theme: str = "light", **more: Any) -> Any:
    """A page in a browser of its own, whose errors end the test when it closes."""
    context = chromium.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=theme, reduced_motion="reduce", **more
    )
    page = context.new_page()
    page.said = []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    return page


def axe() -> Any:
    return pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the extra `browser`").Axe()


def faults(page: Any, checker: Any) -> list[Any]:
    """What axe-core finds that is serious, and what of the page lies off-screen."""
    found = checker.run(page).response["violations"]
    serious = [(one["id"], [n["html"][:120] for n in one["nodes"]]) for one in found if one["impact"] in SERIOUS]
    return [*serious, *page.evaluate(OFF_SCREEN)]


KEYS = {"overall": ["1"], "relations": ["1", "0"], "pairwise": ["9"], "identity": ["1"] * 9 + ["2"]}
SAID = {
    "overall": {"0"},
    "relations": {"0", "equal"},
    "pairwise": {"neither"},
    "identity": {"yes", "no"},
}
EVERY = list(product((WIDE, NARROW), ("light", "dark")))
VIEWS = {"overall": EVERY, "relations": EVERY, "pairwise": [EVERY[1], EVERY[2]], "identity": [EVERY[0], EVERY[3]]}


@pytest.mark.parametrize("kind", KEYS)
def test_every_page_is_whole_and_sound_wide_and_narrow_light_and_dark(
    chromium: Any, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    served: Served = request.getfixturevalue(kind)
    checker = axe()
    for number, (size, theme) in enumerate(VIEWS[kind]):
        page = view_of(chromium, size=size, theme=theme)
        shots = tmp_path / f"{kind}-{size[0]}-{theme}"
        shots.mkdir()

        def look(name: str, page: Any = page, shots: Path = shots) -> None:
            page.screenshot(path=shots / f"{name}.png", full_page=True)
            assert faults(page, checker) == [], name

        page.goto(served.links["personal"][number])
        look("consent")
        page.get_by_role("button", name="I agree, begin").click()
        page.locator("form[data-item='0']").wait_for()
        look("task")
        total = int(page.locator(".place span").text_content().split()[-1])
        for item in range(total):
            page.locator(f"form[data-item='{item}']").wait_for()
            for key in (*KEYS[kind], "Enter"):
                page.keyboard.press(key)
        page.locator(".code").wait_for()
        look("done")
        page.goto(served.links["owner"])
        look("progress")
        page.goto(f"{served.base}/s/wrong")
        look("refused")
        assert [line for line in page.said if "404" not in line] == []
        page.context.close()
    assert {vote.answer for vote in served.store.votes()} == SAID[kind]


@pytest.mark.parametrize("kind", ["overall", "relations", "identity"])
def test_keys_alone_without_scripts_take_a_rater_through(
    chromium: Any, kind: str, request: pytest.FixtureRequest
) -> None:
    served: Served = request.getfixturevalue(kind)
    page = view_of(chromium, java_script_enabled=False)
    page.goto(served.links["personal"][0])
    page.keyboard.press("Tab")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    questions = served.site.study.questions_of(served.site.study.queries[0])
    while "/task" in page.url:
        for _ in questions:  # the first radio button of each, then one to the right
            page.keyboard.press("Tab")
            page.keyboard.press("Space")
            page.keyboard.press("ArrowRight")
        page.keyboard.press("Tab")
        with page.expect_navigation():
            page.keyboard.press("Enter")
    assert page.url.endswith("/done")
    rater = served.store.raters()[0]
    votes = served.store.votes()
    assert {vote.answer for vote in votes} == {"no" if kind == "identity" else "1"}
    assert len(votes) == len(questions) * len(assign(served.site.plan, rater.slot))
    page.context.close()


def test_a_rating_keeps_photo_and_picture_in_sight(chromium: Any, identity: Served) -> None:
    for number, size in enumerate((WIDE, NARROW)):
        page = view_of(chromium, size=size)
        page.goto(identity.links["personal"][number])
        page.get_by_role("button", name="I agree, begin").click()
        page.locator("form[data-item='0']").wait_for()
        for question in page.locator("fieldset").all():
            label = question.locator("label").first
            label.scroll_into_view_if_needed()
            boxes = [image.bounding_box() for image in page.locator(".rates img").all()]
            assert len(boxes) == 2
            assert all(box["y"] >= 0 and box["y"] + box["height"] <= size[1] for box in boxes)
            label.click()  # which lies under nothing else
        assert page.locator("input:checked").count() == 10
        page.context.close()


def test_closed_and_full_studies_say_so(chromium: Any, relations: Served) -> None:
    checker, page = axe(), view_of(chromium, size=NARROW, theme="dark")
    page.goto(relations.links["personal"][0])
    page.get_by_role("button", name="I agree, begin").click()
    page.locator("form[data-item='0']").wait_for()
    relations.store.set_open(False, by="owner")
    for key in ("1", "2", "Enter"):
        page.keyboard.press(key)
    page.get_by_role("heading", name="This study is closed").wait_for()
    assert faults(page, checker) == []
    for number in range(1, 8):  # all eight places
        relations.store.join(source="test", external=str(number), session="s", num_slots=8)
    other = view_of(chromium)
    other.goto(relations.links["personal"][8])
    other.get_by_role("button", name="I agree, begin").click()
    other.get_by_role("heading", name="This study has enough people").wait_for()
    assert faults(other, checker) == []
    assert relations.store.votes() == []
    for each in (page, other):
        each.context.close()


def test_touch_chooses_a_picture_and_goes_on_after_a_reload(chromium: Any, overall: Served) -> None:
    page = view_of(chromium, size=NARROW, has_touch=True, is_mobile=True)
    page.goto(overall.links["personal"][0])
    page.get_by_role("button", name="I agree, begin").tap()
    page.locator(".choice").nth(2).tap()
    page.get_by_role("button", name="Next").tap()
    page.locator("form[data-item='1']").wait_for()
    page.reload()
    assert page.locator("form[data-item='1']").count() == 1
    page.go_back()  # and answers the first page again: the first answer stands
    vote = overall.store.votes()[0]
    assert (vote.item, vote.answer) == (0, "2")
    page.context.close()


def test_a_form_without_an_answer_stays(chromium: Any, overall: Served) -> None:
    page = view_of(chromium)
    page.goto(overall.links["personal"][0])
    page.get_by_role("button", name="I agree, begin").click()
    page.locator("form[data-item='0']").wait_for()
    page.get_by_role("button", name="Next").click()
    assert page.evaluate("document.querySelector('input:invalid') !== null")
    assert overall.store.votes() == []
    page.context.close()


def test_the_owner_s_page_follows_the_votes(chromium: Any, overall: Served) -> None:
    owner, rater = view_of(chromium), view_of(chromium)
    owner.goto(overall.links["owner"])
    assert owner.locator(".tiles dd").first.text_content().startswith("0 ")
    rater.goto(overall.links["personal"][0])
    rater.get_by_role("button", name="I agree, begin").click()
    for item in range(3):
        rater.locator(f"form[data-item='{item}']").wait_for()
        rater.keyboard.press("2")
        rater.keyboard.press("Enter")
    rater.locator("form[data-item='3']").wait_for()
    for _ in range(150):  # the page asks every ten seconds
        if not owner.locator(".tiles dd").first.text_content().startswith("0 "):
            break
        owner.wait_for_timeout(200)
    assert not owner.locator(".tiles dd").first.text_content().startswith("0 ")
    owner.get_by_label("Intervals within").fill("25")
    owner.get_by_role("button", name="How many more votes?").click()
    owner.wait_for_url("**/progress?within=25")
    assert "within 25 points" in owner.locator("#now").text_content()
    assert owner.said == []
    for page in (owner, rater):
        page.context.close()
