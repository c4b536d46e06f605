"""Files with bad lines: the report, the refusal, and the way around it."""

from __future__ import annotations

import gzip
import json

import grpc
import pytest
from polybatch.v1 import batches_pb2, files_pb2

from tests.support.gateway.running import CHAT, Gateway, StartGateway, line, lines, refused
from tests.support.ledger.rows import reread

CLAUDE = {
    "model": "anthropic/claude-4.6-sonnet",
    "messages": [{"role": "user", "content": "Hi"}],
    "max_tokens": 10,
}
MESSAGES = [{"role": "user", "content": "Hi"}]

BAD = {
    "not JSON": (b"{oops", "", "invalid_json"),
    "not an object": (b"[1]", "", "not_an_object"),
    "not UTF-8": (b'{"custom_id": "\xff"}', "", "invalid_utf8"),
    "no custom_id": (line(custom_id=...), "custom_id", "missing_field"),
    "empty custom_id": (line(""), "custom_id", "empty_field"),
    "custom_id of another type": (line(5), "custom_id", "wrong_type"),
    "unknown provider": (
        line("p", provider="cohere", body={"model": "m", "messages": MESSAGES}),
        "provider",
        "unknown_provider",
    ),
    "no provider to be told": (
        line("n", provider=..., body={"model": "m", "messages": MESSAGES}),
        "provider",
        "missing_field",
    ),
    "another method": (line("m", method="GET"), "method", "unsupported_method"),
    "unsupported url": (line("u", url="/v1/images"), "url", "unsupported_url"),
    "a url unlike the first line's": (
        line("o", url="/v1/embeddings", body={"model": "openai/e", "input": "x"}),
        "url",
        "url_mismatch",
    ),
    "no body": (line("b", body=...), "body", "missing_field"),
    "no model": (line("l", body={"messages": MESSAGES}), "body.model", "missing_field"),
    "no messages": (line("s", body={"model": "openai/m"}), "body.messages", "missing_field"),
    "a model of another provider": (
        line("x", body={"model": "anthropic/claude", "messages": MESSAGES}),
        "body.model",
        "model_provider_mismatch",
    ),
    "streaming": (
        line("t", body={"model": "openai/m", "messages": MESSAGES, "stream": True}),
        "body.stream",
        "streaming_unsupported",
    ),
    "a duplicate": (line("first"), "custom_id", "duplicate_custom_id"),
    "what cannot be translated": (
        line("c", provider="anthropic", body=CLAUDE | {"n": 2}),
        "body.n",
        "unsupported_parameter",
    ),
}


async def test_every_kind_of_bad_line_is_reported(gateway: Gateway) -> None:
    content = line("first") + b"\n" + b"\n".join(raw for raw, _, _ in BAD.values())
    response = await gateway.upload(content)
    file = response.file
    assert file.state == files_pb2.FILE_STATE_INVALID
    assert (file.line_count, file.invalid_line_count) == (len(BAD) + 1, len(BAD))
    expected = [
        (number, field, reason) for number, (_, field, reason) in enumerate(BAD.values(), start=2)
    ]
    report = await gateway.report(file.id)
    assert [(row["line"], row["field"], row["reason"]) for row in report] == expected
    assert file.problem_count == len(report)
    for row in report:
        assert set(row) == {
            "line",
            "custom_id",
            "field",
            "reason",
            "message",
            "severity",
            "lenient",
        }
        assert row["severity"] == "error"
    assert [(each.line, each.field, each.reason) for each in response.problems] == expected
    assert [(each.model, each.line_count) for each in file.models] == [("openai/gpt-4.1", 1)]

    failure = await refused(gateway.create(file.id))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_LINES")
    assert failure.metadata["file_id"] == file.id
    assert [field for field, _ in failure.violations] == [
        f"line {number}: {field}" if field else f"line {number}" for number, field, _ in expected
    ]
    assert "line 15: body.messages" in dict(failure.violations)

    batch = await gateway.create(file.id, skip_invalid_lines=True)
    counts = batch.request_counts
    assert (counts.total, counts.failed, counts.queued) == (len(BAD) + 1, len(BAD), 1)
    assert batch.progress_percent == pytest.approx(100 * len(BAD) / (len(BAD) + 1))
    row = await reread(gateway.ledger, batch)
    assert (row.invalid, row.finished_high_water, row.skip_invalid_lines) == (
        len(BAD),
        len(BAD),
        True,
    )


