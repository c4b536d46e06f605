"""Anthropic's Message Batches, over real HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from anthropic.types.messages import MessageBatch
from starlette.responses import JSONResponse, Response, StreamingResponse

from core.providers.anthropic.adapter import AnthropicProvider
from core.providers.contract import (
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
    Unsure,
)
from tests.support.providers.fake_provider import (
    NOW,
    SPOOLED,
    FakeProvider,
    error,
    jsonl,
    make_intent,
)

BATCHES = "/v1/messages/batches"
QUIET = NOW - timedelta(days=1)


def batch(
    batch_id: str = "msgbatch_1", status: str = "in_progress", **fields: Any
) -> dict[str, Any]:
    """A batch of two requests."""
    running = {"processing": 2, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    ended = running | {"processing": 0, "succeeded": 2}
    made: dict[str, Any] = {
        "id": batch_id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": ended if status == "ended" else running,
        "created_at": stamp(NOW),
        "expires_at": stamp(NOW + timedelta(days=1)),
        "ended_at": stamp(NOW) if status == "ended" else None,
        "cancel_initiated_at": None,
        "archived_at": None,
        "results_url": None,
    } | fields
    MessageBatch.model_validate(made)
    return made


def stamp(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def succeeded(custom_id: str) -> dict[str, Any]:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }
    return {"custom_id": custom_id, "result": {"type": "succeeded", "message": message}}


def listing(*batches: dict[str, Any], more: bool = False) -> Response:
    return JSONResponse(
        {"data": list(batches), "has_more": more, "first_id": None, "last_id": None}
    )


async def test_submit(fake: FakeProvider, anthropic: AnthropicProvider, spool: Path) -> None:
    fake.on("POST", BATCHES, JSONResponse(batch()))
    assert await anthropic.submit(make_intent(), spool) == Accepted("msgbatch_1")
    (call,) = fake.calls
    assert call.body == SPOOLED
    assert call.headers["content-type"] == "application/json"
    assert call.headers["content-length"] == str(len(SPOOLED))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (
            error(429, "slow down", "rate_limit_error", retry_after="30"),
            Refused("rate_limit_error", f"POST {BATCHES}: slow down", True, 30.0),
        ),
        (
            error(529, "overloaded", "overloaded_error"),
            Refused("overloaded_error", f"POST {BATCHES}: overloaded", True),
        ),
        (
            error(400, "bad custom_id", "invalid_request_error"),
            Refused("invalid_request_error", f"POST {BATCHES}: bad custom_id", False),
        ),
        (
            error(413, "too large", "request_too_large"),
            Refused("request_too_large", f"POST {BATCHES}: too large", False),
        ),
        (Response(status_code=500), OutcomeUnknown(f"POST {BATCHES}: status 500")),
        (Response(status_code=529), OutcomeUnknown(f"POST {BATCHES}: status 529")),
    ],
)
async def test_submit_that_is_not_accepted(
    reply: Response,
    expected: Refused | OutcomeUnknown,
    fake: FakeProvider,
    anthropic: AnthropicProvider,
    spool: Path,
) -> None:
    fake.on("POST", BATCHES, reply)
    assert await anthropic.submit(make_intent(), spool) == expected
    assert len(fake.calls) == 1


@pytest.mark.parametrize("answer", [{}, batch("")])
async def test_an_acceptance_without_an_id_is_unknown(
    answer: dict[str, Any], fake: FakeProvider, anthropic: AnthropicProvider, spool: Path
) -> None:
    fake.on("POST", BATCHES, JSONResponse(answer))
    assert isinstance(await anthropic.submit(make_intent(), spool), OutcomeUnknown)


async def test_find_among_candidates(fake: FakeProvider, anthropic: AnthropicProvider) -> None:
    intent = make_intent()
    fake.on(
        "GET",
        BATCHES,
        listing(
            batch(
                "other_count",
                "ended",
                request_counts={
                    "succeeded": 3,
                    "processing": 0,
                    "errored": 0,
                    "canceled": 0,
                    "expired": 0,
                },
            ),
            batch("known", "ended"),
            batch("running"),
            batch("stranger", "ended"),
            batch("earlier_attempt", "ended"),
            more=True,
        ),
        listing(batch("it", "ended")),
    )
    earlier = make_intent(token="tok8")
    fake.on("GET", f"{BATCHES}/stranger/results", Response(jsonl(succeeded("my-own-1"))))
    fake.on(
        "GET",
        f"{BATCHES}/earlier_attempt/results",
        Response(jsonl(succeeded(earlier.custom_id(1)))),
    )
    fake.on(
        "GET",
        f"{BATCHES}/it/results",
        Response(b"garbage\n" + jsonl(succeeded(intent.custom_id(2)))),
    )
    assert await anthropic.find(intent, frozenset({"known"})) == Found("it")
    assert [call.query for call in fake.seen("GET", BATCHES)] == [
        {"limit": "100"},
        {"limit": "100", "after_id": "earlier_attempt"},
    ]
    assert fake.seen("GET", f"{BATCHES}/known/results") == []
    assert fake.seen("GET", f"{BATCHES}/other_count/results") == []


async def test_only_the_first_results_are_read(
    fake: FakeProvider, anthropic: AnthropicProvider
) -> None:
    async def rows() -> AsyncIterator[bytes]:
        yield jsonl(succeeded(make_intent().custom_id(1)))
        await asyncio.Event().wait()

    fake.on("GET", BATCHES, listing(batch("it", "ended")))
    fake.on("GET", f"{BATCHES}/it/results", StreamingResponse(rows()))
    assert await anthropic.find(make_intent(), frozenset()) == Found("it")


async def test_a_candidate_that_runs_is_held(
    fake: FakeProvider, anthropic: AnthropicProvider
) -> None:
    fake.on("GET", BATCHES, listing(batch("running"), batch("stopping", "canceling")))
    outcome = await anthropic.find(make_intent(), frozenset(), quiet_since=QUIET)
    assert isinstance(outcome, Unsure)
    assert "running, stopping" in outcome.message


async def test_a_candidate_without_a_readable_line_is_held(
    fake: FakeProvider, anthropic: AnthropicProvider
) -> None:
    fake.on("GET", BATCHES, listing(batch("dumb", "ended")))
    fake.on("GET", f"{BATCHES}/dumb/results", Response(b"garbage\n"))
    outcome = await anthropic.find(make_intent(), frozenset(), quiet_since=QUIET)
    assert isinstance(outcome, Unsure)
    assert "dumb" in outcome.message


async def test_a_line_that_nobody_sent_hides_no_batch(
    fake: FakeProvider, anthropic: AnthropicProvider
) -> None:
    fake.on("GET", BATCHES, listing(batch("it", "ended")))
    rows = jsonl(succeeded("unknown-1"), succeeded(make_intent().custom_id(1)))
    fake.on("GET", f"{BATCHES}/it/results", Response(rows))
    assert await anthropic.find(make_intent(), frozenset(), quiet_since=QUIET) == Found("it")


async def test_a_batch_created_before_the_intent_by_a_clock_that_is_off(
    fake: FakeProvider, anthropic: AnthropicProvider
) -> None:
    created = stamp(make_intent().intended_at - timedelta(seconds=60))
    fake.on("GET", BATCHES, listing(batch("it", "ended", created_at=created)))
    fake.on("GET", f"{BATCHES}/it/results", Response(jsonl(succeeded(make_intent().custom_id(1)))))
    assert await anthropic.find(make_intent(), frozenset(), quiet_since=QUIET) == Found("it")


async def test_a_clock_that_is_far_ahead_hides_no_batch(
    fake: FakeProvider, anthropic: AnthropicProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Absence would mean that it is sent, and paid for, a second time."""
    off = timedelta(hours=1)
    ours = time.time() + off.total_seconds()
    monkeypatch.setattr("core.providers.http.transport.time", lambda: ours)
    created = stamp(make_intent().intended_at - off)
    fake.on("GET", BATCHES, listing(batch("it", "ended", created_at=created)))
    fake.on("GET", f"{BATCHES}/it/results", Response(jsonl(succeeded(make_intent().custom_id(1)))))
    assert await anthropic.find(make_intent(), frozenset(), quiet_since=QUIET) == Found("it")


