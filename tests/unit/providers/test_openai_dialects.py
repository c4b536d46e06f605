"""Servers in OpenAI's form that differ from it here and there, over real HTTP."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from core.providers.contract import (
    Absent,
    Accepted,
    Found,
    LineRejected,
    Outcome,
    ProviderLimits,
    ProviderUnavailable,
    Refused,
    RemoteState,
    ResultsGone,
    Unsure,
    Upload,
)
from core.providers.http.client import ProviderHttp
from core.providers.openai.adapter import Dialect, OpenAIProvider
from core.providers.openai.wire import moment_of
from tests.support.providers.fake_provider import NOW, FakeProvider, Naps, error, jsonl, make_intent

CHAT = "/v1/chat/completions"
LIMITS = ProviderLimits(10, 10_000, True, frozenset({CHAT}))
QUIET = NOW - timedelta(days=1)
NAME = "pb-shard_0001-tok9.jsonl"


def speak(http: ProviderHttp, **differences: Any) -> OpenAIProvider:
    dialect = Dialect(slug="acme", limits=LIMITS, **differences)
    return OpenAIProvider(http, dialect=dialect, settle=timedelta(seconds=120), now=lambda: NOW)


async def test_a_url_that_is_called_otherwise(fake: FakeProvider, http: ProviderHttp) -> None:
    acme = speak(http, urls={CHAT: "/chat/completions"}, completion_window="7d")
    line = json.loads(acme.encode_line("s-t-1", CHAT, "acme/m", b'{"model":"acme/m"}')[0])
    assert (line["url"], line["body"]) == ("/chat/completions", {"model": "m"})
    with pytest.raises(LineRejected, match="acme"):
        acme.encode_line("s-t-1", "/v1/embeddings", "m", b"{}")


async def test_what_is_sent(fake: FakeProvider, http: ProviderHttp, spool: Path) -> None:
    acme = speak(
        http,
        urls={CHAT: "/chat/completions"},
        completion_window="7d",
        upload_path="/files/upload",
        upload_fields={"purpose": "batch-api", "file_name": "{filename}"},
        create_fields={"priority": 3},
        keeps_metadata=False,
    )
    fake.on("POST", "/files/upload", JSONResponse({"id": "f"}))
    # Together wraps the new batch.
    fake.on("POST", "/batches", JSONResponse({"job": {"id": "b", "status": "VALIDATING"}}))
    assert await acme.submit(make_intent(), spool) == Accepted("b", "f")
    upload, creation = fake.calls
    assert b'name="file_name"\r\n\r\n' + NAME.encode() in upload.body
    assert json.loads(creation.body) == {
        "input_file_id": "f",
        "endpoint": "/chat/completions",
        "completion_window": "7d",
        "priority": 3,
    }


async def test_a_file_is_used_when_it_is_processed(
    fake: FakeProvider, http: ProviderHttp, spool: Path, naps: Naps
) -> None:
    fake.on("POST", "/files", JSONResponse({"id": "f", "status": "pending"}))
    states = [JSONResponse({"id": "f", "status": state}) for state in ("Running", "processed")]
    fake.on("GET", "/files/f", *states)
    fake.on("POST", "/batches", JSONResponse({"id": "b", "status": "validating"}))
    acme = speak(http, processes_uploads=True)
    assert await acme.submit(make_intent(), spool) == Accepted("b", "f")
    assert naps.taken == [1.0, 1.0]


async def test_a_file_that_cannot_be_processed(
    fake: FakeProvider, http: ProviderHttp, spool: Path
) -> None:
    fake.on("POST", "/files", JSONResponse({"id": "f", "status": "error"}))
    outcome = await speak(http, processes_uploads=True).submit(make_intent(), spool)
    assert isinstance(outcome, Refused)
    assert outcome.transient
    assert fake.seen("POST", "/batches") == []


async def test_a_batch_is_found_by_its_input_file(fake: FakeProvider, http: ProviderHttp) -> None:
    acme = speak(http, keeps_metadata=False)
    fake.on("GET", "/files", JSONResponse({"data": [{"id": "f0"}, {"id": "f1", "filename": NAME}]}))
    # Together lists without an envelope, with times as text.
    jobs = [
        {"id": "b0", "status": "COMPLETED", "created_at": "2026-11-23T12:00:00Z"},
        {"id": "b1", "status": "IN_PROGRESS", "input_file_id": "f1"},
    ]
    fake.on("GET", "/batches", JSONResponse(jobs))
    assert await acme.find(make_intent(), frozenset(), quiet_since=QUIET) == Found("b1", "f1")


async def test_a_refused_batch_of_the_same_file_is_not_what_is_looked_for(
    fake: FakeProvider, http: ProviderHttp
) -> None:
    """An earlier attempt's: adopting it would hide a batch that runs."""
    acme = speak(http, keeps_metadata=False)
    fake.on("GET", "/files", JSONResponse({"data": [{"id": "f1", "filename": NAME}]}))
    refused = {"id": "b1", "status": "FAILED", "input_file_id": "f1"}
    mine = {"id": "b2", "status": "VALIDATING", "input_file_id": "f1"}
    fake.on("GET", "/batches", JSONResponse([refused]), JSONResponse([refused, mine]))
    intent = make_intent(token="tok10", file_token="tok9")
    assert await acme.find(intent, frozenset(), quiet_since=QUIET) == Absent()
    assert await acme.find(intent, frozenset(), quiet_since=QUIET) == Found("b2", "f1")


