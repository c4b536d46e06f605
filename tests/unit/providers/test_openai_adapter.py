"""OpenAI's files and batches, over real HTTP."""

from __future__ import annotations

import json
from datetime import timedelta
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from core.providers.contract import (
    Accepted,
    BadLine,
    Outcome,
    OutcomeUnknown,
    ProviderRejected,
    ProviderUnavailable,
    Refused,
    RemoteBatch,
    RemoteState,
    Upload,
)
from core.providers.http.client import ProviderHttp
from core.providers.openai.adapter import OpenAIProvider
from core.providers.openai.bodies import embedding_inputs
from tests.support.providers.fake_provider import (
    NOW,
    SPOOLED,
    Call,
    FakeProvider,
    Naps,
    breaking,
    connect,
    error,
    jsonl,
    make_intent,
    unused_url,
)

FILE = {"id": "file-1", "object": "file", "filename": "x.jsonl", "created_at": 1, "bytes": 1}
OURS = {"polybatch_shard": "shard_0001", "polybatch_token": "tok9"}


def batch(status: str = "in_progress", **fields: Any) -> dict[str, Any]:
    at = int(NOW.timestamp())
    return {"id": "batch_1", "object": "batch", "status": status, "created_at": at} | fields


def parts(call: Call) -> list[tuple[Any, str | None, Any]]:
    """Name, file name and content of each part of a multipart request."""
    head = f"content-type: {call.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + call.body)
    return [
        (
            part.get_param("name", header="content-disposition"),
            part.get_filename(),
            part.get_payload(decode=True),
        )
        for part in message.iter_parts()
    ]


async def test_submit(fake: FakeProvider, openai: OpenAIProvider, spool: Path) -> None:
    fake.on("POST", "/files", JSONResponse(FILE))
    fake.on("POST", "/batches", JSONResponse(batch("validating")))
    assert await openai.submit(make_intent(), spool) == Accepted("batch_1", "file-1")
    upload, creation = fake.calls
    assert parts(upload) == [
        ("purpose", None, b"batch"),
        ("expires_after[anchor]", None, b"created_at"),
        ("expires_after[seconds]", None, b"604800"),
        ("file", "pb-shard_0001-tok9.jsonl", SPOOLED),
    ]
    assert "transfer-encoding" not in upload.headers
    assert json.loads(creation.body) == {
        "input_file_id": "file-1",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "output_expires_after": {"anchor": "created_at", "seconds": 2_592_000},
        "metadata": OURS,
    }


async def test_an_upload_is_repeated_but_a_create_is_not(
    fake: FakeProvider, openai: OpenAIProvider, spool: Path
) -> None:
    fake.on("POST", "/files", Response(status_code=503), JSONResponse(FILE))
    fake.on("POST", "/batches", Response(status_code=503))
    assert isinstance(await openai.submit(make_intent(), spool), OutcomeUnknown)
    assert [len(call.body) > len(SPOOLED) for call in fake.seen("POST", "/files")] == [True, True]
    assert len(fake.seen("POST", "/batches")) == 1
    # The batch may exist, and need its file.
    assert fake.seen("DELETE", "/files/file-1") == []


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (
            error(400, "not .jsonl", "invalid_request_error"),
            Refused("invalid_request_error", "POST /files: not .jsonl", False),
        ),
        (
            error(429, "slow", "requests", "rate_limit_exceeded", retry_after="30"),
            Refused("upload_failed", "POST /files: slow", True, 30.0),
        ),
    ],
)
async def test_an_upload_that_fails_is_a_refusal(
    reply: Response,
    expected: Refused,
    fake: FakeProvider,
    openai: OpenAIProvider,
    spool: Path,
) -> None:
    fake.on("POST", "/files", reply)
    assert await openai.submit(make_intent(), spool) == expected
    assert fake.seen("POST", "/batches") == []


async def test_submit_to_nobody(naps: Naps, spool: Path) -> None:
    async with connect(unused_url(), naps) as http:
        outcome = await OpenAIProvider(http, settle=timedelta(0)).submit(make_intent(), spool)
    assert isinstance(outcome, Refused)
    assert outcome.transient


async def test_an_upload_that_takes_too_long_is_a_refusal(naps: Naps, spool: Path) -> None:
    async with (
        breaking(read=True, hold=True) as breaker,
        connect(breaker.url, naps, seconds=0.2) as http,
    ):
        outcome = await OpenAIProvider(http, settle=timedelta(0)).submit(make_intent(), spool)
    assert isinstance(outcome, Refused)
    assert outcome.transient


