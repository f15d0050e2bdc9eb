"""The pages over HTTP, without JavaScript: from the link to the completion code, and what is refused on the way."""

import re
from collections.abc import Iterator
from html import escape
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from study_runs import answer_all, begin, hidden, shown_pictures, study_runs

from likeness.study.assignment import assign, num_slots
from likeness.study.build import Wanted, new_study
from likeness.study.guard import Limits, RateLimits, Session, Signer, completion_code
from likeness.study.store import open_store
from likeness.study.web import Site, links_of, open_site, study_app

BASE = "http://testserver"


def personal(site: Site, number: int = 1) -> str:
    return links_of(site, BASE, count=number)["personal"][number - 1]


def events(site: Site) -> list[str]:
    return [row["event"] for row in site.store.audit()]


def test_a_rater_goes_from_link_to_code_and_sees_what_was_assigned(site: Site, client: TestClient) -> None:
    seen: list[tuple[str, ...]] = []

    def choose(page: str, question: str) -> str:
        seen.append(tuple(shown_pictures(page)))
        return "0"

    page = answer_all(client, begin(client, personal(site)), choose)
    rater = site.store.raters()[0]
    wanted = [
        tuple(site.queries[item.query].options[index].picture for index in item.order)
        for item in assign(site.plan, rater.slot)
    ]
    assert seen == wanted
    assert f"<code>{completion_code(site.secret, rater.id)}</code>" in page.text
    assert [vote.item for vote in site.store.votes()] == list(range(len(wanted)))
    assert all(vote.option == vote.places[0] for vote in site.store.votes())
    assert rater.finished is not None


def test_no_page_names_a_run_or_says_which_items_are_known(site: Site, client: TestClient) -> None:
    pages: list[str] = [client.get(personal(site)).text]

    def choose(page: str, question: str) -> str:
        pages.append(page)
        return "equal"

    pages.append(answer_all(client, begin(client, personal(site)), choose).text)
    told = re.findall(r"plain|focus\b|third|truth|gold|repeat|other \d", "\n".join(pages))
    assert told == []


def test_a_rater_goes_on_where_they_stopped(site: Site, client: TestClient) -> None:
    page = begin(client, personal(site))
    for place in range(4):
        assert hidden(page.text, "item") == str(place)
        form = {"token": hidden(page.text), "item": str(place), "overall": "1"}
        page = client.post("/task", data=form)
    again = client.get(personal(site))  # the link again, in the same browser
    assert again.url.path == "/task"
    assert hidden(again.text, "item") == "4"
    assert len(site.store.raters()) == 1


def test_a_vote_posted_twice_counts_once(site: Site, client: TestClient) -> None:
    page = begin(client, personal(site))
    form = {"token": hidden(page.text), "item": "0", "overall": "1"}
    for _ in range(3):
        assert hidden(client.post("/task", data=form).text, "item") == "1"
    assert hidden(client.post("/task", data={**form, "overall": "0"}).text, "item") == "1"
    assert [vote.answer for vote in site.store.votes()] == ["1"]
    assert events(site).count("changed_vote") == 1


@pytest.mark.parametrize(
    ("change", "status", "event"),
    [
        ({"token": "x"}, 403, "refused_bad_token"),
        ({"token": None}, 403, "refused_bad_token"),
        ({"item": "3"}, 400, "refused_wrong_item"),
        ({"item": "-1"}, 400, "refused_wrong_item"),
        ({"item": "1e3"}, 400, "refused_wrong_item"),
        ({"item": "9" * 5000}, 400, "refused_wrong_item"),
        ({"overall": "2"}, 400, "refused_wrong_answer"),
        ({"overall": "plain"}, 400, "refused_wrong_answer"),
        ({"overall": "0' OR '1'='1"}, 400, "refused_wrong_answer"),
        ({"overall": "<script>alert(1)</script>"}, 400, "refused_wrong_answer"),
        ({"overall": None}, 422, None),
        ({"more": "x" * 40_000}, 413, "refused_large_body"),
    ],
)
def test_wrong_forms_are_refused_and_logged(
    site: Site, client: TestClient, change: dict[str, str | None], status: int, event: str | None
) -> None:
    page = begin(client, personal(site))
    form = {"token": hidden(page.text), "item": "0", "overall": "1", **change}
    answer = client.post("/task", data={key: value for key, value in form.items() if value is not None})
    assert answer.status_code == status
    assert site.store.votes() == []
    if event:
        assert events(site)[-1] == event
    assert hidden(client.get("/task").text, "item") == "0"


