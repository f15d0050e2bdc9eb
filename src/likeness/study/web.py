"""The pages of a study: a few routes over pure decisions and the store. Everything works without JavaScript.

A personal link leads to a consent page; saying yes there ties the link to this browser. A page shows the first item
that is not answered yet, so a rater goes on where they stopped. Nothing that a page holds tells a run.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple  # Any: what templates are given
from urllib.parse import parse_qs

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from likeness.core.errors import DataError
from likeness.core.hashing import json_sha256
from likeness.study.answers import allowed_answers
from likeness.study.assignment import Item, Plan, assign, num_slots, plan_of
from likeness.study.design import KINDS, PICTURES, Query, Study, by_id, read_secret, read_study
from likeness.study.guard import LIMITS, MAX_BODY, Limits, RateLimits, Session, Signer, completion_code, new_nonce
from likeness.study.progress import WITHIN, progress_of
from likeness.study.store import PERSONAL, Rater, Store

__all__ = ["Site", "open_site", "study_app"]

LETTERS = "ABCDEFGH"
_STATIC = Path(__file__).parent / "static"
_COOKIES = {"rater": "study_rater", "owner": "study_owner"}
_HEADERS = {
    "content-security-policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-robots-tag": "noindex",
}
_DAY = 86_400
WIDEST = 25
"""Points, the most that an owner asks for as half an interval."""


class Site(NamedTuple):
    """One study as it is served: its definition, assignment plan, database, keys and limits."""

    study: Study
    folder: Path
    store: Store
    signer: Signer
    secret: str
    plan: Plan
    queries: Mapping[str, Query]
    limits: RateLimits
    completion_url: str = ""
    secure: bool = False


def open_site(
    folder: Path, store: Store, *, limits: Limits = LIMITS, completion_url: str = "", secure: bool = False
) -> Site:
    """The study of a folder, whose votes go to the store. With `secure` cookies travel over HTTPS alone.

    Raises: DataError for a folder that is no study, or a database of another study.
    """
    study, secret = read_study(folder), read_secret(folder)
    store.bind(json_sha256([query.model_dump(mode="json") for query in study.queries]))
    plan, queries = plan_of(study), by_id(study.queries)
    return Site(study, folder, store, Signer(secret), secret, plan, queries, RateLimits(limits), completion_url, secure)


def links_of(site: Site, base: str, *, count: int = 0) -> dict[str, Any]:
    """The owner's link, the link for a recruiting platform, and `count` personal ones."""
    base = base.rstrip("/")
    return {
        "owner": f"{base}/owner/{site.signer.sign('owner', purpose='owner link')}",
        "join": f"{base}/join/{site.signer.sign('join', purpose='join link')}",
        "personal": [f"{base}/s/{site.signer.sign(number, purpose='link')}" for number in range(1, count + 1)],
    }


def study_app(site: Site) -> Starlette:
    """The web application of a study."""
    pages = _Pages(site)
    routes = [
        Route("/", pages.start),
        Route("/favicon.ico", pages.no_icon),
        Route("/s/{token}", pages.link, methods=["GET", "POST"]),
        Route("/join/{token}", pages.join, methods=["GET", "POST"]),
        Route("/task", pages.task, methods=["GET", "POST"]),
        Route("/done", pages.done, methods=["GET", "POST"]),
        Route("/pictures/{name:path}", pages.picture),
        Route("/static/{name:path}", pages.static),
        Route("/owner/{token}", pages.owner),
        Route("/progress", pages.progress, methods=["GET", "POST"]),
        Route("/progress/now", pages.progress_now),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: pages.refused})
    app.add_middleware(_Headers)
    return app


