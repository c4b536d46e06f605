"""Lines that failed, as Anthropic's results say it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

import pytest
from anthropic.types.messages import MessageBatchIndividualResponse
from polybatch.v1 import batches_pb2

from core.failure_hints import HINTS
from services.web.anthropic.objects import _TYPE_OF_CODE, result_lines


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        # Of these nothing is wrong with the request: the SDK's users send it again as it is.
        ("result_missing", "api_error"),
        ("canary_failed", "api_error"),
        ("unreachable", "api_error"),
        ("cost_limit", "billing_error"),
        ("rate_limit_exceeded", "rate_limit_error"),
        ("overloaded_error", "overloaded_error"),
        # It has to be changed.
        ("missing_field", "invalid_request_error"),
        ("token_limit_exceeded", "invalid_request_error"),
    ],
)
async def test_what_was_not_answered_says_whether_the_request_is_at_fault(
    code: str, kind: str
) -> None:
    line = {"custom_id": "a", "response": None, "error": {"code": code, "message": "Why."}}

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield json.dumps(line).encode() + b"\n"

    [read] = [each async for each in result_lines(chunks(), batches_pb2.Batch())]
    result = MessageBatchIndividualResponse.model_validate_json(read).result
    assert result.type == "errored"
    assert (result.error.error.type, result.error.error.message) == (kind, "Why.")


def test_the_codes_are_those_that_lines_have() -> None:
    assert _TYPE_OF_CODE.keys() <= HINTS.keys()
