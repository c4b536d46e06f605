"""Many batches looked at through a list: which pages are read, and when it is given up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import JSONResponse, Response

from core.providers.anthropic.adapter import AnthropicProvider
from core.providers.contract import RemoteState
from core.providers.list_search import MOST_PAGES, Sought
from core.providers.openai.adapter import OpenAIProvider
from tests.support.providers.fake_provider import NOW, Call, FakeProvider

PAGE = 100
BATCHES = "/v1/messages/batches"


def openai_list(ids: list[str], *, seconds: int = 1) -> Any:
    """A list of running batches, the first the newest, each so much older than the one before."""

    def answer(call: Call) -> Response:
        assert call.query["limit"] == "100"
        start = ids.index(call.query["after"]) + 1 if "after" in call.query else 0
        page = [
            {
                "id": each,
                "status": "in_progress",
                "created_at": int(NOW.timestamp()) - seconds * (start + place),
                "request_counts": {"total": 5, "completed": 2, "failed": 1},
            }
            for place, each in enumerate(ids[start : start + PAGE])
        ]
        return JSONResponse({"data": page, "has_more": start + PAGE < len(ids)})

    return answer


async def test_all_are_found_among_those_of_others(
    fake: FakeProvider, openai: OpenAIProvider
) -> None:
    others = [f"theirs{n}" for n in range(150)]
    ours = [f"ours{n}" for n in range(300)]
    fake.on("GET", "/batches", openai_list(others + ours))
    listed = await openai.poll_many(ours, NOW - timedelta(days=1))
    assert listed.batches.keys() == set(ours)
    assert listed.pages == len(fake.calls) == 5
    assert listed.batches["ours7"].finished == 3
    assert listed.batches["ours7"].state is RemoteState.RUNNING


async def test_thousands_of_others_are_read_past_for_many_only(
    fake: FakeProvider, openai: OpenAIProvider
) -> None:
    others = [f"theirs{n}" for n in range(3000)]
    ours = [f"ours{n}" for n in range(500)]
    fake.on("GET", "/batches", openai_list(others + ours))
    listed = await openai.poll_many(ours, NOW - timedelta(days=1))
    assert (len(listed.batches), listed.pages) == (500, 35)
    few = await openai.poll_many(ours[:10], NOW - timedelta(days=1))
    assert not few.batches
    assert few.pages == 3


async def test_the_list_is_read_to_the_oldest_only(
    fake: FakeProvider, openai: OpenAIProvider
) -> None:
    fake.on("GET", "/batches", openai_list([f"theirs{n}" for n in range(2000)], seconds=60))
    listed = await openai.poll_many([f"ours{n}" for n in range(1000)], NOW)
    assert (dict(listed.batches), listed.pages) == ({}, 1)


async def test_anthropic_lists(fake: FakeProvider, anthropic: AnthropicProvider) -> None:
    def answer(call: Call) -> Response:
        start = int(call.query["after_id"][1:]) + 1 if "after_id" in call.query else 0
        page = [
            {
                "id": f"b{number}",
                "processing_status": "ended" if number == 120 else "in_progress",
                "created_at": (NOW - timedelta(minutes=number)).isoformat(),
                "request_counts": {"processing": 2},
            }
            for number in range(start, start + PAGE)
        ]
        return JSONResponse({"data": page, "has_more": True})

    fake.on("GET", BATCHES, answer)
    wanted = ["b3", "b120", "b250", "b100000"]
    listed = await anthropic.poll_many(wanted, NOW - timedelta(minutes=290))
    assert listed.batches.keys() == {"b3", "b120", "b250"}
    assert listed.batches["b120"].state is RemoteState.ENDED
    assert listed.pages == 3
    assert [call.query.get("after_id") for call in fake.calls] == [None, "b99", "b199"]


@given(
    pages=st.lists(st.lists(st.integers(0, 30), max_size=5), max_size=200),
    wanted=st.sets(st.integers(0, 30)),
)
def test_a_search_ends_and_gives_only_what_was_asked_for(
    pages: list[list[int]], wanted: set[int]
) -> None:
    sought = Sought[int]([str(number) for number in wanted])
    for page in pages:
        if not sought.read((str(number), number) for number in page):
            break
    assert sought.found.keys() <= {str(number) for number in wanted}
    assert all(str(number) == key for key, number in sought.found.items())
    assert sought.pages <= MOST_PAGES


@pytest.mark.parametrize(("wanted", "pages"), [(1, 3), (50, 11), (100_000, MOST_PAGES)])
def test_a_list_that_shows_nothing_is_given_up(wanted: int, pages: int) -> None:
    sought = Sought[None]([str(number) for number in range(wanted)])
    while sought.read([("other", None)]):
        pass
    assert sought.pages == pages