class _Headers:
    """Adds the headers that every answer carries; pages are kept by no cache."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                own = {**_HEADERS, "cache-control": "no-store"}
                added = [(k.encode(), v.encode()) for k, v in own.items() if k.encode() not in present]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


class _RefusedError(HTTPException):
    """An answer other than a page: status, the event for the audit log, and a sentence for people."""

    def __init__(self, status: int, event: str, told: str, **detail: object) -> None:
        super().__init__(status, told)
        self.event, self.facts = event, detail


class _Pages:
    """The handlers, each reading a request, asking a pure function or the store, and showing a template."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._templates = Environment(
            loader=PackageLoader("likeness.study"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )

    def _page(self, name: str, *, status: int = 200, **given: Any) -> HTMLResponse:
        template = self._templates.get_template(f"{name}.html.j2")
        return HTMLResponse(template.render(study=self._site.study, **given), status_code=status)

    async def start(self, request: Request) -> Response:
        """The root tells nothing but that links lead further."""
        return self._page("start")

    async def no_icon(self, request: Request) -> Response:
        """Browsers ask for it; there is none."""
        return Response(status_code=204)

    # -- joining -----------------------------------------------------------------------------------------------
    async def link(self, request: Request) -> Response:
        """A personal link: consent, then the study."""
        number = self._site.signer.read(request.path_params["token"], purpose="link")
        if not isinstance(number, int):
            raise _RefusedError(404, "forged_link", "This link does not lead to a study. Check that it is complete.")
        return await self._enter(request, source=PERSONAL, external=str(number))

    async def join(self, request: Request) -> Response:
        """The link for a recruiting platform, which names the rater in the address."""
        if self._site.signer.read(request.path_params["token"], purpose="join link") != "join":
            raise _RefusedError(404, "forged_link", "This link does not lead to a study. Check that it is complete.")
        for source, key in PLATFORMS.items():
            if name := request.query_params.get(key, "").strip():
                return await self._enter(request, source=source, external=name[:200])
        wanted = " or ".join(PLATFORMS.values())
        raise _RefusedError(400, "nameless_join", f"This link needs your {wanted}. Open it from the platform.")

    async def _enter(self, request: Request, *, source: str, external: str) -> Response:
        site, session = self._site, self._session(request, "rater")
        known = session and await run_in_threadpool(site.store.rater, session.name, session=session.nonce)
        if known and (known.source, known.external) == (source, external):
            return _see("/task")
        link = Session(source, external)
        if request.method == "GET":
            return self._page("consent", token=site.signer.form_token(link), minutes=_minutes(site))
        form = await self._form(request)
        self._require_token(link, form)
        self._require_rate(request, "joins", self._address(request))
        nonce = session.nonce if session else new_nonce()

        def add() -> Rater | None:
            return site.store.join(
                source=source, external=external, session=nonce, num_slots=num_slots(site.plan), session_of=nonce
            )

        try:
            rater = await run_in_threadpool(add)
        except DataError as error:
            told = "Somebody has begun with this link in another browser. Please go on where you began."
            raise _RefusedError(403, "replayed_link", told, source=source) from error
        if rater is None:
            return self._page("full", status=503)
        answer = _see("/task")
        self._set_cookie(answer, "rater", Session(rater.id, nonce))
        return answer

    # -- answering ---------------------------------------------------------------------------------------------
    async def task(self, request: Request) -> Response:
        """The first item without an answer; a POST answers it."""
        rater, session = await self._rater(request)
        items = assign(self._site.plan, rater.slot)
        answered = await run_in_threadpool(self._site.store.answered, rater.id)
        if request.method == "POST":
            return await self._vote(request, rater, session=session, items=items, answered=answered)
        place = next((k for k in range(len(items)) if k not in answered), None)
        if place is None:
            await run_in_threadpool(self._site.store.finish, rater.id)
            return _see("/done")
        return self._item(items, place, session=session)

    def _item(self, items: tuple[Item, ...], place: int, *, session: Session, missing: bool = False) -> Response:
        site, item = self._site, items[place]
        query = site.queries[item.query]
        shown = {
            "prompt": query.prompt,
            "about": query.about,
            "references": query.references if KINDS[site.study.kind].shows_references else (),
            "pictures": [(str(k), LETTERS[k], query.options[index].picture) for k, index in enumerate(item.order)],
            "questions": site.study.questions_of(query),
            "place": place,
            "total": len(items),
            "missing": missing,
            "token": site.signer.form_token(session),
        }
        return self._page("task", status=422 if missing else 200, **shown)

    async def _vote(
        self, request: Request, rater: Rater, *, session: Session, items: tuple[Item, ...], answered: frozenset[int]
    ) -> Response:
        form = await self._form(request)
        self._require_token(session, form)
        self._require_rate(request, "votes", rater.id)
        place = int(form.get("item", "")) if form.get("item", "").isdecimal() and len(form["item"]) < 6 else -1
        first_open = next((k for k in range(len(items)) if k not in answered), len(items))
        if not (0 <= place < len(items) and (place in answered or place == first_open)):
            raise _RefusedError(
                400, "wrong_item", "This page does not fit where you are. Go on to the study.", item=place
            )
        item = items[place]
        query = self._site.queries[item.query]
        questions = self._site.study.questions_of(query)
        if any(question.name not in form for question in questions):
            return self._item(items, place, session=session, missing=True)
        answers = {question.name: form[question.name] for question in questions}
        if wrong := [q.name for q in questions if answers[q.name] not in allowed_answers(q, options=len(item.order))]:
            raise _RefusedError(400, "wrong_answer", "This answer was not among the choices.", question=wrong[0])
        store = self._site.store
        try:
            await run_in_threadpool(store.vote, rater.id, item=place, shown=item, answers=answers)
        except DataError:
            return self._page("closed", status=410)
        return _see("/task")

    async def done(self, request: Request) -> Response:
        """Thanks, the completion code, and room for a remark."""
        rater, session = await self._rater(request)
        if rater.finished is None:
            return _see("/task")
        thanked = False
        if request.method == "POST":
            form = await self._form(request)
            self._require_token(session, form)
            self._require_rate(request, "votes", rater.id)
            await run_in_threadpool(self._site.store.finish, rater.id, comment=form.get("comment", "").strip()[:2000])
            thanked = True
        code = completion_code(self._site.secret, rater.id)
        token = self._site.signer.form_token(session)
        return self._page("done", code=code, token=token, url=self._site.completion_url, thanked=thanked)

    # -- files -------------------------------------------------------------------------------------------------
    async def picture(self, request: Request) -> Response:
        """A picture of the study, by a name that the study lists; nothing else is ever opened."""
        name = request.path_params["name"]
        if name not in self._site.study.pictures:
            raise _RefusedError(404, "wrong_picture", "There is no such picture.", name=name[:200])
        kept = {"cache-control": "private, max-age=86400, immutable"}
        return FileResponse(self._site.folder / PICTURES / name, media_type="image/png", headers=kept)

    async def static(self, request: Request) -> Response:
        """Style and scripts, by name."""
        name = request.path_params["name"]
        if name not in ("study.css", "study.js", "htmx.min.js"):
            raise _RefusedError(404, "wrong_file", "There is no such file.", name=name[:200])
        return FileResponse(_STATIC / name, headers={"cache-control": "public, max-age=3600"})

    # -- the owner ---------------------------------------------------------------------------------------------
    async def owner(self, request: Request) -> Response:
        """The owner's link opens the progress page in this browser."""
        if self._site.signer.read(request.path_params["token"], purpose="owner link") != "owner":
            raise _RefusedError(404, "forged_owner_link", "This link does not lead to a study.")
        answer = _see("/progress")
        self._set_cookie(answer, "owner", Session("owner", new_nonce()))
        return answer

    async def progress(self, request: Request) -> Response:
        """Votes, agreement and raters so far; a POST closes the study or opens it again."""
        session = self._owner(request)
        if request.method == "POST":
            form = await self._form(request)
            self._require_token(session, form)
            await run_in_threadpool(self._site.store.set_open, form.get("do") == "open", by="owner")
            return _see("/progress")
        token = self._site.signer.form_token(session)
        return await self._progress_page("progress", within=_within(request), token=token)

    async def progress_now(self, request: Request) -> Response:
        """The part of the progress page that changes, for who looks on."""
        self._owner(request)
        return await self._progress_page("progress_now", within=_within(request))

    async def _progress_page(self, name: str, *, within: int, **given: Any) -> Response:
        site = self._site

        def look() -> dict[str, Any]:
            raters, votes = site.store.raters(), site.store.votes()
            found = progress_of(site.study, raters=raters, votes=votes, within=within / 100)
            return {"now": found, "is_open": site.store.is_open, "within": within, "widest": WIDEST}

        return self._page(name, **await run_in_threadpool(look), **given)

    # -- who asks, and with what -------------------------------------------------------------------------------
    def _session(self, request: Request, who: str) -> Session | None:
        return self._site.signer.session(request.cookies.get(_COOKIES[who]), purpose=f"{who} session")

    async def _rater(self, request: Request) -> tuple[Rater, Session]:
        session = self._session(request, "rater")
        known = session and await run_in_threadpool(self._site.store.rater, session.name, session=session.nonce)
        if session is None or known is None:
            raise _RefusedError(403, "no_session", "Please open your personal link first, in this browser.")
        return known, session

    def _owner(self, request: Request) -> Session:
        session = self._session(request, "owner")
        if session is None:
            raise _RefusedError(403, "no_owner", "Please open the owner's link first, in this browser.")
        return session

    def _set_cookie(self, answer: Response, who: str, session: Session) -> None:
        value = self._site.signer.sign([session.name, session.nonce], purpose=f"{who} session")
        answer.set_cookie(
            _COOKIES[who], value, max_age=90 * _DAY, httponly=True, samesite="lax", secure=self._site.secure
        )

    async def _form(self, request: Request) -> dict[str, str]:
        """The fields of a small form, each once."""
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                raise _RefusedError(413, "large_body", "This form is too long.")
        try:
            found = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=50, errors="strict")
        except ValueError as error:  # also text that is no UTF-8
            raise _RefusedError(400, "bad_form", "This form could not be read.") from error
        return {name: values[-1].replace("\0", "") for name, values in found.items()}

    def _require_token(self, session: Session, form: Mapping[str, str]) -> None:
        if not self._site.signer.is_form_of(session, form.get("token", "")):
            raise _RefusedError(403, "bad_token", "This form was not made for you. Open the page again and repeat.")

    def _address(self, request: Request) -> str:
        return request.client.host if request.client else "unknown"

    def _require_rate(self, request: Request, kind: str, key: str) -> None:
        if not self._site.limits.allows(kind, key):
            raise _RefusedError(429, f"limited_{kind}", "That was very fast. Please wait a minute and go on.")

    async def refused(self, request: Request, error: Exception) -> Response:
        """A page that says what was wrong; the audit log has it, too, as often as one address may err."""
        assert isinstance(error, HTTPException)
        address, status = self._address(request), error.status_code
        if self._site.limits.allows("refused", address):
            event = error.event if isinstance(error, _RefusedError) else "not_found"
            detail = error.facts if isinstance(error, _RefusedError) else {}
            told = {"path": request.url.path[:200] if status == 404 else "", "address": address, **detail}
            await run_in_threadpool(self._site.store.log, f"refused_{event}", detail=told)
        elif status in (403, 404):
            status = 429  # who guesses learns nothing more
        return self._page("refused", status=status, told=error.detail)


PLATFORMS = {"prolific": "PROLIFIC_PID", "mturk": "workerId"}
"""Recruiting platforms, and the parameter in which each names a rater."""


def _see(path: str) -> RedirectResponse:
    return RedirectResponse(path, status_code=303)


def _within(request: Request) -> int:
    """Points, half the width of the interval that the owner asks about."""
    text = request.query_params.get("within", str(round(100 * WITHIN)))
    if not (text.isdecimal() and len(text) < 3 and 1 <= int(text) <= WIDEST):
        raise _RefusedError(400, "wrong_interval", f"The interval is a whole number of points from 1 to {WIDEST}.")
    return int(text)


def _minutes(site: Site) -> int:
    """About how long it takes: eight seconds a question."""
    items = assign(site.plan, 0)
    questions = sum(len(site.study.questions_of(site.queries[item.query])) for item in items)
    return max(1, round(questions * 8 / 60))