async def test_find_raises_rather_than_guess(
    fake: FakeProvider, anthropic: AnthropicProvider
) -> None:
    fake.on("GET", BATCHES, listing(batch("it", "ended")))
    fake.on("GET", f"{BATCHES}/it/results", Response(status_code=503))
    with pytest.raises(ProviderUnavailable):
        await anthropic.find(make_intent(), frozenset(), quiet_since=QUIET)


COUNTS = {"processing": 0, "succeeded": 1, "errored": 0, "canceled": 0, "expired": 0}


@pytest.mark.parametrize(
    ("status", "counts", "state", "ended_as", "finished"),
    [
        ("in_progress", COUNTS | {"processing": 3, "succeeded": 0}, RemoteState.RUNNING, "", 0),
        ("canceling", COUNTS | {"processing": 3, "succeeded": 0}, RemoteState.STOPPING, "", 0),
        ("ended", COUNTS, RemoteState.ENDED, "completed", 1),
        ("ended", COUNTS | {"expired": 2}, RemoteState.ENDED, "expired", 3),
        ("ended", COUNTS | {"canceled": 2}, RemoteState.ENDED, "cancelled", 3),
    ],
)
async def test_poll(
    status: str,
    counts: dict[str, int],
    state: RemoteState,
    ended_as: str,
    finished: int,
    fake: FakeProvider,
    anthropic: AnthropicProvider,
) -> None:
    polled = batch(status=status, request_counts=counts)
    fake.on("GET", f"{BATCHES}/msgbatch_1", JSONResponse(polled))
    seen = await anthropic.poll("msgbatch_1")
    assert (seen.state, seen.ended_as, seen.native_status) == (state, ended_as, status)
    assert (seen.total, seen.finished) == (sum(counts.values()), finished)
    ended = state is RemoteState.ENDED
    assert seen.result_sources == ((f"{BATCHES}/msgbatch_1/results",) if ended else ())


