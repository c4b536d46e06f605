"""Looking for a batch at OpenAI after a create with an unknown outcome."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from core.providers.contract import Absent, Found, ProviderUnavailable, Unsure
from core.providers.openai.adapter import OpenAIProvider
from tests.support.providers.fake_provider import NOW, FakeProvider, make_intent

FILE = {"id": "file-1", "object": "file", "filename": "x.jsonl", "created_at": 1, "bytes": 1}
OURS = {"polybatch_shard": "shard_0001", "polybatch_token": "tok9"}


def batch(status: str = "in_progress", **fields: Any) -> dict[str, Any]:
    at = int(NOW.timestamp())
    return {"id": "batch_1", "object": "batch", "status": status, "created_at": at} | fields


def listing(*batches: dict[str, Any], more: bool = False) -> Response:
    return JSONResponse({"object": "list", "data": list(batches), "has_more": more})


def others(count: int, newest: int, step: int) -> list[dict[str, Any]]:
    """`count` batches that are not ours, each `step` seconds older than the one before."""
    at = int(NOW.timestamp()) - newest
    return [batch(id=f"batch_o{newest}_{i}", created_at=at - i * step) for i in range(count)]


async def test_find_by_metadata(fake: FakeProvider, openai: OpenAIProvider) -> None:
    fake.on(
        "GET",
        "/batches",
        listing(
            batch(id="a", metadata=None),
            batch(id="b", metadata=OURS | {"polybatch_token": "tok8"}),
            more=True,
        ),
        listing(batch(id="c", metadata=OURS, input_file_id="file-7")),
    )
    assert await openai.find(make_intent(), frozenset()) == Found("c", "file-7")
    assert [call.query for call in fake.calls] == [
        {"limit": "100"},
        {"limit": "100", "after": "b"},
    ]


async def test_absence_is_believed_only_after_the_settle_time(
    fake: FakeProvider, openai: OpenAIProvider
) -> None:
    fake.on("GET", "/batches", listing())
    fake.on("GET", "/files", listing())
    intent = make_intent(intended_at=NOW - timedelta(seconds=1000))
    quiet = NOW - timedelta(seconds=119)
    outcome = await openai.find(intent, frozenset(), quiet_since=quiet)
    assert isinstance(outcome, Unsure)
    assert outcome.retry_after == 1.0
    quiet = NOW - timedelta(seconds=120)
    assert await openai.find(intent, frozenset(), quiet_since=quiet) == Absent()
    # Unless told otherwise, a call may have been under way for as long as calls may take.
    just_now = make_intent(intended_at=NOW - timedelta(seconds=124))
    assert isinstance(await openai.find(just_now, frozenset()), Unsure)
    assert await openai.find(intent, frozenset()) == Absent()


async def test_the_search_ends_at_batches_older_than_the_intent(
    fake: FakeProvider, openai: OpenAIProvider
) -> None:
    fake.on("GET", "/batches", listing(*others(100, newest=0, step=60), more=True))
    fake.on("GET", "/files", listing())
    long_ago = NOW - timedelta(days=1)
    assert await openai.find(make_intent(), frozenset(), quiet_since=long_ago) == Absent()
    assert len(fake.seen("GET", "/batches")) == 1


async def test_a_list_in_another_order_is_read_to_its_end(
    fake: FakeProvider, openai: OpenAIProvider
) -> None:
    oldest_first = list(reversed(others(100, newest=10_000, step=60)))
    fake.on(
        "GET",
        "/batches",
        listing(*oldest_first, more=True),
        listing(batch(id="new", metadata=OURS)),
    )
    assert await openai.find(make_intent(), frozenset()) == Found("new")


async def test_a_list_that_goes_in_circles_ends(fake: FakeProvider, openai: OpenAIProvider) -> None:
    fake.on("GET", "/batches", listing(batch(id="a"), more=True))
    assert isinstance(await openai.find(make_intent(), frozenset()), Unsure)
    assert len(fake.calls) == 2


async def test_absence_deletes_nothing(fake: FakeProvider, openai: OpenAIProvider) -> None:
    """What was uploaded is sent again."""
    fake.on("GET", "/batches", listing())
    long_ago = NOW - timedelta(days=1)
    assert await openai.find(make_intent(), frozenset(), quiet_since=long_ago) == Absent()
    assert {call.method for call in fake.calls} == {"GET"}


async def test_another_attempt_with_the_same_file_is_not_the_intents(
    fake: FakeProvider, openai: OpenAIProvider
) -> None:
    theirs = batch("failed", id="a", metadata=OURS, input_file_id="file-7")
    mine = batch(id="b", metadata=OURS | {"polybatch_token": "tok10"}, input_file_id="file-7")
    fake.on("GET", "/batches", listing(theirs), listing(theirs, mine))
    intent = make_intent(token="tok10", file_token="tok9")
    long_ago = NOW - timedelta(days=1)
    assert await openai.find(intent, frozenset(), quiet_since=long_ago) == Absent()
    assert await openai.find(intent, frozenset()) == Found("b", "file-7")


async def test_find_raises_rather_than_guess(fake: FakeProvider, openai: OpenAIProvider) -> None:
    fake.on("GET", "/batches", Response(status_code=500))
    with pytest.raises(ProviderUnavailable):
        await openai.find(make_intent(), frozenset())
