"""The sandbox's HTTP interface: the vendors' batch APIs, their single calls, and its own under
/sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from services.sandbox.anthropic import errors as anthropic_errors
from services.sandbox.anthropic.api import VERSIONS, MessageBatches
from services.sandbox.anthropic.calls import Messages
from services.sandbox.anthropic.errors import AnthropicError
from services.sandbox.gemini.batches import Batches as GeminiBatches
from services.sandbox.gemini.calls import Models
from services.sandbox.gemini.errors import GeminiError, no_key, refused_key
from services.sandbox.gemini.files import FORMS
from services.sandbox.gemini.files import Files as GeminiFiles
from services.sandbox.http import api_key, gemini_key, json_response
from services.sandbox.kinds import provider_of
from services.sandbox.middleware import Front
from services.sandbox.mistral.jobs import MistralJobs
from services.sandbox.openai import errors as openai_errors
from services.sandbox.openai.batches import Batches
from services.sandbox.openai.calls import PATHS, Calls
from services.sandbox.openai.errors import OpenAIError
from services.sandbox.openai.files import Files
from services.sandbox.sandbox import Sandbox
from services.sandbox.store import Workspace

REFUSED_KEY = "invalid-key"
"""The one key that nobody has."""

_Handler = Callable[[Request, Workspace], Awaitable[Response]]
_Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(sandbox: Sandbox) -> Front:
    """The ASGI application of a sandbox."""
    files, batches, messages = Files(sandbox), Batches(sandbox), MessageBatches(sandbox)
    gemini_files, gemini_batches = GeminiFiles(sandbox), GeminiBatches(sandbox)
    mistral = MistralJobs(sandbox)
    calls, single, models = Calls(sandbox), Messages(sandbox), Models(sandbox)
    control = _Control(sandbox)

    def openai(path: str, method: str, handler: _Handler) -> Route:
        return Route(f"/v1{path}", _openai_endpoint(sandbox, handler), methods=[method])

    def anthropic(path: str, method: str, handler: _Handler) -> Route:
        endpoint = _anthropic_endpoint(sandbox, handler)
        return Route(f"/v1/messages/batches{path}", endpoint, methods=[method])

    def gemini(path: str, method: str, handler: _Handler) -> Route:
        return Route(path, _gemini_endpoint(sandbox, handler), methods=[method])

    def maker(method: str) -> _Handler:
        return partial(gemini_batches.create, method=method)

    routes = [
        openai("/files", "POST", files.upload),
        openai("/files", "GET", files.list),
        openai("/files/{file_id}", "GET", files.retrieve),
        openai("/files/{file_id}", "DELETE", files.delete),
        openai("/files/{file_id}/content", "GET", files.content),
        openai("/batches", "POST", batches.create),
        openai("/batches", "GET", batches.list),
        openai("/batches/{batch_id}", "GET", batches.retrieve),
        openai("/batches/{batch_id}/cancel", "POST", batches.cancel),
        openai("/batch/jobs", "POST", mistral.create),
        openai("/batch/jobs", "GET", mistral.list),
        openai("/batch/jobs/{batch_id}", "GET", mistral.retrieve),
        openai("/batch/jobs/{batch_id}/cancel", "POST", mistral.cancel),
        *(Route(path, _call(calls.answer), methods=["POST"]) for path in PATHS),
        Route("/v1/models", _call(calls.models), methods=["GET"]),
        Route("/v1/messages", _anthropic_endpoint(sandbox, single.create), methods=["POST"]),
        gemini("/v1beta/models/{model}:generateContent", "POST", models.generate),
        anthropic("", "POST", messages.create),
        anthropic("", "GET", messages.list),
        anthropic("/{batch_id}", "GET", messages.retrieve),
        anthropic("/{batch_id}", "DELETE", messages.delete),
        anthropic("/{batch_id}/results", "GET", messages.results),
        anthropic("/{batch_id}/cancel", "POST", messages.cancel),
        Route("/upload/v1beta/files", _gemini_upload(sandbox, gemini_files), methods=["POST"]),
        gemini("/v1beta/files", "GET", gemini_files.list),
        gemini("/v1beta/files/{file_id}:download", "GET", gemini_files.download),
        gemini("/download/v1beta/files/{file_id}:download", "GET", gemini_files.download),
        gemini("/v1beta/files/{file_id}", "GET", gemini_files.retrieve),
        gemini("/v1beta/files/{file_id}", "DELETE", gemini_files.delete),
        *(gemini(f"/v1beta/models/{{model}}:{each}", "POST", maker(each)) for each in FORMS),
        gemini("/v1beta/batches", "GET", gemini_batches.list),
        gemini("/v1beta/batches/{batch_id}", "GET", gemini_batches.retrieve),
        gemini("/v1beta/batches/{batch_id}", "DELETE", gemini_batches.delete),
        gemini("/v1beta/batches/{batch_id}:cancel", "POST", gemini_batches.cancel),
        Route("/healthz", control.health),
        Route("/sandbox/config", control.show, methods=["GET"]),
        Route("/sandbox/config", control.change, methods=["POST"]),
        Route("/sandbox/bill", control.bill, methods=["GET"]),
        Route("/sandbox/bill/lines", control.billed_lines, methods=["GET"]),
        Route("/sandbox/reset", control.reset, methods=["POST"]),
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await sandbox.close()

    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={404: _no_route, 405: _no_route, ClientDisconnect: _nobody_there},
    )
    return Front(app, sandbox)


async def _no_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    message = f"Invalid URL ({request.method} {request.url.path})"
    match provider_of(request.url.path):
        case "anthropic":
            return AnthropicError(status, "not_found_error", message).response()
        case "gemini":
            return GeminiError("NOT_FOUND", message).response()
    return OpenAIError(status, message).response()


async def _nobody_there(request: Request, error: Exception) -> Response:
    """The client went away while it sent its request: nobody reads this answer."""
    return Response(status_code=400)


def _openai_endpoint(sandbox: Sandbox, handler: _Handler) -> _Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            key = api_key(request)
            if not key or key == REFUSED_KEY:
                raise openai_errors.refused_key()
            return await handler(request, sandbox.store.workspace("openai", key))
        except OpenAIError as error:
            return error.response()

    return endpoint


def _call(handler: _Endpoint) -> _Endpoint:
    """A single call needs no key: servers at home ask for none."""

    async def endpoint(request: Request) -> Response:
        if api_key(request) == REFUSED_KEY:
            return openai_errors.refused_key().response()
        return await handler(request)

    return endpoint


def _anthropic_endpoint(sandbox: Sandbox, handler: _Handler) -> _Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            key = api_key(request)
            if not key or key == REFUSED_KEY:
                raise anthropic_errors.refused_key()
            version = request.headers.get("anthropic-version")
            if version not in VERSIONS:
                raise AnthropicError(
                    400,
                    "invalid_request_error",
                    f"anthropic-version: must be one of {', '.join(sorted(VERSIONS))}",
                )
            return await handler(request, sandbox.store.workspace("anthropic", key))
        except AnthropicError as error:
            return error.response()

    return endpoint


def _gemini_endpoint(sandbox: Sandbox, handler: _Handler) -> _Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            return await handler(request, _gemini_workspace(sandbox, request))
        except GeminiError as error:
            return error.response()

    return endpoint


def _gemini_upload(sandbox: Sandbox, files: GeminiFiles) -> _Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            if "upload_id" in request.query_params:
                return await files.proceed(request)
            return await files.start(request, _gemini_workspace(sandbox, request))
        except GeminiError as error:
            return error.response()

    return endpoint


def _gemini_workspace(sandbox: Sandbox, request: Request) -> Workspace:
    key = gemini_key(request)
    if not key:
        raise no_key()
    if key == REFUSED_KEY:
        raise refused_key()
    return sandbox.store.workspace("gemini", key)


class _Control:
    """The sandbox's own interface."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def health(self, request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def show(self, request: Request) -> Response:
        return json_response(self._sandbox.current())

    async def change(self, request: Request) -> Response:
        try:
            changes = msgspec.json.decode(await request.body(), type=dict[str, msgspec.Raw])
            self._sandbox.change({k: msgspec.json.decode(v) for k, v in changes.items()})
        except msgspec.DecodeError as error:
            return json_response({"error": str(error)}, 400)
        return json_response(self._sandbox.current())

    async def bill(self, request: Request) -> Response:
        return json_response(await self._sandbox.report())

    async def billed_lines(self, request: Request) -> Response:
        return StreamingResponse(self._sandbox.billed_lines(), media_type="application/jsonl")

    async def reset(self, request: Request) -> Response:
        await self._sandbox.reset()
        return json_response({"reset": True})