async def test_poll_with_an_unknown_status_and_few_fields(
    fake: FakeProvider, anthropic: AnthropicProvider
) -> None:
    few = {"id": "msgbatch_1", "processing_status": "napping", "created_at": stamp(NOW)}
    fake.on("GET", f"{BATCHES}/msgbatch_1", JSONResponse(few))
    seen = await anthropic.poll("msgbatch_1")
    assert (seen.state, seen.native_status, seen.total) == (RemoteState.RUNNING, "napping", 0)


async def test_results(fake: FakeProvider, anthropic: AnthropicProvider) -> None:
    intent = make_intent()
    url = f"{fake.url}{BATCHES}/msgbatch_1/results"
    fake.on("GET", f"{BATCHES}/msgbatch_1", JSONResponse(batch(status="ended", results_url=url)))
    refused = {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}
    rows = jsonl(
        {"custom_id": intent.custom_id(3), "result": {"type": "errored", "error": refused}},
        succeeded(intent.custom_id(1)),
        {"custom_id": intent.custom_id(2), "result": {"type": "expired"}},
    )
    fake.on("GET", f"{BATCHES}/msgbatch_1/results", Response(b"garbage\n{}\n" + rows))
    polled = await anthropic.poll("msgbatch_1")
    assert polled.result_sources == (url,)
    lines = [line async for group in anthropic.results(polled) for line in group]
    assert [(line.custom_id, line.outcome) for line in lines] == [
        (intent.custom_id(3), Outcome.FAILED),
        (intent.custom_id(1), Outcome.SUCCEEDED),
        (intent.custom_id(2), Outcome.EXPIRED),
    ]
    assert lines[1].response is not None
    assert f'"created":{int(NOW.timestamp())}'.encode() in lines[1].response


async def test_results_are_fetched_from_the_own_host_only(
    fake: FakeProvider, other: FakeProvider, anthropic: AnthropicProvider
) -> None:
    url = f"{other.url}/results"
    fake.on("GET", f"{BATCHES}/msgbatch_1", JSONResponse(batch(status="ended", results_url=url)))
    fake.on("GET", f"{BATCHES}/msgbatch_1/results", Response(jsonl(succeeded("x-y-1"))))
    polled = await anthropic.poll("msgbatch_1")
    kept = RemoteBatch("msgbatch_1", RemoteState.ENDED, "ended", result_sources=(url,))
    for ended in (polled, kept):
        lines = [line async for group in anthropic.results(ended) for line in group]
        assert len(lines) == 1
    assert other.calls == []


async def test_results_of_an_archived_batch_are_gone(
    fake: FakeProvider, anthropic: AnthropicProvider
) -> None:
    archived = batch(status="ended", archived_at=stamp(NOW))
    fake.on("GET", f"{BATCHES}/msgbatch_1", JSONResponse(archived))
    polled = await anthropic.poll("msgbatch_1")
    assert (polled.state, polled.result_sources) == (RemoteState.ENDED, ())
    with pytest.raises(ResultsGone, match="29 days"):
        [group async for group in anthropic.results(polled)]


@pytest.mark.parametrize(
    ("age", "raised"),
    [(timedelta(minutes=1), ProviderUnavailable), (timedelta(days=30), ResultsGone)],
)
async def test_results_that_are_not_there(
    age: timedelta, raised: type[Exception], fake: FakeProvider, anthropic: AnthropicProvider
) -> None:
    ended = batch(status="ended", ended_at=stamp(NOW - age))
    fake.on("GET", f"{BATCHES}/msgbatch_1", JSONResponse(ended))
    polled = await anthropic.poll("msgbatch_1")
    with pytest.raises(raised):
        [group async for group in anthropic.results(polled)]


@pytest.mark.parametrize(
    ("status", "raises"), [("in_progress", True), ("canceling", False), ("ended", False)]
)
async def test_cancel_that_is_refused(
    status: str, raises: bool, fake: FakeProvider, anthropic: AnthropicProvider
) -> None:
    fake.on("POST", f"{BATCHES}/msgbatch_1/cancel", error(400, "no", "invalid_request_error"))
    fake.on("GET", f"{BATCHES}/msgbatch_1", JSONResponse(batch(status=status)))
    if raises:
        with pytest.raises(ProviderRejected):
            await anthropic.cancel("msgbatch_1")
    else:
        await anthropic.cancel("msgbatch_1")
