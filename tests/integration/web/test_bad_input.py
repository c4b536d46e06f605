"""Whatever is sent: an answer in the API's own form, and nothing left behind in the gateway."""

from __future__ import annotations

import asyncio
import gzip
import json
import secrets
from collections.abc import AsyncIterator

import pytest
from prometheus_client import REGISTRY

from tests.integration.web.conftest import StartWeb, Web
from tests.support.gateway.running import SEGMENT, lines

CHAT = "/v1/chat/completions"
BATCH = {"input_file_id": "file-x", "endpoint": CHAT, "completion_window": "24h"}
FORM = "multipart/form-data; boundary=B"
NOBODY = "0" * 20


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    named = f'; filename="{filename}"' if filename is not None else ""
    head = f'--B\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--B--\r\n"


FILE = part("file", lines(2), "a.jsonl")
PURPOSE = part("purpose", b"batch")


WRONG_BATCHES = [
    (b"{", None, None),
    (b"\xff", None, None),
    (b"[]", None, "invalid_type"),
    (json.dumps(BATCH | {"metadata": {"a": "\ud800"}}).encode(), None, None),
    (b"[" * 100_000, None, None),
    (b"", "input_file_id", "missing_required_parameter"),
    ({**BATCH, "output_expires_after": 7}, "output_expires_after", "invalid_type"),
    ({**BATCH, "skip_invalid_lines": "yes"}, "skip_invalid_lines", "invalid_type"),
    ({**BATCH, "input_file_id": 7}, "input_file_id", "invalid_type"),
    ({"endpoint": CHAT, "completion_window": "24h"}, "input_file_id", None),
    ({**BATCH, "endpoint": "/v1/nothing"}, "endpoint", "invalid_value"),
    ({**BATCH, "completion_window": "for ever"}, "completion_window", "invalid_value"),
    ({**BATCH, "priority": "urgent"}, "priority", "invalid_value"),
    ({**BATCH, "completion_window": "8d"}, "completion_window", "invalid_value"),
    ({**BATCH, "metadata": {"a": 1}}, "metadata", "invalid_type"),
    (
        {**BATCH, "output_expires_after": {"anchor": "created_at"}},
        "output_expires_after.seconds",
        None,
    ),
    ({**BATCH, "max_costs": "0.0001"}, "max_costs", "unknown_parameter"),
    ({**BATCH, "skip_invalid": True}, "skip_invalid", "unknown_parameter"),
    ({**BATCH, "`\n' - at `": True}, None, None),
    (
        {**BATCH, "output_expires_after": {"anchor": "created_at", "seconds": 3600, "days": 1}},
        "output_expires_after.days",
        "unknown_parameter",
    ),
]


async def test_a_batch_that_is_asked_for_wrongly(web: Web) -> None:
    for body, param, code in WRONG_BATCHES:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await web.client.post("/v1/batches", content=content)
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert error["type"] == "invalid_request_error"
        if param is not None:
            assert error["param"] == param, error
        if code is not None:
            assert error["code"] == code, error
        assert answer.headers["x-request-id"]


WRONG_FORMS = [
    ("application/json", b"{}", None),
    ("multipart/form-data", form(PURPOSE, FILE), None),
    (FORM, b"no form at all", None),
    (FORM, form(PURPOSE), "file"),
    (FORM, form(FILE), "purpose"),
    (FORM, form(FILE, part("purpose", b"fine-tune")), "purpose"),
    (FORM, form(PURPOSE, FILE, FILE), None),
    (FORM, (PURPOSE + FILE)[:-20], None),
    (FORM, form(*[PURPOSE] * 100, FILE), None),
    (FORM, form(PURPOSE, part("other", b"x" * 100_000), FILE), None),
    (FORM, form(PURPOSE, part("file", b"{}", "x" * 300)), "file"),
    (FORM, form(PURPOSE, part("expires_after[seconds]", b"7"), FILE), "expires_after.anchor"),
    (FORM, b"x" * 200_000 + form(PURPOSE, FILE), None),
]


async def test_a_form_that_is_none(web: Web) -> None:
    for content_type, body, param in WRONG_FORMS:
        answer = await web.client.post(
            "/v1/files", content=body, headers={"content-type": content_type}
        )
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == param
        assert await web.left() == []


async def test_fields_come_in_any_order(web: Web) -> None:
    headers = {"content-type": FORM}
    for body in (form(PURPOSE, FILE), form(FILE, PURPOSE)):
        answer = await web.client.post("/v1/files", content=body, headers=headers)
        assert answer.status_code == 200
        assert answer.json()["filename"] == "a.jsonl"
        assert answer.json()["bytes"] == len(lines(2))


