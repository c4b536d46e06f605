"""The key in what a provider answers: it is taken out, and words that are like a short one stay."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import aclosing

import msgspec
import pytest
from starlette.responses import JSONResponse, Response

from core.providers.contract import ProviderRejected
from core.providers.http.client import ProviderHttp
from core.providers.http.replies import Answers
from core.providers.http.transport import Reply
from tests.support.providers.calls import create
from tests.support.providers.fake_provider import KEY, FakeProvider

ECHO = {"id": "1", "errors": [{"message": f"Incorrect API key provided: {KEY}"}]}
_any = msgspec.json.Decoder().decode


async def downloaded(http: ProviderHttp) -> bytes:
    async with aclosing(http.download("/results")) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def test_no_answer_that_is_kept_has_the_key(fake: FakeProvider, http: ProviderHttp) -> None:
    fake.on("GET", "/things/1", JSONResponse(ECHO))
    fake.on("POST", "/things", JSONResponse(ECHO))
    fake.on("GET", "/results", JSONResponse(ECHO))
    for answer in (
        await http.call("GET", "/things/1", _any),
        await create(http),
        await downloaded(http),
        await http.exchange("/things", b"{}", {}),
    ):
        assert KEY not in str(answer)
        assert "Incorrect API key provided: ***" in str(answer)


async def test_a_key_is_found_wherever_the_bytes_are_cut() -> None:
    whole = f"{KEY[:9]} {KEY}{KEY} {KEY[:-1]}".encode()
    expected = f"{KEY[:9]} ****** {KEY[:-1]}".encode()
    for first in range(len(whole) + 1):
        for second in range(first, len(whole) + 1):

            async def chunks(cuts: tuple[int, int] = (first, second)) -> AsyncIterator[bytes]:
                yield whole[: cuts[0]]
                yield whole[cuts[0] : cuts[1]]
                yield whole[cuts[1] :]

            found = [chunk async for chunk in Answers(KEY).hidden_chunks(chunks())]
            assert b"".join(found) == expected


@pytest.mark.parametrize("key", ["ollama", "EMPTY", "1", "lm-studio", "id"])
async def test_what_a_model_says_is_not_taken_for_a_key_that_is_a_word(
    fake: FakeProvider, key: str
) -> None:
    said = f'{{"id": "1", "content": "ollama or lm-studio? {key} is EMPTY"}}'.encode()
    for method, path in (("POST", "/things"), ("GET", "/things/1"), ("GET", "/results")):
        fake.on(method, path, Response(said))
    http = ProviderHttp(fake.url, {}, secret=key, timeout=5)
    try:
        answered = await http.exchange("/things", b"{}", {})
        assert isinstance(answered, Reply)
        assert answered.body == said
        assert await downloaded(http) == said
        assert await http.call("GET", "/things/1", _any) == msgspec.json.decode(said)
    finally:
        await http.close()


@pytest.mark.parametrize("key", ["sandbox", "ollama", "1", "id"])
async def test_an_error_keeps_words_that_are_like_a_short_key(fake: FakeProvider, key: str) -> None:
    said = "The sandbox at ollama:1 gave the id 11 to nobody"
    fake.on("GET", "/things/1", JSONResponse({"error": {"message": said}}, status_code=401))
    http = ProviderHttp(fake.url, {}, secret=key, timeout=5)
    try:
        with pytest.raises(ProviderRejected, match=re.escape(f"GET /things/1: {said}")):
            await http.call("GET", "/things/1", _any)
    finally:
        await http.close()