async def test_a_kept_file_that_was_never_processed_is_looked_at_again(
    fake: FakeProvider, http: ProviderHttp, spool: Path
) -> None:
    acme = speak(http, processes_uploads=True)
    fake.on("POST", "/files", JSONResponse({"id": "f", "status": "pending"}))
    down = error(503, "down", "server_error", retry_after="0.01")
    pending = JSONResponse({"id": "f", "status": "pending"})
    done = JSONResponse({"id": "f", "status": "processed"})
    fake.on("GET", "/files/f", down, down, down, pending, done)
    fake.on("POST", "/batches", JSONResponse({"id": "b", "status": "validating"}))
    refused = await acme.submit(make_intent(), spool)
    assert isinstance(refused, Refused)
    assert (refused.transient, refused.upload) == (True, Upload("f"))
    assert await acme.submit(make_intent(), refused.upload) == Accepted("b", "f")
    assert len(fake.seen("POST", "/files")) == 1


async def test_a_kept_file_that_is_gone_is_lost(fake: FakeProvider, http: ProviderHttp) -> None:
    refused = await speak(http, processes_uploads=True).submit(make_intent(), Upload("gone"))
    assert isinstance(refused, Refused)
    assert (refused.transient, refused.input_lost) == (True, True)
    assert fake.seen("POST", "/batches") == []


@pytest.mark.parametrize(
    ("fields", "days"),
    [
        ({"purpose": "batch"}, 1),
        ({"expires_after[seconds]": "604800"}, 7),
        ({"expires_after.seconds": "1209600"}, 14),
    ],
)
def test_how_long_an_upload_is_used(fields: dict[str, str], days: int, http: ProviderHttp) -> None:
    assert speak(http, upload_fields=fields).input_lifetime == timedelta(days=days)


async def test_without_an_upload_there_is_no_batch(fake: FakeProvider, http: ProviderHttp) -> None:
    acme = speak(http, keeps_metadata=False)
    fake.on("GET", "/files", JSONResponse({"data": []}))
    fake.on("GET", "/batches", JSONResponse([{"id": "b", "status": "FAILED"}]))
    assert isinstance(await acme.find(make_intent(), frozenset(), quiet_since=NOW), Unsure)
    assert await acme.find(make_intent(), frozenset(), quiet_since=QUIET) == Absent()


async def test_pages_that_follow_a_cursor(fake: FakeProvider, http: ProviderHttp) -> None:
    ours = {"polybatch_shard": "shard_0001", "polybatch_token": "tok9"}
    fake.on(
        "GET",
        "/batches",
        JSONResponse(
            {"data": [{"id": "a", "status": "completed"}], "paging": {"next_cursor": "c2"}}
        ),
        JSONResponse(
            {
                "data": [{"id": "b", "status": "completed", "metadata": ours}],
                "paging": {"next_cursor": None},
            }
        ),
    )
    assert await speak(http).find(make_intent(), frozenset()) == Found("b", "")
    assert [call.query for call in fake.calls] == [
        {"limit": "100"},
        {"limit": "100", "cursor": "c2"},
    ]


@pytest.mark.parametrize(
    ("status", "state", "ended_as"),
    [
        ("Validating", RemoteState.RUNNING, ""),
        ("IN_PROGRESS", RemoteState.RUNNING, ""),
        ("CANCELING", RemoteState.STOPPING, ""),
        ("Canceled", RemoteState.ENDED, "cancelled"),
        ("EXPIRED", RemoteState.ENDED, "expired"),
    ],
)
async def test_statuses_in_other_letters(
    status: str, state: RemoteState, ended_as: str, fake: FakeProvider, http: ProviderHttp
) -> None:
    azure = {
        "id": "b",
        "status": status,
        "created_at": "2026-11-23T12:00:00.2491382+00:00",
        "request_counts": {"total": None, "completed": None, "failed": None},
        "errors": None,
    }
    fake.on("GET", "/batches/b", JSONResponse(azure))
    polled = await speak(http).poll("b")
    assert (polled.state, polled.ended_as, polled.native_status) == (state, ended_as, status)
    assert (polled.total, polled.finished) == (0, 0)