@pytest.mark.parametrize(
    ("form", "status", "event"),
    [({}, 403, "refused_bad_token"), ({"token": "x", "more": "x" * 40_000}, 413, "refused_large_body")],
    ids=["no token", "large"],
)
def test_every_form_needs_its_token_and_stays_small(
    site: Site, client: TestClient, form: dict[str, str], status: int, event: str
) -> None:
    links = links_of(site, BASE, count=2)
    answer_all(client, begin(client, links["personal"][0]), lambda page, question: "0")
    client.get(links["owner"])
    before = len(site.store.votes())
    for path in (links["personal"][1], f"{links['join']}?PROLIFIC_PID=a", "/task", "/done", "/progress"):
        assert client.post(path, data={"do": "close", "comment": "no", "item": "0", **form}).status_code == status, path
    assert events(site)[-5:] == [event] * 5
    assert (len(site.store.votes()), len(site.store.raters()), site.store.is_open) == (before, 1, True)
    assert site.store.raters()[0].comment == ""


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_change_nothing(site: Site, client: TestClient, method: str) -> None:
    page = begin(client, personal(site))
    form = {"token": hidden(page.text), "item": "0", "overall": "1"}
    for path in ("/task", "/done", "/progress", f"/pictures/{next(iter(site.study.pictures))}"):
        assert client.request(method, path, data=form).status_code == 405
    assert site.store.votes() == []


def test_a_large_body_in_parts_is_refused(site: Site, client: TestClient) -> None:
    begin(client, personal(site))
    body = (b"a" * 10_000 for _ in range(20))  # in parts, without a length told before
    assert client.post("/task", content=body).status_code == 413
    assert events(site)[-1] == "refused_large_body"
    assert site.store.votes() == []


@pytest.mark.parametrize("body", [b"\xff\xfe", b"&".join(b"a=1" for _ in range(60)), b"token=%00"])
def test_broken_forms_are_refused(site: Site, client: TestClient, body: bytes) -> None:
    begin(client, personal(site))
    answer = client.post("/task", content=body, headers={"content-type": "application/x-www-form-urlencoded"})
    assert answer.status_code in (400, 403)
    assert site.store.votes() == []


def test_forged_links_are_refused(site: Site, client: TestClient) -> None:
    good = personal(site)
    forged = [
        good[:-2] + ("AA" if not good.endswith("AA") else "BB"),
        f"{BASE}/s/1.abc",
        f"{BASE}/s/{Signer('x' * 40).sign(1, purpose='link')}",
        f"{BASE}/s/{site.signer.sign(1, purpose='owner link')}",
        f"{BASE}/s/{site.signer.sign('1', purpose='link')}",
        f"{BASE}/owner/{good.rpartition('/')[2]}",
        f"{BASE}/join/{good.rpartition('/')[2]}?PROLIFIC_PID=a",
    ]
    for link in forged:
        assert client.get(link).status_code == 404, link
    assert site.store.raters() == []
    assert all("forged" in event for event in events(site))
    assert len(events(site)) == len(forged)


def test_a_link_replayed_in_another_browser_is_refused(site: Site, client: TestClient) -> None:
    answer_all(client, begin(client, personal(site)), lambda page, question: "0")
    with TestClient(study_app(site)) as thief:
        page = thief.get(personal(site))
        answer = thief.post(personal(site), data={"token": hidden(page.text)})
        assert answer.status_code == 403
        assert thief.get("/task").status_code == 403
    assert {"replayed", "refused_replayed_link", "refused_no_session"} <= set(events(site))
    assert len(site.store.raters()) == 1


def test_looking_at_a_link_begins_nothing(site: Site, client: TestClient) -> None:
    client.get(personal(site))
    client.head(personal(site))
    assert site.store.raters() == []


