"""Anthropic's Messages, one call each: POST /v1/messages.

Facts: anthropic 2.12.0 resources/messages; the Claude docs on errors (429, 500, 504, 529 and their
types). A batch's `params` are the body of a message as it is; its results hold messages and
errors as the API gives them.
"""

from __future__ import annotations

from dataclasses import replace
from time import time

import msgspec
from msgspec import Raw

from core.providers.anthropic.adapter import LIMITS, AnthropicProvider, read_result
from core.providers.anthropic.translation.response import STATUS_BY_ERROR
from core.providers.contract import ResultLine
from core.providers.direct.contract import CallLimits
from core.providers.direct.standard_tier import without
from core.providers.direct.translated import CUSTOM_ID, CallForm, Request, TranslatedCalls
from core.providers.http.client import ProviderHttp

ENDPOINTS = LIMITS.endpoints
_TIER = ("speed",)


class _Line(msgspec.Struct):
    custom_id: str
    params: Raw


_line = msgspec.json.Decoder(_Line)
_encode = msgspec.json.Encoder().encode


def anthropic_calls(
    http: ProviderHttp, adapter: AnthropicProvider, call_limits: CallLimits
) -> TranslatedCalls:
    """Messages with the key of `http`; `adapter` translates."""

    def encode(url: str, model: str, body: bytes, lenient: bool) -> bytes:
        return adapter.encode_line(CUSTOM_ID, url, model, body, lenient=lenient)[0]

    form = CallForm(encode, _take_apart, _row, _refusal, _read, adapter.remote_model)
    limits = replace(LIMITS, endpoints=ENDPOINTS)
    return TranslatedCalls(http, form, slug=adapter.name, limits=limits, call_limits=call_limits)


def _take_apart(raw: bytes) -> Request:
    line = _line.decode(raw)
    return Request(line.custom_id, "/v1/messages", without(bytes(line.params), _TIER))


def _row(request: Request, succeeded: bool, body: bytes) -> bytes:
    kind, member = ("succeeded", "message") if succeeded else ("errored", "error")
    return b'{"custom_id":%b,"result":{"type":"%b","%b":%b}}' % (
        _encode(request.custom_id),
        kind.encode(),
        member.encode(),
        body,
    )


def _refusal(status: int) -> bytes:
    usual = "api_error" if status >= 500 else "invalid_request_error"
    kind = next((kind for kind, its in STATUS_BY_ERROR.items() if its == status), usual)
    return _encode({"type": "error", "error": {"type": kind, "message": f"status {status}"}})


def _read(_request: Request, row: bytes) -> ResultLine:
    return read_result(row, int(time()))