async def test_a_kept_file_that_is_refused_for_good_is_uploaded_anew_first(
    fake: FakeProvider, openai: OpenAIProvider, spool: Path
) -> None:
    fake.on("POST", "/files", JSONResponse(FILE))
    fake.on("POST", "/batches", error(400, "No such File object", "invalid_request_error"))
    again = await openai.submit(make_intent(), Upload("file-1"))
    assert isinstance(again, Refused)
    assert (again.transient, again.input_lost) == (True, True)
    anew = await openai.submit(make_intent(), spool)
    assert isinstance(anew, Refused)
    assert (anew.transient, anew.input_lost) == (False, False)


async def test_a_bad_key_says_nothing_of_a_kept_file(
    fake: FakeProvider, openai: OpenAIProvider
) -> None:
    bad = error(401, "bad key", "invalid_request_error", "invalid_api_key")
    fake.on("POST", "/batches", bad)
    refused = await openai.submit(make_intent(), Upload("file-1"))
    assert isinstance(refused, Refused)
    assert (refused.transient, refused.input_lost) == (False, False)


async def test_an_upload_whose_answer_was_lost_may_have_left_a_copy(
    fake: FakeProvider, openai: OpenAIProvider, spool: Path
) -> None:
    seen: list[Upload] = []

    async def gate(upload: Upload) -> None:
        seen.append(upload)

    fake.on("POST", "/files", Response(status_code=502), JSONResponse(FILE))
    fake.on("POST", "/batches", JSONResponse(batch("validating")))
    assert await openai.submit(make_intent(), spool, gate=gate) == Accepted("batch_1", "file-1")
    assert seen == [Upload("file-1", orphans=True)]


async def test_uploads_of_a_shard_are_deleted_by_name(
    fake: FakeProvider, openai: OpenAIProvider
) -> None:
    named = {
        "f1": "pb-shard_0001-tok9.jsonl",
        "f2": "pb-shard_0001-tok8.jsonl",
        "f3": "pb-shard_00012-tok9.jsonl",
        "f4": "theirs.jsonl",
        "f5": None,
    }
    files = [FILE | {"id": key, "filename": name} for key, name in named.items()]
    fake.on("GET", "/files", JSONResponse({"data": files, "has_more": False}))
    fake.on("DELETE", "/files/f1", JSONResponse({"deleted": True}))
    fake.on("DELETE", "/files/f2", JSONResponse({"deleted": True}))
    assert await openai.discard_all("shard_0001", NOW - timedelta(hours=1)) == 2
    deleted = [call.path for call in fake.calls if call.method == "DELETE"]
    assert deleted == ["/files/f1", "/files/f2"]


@pytest.mark.parametrize(
    "reply",
    [
        Response(b"{}"),
        Response(b"<html>"),
        Response(b""),
        JSONResponse({"id": "", "status": "validating"}),
    ],
)
async def test_an_acceptance_without_an_id_is_unknown(
    reply: Response, fake: FakeProvider, openai: OpenAIProvider, spool: Path
) -> None:
    fake.on("POST", "/files", JSONResponse(FILE))
    fake.on("POST", "/batches", reply)
    assert isinstance(await openai.submit(make_intent(), spool), OutcomeUnknown)


@pytest.mark.parametrize(
    ("status", "state", "ended_as"),
    [
        ("validating", RemoteState.RUNNING, ""),
        ("in_progress", RemoteState.RUNNING, ""),
        ("finalizing", RemoteState.RUNNING, ""),
        ("cancelling", RemoteState.STOPPING, ""),
        ("completed", RemoteState.ENDED, "completed"),
        ("expired", RemoteState.ENDED, "expired"),
        ("cancelled", RemoteState.ENDED, "cancelled"),
        ("hibernating", RemoteState.RUNNING, ""),
    ],
)
async def test_poll(
    status: str, state: RemoteState, ended_as: str, fake: FakeProvider, openai: OpenAIProvider
) -> None:
    counts = {"total": 5, "completed": 2, "failed": 1}
    fake.on(
        "GET", "/batches/batch_1", JSONResponse(batch(status, request_counts=counts, usage=None))
    )
    polled = await openai.poll("batch_1")
    assert (polled.state, polled.ended_as, polled.native_status) == (state, ended_as, status)
    assert (polled.total, polled.finished, polled.refusal) == (5, 3, None)


async def test_poll_with_the_least_of_fields(fake: FakeProvider, openai: OpenAIProvider) -> None:
    least = {"id": "batch_1", "status": "completed", "created_at": 5, "completed_at": 1790000000}
    fake.on("GET", "/batches/batch_1", JSONResponse(least))
    polled = await openai.poll("batch_1")
    assert (polled.total, polled.result_sources) == (0, ())
    assert polled.ended_at is not None
    assert polled.ended_at.timestamp() == 1790000000


def validation_error(code: str | None, **fields: Any) -> dict[str, Any]:
    return {"code": code, "message": f"about {code}", "param": None, "line": None} | fields