def test_sessions_cannot_be_made_up_or_carried_over(site: Site, client: TestClient) -> None:
    begin(client, personal(site))
    rater = site.store.raters()[0]
    own = client.cookies["study_rater"]
    wrong = [
        "x",
        own[:-5] + ("A" if own[-5] != "A" else "B") + own[-4:],  # the last letter has bits that no byte holds
        site.signer.sign([rater.id, "guess"], purpose="rater session"),  # even with the key: no such session
        site.signer.sign([rater.id], purpose="rater session"),
        site.signer.sign(["nobody", "x"], purpose="rater session"),
        site.signer.sign([rater.id, "x"], purpose="form"),
    ]
    for cookie in wrong:
        with TestClient(study_app(site), cookies={"study_rater": cookie}) as other:
            assert other.get("/task").status_code == 403
            assert other.post("/task", data={"item": "0"}).status_code == 403
    assert client.get("/task").status_code == 200


def test_a_form_of_one_rater_is_no_form_of_another(site: Site, client: TestClient) -> None:
    first = begin(client, personal(site))
    with TestClient(study_app(site)) as second:
        begin(second, personal(site, 2))
        answer = second.post("/task", data={"token": hidden(first.text), "item": "0", "overall": "1"})
        assert answer.status_code == 403


def test_platforms_name_raters_who_are_kept_apart(site: Site, client: TestClient) -> None:
    join = links_of(site, BASE)["join"]
    assert client.get(join).status_code == 400
    begin(client, f"{join}?PROLIFIC_PID=5f1&STUDY_ID=7")
    assert client.get(f"{join}?PROLIFIC_PID=5f1").url.path == "/task"
    with TestClient(study_app(site)) as other:  # knows the id of another rater, as anybody on the platform may
        page = other.get(f"{join}?PROLIFIC_PID=5f1")
        answer = other.post(f"{join}?PROLIFIC_PID=5f1", data={"token": hidden(page.text)})
        assert answer.status_code == 403
        unknown = other.get(f"{join}?PROLIFIC_PID=nobody")  # looks the same: nobody learns who takes part
        known = other.get(f"{join}?PROLIFIC_PID=5f1")
        assert re.sub('value="[^"]*"', "", unknown.text) == re.sub('value="[^"]*"', "", known.text)
    assert [(rater.source, rater.external) for rater in site.store.raters()] == [("prolific", "5f1")]


@pytest.mark.parametrize(
    "name",
    [
        "../secret.key",
        "..%2Fsecret.key",
        "%2e%2e/study.json",
        "....//secret.key",
        "/etc/passwd",
        "%2Fetc%2Fpasswd",
        "x.png",
        "a%00.png",
    ],
)
def test_only_pictures_of_the_study_are_served(site: Site, client: TestClient, name: str) -> None:
    for folder in ("pictures", "static"):
        answer = client.get(f"/{folder}/{name}")
        assert answer.status_code == 404
        assert site.secret not in answer.text
    picture = next(iter(site.study.pictures))
    assert client.get(f"/pictures/{picture}").headers["content-type"] == "image/png"


