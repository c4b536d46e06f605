"""Lines from one API's form into another's, by the gateway."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import grpc
from polybatch.v1 import conversion_pb2, conversion_pb2_grpc, files_pb2

from services.gateway.converting import GROUP_BYTES
from tests.support.gateway.running import Gateway, cut, line, refused

Request = conversion_pb2.ConvertLinesRequest


async def convert(
    gateway: Gateway, content: bytes, *, finish: bool = True, **spec: Any
) -> tuple[list[Any], Sequence[files_pb2.LineProblem]]:
    messages = [Request(spec=conversion_pb2.ConversionSpec(**spec))]
    messages += [Request(chunk=piece) for piece in cut(content, 1 << 20)]
    messages += [Request(finish=True)] if finish else []
    stub = conversion_pb2_grpc.ConversionServiceStub(gateway.channel)
    replies = [
        reply async for reply in stub.ConvertLines(iter(messages), metadata=gateway.metadata)
    ]
    lines = b"".join(reply.chunk for reply in replies)
    problems = [reply.problem for reply in replies if reply.HasField("problem")]
    return [json.loads(each) for each in lines.splitlines()], problems


async def test_lines_are_converted_and_the_others_named(gateway: Gateway) -> None:
    claude = {"model": "anthropic/claude-4.6-sonnet", "max_tokens": 5}
    hi = [{"role": "user", "content": "Hi"}]
    long = [{"role": "user", "content": "x" * 3_000_000}]
    content = b"\r\n".join(
        [
            line("a", provider="anthropic", body=claude | {"messages": long}),
            b"",
            line("b", provider="anthropic", body=claude | {"messages": hi, "n": 2}),
            line("c", body={"model": "gpt-4.1", "messages": hi}),
            line("d", provider="anthropic", body=claude | {"messages": hi}),
        ]
    )
    to = conversion_pb2.LINE_FORM_ANTHROPIC
    made, problems = await convert(gateway, content, to=to, first_line=10)
    assert [each["custom_id"] for each in made] == ["a", "d"]
    assert made[0]["params"]["messages"] == long
    assert [(each.line, each.custom_id, each.field, each.lenient) for each in problems] == [
        (12, "b", "body.n", True),
        (13, "c", "body.model", False),
    ]
    made, problems = await convert(gateway, content, to=to, lenient=True)
    assert [each["custom_id"] for each in made] == ["a", "b", "d"]
    assert [(each.line, each.field, each.lenient) for each in problems] == [
        (3, "body.n", True),
        (4, "body.model", False),
    ]


async def test_a_call_that_breaks_the_rules_is_refused(gateway: Gateway) -> None:
    too_much = b"x" * (gateway.settings.max_line_bytes + GROUP_BYTES + 1)
    for reason, content, asked in (
        ("CONVERSION_TOO_LARGE", too_much, {}),
        ("MALFORMED_STREAM", b"", {"to": 99}),
        ("INVALID_FIELD", b"", {"model": "m\n"}),
    ):
        failure = await refused(convert(gateway, content, **asked))
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    failure = await refused(convert(gateway, line(), finish=False))
    assert failure.reason == "UPLOAD_UNFINISHED"
