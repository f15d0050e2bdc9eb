"""What keeps a study honest on the open web: signed links and sessions, form tokens, limits."""

import hmac
import secrets
import time
from collections.abc import Callable
from typing import Any, NamedTuple  # Any: what a signed text holds is checked here

from itsdangerous import BadSignature, URLSafeSerializer

__all__ = ["LIMITS", "Limits", "RateLimits", "Session", "Signer", "completion_code"]

MAX_BODY = 32_768
"""Bytes of a form; no honest one comes near."""
_ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""Of completion codes: no letters that look like digits."""


class Session(NamedTuple):
    """Who a browser is: a rater (or "owner") and the secret of this browser."""

    name: str
    nonce: str


class Signer:
    """Links, cookies and form tokens of one study, which nobody without its key can make.

    Each purpose has its own salt, so that a form token is no session and a rater's link no owner's.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def _serializer(self, salt: str) -> Any:
        return URLSafeSerializer(self._secret, salt=f"likeness study {salt}", signer_kwargs={"digest_method": _sha256})

    def sign(self, value: object, *, purpose: str) -> str:
        """The value with its signature, fit for a URL."""
        return str(self._serializer(purpose).dumps(value))

    def read(self, text: str, *, purpose: str) -> Any:
        """The value that was signed for this purpose; None for any other text."""
        try:
            return self._serializer(purpose).loads(text)
        except BadSignature:
            return None

    def session(self, cookie: str | None, *, purpose: str) -> Session | None:
        """The session of a cookie; None without a good one."""
        found = self.read(cookie, purpose=purpose) if cookie else None
        match found:
            case [str(name), str(nonce)]:
                return Session(name, nonce)
            case _:
                return None

    def form_token(self, session: Session) -> str:
        """What a form of this session must carry."""
        return self.sign([session.name, session.nonce], purpose="form")

    def is_form_of(self, session: Session, token: str) -> bool:
        """Whether the form was made for this session."""
        return hmac.compare_digest(token.encode(), self.form_token(session).encode())


def _sha256(data: bytes = b"") -> Any:
    import hashlib

    return hashlib.sha256(data)


def new_nonce() -> str:
    """A secret for a new browser."""
    return secrets.token_urlsafe(18)


def completion_code(secret: str, rater: str) -> str:
    """The code that a rater shows to be paid: nobody can guess another's."""
    digest = hmac.digest(secret.encode(), f"code {rater}".encode(), "sha256")
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:10])


class Limits(NamedTuple):
    """How much is allowed a minute: of joins and refused requests by address, of votes by rater."""

    joins: int = 60
    refused: int = 30
    votes: int = 90


LIMITS = Limits()


class RateLimits:
    """Buckets of tokens that fill again over time, by kind and key; kept in this process alone."""

    def __init__(self, limits: Limits = LIMITS, *, now: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._now = limits._asdict(), now
        self._buckets: dict[tuple[str, str], tuple[float, float]] = {}

    def allows(self, kind: str, key: str, *, cost: float = 1.0) -> bool:
        """Whether one more is allowed now, which counts it; a cost of 0 only asks."""
        most, now = float(self._limits[kind]), self._now()
        left, at = self._buckets.get((kind, key), (most, now))
        left = min(most, left + (now - at) * most / 60)
        is_allowed = left >= max(cost, 1e-9 if cost else 1.0)
        self._buckets[kind, key] = (left - cost if is_allowed else left, now)
        if len(self._buckets) > 50_000:
            self._drop_full(now)
        return is_allowed

    def _drop_full(self, now: float) -> None:
        """Forgets who would have a full bucket by now."""
        self._buckets = {key: found for key, found in self._buckets.items() if now - found[1] < 60}