def test_prompts_and_remarks_stay_text(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>'\"; DROP TABLE votes; -- {{ 7*7 }}"
    runs = study_runs(tmp_path / "runs", names=("a", "b"), prompt=evil)
    new_study(runs, tmp_path / "study", wanted=Wanted(title=evil, consent=evil, per_rater=2, golds=0, repeats=0))
    store = open_store(tmp_path / "study/votes.sqlite")
    site = open_site(tmp_path / "study", store)
    with TestClient(study_app(site)) as client:
        pages = [client.get(personal(site)), begin(client, personal(site))]
        pages.append(answer_all(client, pages[-1], lambda page, question: "0"))
        pages.append(client.post("/done", data={"token": hidden(pages[-1].text), "comment": evil}))
        pages.append(client.get(links_of(site, BASE)["owner"]))
    store.close()
    for page in pages:
        assert evil not in page.text
        assert "<img src=x" not in page.text
    assert str(escape(evil)).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in pages[-1].text


def test_votes_after_closing_are_refused_logged_and_nothing_is_lost(site: Site, client: TestClient) -> None:
    page = begin(client, personal(site))
    form = {"token": hidden(page.text), "item": "0", "overall": "1"}
    next_page = client.post("/task", data=form)
    with TestClient(study_app(site)) as owner:
        progress = owner.get(links_of(site, BASE)["owner"])
        assert owner.post("/progress", data={"do": "close"}).status_code == 403  # no token
        assert site.store.is_open
        token = hidden(progress.text)
        assert "closed" in owner.post("/progress", data={"do": "close", "token": token}).text
        late = client.post("/task", data={"token": hidden(next_page.text), "item": "1", "overall": "0"})
        assert late.status_code == 410
        assert [vote.item for vote in site.store.votes()] == [0]
        assert "closed_vote" in events(site)
        owner.post("/progress", data={"do": "open", "token": token})
    assert client.post("/task", data={"token": hidden(next_page.text), "item": "1", "overall": "0"}).status_code == 200
    assert [vote.item for vote in site.store.votes()] == [0, 1]


def test_the_owner_s_pages_are_the_owner_s(site: Site, client: TestClient) -> None:
    begin(client, personal(site))
    for path in ("/progress", "/progress/now"):
        assert client.get(path).status_code == 403
    assert client.post("/progress", data={"do": "close"}).status_code == 403
    assert site.store.is_open


def test_a_full_study_says_so(site: Site) -> None:
    for number in range(1, num_slots(site.plan) + 2):
        with TestClient(study_app(site)) as client:
            page = begin(client, personal(site, number))
            assert page.status_code == (200 if number <= num_slots(site.plan) else 503)


def test_the_progress_page_tells_what_is_known(site: Site, client: TestClient) -> None:
    owner = links_of(site, BASE)["owner"]
    assert "is not known" not in client.get(owner).text  # no votes, nothing to tell
    for number in (1, 2, 3, 4):
        with TestClient(study_app(site)) as rater:
            answer_all(rater, begin(rater, personal(site, number)), lambda page, question: "0")
    text = client.get(owner).text
    assert "<dd>36 <small>of 36</small></dd>" in text
    assert "<dd>4 <small>of 4 places, 4 joined</small></dd>" in text
    assert re.search(r"13 of 13 answers in place 1", text)  # always the left one: known answers, sides and repeats tell
    assert "0 of 2 repeats answered alike" in text


def test_every_answer_carries_its_headers(site: Site, client: TestClient) -> None:
    for path in ("/", personal(site), "/nowhere", "/static/study.css", f"/pictures/{next(iter(site.study.pictures))}"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    assert client.get("/").headers["cache-control"] == "no-store"
    cookie = begin(client, personal(site)).history[0].headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()


@pytest.fixture
def strict(site: Site) -> Iterator[TestClient]:
    with TestClient(study_app(site._replace(limits=RateLimits(Limits(joins=2, refused=3, votes=4))))) as browser:
        yield browser


def test_who_is_too_fast_waits_and_who_guesses_learns_nothing(site: Site, strict: TestClient) -> None:
    page = begin(strict, personal(site))
    codes = []
    for place in range(6):
        form = {"token": hidden(page.text), "item": str(place), "overall": "1"}
        codes.append(strict.post("/task", data=form).status_code)
        page = strict.get("/task")
    assert codes == [200, 200, 200, 200, 429, 429]
    assert len(site.store.votes()) == 4
    assert [strict.get(f"/s/{k}").status_code for k in range(6)][1:] == [429] * 5
    assert events(site).count("refused_forged_link") == 1  # the two limited votes took the rest of three


def test_buckets_fill_again() -> None:
    at = [0.0]
    limits = RateLimits(Limits(votes=2), now=lambda: at[0])
    assert [limits.allows("votes", "a") for _ in range(3)] == [True, True, False]
    assert limits.allows("votes", "b")
    at[0] = 30
    assert [limits.allows("votes", "a") for _ in range(2)] == [True, False]


def test_form_tokens_belong_to_one_session() -> None:
    signer = Signer("k" * 40)
    token = signer.form_token(Session("a", "n"))
    assert signer.is_form_of(Session("a", "n"), token)
    for session, text in (
        (Session("a", "m"), token),
        (Session("b", "n"), token),
        (Session("a", "n"), token + "x"),
        (Session("a", "n"), "ü"),
    ):
        assert not signer.is_form_of(session, text)
    assert signer.session(signer.sign(["a", "n"], purpose="rater session"), purpose="rater session") == ("a", "n")
    assert signer.session(token, purpose="rater session") is None
