"""Gemini's batch mode, over real HTTP."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.genai import types
from starlette.responses import JSONResponse, Response

from core.providers.contract import (
    Absent,
    Accepted,
    Found,
    Outcome,
    OutcomeUnknown,
    ProviderRejected,
    ProviderUnavailable,
    Refused,
    RemoteBatch,
    RemoteState,
    ResultsGone,
    Upload,
)
from core.providers.gemini.adapter import GeminiProvider
from core.providers.http.client import ProviderHttp
from tests.support.providers.fake_provider import (
    NOW,
    SPOOLED,
    Call,
    FakeProvider,
    Naps,
    breaking,
    connect,
    jsonl,
    make_intent,
)

MODEL = "gemini-3.8-flash"
UPLOAD, BYTES = "/upload/v1beta/files", "/upload/v1beta/bytes"
CREATE = f"/v1beta/models/{MODEL}:batchGenerateContent"
BATCHES, FILES = "/v1beta/batches", "/v1beta/files"
NAME = "pb-shard_0001-tok9"
QUIET = NOW - timedelta(days=1)


@pytest.fixture
def gemini(http: ProviderHttp) -> GeminiProvider:
    return GeminiProvider(http, settle=timedelta(seconds=120), now=lambda: NOW)


@pytest.fixture
def uploads(fake: FakeProvider) -> FakeProvider:
    """A provider that takes files."""

    def start(call: Call) -> Response:
        url = f"https://upload.example.test{BYTES}?upload_id=u-1"
        return Response(headers={"x-goog-upload-url": url, "x-goog-upload-status": "active"})

    fake.on("POST", UPLOAD, start)
    fake.on("POST", BYTES, JSONResponse({"file": file()}))
    return fake


def intent(**changes: Any) -> Any:
    return make_intent(model=MODEL, **changes)


def stamp(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def file(name: str = "files/in", state: str = "ACTIVE", **more: Any) -> dict[str, Any]:
    made = {"name": name, "state": state, "displayName": NAME, "mimeType": "jsonl", **more}
    types.File.model_validate(made)
    return made


def operation(name: str = "batches/b1", state: str = "RUNNING", **metadata: Any) -> dict[str, Any]:
    return {
        "name": name,
        "metadata": {
            "model": f"models/{MODEL}",
            "displayName": NAME,
            "state": f"BATCH_STATE_{state}",
            "createTime": stamp(NOW),
            "batchStats": {"requestCount": "2", "pendingRequestCount": "2"},
            **metadata,
        },
    }


def problem(code: int, status: str, message: str = "no", **more: Any) -> Response:
    return JSONResponse(
        {"error": {"code": code, "message": message, "status": status, **more}}, code
    )


async def test_submit(uploads: FakeProvider, gemini: GeminiProvider, spool: Path) -> None:
    uploads.on("POST", CREATE, JSONResponse(operation()))
    assert await gemini.submit(intent(), spool) == Accepted("batches/b1", "files/in")
    start, sent, create = uploads.calls
    assert start.headers["x-goog-upload-protocol"] == "resumable"
    assert start.headers["x-goog-upload-command"] == "start"
    assert start.headers["x-goog-upload-header-content-length"] == str(len(SPOOLED))
    assert json.loads(start.body) == {"file": {"displayName": NAME, "mimeType": "jsonl"}}
    # Sent to the host that we were told to talk to, whichever the answer named.
    assert sent.query == {"upload_id": "u-1"}
    assert sent.headers["x-goog-upload-command"] == "upload, finalize"
    assert sent.headers["x-goog-upload-offset"] == "0"
    assert sent.body == SPOOLED
    assert json.loads(create.body) == {
        "batch": {"displayName": NAME, "inputConfig": {"fileName": "files/in"}}
    }


async def test_embeddings_are_created_elsewhere(
    uploads: FakeProvider, gemini: GeminiProvider, spool: Path
) -> None:
    path = "/v1beta/models/gemini-embedding-001:asyncBatchEmbedContent"
    uploads.on("POST", path, JSONResponse(operation()))
    wanted = make_intent(model="gemini-embedding-001", endpoint="/v1/embeddings")
    assert isinstance(await gemini.submit(wanted, spool), Accepted)


async def test_files_may_have_to_be_processed(
    uploads: FakeProvider, gemini: GeminiProvider, spool: Path, naps: Naps
) -> None:
    uploads.on("POST", BYTES, JSONResponse({"file": file(state="PROCESSING")}))
    uploads.on("GET", f"{FILES}/in", JSONResponse(file(state="PROCESSING")), JSONResponse(file()))
    uploads.on("POST", CREATE, JSONResponse(operation()))
    assert isinstance(await gemini.submit(intent(), spool), Accepted)
    assert naps.taken == [1.0, 1.0]


async def test_a_file_that_was_not_processed(
    uploads: FakeProvider, gemini: GeminiProvider, spool: Path
) -> None:
    uploads.on("POST", BYTES, JSONResponse({"file": file(state="FAILED")}))
    outcome = await gemini.submit(intent(), spool)
    assert isinstance(outcome, Refused)
    assert (outcome.code, outcome.transient) == ("upload_failed", True)


@pytest.mark.parametrize("url", ["", "https://[::bad", "no url"])
async def test_an_upload_without_a_usable_address(
    url: str, fake: FakeProvider, gemini: GeminiProvider, spool: Path
) -> None:
    fake.on("POST", UPLOAD, Response(headers={"x-goog-upload-url": url} if url else {}))
    outcome = await gemini.submit(intent(), spool)
    assert isinstance(outcome, Refused)
    assert outcome.transient


RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37.5s"}


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (
            problem(429, "RESOURCE_EXHAUSTED", details=[RETRY]),
            Refused("RESOURCE_EXHAUSTED", f"POST {CREATE}: no", True, 37.5),
        ),
        (
            # Of a rate it would say when: it is more than may be enqueued.
            problem(429, "RESOURCE_EXHAUSTED"),
            Refused("token_limit_exceeded", f"POST {CREATE}: no", True),
        ),
        (
            problem(400, "INVALID_ARGUMENT"),
            Refused("INVALID_ARGUMENT", f"POST {CREATE}: no", False),
        ),
        (
            problem(400, "FAILED_PRECONDITION"),
            Refused("FAILED_PRECONDITION", f"POST {CREATE}: no", False),
        ),
        (
            problem(403, "PERMISSION_DENIED"),
            Refused("PERMISSION_DENIED", f"POST {CREATE}: no", False, access=True),
        ),
        (problem(404, "NOT_FOUND"), Refused("NOT_FOUND", f"POST {CREATE}: no", False)),
        (problem(503, "UNAVAILABLE"), Refused("UNAVAILABLE", f"POST {CREATE}: no", True)),
        (problem(504, "DEADLINE_EXCEEDED"), OutcomeUnknown(f"POST {CREATE}: no")),
        (Response(status_code=500), OutcomeUnknown(f"POST {CREATE}: status 500")),
        (
            JSONResponse({"name": ""}),
            OutcomeUnknown(f"POST {CREATE}: accepted, but the answer names no batch"),
        ),
        (
            JSONResponse({}),
            OutcomeUnknown(f"POST {CREATE}: accepted, but the answer names no batch"),
        ),
        (
            Response("<html>"),
            OutcomeUnknown(f"POST {CREATE}: accepted, but the answer names no batch"),
        ),
    ],
)
async def test_answers_to_a_create(
    reply: Response,
    expected: Refused | OutcomeUnknown,
    uploads: FakeProvider,
    gemini: GeminiProvider,
    spool: Path,
) -> None:
    uploads.on("POST", CREATE, reply)
    if isinstance(expected, Refused):
        expected = replace(expected, upload=Upload("files/in"))
    assert await gemini.submit(intent(), spool) == expected
    assert len(uploads.seen("POST", CREATE)) == 1
    assert not [call for call in uploads.calls if call.method == "DELETE"]


async def test_a_file_that_a_create_has_named_is_not_looked_at_again(
    uploads: FakeProvider, gemini: GeminiProvider
) -> None:
    uploads.on("POST", CREATE, JSONResponse(operation()))
    kept = Upload("files/in", usable=True)
    assert await gemini.submit(intent(), kept) == Accepted("batches/b1", "files/in")
    assert len(uploads.calls) == 1


async def test_a_kept_file_that_has_expired(uploads: FakeProvider, gemini: GeminiProvider) -> None:
    uploads.on("GET", f"{FILES}/in", problem(403, "PERMISSION_DENIED"))
    refused = await gemini.submit(intent(), Upload("files/in"))
    assert isinstance(refused, Refused)
    assert (refused.transient, refused.input_lost, refused.access) == (True, True, False)


async def test_a_create_that_names_a_file_that_is_gone(
    uploads: FakeProvider, gemini: GeminiProvider
) -> None:
    """It is refused as a key without the right would be: only the words tell them apart."""
    told = "You do not have permission to access the File in or it may not exist."
    uploads.on("POST", CREATE, problem(403, "PERMISSION_DENIED", told))
    refused = await gemini.submit(intent(), Upload("files/in", usable=True))
    assert isinstance(refused, Refused)
    assert (refused.transient, refused.input_lost, refused.access) == (True, True, False)
    uploads.on("POST", CREATE, problem(403, "PERMISSION_DENIED", "The caller has no permission."))
    refused = await gemini.submit(intent(), Upload("files/in", usable=True))
    assert isinstance(refused, Refused)
    assert (refused.input_lost, refused.access) == (False, True)


async def test_a_batch_that_failed_for_its_file(fake: FakeProvider, gemini: GeminiProvider) -> None:
    failed = operation(state="FAILED") | {
        "done": True,
        "error": {"code": 5, "message": "The input file files/in was not found."},
    }
    fake.on("GET", "/v1beta/batches/b1", JSONResponse(failed))
    refusal = (await gemini.poll("batches/b1")).refusal
    assert (refusal.transient, refusal.input_lost) == (True, True)


async def test_a_lost_answer_to_a_create(spool: Path, naps: Naps) -> None:
    answer = b"HTTP/1.1 200 OK\r\nx-goog-upload-url: http://x/\r\ncontent-length: 0\r\n\r\n"
    async with breaking(read=True, answer=answer) as breaker, connect(breaker.url, naps) as http:
        gemini = GeminiProvider(http, settle=timedelta(0))
        outcome = await gemini.submit(intent(), spool)
    assert isinstance(outcome, Refused), "it never came to the create"
    assert outcome.transient


async def test_find_reads_page_by_page(fake: FakeProvider, gemini: GeminiProvider) -> None:
    others = [operation(f"batches/{n}", displayName="other") for n in range(3)]
    first = JSONResponse({"operations": others, "nextPageToken": "p2"})
    fake.on("GET", BATCHES, first, JSONResponse({"operations": [operation()]}))
    found = await gemini.find(intent(), frozenset())
    assert found == Found("batches/b1")
    assert [call.query for call in fake.calls] == [
        {"pageSize": "100"},
        {"pageSize": "100", "pageToken": "p2"},
    ]


@pytest.mark.parametrize(
    ("days", "pages"),
    [
        ([0, 1, 2], 1),
        ([2, 1, 0], 2),
        ([2], 2),
        ([0, None, 2], 2),
    ],
)
async def test_find_stops_where_only_older_ones_can_follow(
    days: list[int | None], pages: int, fake: FakeProvider, gemini: GeminiProvider
) -> None:
    times = [stamp(NOW - timedelta(days=day)) if day is not None else None for day in days]
    others = [operation("batches/x", displayName="other", createTime=time) for time in times]
    first = JSONResponse({"operations": others, "nextPageToken": "p2"})
    fake.on("GET", BATCHES, first, JSONResponse({}))
    fake.on("GET", FILES, JSONResponse({}))
    assert await gemini.find(intent(), frozenset(), quiet_since=QUIET) == Absent()
    assert len(fake.seen("GET", BATCHES)) == pages


async def test_uploads_of_a_shard_are_deleted_by_name(
    fake: FakeProvider, gemini: GeminiProvider
) -> None:
    others = [file("files/x", displayName="other"), file("files/y", displayName="pb-shard_00011-t")]
    first = JSONResponse({"files": [*others, file("files/a")], "nextPageToken": "p2"})
    fake.on("GET", FILES, first, JSONResponse({"files": [file("files/b")]}))
    fake.on("DELETE", f"{FILES}/a", JSONResponse({}))
    fake.on("DELETE", f"{FILES}/b", problem(403, "PERMISSION_DENIED"))
    assert await gemini.discard_all("shard_0001", QUIET) == 2
    assert [call.path for call in fake.calls if call.method == "DELETE"] == [
        f"{FILES}/a",
        f"{FILES}/b",
    ]


async def test_an_endless_list_ends(fake: FakeProvider, gemini: GeminiProvider) -> None:
    page = JSONResponse({"operations": [operation(displayName="x")], "nextPageToken": "same"})
    fake.on("GET", BATCHES, page)
    assert await gemini.find(intent(), frozenset(), quiet_since=QUIET) == Absent()
    assert len(fake.seen("GET", BATCHES)) == 2


@pytest.mark.parametrize(
    ("state", "expected", "ended_as"),
    [
        ("PENDING", RemoteState.RUNNING, ""),
        ("RUNNING", RemoteState.RUNNING, ""),
        ("CANCELLING", RemoteState.STOPPING, ""),
        ("SUCCEEDED", RemoteState.ENDED, "completed"),
        ("PARTIALLY_SUCCEEDED", RemoteState.ENDED, "completed"),
        ("CANCELLED", RemoteState.ENDED, "cancelled"),
        ("EXPIRED", RemoteState.ENDED, "expired"),
        ("PONDERING", RemoteState.RUNNING, ""),
        ("UNSPECIFIED", RemoteState.RUNNING, ""),
    ],
)
@pytest.mark.parametrize("prefix", ["BATCH_STATE_", "JOB_STATE_"])
async def test_states(
    prefix: str,
    state: str,
    expected: RemoteState,
    ended_as: str,
    fake: FakeProvider,
    gemini: GeminiProvider,
) -> None:
    fake.on("GET", f"{BATCHES}/b1", JSONResponse(operation(state="") | operation("batches/b1")))
    sent = operation()
    sent["metadata"]["state"] = prefix + state
    fake.on("GET", f"{BATCHES}/b1", JSONResponse(sent))
    batch = await gemini.poll("batches/b1")
    assert (batch.state, batch.ended_as) == (expected, ended_as)
    assert batch.native_status == prefix + state
    assert batch.unanswered is (Outcome.EXPIRED if state == "EXPIRED" else None)


async def test_counts_and_results(fake: FakeProvider, gemini: GeminiProvider) -> None:
    stats = {"requestCount": "7", "successfulRequestCount": "4", "failedRequestCount": "2"}
    output = {"responsesFile": "files/batch-b1"}
    sent = operation(state="SUCCEEDED", batchStats=stats, output=output, endTime=stamp(NOW))
    fake.on("GET", f"{BATCHES}/b1", JSONResponse(sent))
    batch = await gemini.poll("batches/b1")
    assert (batch.total, batch.finished) == (7, 6)
    assert batch.result_sources == (f"files/batch-b1#{MODEL}",)
    assert batch.ended_at == NOW


@pytest.mark.parametrize("stats", [None, {}, [], {"requestCount": "many"}])
async def test_odd_counts(stats: Any, fake: FakeProvider, gemini: GeminiProvider) -> None:
    fake.on("GET", f"{BATCHES}/b1", JSONResponse(operation(batchStats=stats)))
    batch = await gemini.poll("batches/b1")
    assert (batch.total, batch.finished) == (0, 0)


@pytest.mark.parametrize(
    ("error", "code", "transient"),
    [
        ({"code": 3, "message": "bad line"}, "INVALID_ARGUMENT", False),
        ({"code": 8, "message": "quota"}, "RESOURCE_EXHAUSTED", True),
        ({"code": 14, "message": "later"}, "UNAVAILABLE", True),
        (None, "failed", False),
    ],
)
async def test_failed_batches(
    error: Any, code: str, transient: bool, fake: FakeProvider, gemini: GeminiProvider
) -> None:
    fake.on("GET", f"{BATCHES}/b1", JSONResponse(operation(state="FAILED") | {"error": error}))
    batch = await gemini.poll("batches/b1")
    assert batch.state is RemoteState.FAILED
    assert batch.refusal is not None
    assert (batch.refusal.code, batch.refusal.transient) == (code, transient)


@pytest.mark.parametrize("code", [2, 4, 10, 13])
async def test_a_batch_that_broke_off_without_counts_is_never_sent_again(
    code: int, fake: FakeProvider, gemini: GeminiProvider
) -> None:
    error = {"code": code, "message": "oops."}
    none_ran = {"requestCount": "2", "pendingRequestCount": "2"}
    fake.on(
        "GET",
        f"{BATCHES}/b1",
        JSONResponse(operation(state="FAILED", batchStats=None) | {"error": error}),
        JSONResponse(operation(state="FAILED", batchStats=none_ran) | {"error": error}),
    )
    untold = (await gemini.poll("batches/b1")).refusal
    assert untold is not None
    assert (untold.code, untold.transient) == ("result_missing", False)
    assert "oops." in untold.message
    assert "may have been run and paid for" in untold.message
    told = (await gemini.poll("batches/b1")).refusal
    assert told is not None
    assert told.transient, "its counts say that nothing of it has run"


async def test_a_failed_batch_may_have_results(fake: FakeProvider, gemini: GeminiProvider) -> None:
    stats = {"requestCount": "2", "successfulRequestCount": "1"}
    output = {"responsesFile": "files/batch-b1"}
    sent = operation(state="FAILED", batchStats=stats, output=output)
    fake.on("GET", f"{BATCHES}/b1", JSONResponse(sent))
    batch = await gemini.poll("batches/b1")
    assert (batch.state, batch.ended_as) == (RemoteState.ENDED, "failed")


async def test_what_ran_before_a_failure_is_never_sent_again(
    fake: FakeProvider, gemini: GeminiProvider
) -> None:
    stats = {"requestCount": "2", "successfulRequestCount": "1"}
    error = {"code": 13, "message": "oops"}
    sent = operation(state="FAILED", batchStats=stats) | {"error": error}
    fake.on("GET", f"{BATCHES}/b1", JSONResponse(sent))
    batch = await gemini.poll("batches/b1")
    assert (batch.state, batch.ended_as) == (RemoteState.ENDED, "failed")
    assert (batch.result_sources, batch.refusal, batch.unanswered) == ((), None, None)


async def test_what_ran_before_a_batch_expired_is_never_sent_again(
    fake: FakeProvider, gemini: GeminiProvider
) -> None:
    stats = {"requestCount": "2", "successfulRequestCount": "1", "pendingRequestCount": "1"}
    fake.on("GET", f"{BATCHES}/b1", JSONResponse(operation(state="EXPIRED", batchStats=stats)))
    batch = await gemini.poll("batches/b1")
    assert (batch.ended_as, batch.finished, batch.unanswered) == ("expired", 1, None)


def ended(*, hours: float = 0, **changes: Any) -> RemoteBatch:
    values: dict[str, Any] = {
        "remote_id": "batches/b1",
        "state": RemoteState.ENDED,
        "native_status": "BATCH_STATE_SUCCEEDED",
        "result_sources": (f"files/batch-b1#{MODEL}",),
        "ended_at": NOW - timedelta(hours=hours),
    }
    return RemoteBatch(**(values | changes))


DOWNLOAD = "/download/v1beta/files/batch-b1:download"


async def read(gemini: GeminiProvider, batch: RemoteBatch) -> list[str]:
    return [line.custom_id async for group in gemini.results(batch) for line in group]


async def test_results(fake: FakeProvider, gemini: GeminiProvider) -> None:
    parts = {"candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}]}
    good = {"key": "s-t-1", "response": parts}
    bad = {"key": "s-t-2", "error": {"code": 3, "message": "no"}}
    fake.on("GET", DOWNLOAD, Response(jsonl(good, bad) + b"torn\n"))
    lines = [line async for group in gemini.results(ended()) for line in group]
    assert [(line.custom_id, line.outcome) for line in lines] == [
        ("s-t-1", Outcome.SUCCEEDED),
        ("s-t-2", Outcome.FAILED),
    ]
    body = json.loads(lines[0].response or b"")["body"]
    assert (body["created"], body["model"]) == (int(NOW.timestamp()), MODEL)
    assert fake.calls[0].query == {"alt": "media"}


@pytest.mark.parametrize("status", [(403, "PERMISSION_DENIED"), (404, "NOT_FOUND")])
async def test_results_that_are_not_there(
    status: tuple[int, str], fake: FakeProvider, gemini: GeminiProvider
) -> None:
    fake.on("GET", DOWNLOAD, problem(*status))
    with pytest.raises(ProviderUnavailable):
        await read(gemini, ended(hours=0.5))
    with pytest.raises(ResultsGone):
        await read(gemini, ended(hours=2))
    with pytest.raises(ProviderRejected):
        await read(gemini, ended(ended_at=None))


async def test_a_batch_without_results(gemini: GeminiProvider) -> None:
    assert await read(gemini, ended(result_sources=())) == []


@pytest.mark.parametrize(
    ("reply", "state"),
    [
        (JSONResponse({}), "RUNNING"),
        (problem(400, "FAILED_PRECONDITION"), "SUCCEEDED"),
        (problem(400, "FAILED_PRECONDITION"), "CANCELLING"),
    ],
)
async def test_cancel(
    reply: Response, state: str, fake: FakeProvider, gemini: GeminiProvider
) -> None:
    fake.on("POST", f"{BATCHES}/b1:cancel", reply)
    fake.on("GET", f"{BATCHES}/b1", JSONResponse(operation(state=state)))
    await gemini.cancel("batches/b1")
    assert fake.calls[0].method == "POST"
    # What is refused is looked at: it has ended, or is stopping.
    assert len(fake.calls) == (1 if state == "RUNNING" else 2)


async def test_a_cancel_that_is_refused(fake: FakeProvider, gemini: GeminiProvider) -> None:
    fake.on("POST", f"{BATCHES}/b1:cancel", problem(400, "INVALID_ARGUMENT"))
    fake.on("GET", f"{BATCHES}/b1", JSONResponse(operation()))
    with pytest.raises(ProviderRejected):
        await gemini.cancel("batches/b1")


@pytest.mark.parametrize("reply", [JSONResponse({}), problem(403, "X"), problem(404, "X")])
async def test_discard(reply: Response, fake: FakeProvider, gemini: GeminiProvider) -> None:
    fake.on("DELETE", f"{FILES}/in", reply)
    await gemini.discard("files/in")
    assert len(fake.calls) == 1


@pytest.mark.parametrize(
    ("model", "remote"),
    [
        ("gemini/gemini-3.8-flash", MODEL),
        ("gemini-3.8-flash", MODEL),
        ("gemini/models/gemini-3.8-flash", MODEL),
        ("gemini/tuned/x", "tuned/x"),
    ],
)
def test_ids_of_models(model: str, remote: str, gemini: GeminiProvider) -> None:
    assert gemini.remote_model(model) == remote


async def test_a_models_name_stays_within_its_part_of_the_path(
    uploads: FakeProvider, gemini: GeminiProvider, spool: Path
) -> None:
    await gemini.submit(make_intent(model="../files?x=1"), spool)
    (create,) = [call for call in uploads.calls if "batchGenerateContent" in call.path]
    assert create.path == "/v1beta/models/../files?x=1:batchGenerateContent"
    assert create.query == {}
