"""What all pages share: templates, headers, sessions, errors as pages.

In: a browser's request. Out: HTML that holds no key. What can go wrong: no session, or one whose
key was revoked, leads to the sign-in page; what the engine refuses is told on a page, with its
next step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import jinja2
from polybatch.errors import PolybatchError
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from core.settings import Settings
from services.web.body import body_of
from services.web.client_parts import AioTransport
from services.web.dashboard import shown
from services.web.dashboard.feeds import Feeds
from services.web.dashboard.session import Session, Sessions, Tries, check_same_site
from services.web.errors import HttpError, from_engine
from services.web.upstream import Engine

FOLDER = Path(__file__).parent
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; font-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
_MAX_FORM_BYTES = 64 * 1024
_MAX_FIELDS = 200
_ASK_AGAIN = (
    '<!doctype html><html lang="en"><meta charset="utf-8">'
    '<meta http-equiv="refresh" content="0"><title>polybatch</title>'
)
_OF_SCRIPTS = ("application/json", "text/event-stream")
_SIGNED_OUT = ("API_KEY_INVALID", "API_KEY_REVOKED", "API_KEY_MISSING")


def static_version() -> str:
    """Of all static files: a new one makes new addresses, so that they may be kept for ever."""
    digest = hashlib.sha256()
    for path in sorted((FOLDER / "static").iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


class Site:
    """What is the same for all visits."""

    def __init__(self, transport: AioTransport, settings: Settings) -> None:
        self.transport = transport
        self.settings = settings
        self.sessions = Sessions(settings)
        self.tries = Tries()
        self.feeds = Feeds()
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        version = static_version()
        self._templates.globals.update(
            static=lambda name: f"/static/{version}/{name}",
            STATES=list(shown.STATES.values()),
        )
        self._templates.filters |= {
            "usd": shown.usd,
            "usd_left": shown.usd_left,
            "tick": shown.tick,
            "exact": shown.exact,
            "advice": shown.advice,
            "codes": shown.codes,
            "dated": shown.dated,
            "count": shown.count,
            "lines": shown.lines,
            "short": shown.short,
            "size": shown.size,
            "span": shown.span,
            "moment": shown.moment,
            "amount": shown.amount,
        }

    def text(self, template: str, **values: Any) -> str:
        """A template, filled in; every value is escaped."""
        return self._templates.get_template(template).render(values)


@dataclass
class Visit:
    """One request of somebody who is signed in."""

    site: Site
    request: Request
    session: Session
    engine: Engine

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """A whole page."""
        text = self.text(template, **values)
        return HTMLResponse(text, status, headers=HEADERS)

    def text(self, template: str, **values: Any) -> str:
        """The same as text, or a part of one."""
        path = self.request.url.path
        values = {"csrf": self.session.csrf, "path": path, "signed_in": True} | values
        return self.site.text(template, **values)

    async def form(self) -> dict[str, str]:
        """The fields of a form of a page of ours. Raises HttpError."""
        fields = await read_form(self.request)
        self.session.check(fields.get("csrf", ""))
        return fields


Handler = Callable[[Visit], Awaitable[Response]]


def visited(site: Site, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint for those who are signed in; the others are led to the sign-in page."""

    async def endpoint(request: Request) -> Response:
        session = site.sessions.read(request)
        if session is None:
            if not body_of(request).ended:
                await body_of(request).drain()
            return signed_out(request)
        visit = Visit(site, request, session, Engine(site.transport.with_key(session.key)))
        try:
            if request.method not in ("GET", "HEAD"):
                check_same_site(request)
            return await handler(visit)
        except PolybatchError as error:
            if error.reason in _SIGNED_OUT:
                response = signed_out(request)
                site.sessions.end(request, response)
                return response
            failed, next_step = from_engine(error), error.next_step
        except HttpError as error:
            failed, next_step = error, ""
        return await refused(visit, failed, next_step)

    return endpoint


async def refused(visit: Visit, error: HttpError, next_step: str) -> Response:
    """The page of what went wrong; JSON for a script that asked for it."""
    body = body_of(visit.request)
    if not body.ended:
        # Who is still sending reads no answer before the last byte has gone.
        await body.drain()
    if "application/json" in visit.request.headers.get("accept", ""):
        raise error
    response = visit.page(
        "error.html",
        error.status,
        code=error.status,
        message=error.message,
        next_step=next_step,
    )
    response.headers.update(error.headers)
    if not body.ended:
        response.headers["connection"] = "close"
    return response


def signed_out(request: Request) -> Response:
    """To the sign-in page, and from there back to a page that was asked for."""
    accepted = request.headers.get("accept", "")
    if any(kind in accepted for kind in _OF_SCRIPTS):
        raise HttpError(401, "The session has ended: sign in again.", "signed_out")
    if request.headers.get("sec-fetch-site") == "cross-site" and request.method == "GET":
        # A link on another site: the browser holds a strict cookie back, until we ask ourselves.
        return HTMLResponse(_ASK_AGAIN, headers=HEADERS)
    path = request.url.path
    back = f"?next={quote(path)}" if request.method == "GET" and path != "/" else ""
    return redirect(f"/sign-in{back}")


def redirect(path: str) -> Response:
    """To another page of ours, by GET."""
    return RedirectResponse(path, 303, headers=HEADERS)


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form without a file; of one that comes twice, the last. Raises HttpError."""
    raw = bytearray()
    async for piece in body_of(request).pieces():
        raw += piece
        if len(raw) > _MAX_FORM_BYTES:
            raise HttpError(413, f"The form has more than {_MAX_FORM_BYTES} bytes.")
    try:
        fields = parse_qs(
            raw.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict"
        )
    except ValueError:
        raise HttpError(400, "This is not a form that a browser sends.") from None
    return {name: values[-1] for name, values in fields.items()}
