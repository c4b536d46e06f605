"""Batches of OpenAI's API.

In: the id of an uploaded file, and what is asked of its batch. Out: Batch objects. What can go
wrong: bad fields (400), no such file or batch (404), a batch that has ended (409), a limit (429).
A file with bad lines makes a batch that has failed, as at OpenAI.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from google.protobuf.duration_pb2 import Duration
from polybatch.errors import InvalidRequest
from polybatch.models import BatchPriority
from polybatch.models.money import to_money
from polybatch.v1 import batches_pb2, files_pb2
from starlette.requests import Request
from starlette.responses import Response

from core.endpoints import GENERATE_CONTENT, MESSAGES, OPENAI
from services.web.body import read_json
from services.web.client_parts import methods
from services.web.creating import create_batch
from services.web.errors import HttpError
from services.web.ids import InputFile, parse_batch, parse_file
from services.web.listing import list_batches
from services.web.openai.objects import batch_object, page
from services.web.operations import Text, WholeNumber, described
from services.web.responses import json_response
from services.web.upstream import Engine

LIMIT = WholeNumber("limit", 20, 100)
AFTER = Text("after")

_SPAN = re.compile(r"([0-9]{1,6})([smhd])", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_ENDPOINTS = OPENAI | {MESSAGES, GENERATE_CONTENT}
_LONGEST_WINDOW = 7 * 86_400
_OUTPUT_SECONDS = (3600, 2_592_000)


class ExpiresAfter(msgspec.Struct, forbid_unknown_fields=True):
    """`expires_after` of files and uploads, `output_expires_after` of batches."""

    anchor: Annotated[str, described(enum=["created_at"])]
    seconds: Annotated[int, described(minimum=_OUTPUT_SECONDS[0], maximum=_OUTPUT_SECONDS[1])]

    def check(self, param: str) -> None:
        """Raises HttpError (400)."""
        if self.anchor != "created_at":
            raise _invalid(f"{param}.anchor", "'created_at'", self.anchor)
        low, high = _OUTPUT_SECONDS
        if not low <= self.seconds <= high:
            raise _invalid(f"{param}.seconds", f"from {low} to {high}", self.seconds)


# What the field of a message can hold; what is right, the engine knows.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Usd = Annotated[Decimal, described(type=["number", "string"])]
Span = Annotated[str, described(pattern=f"^{_SPAN.pattern}$")]


class CreateBatch(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a create; what comes behind `output_expires_after` is our own.

    A limit whose name is misspelled is refused, like any other field that there is not: without
    it the batch would run unlimited.
    """

    input_file_id: str
    endpoint: Annotated[str, described(enum=sorted(_ENDPOINTS))]
    completion_window: Span
    metadata: dict[str, str] | None = None
    output_expires_after: ExpiresAfter | None = None
    skip_invalid_lines: bool = False
    lenient_translation: bool = False
    fail_fast: bool = False
    max_cost: Usd | None = None
    key_id: str = ""
    webhook_url: str = ""
    name: str = ""
    priority: Annotated[str, described(enum=list(BatchPriority))] = BatchPriority.NORMAL
    canary_lines: Count = 0
    canary_max_failure_rate: float | None = None
    max_failure_rate: float | None = None
    rescue_before: Span | None = None
    reuse_answers: Span | None = None


async def create(request: Request, engine: Engine) -> Response:
    """POST /v1/batches."""
    asked = await read_json(request, CreateBatch)
    file_id = await _checked_file(asked, engine)
    if (kept := asked.output_expires_after) is not None:
        kept.check("output_expires_after")
    batch = await create_batch(
        request,
        engine,
        batches_pb2.CreateBatchRequest(
            input_file_id=file_id,
            completion_window=_window(asked.completion_window),
            metadata=asked.metadata or {},
            skip_invalid_lines=asked.skip_invalid_lines,
            lenient_translation=asked.lenient_translation,
            fail_fast=asked.fail_fast,
            max_cost=_money(asked.max_cost),
            key_id=asked.key_id,
            webhook_url=asked.webhook_url,
            name=asked.name,
            priority=_priority(asked.priority),
            canary_lines=asked.canary_lines,
            canary_max_failure_rate=asked.canary_max_failure_rate,
            max_failure_rate=asked.max_failure_rate,
            rescue_before=_span(asked.rescue_before, "rescue_before"),
            reuse_answers=_span(asked.reuse_answers, "reuse_answers"),
            keep_refused=True,
            results_retention=None if kept is None else Duration(seconds=kept.seconds),
        ),
    )
    return json_response(_shown(batch, asked.endpoint))