async def test_what_ran_before_a_failure_is_kept(fake: FakeProvider, http: ProviderHttp) -> None:
    counts = {"total": 5, "completed": 3, "failed": 0}
    failed = {"id": "b", "status": "failed", "request_counts": counts, "output_file_id": "o"}
    fake.on("GET", "/batches/b", JSONResponse(failed))
    polled = await speak(http).poll("b")
    assert (polled.state, polled.ended_as) == (RemoteState.ENDED, "failed")
    assert (polled.result_sources, polled.refusal) == (("o",), None)


async def test_what_ran_before_a_failure_is_never_sent_again(
    fake: FakeProvider, http: ProviderHttp
) -> None:
    counts = {"total": 5, "completed": 3, "failed": 0}
    errors = {"data": [{"code": "token_limit_exceeded", "message": "too many"}]}
    failed = {"id": "b", "status": "failed", "request_counts": counts, "errors": errors}
    fake.on("GET", "/batches/b", JSONResponse(failed))
    polled = await speak(http).poll("b")
    assert (polled.state, polled.ended_as) == (RemoteState.ENDED, "failed")
    assert (polled.result_sources, polled.refusal, polled.unanswered) == ((), None, None)


async def test_files_of_a_batch_that_never_ran_are_not_results(
    fake: FakeProvider, http: ProviderHttp
) -> None:
    # Azure names files of a batch that failed its check (how-to-batch-content.md).
    counts = {"total": 10, "completed": None, "failed": None}
    files = {"output_file_id": "o", "error_file_id": "e"}
    errors = {"object": "list", "data": [{"code": "empty_file", "message": "is empty"}]}
    failed = {"id": "b", "status": "failed", "request_counts": counts, "errors": errors} | files
    fake.on("GET", "/batches/b", JSONResponse(failed))
    polled = await speak(http).poll("b")
    assert polled.refusal == Refused("empty_file", "is empty", False)


@pytest.mark.parametrize("status", ["expired", "cancelled"])
async def test_results_of_a_batch_that_ended_early(
    status: str, fake: FakeProvider, http: ProviderHttp
) -> None:
    ended = {"id": "b", "status": status, "output_file_id": "o", "error_file_id": "e"}
    fake.on("GET", "/batches/b", JSONResponse(ended))
    body = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
    response = {"status_code": 200, "request_id": "r", "body": body}
    done = {"id": "1", "custom_id": "s-t-1", "response": response, "error": None}
    why = {"code": f"batch_{status}", "message": "not run"}
    not_run = {"id": "2", "custom_id": "s-t-2", "response": None, "error": why}
    fake.on("GET", "/files/o/content", Response(jsonl(done)))
    fake.on("GET", "/files/e/content", Response(jsonl(not_run)))
    acme = speak(http)
    polled = await acme.poll("b")
    lines = [line async for group in acme.results(polled) for line in group]
    assert [line.outcome for line in lines] == [Outcome.SUCCEEDED, Outcome(status)]


@pytest.mark.parametrize(
    ("age", "raised"),
    [(timedelta(minutes=1), ProviderUnavailable), (timedelta(days=31), ResultsGone)],
)
async def test_results_that_are_not_there(
    age: timedelta, raised: type[Exception], fake: FakeProvider, http: ProviderHttp
) -> None:
    at = (NOW - age).timestamp()
    ended = {"id": "b", "status": "completed", "completed_at": int(at), "output_file_id": "o"}
    fake.on("GET", "/batches/b", JSONResponse(ended))
    fake.on("GET", "/files/o/content", error(404, "No such File", "invalid_request_error"))
    acme = speak(http)
    polled = await acme.poll("b")
    with pytest.raises(raised):
        [group async for group in acme.results(polled)]


async def test_the_token_limit_may_be_told_at_once(
    fake: FakeProvider, http: ProviderHttp, spool: Path
) -> None:
    fake.on("POST", "/files", JSONResponse({"id": "f"}))
    message = "Enqueued token limit reached. Limit: 1,000 enqueued tokens."
    fake.on("POST", "/batches", error(429, message, "tokens", "token_limit_exceeded"))
    outcome = await speak(http).submit(make_intent(), spool)
    assert isinstance(outcome, Refused)
    assert (outcome.transient, outcome.enqueued_token_limit) == (True, 1000)
    assert outcome.upload == Upload("f")


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (1_795_435_200, datetime(2026, 11, 23, 12, 0, tzinfo=UTC)),
        (1_795_435_200.5, datetime(2026, 11, 23, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-11-23T12:00:00Z", datetime(2026, 11, 23, 12, 0, tzinfo=UTC)),
        ("2026-11-23T12:00:00", datetime(2026, 11, 23, 12, 0, tzinfo=UTC)),
        ("soon", None),
        (0, None),
        (10**30, None),
        (True, None),
        (None, None),
        ([], None),
    ],
)
def test_times_in_every_form(value: Any, moment: datetime | None) -> None:
    assert moment_of(value) == moment