async def test_at_most_twenty_problems_are_shown(gateway: Gateway) -> None:
    content = lines(1) + b"no\n" * 500
    response = await gateway.upload(content)
    assert len(response.problems) == 20
    assert response.file.problem_count == len(await gateway.report(response.file.id)) == 500
    failure = await refused(gateway.create(response.file.id))
    assert [field for field, _ in failure.violations] == [f"line {n}" for n in range(2, 22)]
    assert failure.metadata["invalid_line_count"] == "500"


async def test_only_bad_lines_make_no_batch(gateway: Gateway) -> None:
    file = (await gateway.upload(b"no\nno\n")).file
    assert (await refused(gateway.create(file.id))).reason == "INVALID_LINES"
    failure = await refused(gateway.create(file.id, skip_invalid_lines=True))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "NO_VALID_LINES")


async def test_a_lenient_batch_takes_what_only_loses_something(gateway: Gateway) -> None:
    content = b"\n".join(
        [
            line("good", provider="anthropic", body=CLAUDE),
            line("lost", provider="anthropic", body=CLAUDE | {"n": 2, "verbosity": "low"}),
            line("refused", provider="anthropic", body=CLAUDE | {"n": 2, "stop": 5}),
        ]
    )
    response = await gateway.upload(content)
    file = response.file
    assert file.state == files_pb2.FILE_STATE_INVALID
    assert (file.line_count, file.invalid_line_count, file.lenient_line_count) == (3, 2, 1)
    assert [(each.line, each.field, each.lenient) for each in response.problems] == [
        (2, "body.n", True),
        (2, "body.verbosity", True),
        (3, "body.n", True),
        (3, "body.stop", False),
    ]
    assert [row["lenient"] for row in await gateway.report(file.id)] == [True, True, True, False]

    failure = await refused(gateway.create(file.id))
    assert "lenient_translation would take 1 of them" in failure.message
    assert failure.metadata["lenient_line_count"] == "1"
    assert len(failure.violations) == 4
    failure = await refused(gateway.create(file.id, lenient_translation=True))
    assert (failure.reason, failure.metadata["invalid_line_count"]) == ("INVALID_LINES", "1")
    assert [field for field, _ in failure.violations] == ["line 3: body.stop"]

    strict = await gateway.create(file.id, skip_invalid_lines=True)
    lenient = await gateway.create(file.id, skip_invalid_lines=True, lenient_translation=True)
    assert (strict.lenient_translation, lenient.lenient_translation) == (False, True)
    assert (strict.request_counts.failed, strict.request_counts.queued) == (2, 1)
    assert (lenient.request_counts.failed, lenient.request_counts.queued) == (1, 2)


async def test_a_lenient_batch_is_another_than_a_strict_one(gateway: Gateway) -> None:
    file = (await gateway.upload(lines(1))).file
    strict = await gateway.create(file.id, request_id="strict")
    lenient = await gateway.create(file.id, request_id="lenient", lenient_translation=True)
    assert strict.id != lenient.id
    again = await gateway.create(file.id, request_id="lenient", lenient_translation=True)
    assert again.id == lenient.id
    failure = await refused(gateway.create(file.id, request_id="lenient"))
    assert failure.reason == "REQUEST_ID_REUSED"


async def test_models_are_told_once_each(gateway: Gateway) -> None:
    def ask(custom_id: str, model: str) -> bytes:
        return line(custom_id, body={"model": model, "messages": MESSAGES})

    models = [
        "openai/gpt-4.1",
        "openai/gpt-of-tomorrow",
        "openai/text-embedding-3-small",
        "openai/gpt-of-tomorrow",
        "openai/gpt-3.5-turbo",
        "openai/text-embedding-3-small",
    ]
    content = b"\n".join(ask(str(number), model) for number, model in enumerate(models))
    file = (await gateway.upload(content)).file
    assert (file.line_count, file.invalid_line_count, file.problem_count) == (6, 2, 2)
    report = await gateway.report(file.id)
    assert [(row["line"], row["reason"], row["severity"]) for row in report] == [
        (2, "unknown_model", "warning"),
        (3, "model_endpoint_mismatch", "error"),
        (5, "model_retired", "warning"),
        (6, "model_endpoint_mismatch", "error"),
    ]
    assert {row["field"] for row in report} == {"body.model"}


async def test_what_a_translation_leaves_out_is_a_warning(gateway: Gateway) -> None:
    content = line("c", provider="anthropic", body=CLAUDE | {"seed": 1})
    response = await gateway.upload(content)
    assert response.file.state == files_pb2.FILE_STATE_READY
    assert (response.file.problem_count, len(response.problems)) == (0, 0)
    (row,) = await gateway.report(response.file.id)
    assert (row["line"], row["field"], row["severity"]) == (1, "body.seed", "warning")
    assert (await gateway.create(response.file.id)).state == batches_pb2.BATCH_STATE_VALIDATING