@pytest.mark.parametrize(
    ("said", "filename"),
    [
        ("filename*=UTF-8''na%C3%AFve%20%25.jsonl", "naïve %.jsonl"),
        ("filename*=utf-8'en'a%2Fb.jsonl; x=y", "b.jsonl"),
        ("filename=\"a.jsonl\"; filename*=UTF-8''b.jsonl", "a.jsonl"),
        ('filename="the %22best%22 100%.jsonl"', 'the "best" 100%.jsonl'),
    ],
)
async def test_the_ways_to_say_a_filename(web: Web, said: str, filename: str) -> None:
    head = f'--B\r\nContent-Disposition: form-data; name="file"; {said}\r\n\r\n'
    body = form(PURPOSE, head.encode() + lines(2) + b"\r\n")
    answer = await web.client.post("/v1/files", content=body, headers={"content-type": FORM})
    assert answer.json()["filename"] == filename


async def test_an_idempotency_key_that_is_too_long(web: Web) -> None:
    headers = {"content-type": FORM}
    file = await web.client.post("/v1/files", content=form(PURPOSE, FILE), headers=headers)
    batch = BATCH | {"input_file_id": file.json()["id"]}
    for key, status in (("k" * 123, 200), ("k" * 124, 400)):
        answer = await web.client.post("/v1/batches", json=batch, headers={"idempotency-key": key})
        assert answer.status_code == status
    error = answer.json()["error"]
    assert error["message"].startswith("The Idempotency-Key has to have at most 123 bytes")
    assert error["param"] == "Idempotency-Key"


async def test_a_body_that_is_compressed(web: Web) -> None:
    whole = form(PURPOSE, FILE)
    for path, kind, body in (
        ("/v1/files", FORM, whole),
        ("/v1/batches", "application/json", json.dumps(BATCH).encode()),
        ("/anthropic/v1/messages/batches", "application/json", b'{"requests": []}'),
    ):
        headers = {"content-type": kind, "content-encoding": "gzip"}
        answer = await web.client.post(path, content=gzip.compress(body), headers=headers)
        assert answer.status_code == 415
        assert "Content-Encoding: gzip" in answer.json()["error"]["message"]
    assert await web.left() == []
    headers = {"content-type": FORM, "content-encoding": "identity"}
    answer = await web.client.post("/v1/files", content=whole, headers=headers)
    assert answer.status_code == 200


async def test_who_has_no_key(web: Web) -> None:
    for path in ("/v1/batches", "/anthropic/v1/messages/batches"):
        for key in (None, "wrong", "wröng", "x" * 4000):
            async with web.with_key(None) as client:
                headers = [] if key is None else [(b"Authorization", f"Bearer {key}".encode())]
                answer = await client.get(path, headers=headers)
            assert answer.status_code == 401
            error = answer.json()["error"]
            if path.startswith("/v1"):
                assert error["code"] == (None if key is None else "invalid_api_key")
            else:
                assert error["type"] == "authentication_error"


async def test_an_upload_without_a_key_is_answered(web: Web) -> None:
    async with web.with_key("wrong") as client:
        # More than any buffer on the way holds.
        body = form(PURPOSE, part("file", lines(1) * 200_000, "a.jsonl"))
        answer = await client.post("/v1/files", content=body, headers={"content-type": FORM})
    assert answer.status_code == 401


NOT_THERE = [
    ("GET", f"/v1/files/file-{NOBODY}"),
    ("GET", f"/v1/files/file-{NOBODY}/content"),
    ("DELETE", f"/v1/files/file-{NOBODY}"),
    ("GET", f"/v1/files/file-{NOBODY}-output"),
    ("GET", "/v1/files/..%2f..%2fsecret"),
    ("GET", f"/v1/batches/batch_{NOBODY}"),
    ("POST", f"/v1/batches/batch_{NOBODY}/cancel"),
    ("GET", "/v1/batches/nonsense"),
    ("POST", "/v1/uploads/upload_nonsense/cancel"),
    ("GET", "/v1/models/none"),
    ("GET", "/v1/nothing"),
    ("GET", "/v1/files/"),
    ("GET", f"/anthropic/v1/messages/batches/msgbatch_{NOBODY}"),
    ("GET", "/anthropic/v1/messages/batches/x/results"),
]


async def test_what_is_not_there(web: Web) -> None:
    for method, path in NOT_THERE:
        answer = await web.client.request(method, path)
        assert answer.status_code == 404
        assert answer.json()["error"]["message"]


async def test_another_accounts_ids_are_not_there(web: Web) -> None:
    made = await web.client.post(
        "/v1/files", content=form(PURPOSE, FILE), headers={"content-type": FORM}
    )
    file_id = made.json()["id"]
    other = await web.gateway.ledger.accounts.create_key(f"other-{secrets.token_hex(4)}")
    async with web.with_key(other.secret) as stranger:
        for method, path in (
            ("GET", f"/v1/files/{file_id}"),
            ("GET", f"/v1/files/{file_id}/content"),
            ("DELETE", f"/v1/files/{file_id}"),
        ):
            assert (await stranger.request(method, path)).status_code == 404
        asked = {**BATCH, "input_file_id": file_id}
        assert (await stranger.post("/v1/batches", json=asked)).status_code == 404
        assert (await stranger.get("/v1/files")).json()["data"] == []
    assert (await web.client.get(f"/v1/files/{file_id}")).status_code == 200