@pytest.mark.parametrize(
    ("errors", "refusal"),
    [
        (
            [validation_error("token_limit_exceeded")],
            Refused("token_limit_exceeded", "about token_limit_exceeded", True),
        ),
        (
            [validation_error("invalid_json_line", line=7)],
            Refused(
                "invalid_json_line",
                "about invalid_json_line",
                False,
                bad_lines=(BadLine(7, "invalid_json_line", "", "about invalid_json_line"),),
            ),
        ),
        (
            [validation_error("token_limit_exceeded"), validation_error("invalid_request", line=2)],
            Refused(
                "token_limit_exceeded",
                "about token_limit_exceeded; invalid_request: about invalid_request",
                False,
                bad_lines=(BadLine(2, "invalid_request", "", "about invalid_request"),),
            ),
        ),
        ([], Refused("failed", "the provider gave no reason", False)),
        ([{}], Refused("failed", "the provider gave no reason", False)),
    ],
)
async def test_poll_of_a_batch_that_failed_validation(
    errors: list[dict[str, Any]], refusal: Refused, fake: FakeProvider, openai: OpenAIProvider
) -> None:
    listed = {"object": "list", "data": errors}
    fake.on("GET", "/batches/batch_1", JSONResponse(batch("failed", errors=listed)))
    polled = await openai.poll("batch_1")
    assert (polled.state, polled.refusal) == (RemoteState.FAILED, refusal)


async def test_poll_of_a_failed_batch_without_errors(
    fake: FakeProvider, openai: OpenAIProvider
) -> None:
    fake.on("GET", "/batches/batch_1", JSONResponse(batch("failed", errors=None)))
    assert (await openai.poll("batch_1")).refusal == Refused(
        "failed", "the provider gave no reason", False
    )


def row(line: int, status: int = 200) -> dict[str, Any]:
    choice = {"message": {"content": f"answer {line}"}, "finish_reason": "stop"}
    return {
        "id": f"batch_req_{line}",
        "custom_id": make_intent().custom_id(line),
        "response": {"status_code": status, "request_id": "r", "body": {"choices": [choice]}},
        "error": None,
    }


async def test_results_of_both_files(fake: FakeProvider, openai: OpenAIProvider) -> None:
    fake.on(
        "GET",
        "/batches/batch_1",
        JSONResponse(batch("completed", output_file_id="o", error_file_id="e")),
    )
    fake.on("GET", "/files/o/content", Response(jsonl(row(3), row(1))))
    garbage = b'not json\n\n[]\n{"custom_id":5}\n{"id":"x"}\n{"custom_id":"\xff"}\n'
    fake.on("GET", "/files/e/content", Response(garbage + jsonl(row(2, 400))[:-1]))
    polled = await openai.poll("batch_1")
    lines = [line async for group in openai.results(polled) for line in group]
    assert [(line.custom_id.rsplit("-")[-1], line.outcome) for line in lines] == [
        ("3", Outcome.SUCCEEDED),
        ("1", Outcome.SUCCEEDED),
        ("2", Outcome.FAILED),
    ]


async def test_results_cut_short(naps: Naps) -> None:
    # Without a length, an end in the middle of a line is all there is to see.
    answer = b"HTTP/1.1 200 OK\r\n\r\n" + jsonl(row(1), row(2))[:-20]
    async with breaking(read=True, answer=answer) as breaker, connect(breaker.url, naps) as http:
        openai = OpenAIProvider(http, settle=timedelta(0))
        ended = RemoteBatch("batch_1", RemoteState.ENDED, "completed", result_sources=("o",))
        with pytest.raises(ProviderUnavailable):
            [group async for group in openai.results(ended)]


async def test_cancel_that_is_refused(fake: FakeProvider, openai: OpenAIProvider) -> None:
    fake.on("POST", "/batches/batch_1/cancel", error(403, "not yours", "invalid_request_error"))
    fake.on("GET", "/batches/batch_1", JSONResponse(batch("in_progress")))
    with pytest.raises(ProviderRejected, match="not yours"):
        await openai.cancel("batch_1")


@pytest.mark.parametrize(
    ("body", "inputs"),
    [
        (b'{"input":"text"}', 1),
        (b'{"input":["a","b","c"]}', 3),
        (b'{"input":[1,2,3]}', 1),
        (b'{"input":[[1,2],[3]]}', 2),
        (b'{"input":[]}', 0),
        (b'{"input":5}', 1),
        (b"{}", 1),
        (b"nonsense", 1),
    ],
)
def test_embedding_inputs(body: bytes, inputs: int) -> None:
    assert embedding_inputs(body) == inputs


async def test_closing_twice(http: ProviderHttp) -> None:
    openai = OpenAIProvider(http, settle=timedelta(0))
    await openai.close()
    await openai.close()
