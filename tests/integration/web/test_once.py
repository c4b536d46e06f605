"""What was lost on the way makes nothing twice: a batch that is made again is paid for again."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from polybatch._transport import AioTransport, methods
from polybatch.errors import Unavailable

from services.web import creating
from tests.integration.web.conftest import Web
from tests.integration.web.test_bad_input import FORM, PURPOSE, form, part
from tests.integration.web.test_spending import MESSAGES, REQUEST
from tests.support.gateway.running import lines

KEY = {"idempotency-key": "once"}


async def uploaded(web: Web, content: bytes, name: str = "a.jsonl", **headers: str) -> Any:
    body = form(PURPOSE, part("file", content, name))
    return await web.client.post(
        "/v1/files", content=body, headers={"content-type": FORM} | headers
    )


async def asked(web: Web, **headers: str) -> Any:
    """What is answered to a batch of a new file, by each API."""
    file = (await uploaded(web, lines(2))).json()
    order = {
        "input_file_id": file["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    return (
        await web.client.post("/v1/batches", json=order, headers=headers),
        await web.client.post(MESSAGES, json={"requests": [REQUEST]}, headers=headers),
    )


def losing(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Batches are made, but of the first `most` nobody hears."""
    call, lost = AioTransport.unary, 0

    async def unary(self: AioTransport, method: Any, request: Any, seconds: float) -> Any:
        nonlocal lost
        reply = await call(self, method, request, seconds)
        if method is methods.CREATE_BATCH and lost < most:
            lost += 1
            raise Unavailable("the connection broke", code="UNAVAILABLE", reason="UNAVAILABLE")
        return reply

    monkeypatch.setattr(AioTransport, "unary", unary)


@pytest.mark.parametrize("headers", [{}, KEY])
async def test_a_batch_whose_answer_was_lost_is_made_once(
    web: Web, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    file = (await uploaded(web, lines(2))).json()
    order = {
        "input_file_id": file["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    losing(monkeypatch, 1)
    made = (await web.client.post("/v1/batches", json=order, headers=headers)).json()
    [found] = (await web.client.get("/v1/batches")).json()["data"]
    assert found["id"] == made["id"]


async def test_a_message_batch_whose_answer_was_lost_is_made_once(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    losing(monkeypatch, 1)
    made = (await web.client.post(MESSAGES, json={"requests": [REQUEST]})).json()
    [found] = (await web.client.get(MESSAGES)).json()["data"]
    assert found["id"] == made["id"]


async def test_the_sdks_do_not_repeat_what_may_have_made_a_batch(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    losing(monkeypatch, 1000)
    monkeypatch.setattr(creating, "_PATIENCE", 0.1)
    for answer in await asked(web):
        assert answer.status_code == 503
        assert answer.headers["x-should-retry"] == "false"
        assert "look for it in the list" in answer.json()["error"]["message"]
    named, _ = await asked(web, **KEY)
    assert (named.status_code, named.headers["x-should-retry"]) == (503, "true")


async def test_a_key_stands_for_one_file(web: Web) -> None:
    first = (await uploaded(web, lines(2), **KEY)).json()
    again = await uploaded(web, lines(2), **KEY)
    assert again.json()["id"] == first["id"]
    for other in (
        await uploaded(web, lines(3), **KEY),
        await uploaded(web, lines(2), "b.jsonl", **KEY),
    ):
        assert other.status_code == 409
        assert other.json()["error"]["code"] == "request_id_reused"
        assert other.headers["x-should-retry"] == "false"
        assert first["id"] in other.json()["error"]["message"]


async def test_a_file_without_a_line_is_an_error(web: Web) -> None:
    compressed = (await uploaded(web, gzip.compress(lines(2)))).json()
    assert compressed["status"] == "error"
    assert (await web.client.get(f"/v1/files/{compressed['id']}")).json()["status"] == "error"
    # Of this one the bad lines can be left out.
    assert (await uploaded(web, lines(2) + b"no json\n")).json()["status"] == "processed"