async def retrieve(request: Request, engine: Engine) -> Response:
    """GET /v1/batches/{batch_id}."""
    return json_response(_shown(await _call(request, engine, methods.GET_BATCH)))


async def cancel(request: Request, engine: Engine) -> Response:
    """POST /v1/batches/{batch_id}/cancel."""
    return json_response(_shown(await _call(request, engine, methods.CANCEL_BATCH)))


async def list_all(request: Request, engine: Engine) -> Response:
    """GET /v1/batches."""
    size, after = LIMIT.read(request), AFTER.read(request)
    batches, more = await list_batches(
        engine, size, parse_batch(after) if after else None, oldest_first=False
    )
    return json_response(page([_shown(each) for each in batches], more=more))


async def _call(request: Request, engine: Engine, method: methods.Method) -> Any:
    batch_id = parse_batch(request.path_params["batch_id"])
    kind = (
        batches_pb2.GetBatchRequest
        if method is methods.GET_BATCH
        else batches_pb2.CancelBatchRequest
    )
    return await engine.call(method, kind(batch_id=batch_id))


async def _checked_file(asked: CreateBatch, engine: Engine) -> str:
    """The engine's id of the input file. Raises HttpError where the fields do not fit."""
    if asked.endpoint not in _ENDPOINTS:
        raise _invalid("endpoint", f"one of {', '.join(sorted(_ENDPOINTS))}", asked.endpoint)
    _window(asked.completion_window)
    _priority(asked.priority)
    file = parse_file(asked.input_file_id)
    if not isinstance(file, InputFile):
        raise _invalid("input_file_id", "the id of an uploaded file", asked.input_file_id)
    found = await engine.call(methods.GET_FILE, files_pb2.GetFileRequest(file_id=file.file_id))
    if found.endpoint and found.endpoint != asked.endpoint:
        raise HttpError(
            400,
            f"The lines of the file are for {found.endpoint}, not for {asked.endpoint}.",
            "invalid_url",
            "endpoint",
        )
    return file.file_id


def _money(amount: Decimal | None) -> Any:
    if amount is None:
        return None
    try:
        return to_money(amount, "max_cost")
    except InvalidRequest as error:
        raise HttpError(400, error.message, "invalid_value", "max_cost") from error


def _priority(word: str) -> Any:
    try:
        return BatchPriority(word).to_proto()
    except ValueError:
        raise _invalid("priority", f"one of {', '.join(BatchPriority)}", word) from None


def _window(text: str) -> Duration:
    """OpenAI knows "24h" alone; here any span up to 7 days will do."""
    found = _span(text, "completion_window")
    if found is None or not 1 <= found.seconds <= _LONGEST_WINDOW:
        raise _invalid("completion_window", "'24h', or a span such as '90m', '36h', '7d'", text)
    return found


def _span(text: str | None, param: str) -> Duration | None:
    """Such as "90m", "36h", "7d"."""
    if text is None:
        return None
    match = _SPAN.fullmatch(text)
    if match is None:
        raise _invalid(param, "a span such as '90m', '36h', '7d'", text)
    return Duration(seconds=int(match[1]) * _UNITS[match[2]])


def _shown(batch: Any, endpoint: str = "") -> dict[str, Any]:
    shown = batch_object(batch)
    # A file without one valid line has no endpoint of its own.
    shown["endpoint"] = shown["endpoint"] or endpoint
    return shown


def _invalid(param: str, expected: str, given: object) -> HttpError:
    return HttpError(
        400,
        f"Invalid value {str(given)[:100]!r} for '{param}': expected {expected}.",
        "invalid_value",
        param,
    )