async def test_a_report_is_in_line_order_over_segments(gateway: Gateway) -> None:
    """Duplicates come to light at the end; their problems stand among the others."""
    rows = lines(3000, size=150).splitlines(keepends=True)
    for number in range(0, 3000, 7):
        rows[number] = b"no\n"
    for number in range(3, 3000, 11):
        rows[number] = line("again", size=149) + b"\n"
    response = await gateway.upload(b"".join(rows))
    report = await gateway.report(response.file.id)
    numbers = [row["line"] for row in report]
    assert numbers == sorted(numbers)
    reasons = {row["reason"] for row in report}
    assert reasons == {"invalid_json", "duplicate_custom_id"}
    assert response.file.invalid_line_count == len(set(numbers)) == len(numbers)
    assert [each.line for each in response.problems] == numbers[:20]
    counted = sum(each.line_count for each in response.file.models)
    assert counted == 3000 - len(numbers)


async def test_a_report_is_downloaded_from_an_offset(gateway: Gateway) -> None:
    file = (await gateway.upload(b"no\n" * 50)).file
    report = await gateway.download(file.id, report=True)
    assert await gateway.download(file.id, report=True, offset=100) == report[100:]
    assert await gateway.download(file.id, report=True, offset=len(report)) == b""
    failure = await refused(
        gateway.files.DownloadFile(
            files_pb2.DownloadFileRequest(
                file_id=file.id,
                offset=len(report) + 1,
                content=files_pb2.FILE_CONTENT_VALIDATION_REPORT,
            ),
            metadata=gateway.metadata,
        ).read()
    )
    assert (failure.code, failure.reason) == (
        grpc.StatusCode.OUT_OF_RANGE,
        "OFFSET_OUT_OF_RANGE",
    )


@pytest.mark.parametrize(
    ("keys", "provider", "variable"),
    [
        (("openai",), "anthropic", "ANTHROPIC_API_KEY"),
        (("anthropic",), "openai", "OPENAI_API_KEY"),
        ((), "anthropic,openai", "ANTHROPIC_API_KEY, OPENAI_API_KEY"),
    ],
)
async def test_a_provider_without_a_key(
    start_gateway: StartGateway, keys: tuple[str, ...], provider: str, variable: str
) -> None:
    gateway = await start_gateway(keys=keys)
    content = lines(2) + line("c", provider="anthropic", body=CLAUDE)
    file = (await gateway.upload(content)).file
    assert file.state == files_pb2.FILE_STATE_READY
    failure = await refused(gateway.create(file.id))
    assert (failure.code, failure.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "PROVIDER_NOT_CONFIGURED",
    )
    assert variable in failure.message
    assert failure.metadata == {
        "file_id": file.id,
        "providers": provider,
        "variables": variable,
    }


async def test_a_provider_that_only_invalid_lines_name_needs_no_key(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(keys=("openai",))
    content = lines(1) + line("c", provider="anthropic", body=CLAUDE | {"n": 2})
    file = (await gateway.upload(content)).file
    batch = await gateway.create(file.id, skip_invalid_lines=True)
    assert (batch.request_counts.queued, batch.endpoint) == (1, CHAT)


async def test_contents_of_lines_stay_out_of_errors(gateway: Gateway) -> None:
    secret = "the patient's name is Ada"
    body = {"model": "openai/m", "messages": secret}
    response = await gateway.upload(line("a", body=body) + b"\n" + secret.encode())
    failure = await refused(gateway.create(response.file.id))
    for text in (
        str(response.problems),
        json.dumps(await gateway.report(response.file.id)),
        failure.message,
        str(failure.violations),
    ):
        assert "Ada" not in text


async def test_what_holds_no_lines_is_refused_once_and_by_name(gateway: Gateway) -> None:
    """As when a client of another language streams a compressed file, or CSV."""
    content = gzip.compress(lines(1000))
    answer = await gateway.upload(content)
    assert answer.file.state == files_pb2.FILE_STATE_INVALID
    assert (answer.file.bytes, answer.file.line_count) == (len(content), 0)
    assert [(each.line, each.reason) for each in answer.problems] == [(0, "not_json_lines")]
    for skip in (False, True):
        failure = await refused(
            gateway.submit(b"id,prompt\n1,Hello\n" * 9000, skip_invalid_lines=skip)
        )
        assert (failure.code, failure.reason) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "NOT_JSON_LINES",
        )
        assert "CSV" in failure.message
        assert "polybatch convert FILE" in failure.message
