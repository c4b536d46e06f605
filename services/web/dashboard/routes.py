"""Which address leads to which page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from services.web.dashboard import (
    account,
    batches,
    create,
    live,
    resuming,
    sign_in,
    steering,
    webhooks,
)
from services.web.dashboard.pages import (
    FOLDER,
    HEADERS,
    Handler,
    Site,
    Visit,
    static_version,
    visited,
)
from services.web.errors import ANTHROPIC_PREFIX, HttpError

# Not the machine's own table: a script of another type is not run.
_KINDS = {
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
    "txt": "text/plain",
    "woff2": "font/woff2",
}
_APIS = ("/v1", ANTHROPIC_PREFIX)
Endpoint = Callable[[Request], Awaitable[Response]]


class _LineNumber(Convertor[int]):
    """Of a file: from 1 on. Python itself refuses to read numbers of thousands of digits."""

    regex = "[1-9][0-9]{0,8}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("line", _LineNumber())

PAGES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/", batches.show_list),
    ("GET", "/events", live.all_batches),
    ("POST", "/sign-out", sign_in.sign_out),
    ("GET", "/new", create.show),
    ("POST", "/new", create.upload),
    ("GET", "/new/{file_id}", create.review),
    ("POST", "/new/{file_id}", create.create),
    ("GET", "/new/{file_id}/report.jsonl", create.report),
    ("GET", "/uploads/{upload_id}", resuming.status),
    ("PATCH", "/uploads/{upload_id}", resuming.append),
    ("DELETE", "/uploads/{upload_id}", resuming.cancel),
    ("GET", "/samples/{name}.jsonl", create.sample),
    ("GET", "/batches/{batch_id}", batches.show),
    ("GET", "/batches/{batch_id}/events", live.batch),
    ("GET", "/batches/{batch_id}/cancel", steering.confirm_cancel),
    ("POST", "/batches/{batch_id}/cancel", steering.cancel),
    ("POST", "/batches/{batch_id}/pause", steering.pause),
    ("POST", "/batches/{batch_id}/resume", steering.resume),
    ("GET", "/batches/{batch_id}/retry", steering.confirm_retry),
    ("POST", "/batches/{batch_id}/retry", steering.retry),
    ("GET", "/batches/{batch_id}/delete", steering.confirm_delete),
    ("POST", "/batches/{batch_id}/delete", steering.delete),
    ("GET", "/batches/{batch_id}/results/{which}.jsonl", batches.download),
    ("GET", "/batches/{batch_id}/manifest.json", batches.manifest),
    ("GET", "/batches/{batch_id}/lines", batches.go_to_line),
    ("GET", "/batches/{batch_id}/lines/{line:line}", batches.show_line),
    ("GET", "/usage", account.usage),
    ("GET", "/keys", account.keys),
    ("GET", "/keys/{key_id}/revoke", account.confirm_revoke),
    ("POST", "/keys/{key_id}/revoke", account.revoke),
    ("GET", "/webhooks", webhooks.show),
    ("POST", "/webhooks", webhooks.create),
    ("GET", "/webhooks/{endpoint_id}/rotate", webhooks.confirm_rotate),
    ("POST", "/webhooks/{endpoint_id}/rotate", webhooks.rotate),
    ("GET", "/webhooks/{endpoint_id}/delete", webhooks.confirm_delete),
    ("POST", "/webhooks/{endpoint_id}/delete", webhooks.delete),
    ("POST", "/webhooks/{endpoint_id}/enable", webhooks.enable),
    ("POST", "/webhooks/{endpoint_id}/test", webhooks.test),
    ("POST", "/webhooks/deliveries/{delivery_id}/resend", webhooks.resend),
    ("GET", "/providers", account.providers),
)


def dashboard_routes(site: Site) -> list[BaseRoute]:
    """All of the dashboard."""
    methods: dict[str, dict[str, Endpoint]] = {
        "/sign-in": {"GET": _open(site, sign_in.show), "POST": _open(site, sign_in.submit)},
    }
    for method, path, handler in PAGES:
        methods.setdefault(path, {})[method] = visited(site, handler)
    return [
        Route("/static/{version}/{name}", _static(), methods=["GET"]),
        *(
            Route(path, _by_method(endpoints), methods=list(endpoints))
            for path, endpoints in methods.items()
        ),
    ]


def with_lost_pages(site: Site, app: ASGIApp) -> ASGIApp:
    """What answers a browser that asks for an address that is none with a page.

    `app`: a router that raises HTTPException for such an address. What programs ask for, and all
    of the APIs, it goes on to raise.
    """

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except HTTPException as error:
            request = Request(scope, receive)
            if not _reads_pages(request):
                raise
            await (await visited(site, _lost(error.status_code))(request))(scope, receive, send)

    return answered


def _reads_pages(request: Request) -> bool:
    path = request.url.path
    of_api = any(path == each or path.startswith(f"{each}/") for each in _APIS)
    return not of_api and "text/html" in request.headers.get("accept", "")


def _lost(status: int) -> Handler:
    async def lost(visit: Visit) -> Response:
        path = visit.request.url.path[:100]
        if status == 405:
            raise HttpError(405, f"{path} is where a form goes: use the button on its page.")
        raise HttpError(status, f"There is no page at {path}: look for a typing mistake in it.")

    return lost


def _by_method(endpoints: dict[str, Endpoint]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    return endpoint


def _open(site: Site, handler: Callable[[Site, Request], Awaitable[Response]]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return await handler(site, request)

    return endpoint


def _static() -> Endpoint:
    """Few and small: all of them are held."""
    files = {path.name: path.read_bytes() for path in (FOLDER / "static").iterdir()}
    version = static_version()

    async def static(request: Request) -> Response:
        name = request.path_params["name"]
        if request.path_params["version"] != version or name not in files:
            raise HttpError(404, "There is no such file: load the page again.")
        headers = {**HEADERS, "cache-control": "public, max-age=31536000, immutable"}
        kind = _KINDS[name.rpartition(".")[2]]
        return Response(files[name], headers=headers, media_type=kind)

    return static
