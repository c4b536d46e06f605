"""The application: which address leads where."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp

from core.settings import Settings
from services.web.client_parts import Server
from services.web.dashboard.pages import Site
from services.web.dashboard.routes import dashboard_routes, with_lost_pages
from services.web.middleware import Exchange
from services.web.openapi import OPENAPI, describe
from services.web.operations import Handler
from services.web.responses import json_response
from services.web.routes import ROUTES
from services.web.upstream import Upstream


def create_app(upstream: Upstream, settings: Settings, stopping: Callable[[], bool]) -> ASGIApp:
    """The whole of it. `stopping`: whether health checks are to send clients elsewhere.

    Raises StartupError.
    """
    site = Site(upstream.transport, settings)
    routes = [
        *_routes(upstream),
        Route("/healthz", _health(upstream, stopping)),
        Route(OPENAPI, _description()),
        *dashboard_routes(site),
    ]
    # Not a Starlette, which answers errors before Exchange sees them. Slashes mean what they
    # say: a redirect would make a POST a GET.
    router = Router(routes, redirect_slashes=False)
    return Exchange(with_lost_pages(site, router), settings)


def _routes(upstream: Upstream) -> list[BaseRoute]:
    """One route for each address: one of another method is refused as such."""
    methods: dict[str, dict[str, Handler]] = {}
    for each in ROUTES:
        methods.setdefault(each.path, {})[each.method] = each.handler
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


def _description() -> Callable[[Request], Awaitable[Response]]:
    """What the API is, for anybody: a key is needed to call it, not to know it."""
    described = json_response(describe(ROUTES)).body

    async def description(_request: Request) -> Response:
        return Response(described, media_type="application/json")

    return description


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
