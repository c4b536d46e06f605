"""A key that is revoked takes its open calls with it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import grpc
import pytest
from polybatch.v1 import files_pb2
from structlog.testing import capture_logs

from core.serving import Principal
from tests.integration.serving.conftest import Running, Serve


class Ledger:
    """What revocation asks; fails while `away`."""

    def __init__(self) -> None:
        self.gone: set[str] = set()
        self.away = False
        self.asked = asyncio.Event()
        self.asked_for: list[set[str]] = []

    async def __call__(self, key_ids: Collection[str]) -> set[str]:
        self.asked_for.append(set(key_ids))
        self.asked.set()
        if self.away:
            raise ConnectionError("postgresql://user:secret@db")
        return self.gone & set(key_ids)


async def by_key(key: str) -> Principal:
    return Principal(account_id="acct_1", key_id=key)


async def endless(request: Any, context: Any) -> Any:
    yield files_pb2.DownloadFileResponse(chunk=b"first")
    await asyncio.Event().wait()


def download(running: Running, key: str) -> Any:
    return running.files.DownloadFile(
        files_pb2.DownloadFileRequest(), metadata=(("authorization", f"Bearer {key}"),)
    )


async def begin(running: Running, key: str) -> Any:
    call = download(running, key)
    assert (await call.read()).chunk == b"first"
    return call


async def test_streams_of_a_revoked_key_end_and_others_go_on(serve: Serve) -> None:
    ledger = Ledger()
    running = await serve(
        authenticate=by_key,
        options={"revoked": ledger, "revoked_within": 0.02},
        download=endless,
    )
    mine, other = await begin(running, "key_1"), await begin(running, "key_2")
    ledger.gone.add("key_1")
    with capture_logs() as logs, pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(mine.read(), 20)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "revoked" in (caught.value.details() or "")
    assert not other.done()
    assert {"key_id": "key_1", "calls": 1} in [
        {name: entry[name] for name in ("key_id", "calls")}
        for entry in logs
        if entry["event"] == "revoked_calls_ended"
    ]
    other.cancel()


async def test_while_nobody_can_tell_calls_go_on(serve: Serve) -> None:
    ledger = Ledger()
    ledger.away = True
    running = await serve(
        authenticate=by_key,
        options={"revoked": ledger, "revoked_within": 0.02},
        download=endless,
    )
    with capture_logs() as logs:
        call = await begin(running, "key_1")
        ledger.gone.add("key_1")
        for _ in range(2):
            ledger.asked.clear()
            await asyncio.wait_for(ledger.asked.wait(), 20)
        assert not call.done()
        ledger.away = False
        with pytest.raises(grpc.aio.AioRpcError):
            await asyncio.wait_for(call.read(), 20)
    assert "secret" not in repr(logs)
    assert {"key_1"} in ledger.asked_for


async def test_nothing_is_asked_while_no_call_is_open(serve: Serve) -> None:
    ledger = Ledger()
    running = await serve(
        authenticate=by_key,
        options={"revoked": ledger, "revoked_within": 0.001},
        download=endless,
    )
    call = await begin(running, "key_1")
    await asyncio.wait_for(ledger.asked.wait(), 20)
    call.cancel()
    assert all(asked == {"key_1"} for asked in ledger.asked_for)
