"""The contents of results of a batch that runs, by what the collector says of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from polybatch.models import ResultFilter
from polybatch.v1 import batches_pb2, results_pb2
from starlette.requests import Request

from services.web.errors import HttpError
from services.web.openai import files

BATCH_ID = f"batch_{'0' * 20}"
RUNNING = batches_pb2.Batch(id=BATCH_ID, state=batches_pb2.BATCH_STATE_IN_PROGRESS)


class Collector:
    """Answers with these replies, and remembers what it was asked."""

    def __init__(self, *replies: results_pb2.DownloadResultsResponse) -> None:
        self.replies = replies
        self.asked: list[tuple[str, ResultFilter, int]] = []
        self.closed = False

    async def call(self, _method: Any, _request: Any) -> batches_pb2.Batch:
        return RUNNING

    async def settled(
        self, batch_id: str, which: ResultFilter, after: int
    ) -> AsyncGenerator[results_pb2.DownloadResultsResponse, None]:
        self.asked.append((batch_id, which, after))
        try:
            for reply in self.replies:
                yield reply
        finally:
            self.closed = True


def head(**fields: Any) -> results_pb2.DownloadResultsResponse:
    return results_pb2.DownloadResultsResponse(header=results_pb2.ResultsHeader(**fields))


async def content(collector: Collector, query: str = "") -> tuple[dict[str, str], bytes]:
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": query.encode(),
        "headers": [],
        "path_params": {"file_id": f"file-{'0' * 20}-output"},
    }
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        # The client stays, and says nothing more.
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    answer = await files.content(Request(scope), collector)  # type: ignore[arg-type]
    headers = dict(answer.headers)
    await answer(scope, receive, send)
    return headers, b"".join(message.get("body", b"") for message in sent)


async def test_how_far_it_goes_is_in_the_head() -> None:
    collector = Collector(
        head(incomplete=True, complete_until_line=3, settled_until=7),
        results_pb2.DownloadResultsResponse(chunk=b"{}\n"),
        results_pb2.DownloadResultsResponse(chunk=b"{}\n"),
    )
    headers, body = await content(collector, "settled_after=5")
    assert collector.asked == [(BATCH_ID, ResultFilter.SUCCEEDED, 5)]
    assert body == b"{}\n{}\n"
    assert headers["x-incomplete"] == "true"
    assert headers["x-last-line"] == "3"
    assert headers["x-settled-until"] == "7"
    # How long it will be, nobody knows.
    assert "content-length" not in headers
    assert collector.closed


async def test_nothing_is_settled_yet() -> None:
    headers, body = await content(Collector(head(incomplete=True)))
    assert (headers["x-incomplete"], headers["x-last-line"], body) == ("true", "0", b"")


@pytest.mark.parametrize(
    "query", ["settled_after=-1", "settled_after=x", "settled_after=2147483648"]
)
async def test_what_is_no_place_to_go_on_from(query: str) -> None:
    with pytest.raises(HttpError) as wrong:
        await content(Collector(head()), query)
    assert (wrong.value.status, wrong.value.param) == (400, "settled_after")
