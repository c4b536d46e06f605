"""Who is signed in: a cookie that holds the key encrypted, and nothing on the server.

In: a key, or a cookie. Out: a cookie, or a Session. What can go wrong: a cookie that is forged,
too old, or of another secret is no session; the key in it may have been revoked meanwhile, which
the gateway says at the next call.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec
from cryptography.fernet import Fernet, InvalidToken
from starlette.requests import Request
from starlette.responses import Response

from core.serving import StartupError
from core.settings import Settings
from services.web.addresses import is_secure
from services.web.errors import HttpError

SESSION_SECONDS = 12 * 3600
_LEAST_SECRET = 32
_CLEAR, _SECURE = "polybatch_session", "__Host-polybatch_session"
# Tries that failed, from one address, in a minute.
_TRIES = 10
_SPAN = 60.0
_ADDRESSES = 10_000


@dataclass(frozen=True)
class Session:
    """One browser's: the key that all its calls are made with."""

    # No traceback shows them.
    key: str = field(repr=False)
    csrf: str = field(repr=False)
    """What each form of its pages holds."""

    def check(self, token: str) -> None:
        """Raises HttpError (403) for a form that is of no page of this session."""
        if not hmac.compare_digest(self.csrf.encode(), token.encode(errors="replace")):
            raise HttpError(403, "This form is of another session: load the page again.")


class _Sealed(msgspec.Struct):
    key: str
    csrf: str


class Sessions:
    """Makes and reads cookies."""

    def __init__(self, settings: Settings) -> None:
        """Raises StartupError where the secret is too short to be one."""
        given = settings.web_session_secret
        secret = given.get_secret_value() if given else secrets.token_urlsafe(_LEAST_SECRET)
        if len(secret) < _LEAST_SECRET:
            raise StartupError(
                f"POLYBATCH_WEB_SESSION_SECRET has {len(secret)} characters: at least "
                f"{_LEAST_SECRET} were expected, such as of `openssl rand -hex 32`"
            )
        digest = hashlib.sha256(b"polybatch session\0" + secret.encode()).digest()
        self._fernet = Fernet(base64.urlsafe_b64encode(digest))

    def read(self, request: Request) -> Session | None:
        """The session of a request; None without a valid one."""
        cookie = request.cookies.get(_SECURE if is_secure(request) else _CLEAR, "")
        try:
            sealed = self._fernet.decrypt(cookie.encode(), ttl=SESSION_SECONDS)
            found = msgspec.json.decode(sealed, type=_Sealed)
        except (InvalidToken, msgspec.DecodeError):
            return None
        return Session(found.key, found.csrf)

    def begin(self, request: Request, response: Response, key: str) -> None:
        """Set the cookie. It ends with the browser, at the latest after SESSION_SECONDS."""
        sealed = msgspec.json.encode(_Sealed(key, secrets.token_urlsafe(24)))
        secure = is_secure(request)
        response.set_cookie(
            _SECURE if secure else _CLEAR,
            self._fernet.encrypt(sealed).decode(),
            secure=secure,
            httponly=True,
            samesite="strict",
        )

    def end(self, request: Request, response: Response) -> None:
        """Take the cookie back."""
        secure = is_secure(request)
        response.delete_cookie(
            _SECURE if secure else _CLEAR, secure=secure, httponly=True, samesite="strict"
        )


class Tries:
    """How often signing in failed of late, by address; of this replica alone."""

    def __init__(self) -> None:
        self._failed: OrderedDict[str, list[float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Raises HttpError (429) where it was too often."""
        now = time.monotonic()
        recent = [each for each in self._failed.get(address, ()) if now - each < _SPAN]
        if len(recent) >= _TRIES:
            wait = _SPAN - (now - recent[0])
            raise HttpError(
                429,
                f"Too many keys that are not valid: try again in {wait:.0f} s.",
                "rate_limit_exceeded",
                retry_after=wait,
            )

    def begin(self, address: str) -> None:
        """Count one, as failed unless it is forgiven: tries at the same time count, too."""
        now = time.monotonic()
        recent = [each for each in self._failed.pop(address, []) if now - each < _SPAN]
        self._failed[address] = [*recent, now]
        while len(self._failed) > _ADDRESSES:
            self._failed.popitem(last=False)

    def forgive(self, address: str) -> None:
        """Take the last one back."""
        if times := self._failed.get(address):
            times.pop()


def check_same_site(request: Request) -> None:
    """Raises HttpError (403) for a form that another site's page has sent."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        ours = site in ("same-origin", "none")
    else:
        # Browsers say the other only over TLS, and to this machine.
        origin = request.headers.get("origin")
        ours = origin is None or urlsplit(origin).netloc == request.headers.get("host", "")
    if not ours:
        raise HttpError(403, "This form was sent by a page of another site.")
