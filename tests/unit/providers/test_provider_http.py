"""Exchanges with a provider: what is repeated, what is not, and what an answer means."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from starlette.responses import JSONResponse, Response, StreamingResponse

from core.providers.contract import (
    OutcomeUnknown,
    ProviderRejected,
    ProviderUnavailable,
    Refused,
)
from core.providers.http.call_metrics import HeldBack
from core.providers.http.client import ProviderHttp
from core.providers.http.holds import Holds
from core.providers.http.transport import MAX_ERROR_BYTES
from core.providers.http.upload_tries import UploadTries
from tests.support.providers.calls import KINDS, create, make
from tests.support.providers.fake_provider import (
    KEY,
    SPOOLED,
    Call,
    FakeProvider,
    Naps,
    breaking,
    connect,
    error,
    unused_url,
)


class Thing(msgspec.Struct):
    id: str


read_thing = msgspec.json.Decoder(Thing).decode


async def test_reads_are_repeated_until_they_succeed(
    fake: FakeProvider, http: ProviderHttp, naps: Naps
) -> None:
    fake.on(
        "GET",
        "/things/1",
        Response(status_code=503),
        error(429, "slow down", "rate_limit_error", retry_after="3"),
        JSONResponse({"id": "1"}),
    )
    assert (await http.call("GET", "/things/1", read_thing)).id == "1"
    assert len(fake.calls) == 3
    assert 0 < naps.taken[0] <= 0.5
    assert naps.taken[1] == pytest.approx(3.0, rel=0.11)


async def test_reads_give_up(fake: FakeProvider, http: ProviderHttp, naps: Naps) -> None:
    fake.on("GET", "/things/1", error(529, "overloaded", "overloaded_error"))
    with pytest.raises(ProviderUnavailable, match="overloaded"):
        await http.call("GET", "/things/1", read_thing)
    assert len(fake.calls) == 3
    assert len(naps.taken) == 2


async def test_a_long_wait_is_left_to_the_caller(
    fake: FakeProvider, http: ProviderHttp, naps: Naps
) -> None:
    fake.on("GET", "/things/1", error(429, "later", "rate_limit_error", retry_after="60"))
    with pytest.raises(ProviderUnavailable) as caught:
        await http.call("GET", "/things/1", read_thing)
    assert caught.value.retry_after == 60.0
    assert (len(fake.calls), naps.taken) == (1, [])


async def test_a_clear_no_is_not_repeated(fake: FakeProvider, http: ProviderHttp) -> None:
    fake.on("GET", "/things/1", error(401, "bad key", "invalid_request_error", "invalid_api_key"))
    with pytest.raises(ProviderRejected, match="bad key") as caught:
        await http.call("GET", "/things/1", read_thing)
    assert (caught.value.code, caught.value.status) == ("invalid_api_key", 401)
    assert len(fake.calls) == 1


@pytest.mark.parametrize("cookie", ["server=a1; Path=/", "name=\xe9t\xe9"])
async def test_no_cookie_is_sent_back(cookie: str, fake: FakeProvider, http: ProviderHttp) -> None:
    fake.on("GET", "/things/1", JSONResponse({"id": "1"}, headers={"set-cookie": cookie}))
    for _ in range(2):
        assert (await http.call("GET", "/things/1", read_thing)).id == "1"
    assert [call.headers.get("cookie") for call in fake.calls] == [None, None]


@pytest.mark.parametrize(
    "reply", [Response(b"<html>"), JSONResponse({"no": "id"}), Response(b"[" * 100_000), Response()]
)
async def test_an_answer_in_another_form_is_no_answer(
    reply: Response, fake: FakeProvider, http: ProviderHttp
) -> None:
    fake.on("GET", "/things/1", reply)
    with pytest.raises(ProviderUnavailable, match="not in the documented form"):
        await http.call("GET", "/things/1", read_thing)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (
            error(429, "slow down", "rate_limit_error", retry_after="12"),
            Refused("rate_limit_error", "POST /things: slow down", True, 12.0),
        ),
        (
            error(429, "no money", "insufficient_quota", "insufficient_quota"),
            Refused("insufficient_quota", "POST /things: no money", True),
        ),
        (
            error(400, "bad endpoint", "invalid_request_error", "invalid_value"),
            Refused("invalid_value", "POST /things: bad endpoint", False),
        ),
        (
            error(400, "too many tokens", "invalid_request_error", "token_limit_exceeded"),
            Refused("token_limit_exceeded", "POST /things: too many tokens", True),
        ),
        (
            error(500, "oops", "api_error", request_id="req_7"),
            Refused("api_error", "POST /things: oops (request id req_7)", True),
        ),
        (error(504, "timed out", "timeout_error"), OutcomeUnknown("POST /things: timed out")),
        (error(408, "too slow", "request_timeout"), OutcomeUnknown("POST /things: too slow")),
        (error(499, "cancelled", "CANCELLED"), OutcomeUnknown("POST /things: cancelled")),
        (error(500, "too slow", "request_timeout"), OutcomeUnknown("POST /things: too slow")),
        (Response(status_code=500), OutcomeUnknown("POST /things: status 500")),
        (Response(b"<html>Bad gateway", 502), OutcomeUnknown("POST /things: status 502")),
        (Response(b'{"error":"x"}', 503), OutcomeUnknown("POST /things: x")),
        (Response(status_code=429), Refused("http_429", "POST /things: status 429", True)),
        (Response(b"<html>", 413), Refused("http_413", "POST /things: status 413", False)),
        (
            error(307, "not here", "invalid_request_error", "moved"),
            Refused("moved", "POST /things: not here", False),
        ),
    ],
)
async def test_what_a_create_is_answered(
    reply: Response, expected: Refused | OutcomeUnknown, fake: FakeProvider, http: ProviderHttp
) -> None:
    fake.on("POST", "/things", reply)
    assert await create(http) == expected
    assert len(fake.calls) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_create_that_is_sent_elsewhere_may_have_been_passed_on(
    status: int, fake: FakeProvider, http: ProviderHttp
) -> None:
    fake.on("POST", "/things", Response("<html>", status, headers={"location": "/elsewhere"}))
    outcome = await create(http)
    assert isinstance(outcome, OutcomeUnknown)
    assert f"POST /things: status {status}: redirects are not followed" in outcome.message
    assert len(fake.calls) == 1


@pytest.mark.parametrize("teller", KINDS)
async def test_what_one_call_was_told_holds_for_all_with_the_same_key(
    teller: str, fake: FakeProvider, naps: Naps, spool: Path
) -> None:
    fake.on(*KINDS[teller], error(429, "later", "rate_limit_error", retry_after="60"))
    hold = Holds().of("acme", "key")
    async with (
        connect(fake.url, naps, hold=hold) as one,
        connect(fake.url, naps, hold=hold) as other,
        connect(fake.url, naps) as stranger,
    ):
        told = await make(one, teller, spool)
        assert getattr(told, "retry_after", None) == 60.0
        for kind in KINDS:
            outcome = await make(other, kind, spool)
            assert isinstance(outcome, Refused | ProviderUnavailable | HeldBack)
            assert outcome.retry_after == pytest.approx(60.0, abs=20)
            message = outcome.message if isinstance(outcome, Refused) else str(outcome)
            assert "asked for no call before" in message
            assert isinstance(outcome, HeldBack) == (kind == "single call")
        assert len(fake.calls) == 1, "nothing was sent"
        await make(stranger, teller, spool)
        assert len(fake.calls) == 2, "another key is not bound"
    assert naps.taken == []


async def test_a_create_that_is_told_to_wait_while_it_is_let_go_is_not_sent(
    fake: FakeProvider, naps: Naps
) -> None:
    hold = Holds().of("acme", "key")

    async def gate() -> None:
        hold.note(60.0)

    async with connect(fake.url, naps, hold=hold) as http:
        outcome = await http.create("/things", b"{}", deadline=http.deadline(), gate=gate)
    assert isinstance(outcome, Refused)
    assert outcome.transient
    assert fake.calls == []


async def test_a_short_wait_is_waited_for(
    fake: FakeProvider, http: ProviderHttp, naps: Naps
) -> None:
    fake.on("POST", "/things", error(429, "x", "rate_limit_error", retry_after="5"), Response(b"1"))
    assert isinstance(await create(http), Refused)
    assert await create(http) == b"1"
    assert naps.taken == [pytest.approx(5.0, rel=0.2)]


async def test_a_wait_of_a_day_is_obeyed(fake: FakeProvider, http: ProviderHttp) -> None:
    fake.on("GET", "/things/1", error(503, "tomorrow", "x", retry_after="86400"))
    with pytest.raises(ProviderUnavailable) as caught:
        await http.call("GET", "/things/1", read_thing)
    assert caught.value.retry_after == 86400
    with pytest.raises(ProviderUnavailable, match="asked for no call before"):
        await http.call("GET", "/things/2", read_thing)
    assert len(fake.calls) == 1


async def test_a_hold_that_grows_while_it_is_waited_for_is_waited_for_again(
    fake: FakeProvider,
) -> None:
    hold = Holds().of("acme", "key")
    taken: list[float] = []

    async def nap(seconds: float) -> None:
        taken.append(seconds)
        if len(taken) == 1:
            hold.note(6.0)

    fake.on("GET", "/things/1", JSONResponse({"id": "1"}))
    hold.note(3.0)
    http = ProviderHttp(fake.url, {}, secret="", timeout=5, hold=hold, sleep=nap)
    assert (await http.call("GET", "/things/1", read_thing)).id == "1"
    await http.close()
    assert len(taken) == 2


async def test_a_download_that_is_throttled_says_for_how_long(
    fake: FakeProvider, http: ProviderHttp
) -> None:
    fake.on("GET", "/content", error(429, "later", "rate_limit_error", retry_after="20"))
    for _ in range(2):
        with pytest.raises(ProviderUnavailable) as caught:
            [_ async for _ in http.download("/content")]
        assert caught.value.retry_after == pytest.approx(20.0, abs=5)
    assert len(fake.calls) == 1


async def test_an_upload_in_googles_manner(
    fake: FakeProvider, other: FakeProvider, http: ProviderHttp, spool: Path
) -> None:
    # The session's address is at another host: the bytes go to the one that was set.
    session = Response(headers={"x-goog-upload-url": f"{other.url}/session?upload_id=7"})
    fake.on("POST", "/upload", Response(status_code=503), session)
    fake.on("POST", "/session", Response(status_code=500), JSONResponse({"id": "f"}))
    thing = await http.upload_resumable(
        "/upload", b'{"x":1}', spool, "text/x", read_thing, UploadTries()
    )
    assert thing.id == "f"
    assert other.calls == []
    start = fake.seen("POST", "/upload")[0]
    assert start.body == b'{"x":1}'
    assert start.headers["x-goog-upload-command"] == "start"
    assert start.headers["x-goog-upload-header-content-length"] == str(len(SPOOLED))
    assert start.headers["x-goog-upload-header-content-type"] == "text/x"
    finish = fake.seen("POST", "/session")[-1]
    assert finish.query == {"upload_id": "7"}
    assert finish.headers["x-goog-upload-command"] == "upload, finalize"
    assert finish.body == SPOOLED


@pytest.mark.parametrize(
    ("replies", "orphans"),
    [
        ([JSONResponse({"id": "f"})], False),
        ([error(429, "slow", "rate_limit_error"), JSONResponse({"id": "f"})], False),
        ([Response(status_code=502), JSONResponse({"id": "f"})], True),
        ([Response(b"<html>")], True),
        ([error(400, "no", "invalid_request_error")], False),
        ([Response(status_code=503)], True),
    ],
)
async def test_an_upload_that_may_have_left_a_copy_behind(
    replies: list[Response], orphans: bool, fake: FakeProvider, http: ProviderHttp, spool: Path
) -> None:
    fake.on("POST", "/files", *replies)
    tries = UploadTries()
    with suppress(ProviderUnavailable, ProviderRejected):
        await http.upload("/files", {}, "x.jsonl", spool, read_thing, tries)
    assert tries.orphans == orphans


async def test_an_upload_that_reached_nobody_has_left_nothing(naps: Naps, spool: Path) -> None:
    tries = UploadTries()
    async with connect(unused_url(), naps) as http:
        with pytest.raises(ProviderUnavailable):
            await http.upload("/files", {}, "x.jsonl", spool, read_thing, tries)
    assert not tries.orphans


async def test_an_upload_in_googles_manner_goes_on_where_it_was_refused(
    fake: FakeProvider, http: ProviderHttp, spool: Path
) -> None:
    session = Response(headers={"x-goog-upload-url": f"{fake.url}/session"})
    slow = error(429, "slow", "rate_limit_error", retry_after="0.01")
    fake.on("POST", "/upload", slow, session, slow)
    fake.on("POST", "/session", slow, JSONResponse({"id": "f"}))
    tries = UploadTries()
    thing = await http.upload_resumable("/upload", b"{}", spool, "text/x", read_thing, tries)
    assert thing.id == "f"
    assert [call.path for call in fake.calls] == ["/upload", "/upload", "/session", "/session"]
    assert not tries.orphans


async def test_an_upload_in_googles_manner_begins_anew_where_it_is_over(
    fake: FakeProvider, http: ProviderHttp, spool: Path
) -> None:
    session = Response(headers={"x-goog-upload-url": f"{fake.url}/session"})
    fake.on("POST", "/upload", session)
    gone = error(404, "no such upload", "x")
    fake.on("POST", "/session", Response(status_code=503), gone, JSONResponse({"id": "f"}))
    tries = UploadTries()
    thing = await http.upload_resumable("/upload", b"{}", spool, "text/x", read_thing, tries)
    assert thing.id == "f"
    assert len(fake.seen("POST", "/upload")) == 2


@pytest.mark.parametrize("address", [None, "https://a:b/"])
async def test_an_upload_without_an_address(
    address: str | None, fake: FakeProvider, http: ProviderHttp, spool: Path
) -> None:
    headers = {} if address is None else {"x-goog-upload-url": address}
    fake.on("POST", "/upload", Response(headers=headers))
    with pytest.raises(ProviderUnavailable):
        await http.upload_resumable("/upload", b"{}", spool, "text/x", read_thing, UploadTries())


async def test_a_create_that_is_accepted(fake: FakeProvider, http: ProviderHttp) -> None:
    fake.on("POST", "/things", JSONResponse({"id": "1"}))
    assert await create(http, b'{"x":1}') == b'{"id":"1"}'
    (call,) = fake.calls
    assert call.body == b'{"x":1}'
    assert call.headers["content-type"] == "application/json"
    assert call.headers["authorization"] == f"Bearer {KEY}"


async def test_a_create_streams_its_file(
    fake: FakeProvider, http: ProviderHttp, spool: Path
) -> None:
    fake.on("POST", "/things", JSONResponse({"id": "1"}))
    await create(http, spool)
    (call,) = fake.calls
    assert call.body == SPOOLED
    assert call.headers["content-length"] == str(len(SPOOLED))
    assert "transfer-encoding" not in call.headers


@pytest.mark.parametrize("read", [False, True])
async def test_a_create_whose_connection_breaks_is_unknown(
    read: bool, naps: Naps, spool: Path
) -> None:
    async with breaking(read=read) as breaker, connect(breaker.url, naps) as http:
        assert isinstance(await create(http, spool), OutcomeUnknown)
        assert breaker.connections == 1
        assert breaker.received == (len(SPOOLED) if read else 0)


async def test_a_create_that_reaches_nobody_is_refused(naps: Naps) -> None:
    async with connect(unused_url(), naps) as http:
        outcome = await create(http)
    assert isinstance(outcome, Refused)
    assert (outcome.code, outcome.transient) == ("unreachable", True)


async def test_a_create_without_an_answer_is_unknown(fake: FakeProvider, naps: Naps) -> None:
    async def never(call: Call) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    fake.on("POST", "/things", never)
    async with connect(fake.url, naps, seconds=0.2) as http:
        outcome = await create(http)
    assert isinstance(outcome, OutcomeUnknown)
    assert len(fake.calls) == 1


async def test_a_create_answered_by_half_is_unknown(naps: Naps) -> None:
    half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n" + b'{"id":'
    async with breaking(read=True, answer=half) as breaker, connect(breaker.url, naps) as http:
        assert isinstance(await create(http), OutcomeUnknown)


async def test_an_early_answer_counts(naps: Naps, spool: Path) -> None:
    early = b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    async with breaking(read=True, answer=early) as breaker, connect(breaker.url, naps) as http:
        outcome = await create(http, spool)
    assert isinstance(outcome, Refused)
    assert not outcome.transient


async def test_no_more_of_an_error_body_is_read_than_needed(
    fake: FakeProvider, http: ProviderHttp
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"x" * 2 * MAX_ERROR_BYTES
        await asyncio.Event().wait()

    fake.on("POST", "/things", StreamingResponse(endless(), 400))
    assert await create(http) == Refused("http_400", "POST /things: status 400", False)


async def test_a_long_message_is_cut(fake: FakeProvider, http: ProviderHttp) -> None:
    fake.on("POST", "/things", error(400, "m" * 50_000, "invalid_request_error"))
    outcome = await create(http)
    assert isinstance(outcome, Refused)
    assert len(outcome.message) < 1100


async def test_the_key_goes_nowhere_but_into_the_header(
    fake: FakeProvider,
    http: ProviderHttp,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    fake.on("POST", "/things", error(401, f"wrong key: {KEY}", "authentication_error"))
    fake.on("GET", "/things/1", error(503, f"wrong key: {KEY}", "authentication_error"))
    outcome = await create(http)
    with pytest.raises(ProviderUnavailable) as caught:
        await http.call("GET", "/things/1", read_thing)
    assert isinstance(outcome, Refused)
    assert "wrong key: ***" in outcome.message
    written = capsys.readouterr()
    assert KEY not in f"{outcome} {caught.value} {caplog.text} {written.out} {written.err}"
    assert all(KEY not in f"{call.path} {call.query} {call.body!r}" for call in fake.calls)


async def test_redirects_are_not_followed(
    fake: FakeProvider, other: FakeProvider, http: ProviderHttp
) -> None:
    moved = Response(status_code=302, headers={"location": f"{other.url}/things/1"})
    fake.on("GET", "/things/1", moved)
    # It may be a proxy's: nothing is over for that.
    with pytest.raises(ProviderUnavailable, match="redirects are not followed"):
        await http.call("GET", "/things/1", read_thing)
    with pytest.raises(ProviderUnavailable):
        [_ async for _ in http.download("/things/1")]
    assert other.calls == []


async def test_only_the_providers_own_host_is_its_own(http: ProviderHttp) -> None:
    assert http.own(f"{http.base_url}/v1/x")
    for url in ("http://127.0.0.1:1/v1/x", "https://evil.example/x", "not a url", "http://[", ""):
        assert not http.own(url)


async def test_a_download_streams(fake: FakeProvider, http: ProviderHttp) -> None:
    fake.on("GET", "/content", Response(b"x" * 5_000_000))
    sizes = [len(chunk) async for chunk in http.download("/content")]
    assert sum(sizes) == 5_000_000
    assert max(sizes) < 1_000_000


@pytest.mark.parametrize(
    "reply",
    [
        Response(status_code=503),
        error(429, "slow down", "rate_limit_error", retry_after="0.01"),
        error(500, "oops", "api_error"),
    ],
)
async def test_a_download_that_fails_at_its_head_is_repeated(
    reply: Response, fake: FakeProvider, http: ProviderHttp
) -> None:
    fake.on("GET", "/content", reply, Response(b"x"))
    assert [chunk async for chunk in http.download("/content")] == [b"x"]
    assert len(fake.calls) == 2


async def test_a_download_whose_connection_breaks_at_once_is_repeated(naps: Naps) -> None:
    async with breaking(read=True) as breaker, connect(breaker.url, naps) as http:
        with pytest.raises(ProviderUnavailable):
            [_ async for _ in http.download("/content")]
        assert breaker.connections == 3


async def test_a_download_that_breaks_in_the_middle_is_not_repeated(naps: Naps) -> None:
    half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"
    async with breaking(read=True, answer=half) as breaker, connect(breaker.url, naps) as http:
        with pytest.raises(ProviderUnavailable):
            [_ async for _ in http.download("/content")]
        assert breaker.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nhalf",
        b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n",
        b"",
    ],
)
async def test_a_download_that_breaks_says_so(answer: bytes, naps: Naps) -> None:
    async with breaking(read=True, answer=answer) as breaker, connect(breaker.url, naps) as http:
        with pytest.raises(ProviderUnavailable):
            [_ async for _ in http.download("/content")]
