"""Gateway and collector that go away in the middle of each operation, and come back."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from polybatch import (
    Client,
    ConfigurationError,
    NotFound,
    PolybatchError,
    RetryPolicy,
    Unauthenticated,
    Unavailable,
    WaitTimeout,
)
from polybatch._operations.calls import Attempts, Caller
from polybatch._transport.methods import Server

from tests.integration.client.conftest import QUICK, Api, connected
from tests.support.client.batches import snapshot
from tests.support.client.calls import Clock, failure
from tests.support.client.fake_service import API_KEY, FakePolybatch
from tests.support.client.fault import Fault

BATCH = "batch_1"
CONTENT = b'{"custom_id": "a", "text": "' + b"x" * 80 + b'"}\n'
CONTENT *= 4_000_000 // len(CONTENT)
# All of a download could be on its way before the server is stopped.
HELD = Fault(after_bytes=1_000_000, hold=True)


@pytest.fixture(params=["blocking", "asyncio"])
def kind(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
async def api(kind: str, fake: FakePolybatch, collector: FakePolybatch) -> AsyncIterator[Api]:
    """A client that waits for minutes, of a gateway and a collector that are two servers."""
    async with connected(kind, fake.address, collector=collector.address, wait=60) as client:
        yield client


class Absence:
    """A server that goes away when told to, and is back once it has been missed."""

    def __init__(self, api: Api, server: FakePolybatch, misses: int = 3) -> None:
        self._server = server
        self._misses = misses
        self.begun = threading.Event()
        self.over = threading.Event()
        api.observe(self.missed)

    def begin(self) -> None:
        """Stops the server; once only."""
        if not self.begun.is_set():
            self.begun.set()
            self._server.stop()

    def after(self, size: int) -> Callable[[int, int | None], None]:
        """A progress observer that begins it once so many bytes have gone."""
        return lambda done, _total: self.begin() if done > size else None

    def with_the_next_failure(self, error: PolybatchError, wait: float) -> None:
        self.begin()
        self.missed(error, wait)

    def missed(self, error: PolybatchError, wait: float) -> None:
        if self.begun.is_set() and not self.over.is_set():
            self._misses -= 1
            if self._misses <= 0:
                self._server.start()
                self.over.set()


def assert_told(api: Api, server: str, address: str) -> None:
    """Each failure said where, and the return was told once."""
    assert len(api.retries) >= 3
    for error, _ in api.retries:
        assert isinstance(error, Unavailable)
        assert (error.server, error.address) == (server, address)
        assert error.cause
        assert address not in error.cause
    assert api.backs == [server]


async def test_in_the_middle_of_an_upload(api: Api, fake: FakePolybatch) -> None:
    away = Absence(api, fake)

    file = await api.call("upload", CONTENT, progress=away.after(2_000_000))
    assert away.over.is_set()
    assert fake.contents == {file.id: CONTENT}
    assert_told(api, "gateway", fake.address)


async def test_before_anything_of_an_upload_has_come(api: Api, fake: FakePolybatch) -> None:
    """That it knows nothing of the upload says that it is back."""
    away = Absence(api, fake)
    await asyncio.to_thread(away.begin)
    file = await api.call("upload", b"{}\n")
    assert fake.contents == {file.id: b"{}\n"}
    assert_told(api, "gateway", fake.address)


async def test_in_the_middle_of_a_submit_from_what_cannot_be_read_again(
    api: Api, fake: FakePolybatch
) -> None:
    away = Absence(api, fake)

    pieces = (CONTENT[at : at + 70_000] for at in range(0, len(CONTENT), 70_000))
    batch = await api.call("submit", pieces, progress=away.after(2_000_000))
    assert fake.contents[batch.input_file_id] == CONTENT
    assert list(fake.batches) == [batch.id]
    assert_told(api, "gateway", fake.address)


async def test_a_batch_is_made_once_though_its_reply_was_lost(
    api: Api, fake: FakePolybatch
) -> None:
    file = await api.call("upload", b"{}\n")
    fake.faults["CreateBatch"].append(Fault(after_work=True))
    away = Absence(api, fake)

    api.observe(away.with_the_next_failure)
    batch = await api.call("create_batch", file)
    assert away.over.is_set()
    assert fake.count("CreateBatch") == 2
    assert list(fake.batches) == [batch.id]
    assert api.backs == ["gateway"]


async def test_a_delete_whose_reply_was_lost(api: Api, fake: FakePolybatch) -> None:
    file = await api.call("upload", b"{}\n")
    fake.faults["DeleteFile"].append(Fault(after_work=True))
    away = Absence(api, fake)

    api.observe(away.with_the_next_failure)
    await api.call("files.delete", file.id)
    assert fake.count("DeleteFile") == 2


async def test_in_the_middle_of_a_watch(
    api: Api, fake: FakePolybatch, collector: FakePolybatch
) -> None:
    for revision in (1, 2):
        collector.publish(snapshot(BATCH, revision))
    away = Absence(api, collector)
    watch = asyncio.create_task(api.items("watch", BATCH))
    assert await asyncio.to_thread(collector.watching.wait, 20)
    await asyncio.to_thread(away.begin)
    # What happens meanwhile is not lost, and what was seen does not come again.
    collector.publish(snapshot(BATCH, 3))
    assert await asyncio.to_thread(away.over.wait, 20)
    collector.publish(snapshot(BATCH, 4, "COMPLETED", succeeded=100))
    seen = await asyncio.wait_for(watch, 30)
    assert [batch.revision for batch in seen] == [1, 2, 3, 4]
    assert_told(api, "collector", collector.address)
    assert fake.calls == []


async def test_in_the_middle_of_a_watch_of_all(api: Api, collector: FakePolybatch) -> None:
    collector.publish(snapshot(BATCH, 1))
    away = Absence(api, collector)
    watch = asyncio.create_task(api.items("watch_all", first=2))
    assert await asyncio.to_thread(collector.watching.wait, 20)
    await asyncio.to_thread(away.begin)
    # Of a batch that ends meanwhile no snapshot comes by itself any more.
    collector.publish(snapshot(BATCH, 3, "COMPLETED", succeeded=100))
    seen = await asyncio.wait_for(watch, 30)
    assert [batch.revision for batch in seen] == [1, 3]
    assert_told(api, "collector", collector.address)


async def test_in_the_middle_of_a_download_of_results(
    api: Api, collector: FakePolybatch, tmp_path: Path
) -> None:
    collector.results[BATCH] = b'{"custom_id": "a", "response": null, "error": null}\n' * 50_000
    collector.chunk_bytes = 20_000
    collector.faults["DownloadResults"].append(HELD)
    away = Absence(api, collector)

    target = tmp_path / "results.jsonl"
    await api.call("download_results", BATCH, target, progress=away.after(500_000))
    assert away.over.is_set()
    assert target.read_bytes() == collector.results[BATCH]
    offsets = [request.offset for name, request in collector.calls if name == "DownloadResults"]
    assert offsets[0] == 0
    assert offsets[-1] > 500_000
    assert_told(api, "collector", collector.address)


async def test_in_the_middle_of_a_download_of_a_file(
    api: Api, fake: FakePolybatch, tmp_path: Path
) -> None:
    file = await api.call("upload", CONTENT)
    fake.chunk_bytes = 20_000
    fake.faults["DownloadFile"].append(HELD)
    away = Absence(api, fake)

    target = tmp_path / "copy.jsonl"
    await api.call("files.download", file.id, target, progress=away.after(500_000))
    assert target.read_bytes() == CONTENT
    assert_told(api, "gateway", fake.address)


async def test_between_the_pages_of_a_listing(api: Api, fake: FakePolybatch) -> None:
    for number in range(5):
        fake.publish(snapshot(f"batch_{number}", 1))
    away = Absence(api, fake)
    fake.faults["ListBatches"] += [None, Fault()]  # type: ignore[list-item]

    api.observe(away.with_the_next_failure)
    listed = await api.items("list_batches", page_size=2)
    assert [batch.id for batch in listed] == [f"batch_{number}" for number in range(4, -1, -1)]
    assert api.backs == ["gateway"]


async def test_what_was_never_there_is_waited_for_too(
    api: Api, fake: FakePolybatch, collector: FakePolybatch
) -> None:
    collector.publish(snapshot(BATCH, 1, "COMPLETED", succeeded=100))
    away = Absence(api, collector)
    await asyncio.to_thread(away.begin)
    assert [batch.revision for batch in await api.items("watch", BATCH)] == [1]
    assert_told(api, "collector", collector.address)
    assert all(error.never_reached for error, _ in api.retries)  # type: ignore[attr-defined]
    # The next absence is that of a service that has been there.
    again = Absence(api, collector, misses=1)
    await asyncio.to_thread(again.begin)
    before = len(api.retries)
    await api.items("watch", BATCH)
    assert not any(error.never_reached for error, _ in api.retries[before:])  # type: ignore[attr-defined]


async def test_the_error_says_who_was_waited_for(
    kind: str, fake: FakePolybatch, collector: FakePolybatch
) -> None:
    collector.stop()
    async with connected(kind, fake.address, collector=collector.address, wait=0.4) as api:
        with pytest.raises(Unavailable) as caught:
            await api.items("watch", BATCH)
    error = caught.value
    assert error.message.startswith(f"collector at {collector.address}: cannot be reached: ")
    assert re.search(r"; waited [0-9.]+ s$", error.message)
    assert error.cause == "Connection refused"
    assert "make up" in error.next_step
    assert "POLYBATCH_COLLECTOR" in error.next_step
    assert len(api.retries) > 1
    assert api.backs == []


async def test_a_reason_of_the_service_is_told_with_its_address(
    kind: str, fake: FakePolybatch
) -> None:
    fake.faults["GetBatch"] += [Fault(message="the ledger is away", reason="LEDGER_AWAY")] * 1000
    async with connected(kind, fake.address, wait=0.2) as api:
        with pytest.raises(Unavailable) as caught:
            await api.call("get_batch", BATCH)
    assert caught.value.message.startswith(f"gateway at {fake.address}: the ledger is away; waited")
    assert caught.value.cause == "the ledger is away"
    assert not caught.value.never_reached


async def test_nobody_waits_without_time(kind: str, fake: FakePolybatch) -> None:
    fake.faults["GetBatch"] += [Fault(), Fault(reason="SERVER_STOPPING")]
    async with connected(kind, fake.address, wait=0) as api:
        for _ in range(2):
            with pytest.raises(Unavailable) as caught:
                await api.call("get_batch", BATCH)
            assert "waited" not in caught.value.message
        fake.stop()
        with pytest.raises(Unavailable):
            await api.call("upload", b"{}\n")
    assert api.retries == []


async def test_what_does_not_pass_is_told_at_once(
    kind: str, fake: FakePolybatch, tmp_path: Path
) -> None:
    async with connected(kind, fake.address, wait=60) as api:
        with pytest.raises(NotFound):
            await api.items("watch", BATCH)
        assert api.retries == []
    async with connected(kind, fake.address, wait=60, api_key="wrong") as api:
        with pytest.raises(Unauthenticated):
            await api.call("submit", b"{}\n")
        assert api.retries == []
    authority = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(authority)
    async with connected(kind, fake.address, wait=60, tls=True, tls_ca=authority) as api:
        # The service speaks no TLS.
        with pytest.raises(Unavailable) as caught:
            await api.call("get_batch", BATCH)
        assert caught.value.reason == "TLS_FAILED"
        assert api.retries == []


async def test_a_question_within_a_watch_is_not_waited_for_twice(
    kind: str, fake: FakePolybatch, collector: FakePolybatch
) -> None:
    """Or a watch would never end whose collector is there and whose gateway is not."""
    collector.publish(snapshot(BATCH, 7, "COMPLETED", succeeded=100))
    fake.stop()
    async with connected(kind, fake.address, collector=collector.address, wait=0.3) as api:
        with pytest.raises(Unavailable) as caught:
            await api.items("watch", BATCH, last_revision=7)
    assert caught.value.server == "gateway"
    assert collector.count("WatchBatch") == 1


async def test_a_time_limit_goes_before_the_wait(api: Api, collector: FakePolybatch) -> None:
    collector.stop()
    with pytest.raises(WaitTimeout):
        await api.call("wait", BATCH, timeout=0.3)
    assert api.backs == []


async def test_a_time_limit_holds_for_the_question_within(
    api: Api, fake: FakePolybatch, collector: FakePolybatch
) -> None:
    collector.publish(snapshot(BATCH, 7, "COMPLETED", succeeded=100))
    fake.stop()
    with pytest.raises(WaitTimeout):
        await api.items("watch", BATCH, last_revision=7, timeout=0.5)


class Nowhere:
    """A transport whose waits are over at once."""

    async def sleep(self, seconds: float) -> None:
        pass


async def test_what_got_through_is_asked_for_before_giving_up() -> None:
    clock = Clock()
    transport: Any = Nowhere()
    attempts = Attempts(Caller(transport, RetryPolicy(give_up_after=120)), Server.GATEWAY)
    attempts._backoff.clock = clock
    await attempts.pause(failure())
    # An upload that began late, went on for long, and breaks now.
    clock.now += 3600
    asked: list[bool] = [True, False]

    async def more_is_committed() -> bool:
        return asked.pop(0)

    await attempts.pause(failure(), got_through=more_is_committed)
    clock.now += 100
    await attempts.pause(failure(), got_through=more_is_committed)
    assert asked == [False]
    clock.now += 100
    with pytest.raises(PolybatchError):
        await attempts.pause(failure(), got_through=more_is_committed)
    assert asked == []


def test_wait_comes_from_the_argument_the_policy_or_the_environment() -> None:
    def seconds(*given: Any, **environ: str) -> float | None:
        return RetryPolicy.resolve(*given, environ=environ).give_up_after

    assert seconds(None, None) == 120
    assert seconds(None, None, POLYBATCH_WAIT="") == 120
    assert seconds(None, None, POLYBATCH_WAIT="7.5") == 7.5
    assert seconds(None, QUICK, POLYBATCH_WAIT="7.5") == QUICK.give_up_after
    assert seconds(0, QUICK, POLYBATCH_WAIT="7.5") == 0
    assert RetryPolicy.resolve(3, QUICK, {}).first_wait == QUICK.first_wait
    for wrong in ("soon", "-1", "nan", "inf"):
        with pytest.raises(ConfigurationError, match="POLYBATCH_WAIT"):
            seconds(None, None, POLYBATCH_WAIT=wrong)
    with pytest.raises(ConfigurationError):
        Client(api_key=API_KEY, wait=-1)
