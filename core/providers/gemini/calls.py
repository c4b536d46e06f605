"""Gemini's models, one call each: POST /v1beta/models/MODEL:generateContent.

Facts: ai.google.dev/api/generate-content; google-genai 3.4 models.py. A batch's `request` is the
body of such a call as it is; its results hold responses as the API gives them, and
google.rpc.Status for errors. Embeddings are left to batches: no answer of :embedContent is
documented to tell tokens, so nobody would know what it has cost.
"""

from __future__ import annotations

from dataclasses import replace
from time import time
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from msgspec import Meta, Raw

from core.endpoints import EMBEDDINGS
from core.providers.contract import ResultLine
from core.providers.direct.contract import CallLimits
from core.providers.direct.standard_tier import without
from core.providers.direct.translated import CUSTOM_ID, CallForm, Request, TranslatedCalls
from core.providers.gemini.adapter import LIMITS, GeminiProvider, read_result
from core.providers.http.client import ProviderHttp

ENDPOINTS = LIMITS.endpoints - {EMBEDDINGS}

_METHOD = ":generateContent"
_TIER = ("serviceTier", "service_tier")
_MODELS = "/v1beta/models/"


class _Line(msgspec.Struct):
    model: str
    key: str
    request: Raw


class _Refusal(msgspec.Struct):
    error: Any


_line = msgspec.json.Decoder(_Line)
_refusal = msgspec.json.Decoder(_Refusal | Annotated[list[_Refusal], Meta(min_length=1)])
_encode = msgspec.json.Encoder().encode


def gemini_calls(
    http: ProviderHttp, adapter: GeminiProvider, call_limits: CallLimits
) -> TranslatedCalls:
    """Calls of generateContent with the key of `http`; `adapter` translates."""

    def encode(url: str, model: str, body: bytes, lenient: bool) -> bytes:
        line = adapter.encode_line(CUSTOM_ID, url, model, body, lenient=lenient)[0]
        # Its model stands in the address of a batch, and of a call.
        return b'{"model":%b,%b' % (_encode(adapter.remote_model(model)), line.removeprefix(b"{"))

    form = CallForm(encode, _take_apart, _row, _status_only, _read, adapter.remote_model)
    limits = replace(LIMITS, endpoints=ENDPOINTS)
    return TranslatedCalls(http, form, slug=adapter.name, limits=limits, call_limits=call_limits)


def _take_apart(raw: bytes) -> Request:
    line = _line.decode(raw)
    path = f"{_MODELS}{quote(line.model, safe='')}{_METHOD}"
    return Request(line.key, path, without(bytes(line.request), _TIER))


def _row(request: Request, succeeded: bool, body: bytes) -> bytes:
    if not succeeded:
        found = _refusal.decode(body)
        # Some of Google's servers give a list of one.
        refusal = found[0] if isinstance(found, list) else found
        return _encode({"key": request.custom_id, "error": refusal.error})
    return b'{"key":%b,"response":%b}' % (_encode(request.custom_id), body)


def _status_only(status: int) -> bytes:
    return _encode({"error": {"code": status, "message": f"status {status}"}})


def _read(request: Request, row: bytes) -> ResultLine:
    model = request.path.removeprefix(_MODELS).removesuffix(_METHOD)
    return read_result(row, int(time()), model)