async def test_another_method(web: Web) -> None:
    answer = await web.client.put("/v1/files")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, POST"
    assert answer.json()["error"] == {
        "message": "Not allowed: PUT /v1/files. It takes GET, HEAD, POST.",
        "type": "invalid_request_error",
        "param": None,
        "code": "method_not_supported",
    }


IN_ANTHROPICS_FORM = [
    ("PUT", "", b"", 405, "invalid_request_error"),
    ("GET", "?limit=0", b"", 400, "invalid_request_error"),
    ("GET", f"?after_id=msgbatch_{NOBODY}&before_id=msgbatch_{NOBODY}", b"", 400, None),
    ("GET", f"/msgbatch_{NOBODY}", b"", 404, "not_found_error"),
    ("POST", f"/msgbatch_{NOBODY}/cancel", b"", 404, "not_found_error"),
    ("DELETE", f"/msgbatch_{NOBODY}", b"", 404, "not_found_error"),
    ("GET", f"/msgbatch_{NOBODY}/nothing", b"", 404, "not_found_error"),
    ("POST", "", b'{"requests": [{"a": "%s"' % (b"x" * 20_000), 413, "request_too_large"),
]


async def test_errors_in_anthropics_form(start_web: StartWeb) -> None:
    web = await start_web(max_line_bytes=10_000)
    for method, path, content, status, kind in IN_ANTHROPICS_FORM:
        address = f"/anthropic/v1/messages/batches{path}"
        answer = await web.client.request(method, address, content=content)
        assert answer.status_code == status, address
        found = answer.json()
        assert (found["type"], found["error"]["type"]) == ("error", kind or "invalid_request_error")
        assert found["request_id"] == answer.headers["request-id"]
        assert f"'batch_{NOBODY}'" not in found["error"]["message"]
    assert await web.left() == []


WRONG_LIMITS = ["0", "-1", "x", "101", "1" * 5000, "1.5"]


async def test_a_limit_that_is_none(web: Web) -> None:
    for limit in WRONG_LIMITS:
        answer = await web.client.get("/v1/batches", params={"limit": limit})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "limit")


async def test_what_is_too_large_leaves_nothing(start_web: StartWeb) -> None:
    web = await start_web(max_file_bytes=4 * SEGMENT)
    content = lines(10, size=SEGMENT)
    answer = await web.client.post(
        "/v1/files",
        content=form(PURPOSE, part("file", content, "a.jsonl")),
        headers={"content-type": FORM},
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "file_too_large")
    answer = await web.client.post("/v1/batches", content=b" " * 2_000_000)
    assert answer.status_code == 413
    assert await web.left() == []


WRONG_MESSAGE_BATCHES = [
    (b"", "requests"),
    (b"[]", "requests"),
    (b'{"other": 1}', "requests"),
    (b'{"requests": []}', "at least one"),
    (b'{"requests": [7]}', "requests.0"),
    (b'{"requests": [{}', "too soon"),
    (b'{"requests": [{} {}]}', "expected"),
    (b'{"requests": [{"custom_id": "a", "params": {}}], "more": 1}', "valid JSON"),
    (b'{"requests": [{"custom_id": "a", "params": {}}]}', "requests.0.params"),
    (b'{"requests": [{"custom_id": "a" "params": {}}]}', "requests.0"),
    (b'{"requests": [{"key": "a", "request": {}}]}', "requests.0"),
]


async def test_message_batches_that_are_none(web: Web) -> None:
    for body, named in WRONG_MESSAGE_BATCHES:
        answer = await web.client.post("/anthropic/v1/messages/batches", content=body)
        assert answer.status_code == 400
        assert answer.json()["type"] == "error"
        assert answer.json()["error"]["type"] == "invalid_request_error"
        assert named in answer.json()["error"]["message"]
        assert await web.left() == []


@pytest.mark.long
async def test_long_requests_in_any_pieces(web: Web) -> None:
    text = 'x"\\\n{[' * 500_000
    made = [
        {
            "custom_id": name,
            "params": {
                "model": "claude-sonnet-4-5",
                "max_tokens": 9,
                "messages": [{"role": "user", "content": content}],
            },
        }
        for name, content in (("a", text), ("b", "short"), ("c", text[1:]))
    ]
    body = json.dumps({"requests": made}, indent=1).encode()

    async def pieces() -> AsyncIterator[bytes]:
        at = 0
        for step in (1, 7, 100, 8191, len(body)):
            yield body[at : at + step]
            at += step

    answer = await web.client.post("/anthropic/v1/messages/batches", content=pieces())
    assert answer.status_code == 200, answer.text
    assert answer.json()["request_counts"]["processing"] == 3
    [file] = (await web.client.get("/v1/files")).json()["data"]
    content = (await web.client.get(f"/v1/files/{file['id']}/content")).content
    assert [json.loads(line) for line in content.splitlines()] == made


