"""What surrounds every request: its id, body, errors, metrics, trace, and a line in the log."""

from __future__ import annotations

import asyncio
import time
import uuid

import structlog
from polybatch.errors import PolybatchError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core import tracing
from core.metrics import HTTP_IN_FLIGHT, HTTP_SECONDS
from core.settings import Settings
from services.web.body import BODY, Body
from services.web.errors import ClientGone, HttpError, error_response, from_engine

log = structlog.get_logger()

_QUIET = ("/healthz",)


class Exchange:
    """Answers each request, whatever goes wrong; the only place that turns errors into answers."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = Body(scope, receive, self._settings)
        scope[BODY] = body
        # Has the router raise what it would answer by itself.
        scope["app"] = self
        answer = _Answer(send, f"req_{uuid.uuid4().hex}", self._settings.upload_idle_timeout)
        started = time.perf_counter()
        with (
            HTTP_IN_FLIGHT.track_inprogress(),
            tracing.span(
                f"{scope['method']} http",
                "server",
                parent=_traceparent(scope),
                judged=False,
                attributes={"http.request.method": scope["method"]},
            ) as span,
        ):
            try:
                await self._answered(scope, body, answer)
            finally:
                route = getattr(scope.get("route"), "path", "none")
                method = scope["method"] if route != "none" else "any"
                HTTP_SECONDS.labels(route, method, str(answer.status)).observe(
                    time.perf_counter() - started
                )
                span.set("http.route", route)
                span.set("http.response.status_code", answer.status)
                if answer.status >= 500:
                    span.fail(str(answer.status))
                quiet = answer.status < 400 or route in _QUIET
                (log.debug if quiet else log.info)(
                    "http_ended",
                    method=method,
                    route=route,
                    status=answer.status,
                    request_id=answer.request_id,
                    duration_ms=round((time.perf_counter() - started) * 1000, 1),
                )

    async def _answered(self, scope: Scope, body: Body, answer: _Answer) -> None:
        try:
            await self._app(scope, body.receive, answer.send)
            return
        except ClientGone:
            return
        except HttpError as raised:
            error = raised
        except PolybatchError as raised:
            error = from_engine(raised, scope["path"])
        except HTTPException as raised:
            error = _of_router(scope, raised)
        except (asyncio.CancelledError, SlowReader):
            raise
        except Exception:
            log.exception("http_failed", request_id=answer.request_id)
            error = HttpError(500, f"Internal error, reference {answer.request_id}.", retry=True)
        if answer.started:
            # Too late for another answer. The connection is closed, and what came is short of
            # what was announced.
            log.info("answer_broken", status=error.status, request_id=answer.request_id)
            return
        response = error_response(scope["path"], error, answer.request_id)
        if not body.ended:
            await body.drain()
            if not body.ended:
                response.headers["connection"] = "close"
        await response(scope, body.receive, answer.send)


def _of_router(scope: Scope, raised: HTTPException) -> HttpError:
    """An address that is none, or takes another method; as OpenAI words it."""
    asked = f"{scope['method']} {scope['path'][:100]}"
    headers = dict(raised.headers or {})
    if raised.status_code == 405:
        # Starlette gives a set's order, which is another one each time.
        allowed = ", ".join(sorted(headers.pop("Allow", "").split(", ")))
        headers["allow"] = allowed
        text = f"Not allowed: {asked}. It takes {allowed}."
        return HttpError(405, text, "method_not_supported", headers=headers)
    text = f"Invalid URL ({asked}). /openapi.json has those that there are."
    return HttpError(raised.status_code, text, headers=headers)


class SlowReader(Exception):
    """The client does not take its answer."""


class _Answer:
    """Sends with an id and a time limit, and remembers what was sent."""

    def __init__(self, send: Send, request_id: str, patience: float) -> None:
        self._send = send
        self._patience = patience
        self.request_id = request_id
        self.started = False
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            name = self.request_id.encode()
            message["headers"] = [
                *message.get("headers", ()),
                (b"x-request-id", name),
                (b"request-id", name),
            ]
        try:
            async with asyncio.timeout(self._patience):
                await self._send(message)
        except TimeoutError:
            raise SlowReader from None


def _traceparent(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"traceparent":
            return str(value.decode("ascii", "replace"))
    return ""
