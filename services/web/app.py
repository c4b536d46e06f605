"""The application: which address leads where."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from polybatch._transport.methods import Server
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp

from core.settings import Settings
from services.web.anthropic import batches as messages
from services.web.dashboard.routes import dashboard_routes
from services.web.errors import ANTHROPIC_PREFIX
from services.web.middleware import Exchange
from services.web.openai import batches, files, models, uploads
from services.web.responses import json_response
from services.web.upstream import Engine, Upstream

Handler = Callable[[Request, Engine], Awaitable[Response]]

_MESSAGES = f"{ANTHROPIC_PREFIX}/v1/messages/batches"

ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "/v1/files", files.create),
    ("GET", "/v1/files", files.list_all),
    ("GET", "/v1/files/{file_id}", files.retrieve),
    ("DELETE", "/v1/files/{file_id}", files.delete),
    ("GET", "/v1/files/{file_id}/content", files.content),
    ("POST", "/v1/uploads", uploads.create),
    ("POST", "/v1/uploads/{upload_id}/parts", uploads.add_part),
    ("POST", "/v1/uploads/{upload_id}/complete", uploads.complete),
    ("POST", "/v1/uploads/{upload_id}/cancel", uploads.cancel),
    ("POST", "/v1/batches", batches.create),
    ("GET", "/v1/batches", batches.list_all),
    ("GET", "/v1/batches/{batch_id}", batches.retrieve),
    ("POST", "/v1/batches/{batch_id}/cancel", batches.cancel),
    ("POST", _MESSAGES, messages.create),
    ("GET", _MESSAGES, messages.list_all),
    ("GET", f"{_MESSAGES}/{{batch_id}}", messages.retrieve),
    ("DELETE", f"{_MESSAGES}/{{batch_id}}", messages.delete),
    ("POST", f"{_MESSAGES}/{{batch_id}}/cancel", messages.cancel),
    ("GET", f"{_MESSAGES}/{{batch_id}}/results", messages.results),
    ("GET", "/v1/models", models.list_all),
    ("GET", "/v1/models/{model:path}", models.retrieve),
)


def create_app(upstream: Upstream, settings: Settings, stopping: Callable[[], bool]) -> ASGIApp:
    """The whole of it. `stopping`: whether health checks are to send clients elsewhere.

    Raises StartupError.
    """
    routes = [
        *_routes(upstream),
        Route("/healthz", _health(upstream, stopping)),
        *dashboard_routes(upstream.transport, settings),
    ]
    # Not a Starlette, which answers errors before Exchange sees them. Slashes mean what they
    # say: a redirect would make a POST a GET.
    return Exchange(Router(routes, redirect_slashes=False), settings)


def _routes(upstream: Upstream) -> list[BaseRoute]:
    """One route for each address: one of another method is refused as such."""
    methods: dict[str, dict[str, Handler]] = {}
    for method, path, handler in ROUTES:
        methods.setdefault(path, {})[method] = handler
    return [
        Route(path, _endpoint(handlers, upstream), methods=list(handlers))
        for path, handlers in methods.items()
    ]


def _endpoint(
    handlers: dict[str, Handler], upstream: Upstream
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await handlers[method](request, upstream.engine(request))

    return endpoint


def _health(
    upstream: Upstream, stopping: Callable[[], bool]
) -> Callable[[Request], Awaitable[Response]]:
    async def health(_request: Request) -> Response:
        found = {
            "gateway": await upstream.serving(Server.GATEWAY),
            "collector": await upstream.serving(Server.COLLECTOR),
        }
        well = all(found.values()) and not stopping()
        return json_response({"serving": well, **found}, 200 if well else 503)

    return health