async def begun_upload(web: Web) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """An upload of which some segments are in the gateway, and more was promised."""
    reader, writer = await asyncio.open_connection("127.0.0.1", web.server.port)
    head = (
        f"POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {web.key}\r\n"
        f"content-type: {FORM}\r\ncontent-length: 100000000\r\n\r\n"
    )
    content = lines(20, size=SEGMENT)
    writer.write(head.encode() + PURPOSE + part("file", content, "a.jsonl"))
    await writer.drain()
    await until_left(web, something=True)
    return reader, writer


async def until_left(web: Web, *, something: bool) -> None:
    """Ask until there is something in the gateway, or nothing any more."""
    async with asyncio.timeout(20):
        left = await web.left()
        while bool(left) is not something:
            left = await web.left()


async def test_an_upload_that_breaks_off_leaves_nothing(web: Web) -> None:
    _, writer = await begun_upload(web)
    writer.close()
    await until_left(web, something=False)


async def test_a_client_that_falls_silent_is_told_and_let_go(start_web: StartWeb) -> None:
    # Long enough to be seen begun before it is let go.
    web = await start_web(upload_idle_timeout=2)
    reader, writer = await begun_upload(web)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert head.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in head.lower()
    await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await until_left(web, something=False)


async def test_a_gateway_that_is_away_is_not_named(web: Web) -> None:
    await web.gateway.stop()
    answer = await web.client.get("/v1/batches")
    assert answer.status_code == 503
    assert answer.headers["x-should-retry"] == "true"
    assert "127.0.0.1" not in answer.text
    assert (await web.client.get("/healthz")).status_code == 503


async def test_a_request_under_way_is_answered_when_the_server_stops(web: Web) -> None:
    content = form(PURPOSE, part("file", lines(20, size=SEGMENT), "a.jsonl"))
    reader, writer = await asyncio.open_connection("127.0.0.1", web.server.port)
    head = (
        f"POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {web.key}\r\n"
        f"content-type: {FORM}\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    writer.write(head.encode() + content[:-10])
    await writer.drain()
    # Its stream to the gateway begins with the first bytes that are not held back.
    await until_left(web, something=True)
    stopping = asyncio.create_task(web.server.stop(20))
    async with asyncio.timeout(10):
        while await takes_connections(web.server.port):
            pass
    writer.write(content[-10:])
    answer = await asyncio.wait_for(reader.read(), 10)
    assert answer.startswith(b"HTTP/1.1 200")
    await asyncio.wait_for(stopping, 10)


async def takes_connections(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def downloads() -> float:
    """That are running at the gateway, which is in this process."""
    name = "polybatch.v1.FileService/DownloadFile"
    return REGISTRY.get_sample_value("polybatch_rpc_in_flight", {"method": name}) or 0.0


@pytest.mark.long
async def test_a_download_ends_with_its_client(web: Web) -> None:
    content = lines(400, size=SEGMENT)
    made = await web.client.post(
        "/v1/files",
        content=form(PURPOSE, part("file", content, "a.jsonl")),
        headers={"content-type": FORM},
    )
    path = f"/v1/files/{made.json()['id']}/content"
    reader, writer = await asyncio.open_connection("127.0.0.1", web.server.port)
    head = f"GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {web.key}\r\n\r\n"
    writer.write(head.encode())
    await reader.readexactly(100_000)
    assert downloads() == 1, "most of it is still to come"
    writer.close()
    async with asyncio.timeout(20):
        while downloads():
            await web.left()
    whole = await web.client.get(path)
    assert whole.content == content
    assert int(whole.headers["content-length"]) == len(content)


@pytest.mark.long
async def test_who_takes_no_answer_is_let_go(start_web: StartWeb) -> None:
    web = await start_web(upload_idle_timeout=0.5)
    content = lines(400, size=SEGMENT)
    made = await web.client.post(
        "/v1/files",
        content=form(PURPOSE, part("file", content, "a.jsonl")),
        headers={"content-type": FORM},
    )
    path = f"/v1/files/{made.json()['id']}/content"
    _, writer = await asyncio.open_connection("127.0.0.1", web.server.port, limit=1024)
    head = f"GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {web.key}\r\n\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(20):
        while not downloads():
            await web.left()
        while downloads():
            await web.left()
    writer.close()
