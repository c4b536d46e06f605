"""Two gateways, three dispatchers and three collectors on PostgreSQL, a NATS cluster and object
storage: the work is shared out, and no replica is needed that is not there."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from polybatch import AsyncClient, Batch, BatchState, Client, NotFound
from polybatch.v1 import batches_pb2, batches_pb2_grpc, status_pb2, status_pb2_grpc

from tests.support.e2e.fleet import SERVICES, Fleet, running_fleet
from tests.support.e2e.inputs import chat, check_answers, write
from tests.support.e2e.suite import ROOT, wait_for
from tests.support.stores.postgres import PostgresServer

pytestmark = pytest.mark.long

SERVICE_CONFIG = (ROOT / "protos" / "service_config.json").read_text()
SEGMENT = 256 * 1024
LARGE = 1000
KINDS = ("_jobs", "_uploads", "_calls", "_watch_all")


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer
) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with running_fleet(folder, postgres_server, POLYBATCH_SEGMENT_BYTES=str(SEGMENT)) as fleet:
        yield fleet


@pytest.fixture
def fleet(running: Fleet) -> Fleet:
    """With a sandbox that has forgotten everything."""
    running.reset_sandbox()
    return running


def client_of(fleet: Fleet, gateway: str = "", collector: str = "") -> Client:
    """A client of one replica of each."""
    addresses = fleet.ready["addresses"]
    return Client(
        gateway=addresses.get(gateway, fleet.ready["gateway"]),
        collector=addresses.get(collector, fleet.ready["collector"]),
        api_key_file=fleet.ready["api_key_file"],
    )


def async_client(fleet: Fleet) -> AsyncClient:
    ready = fleet.ready
    return AsyncClient(
        gateway=ready["gateway"],
        collector=ready["collector"],
        api_key_file=ready["api_key_file"],
    )


def bearer(fleet: Fleet) -> tuple[tuple[str, str], ...]:
    """Metadata of a caller without our client."""
    key = Path(fleet.ready["api_key_file"]).read_text().strip()
    return (("authorization", f"Bearer {key}"),)


def test_replicas_that_start_at_once_make_one_key_of_each_kind(fleet: Fleet) -> None:
    for name in ("api-key", "operator-key"):
        files = [machine.data_dir / name for machine in fleet.machines]
        assert [path.exists() for path in files].count(True) == 1
    listed = fleet.run("-m", "services.gateway", "keys", "list")
    assert len(listed.stdout.splitlines()) == 2


def of_four_shards(number: int) -> dict[str, Any]:
    """A line of Anthropic, or of one of three models of OpenAI, whose batches have one each."""
    models = ("gpt-4.1", "gpt-4.1-mini", "gpt-4o-mini")
    return chat(number) if number % 2 else chat(number, model=f"openai/{models[number // 2 % 3]}")


def test_the_work_is_shared_out(fleet: Fleet, tmp_path: Path) -> None:
    fleet.reset_sandbox(batch_seconds=0.5)
    before = {
        name: fleet.log_counts(service, name)
        for service, name in (("dispatcher", "shard_submitted"), ("collector", "shard_settled"))
    }
    with fleet.client() as client:
        batches = [
            client.submit(write(tmp_path / "few.jsonl", map(of_four_shards, range(at, at + 6)))).id
            for at in range(0, 90, 6)
        ]
        for number, batch_id in enumerate(batches):
            assert client.wait(batch_id, timeout=60).state == BatchState.COMPLETED
            numbers = range(number * 6, number * 6 + 6)
            assert all(line.ok for line in check_answers(client.results(batch_id), numbers))
    for service, event in (("dispatcher", "shard_submitted"), ("collector", "shard_settled")):
        after = fleet.log_counts(service, event)
        done = {name: after[name] - before[event][name] for name in after}
        assert sum(done.values()) == 60
        assert min(done.values()) >= 4, done
    calls = fleet.log_counts("gateway", "batch_created")
    assert min(calls.values()) >= 4, calls
    assert fleet.sandbox("/sandbox/bill")["extra_billings"] == 0


def test_every_collector_shows_every_batch(fleet: Fleet, tmp_path: Path) -> None:
    fleet.reset_sandbox(batch_seconds=1)
    collectors = fleet.replicas("collector")
    with ThreadPoolExecutor(len(collectors)) as pool:
        begun = threading.Barrier(len(collectors) + 1, timeout=60)

        def watch(collector: str) -> list[Batch]:
            seen = []
            with client_of(fleet, collector=collector) as client:
                snapshots = client.watch(batch.id, timeout=60)
                seen.append(next(snapshots))
                begun.wait()
                seen += snapshots
            return seen

        with fleet.client() as client:
            batch = client.submit(write(tmp_path / "watched.jsonl", map(chat, range(20))))
            watches = [pool.submit(watch, collector) for collector in collectors]
            begun.wait()
            found = [each.result() for each in watches]
            last = client.get_batch(batch.id)
    for seen in found:
        revisions = [snapshot.revision for snapshot in seen]
        assert revisions == sorted(set(revisions))
        assert (seen[-1].revision, seen[-1].state) == (last.revision, BatchState.COMPLETED)


def test_an_upload_goes_on_at_another_gateway(fleet: Fleet, tmp_path: Path) -> None:
    content = write(tmp_path / "upload.jsonl", (chat(n, "x" * 700) for n in range(4000)))
    data = content.read_bytes()
    upload_id = "goes-on-elsewhere"

    one, two = (client_of(fleet, gateway=name) for name in fleet.replicas("gateway"))

    def committed() -> int:
        try:
            return two.upload_status(upload_id).committed_size
        except NotFound:
            return 0

    def half() -> Iterator[bytes]:
        yield data[: len(data) // 2]
        wait_for(lambda: committed() >= SEGMENT, "the first segment")
        raise KeyboardInterrupt

    with one, two:
        with pytest.raises(KeyboardInterrupt):
            one.upload(half(), upload_id=upload_id)
        assert SEGMENT <= committed() <= len(data) // 2
        file = two.upload(content, upload_id=upload_id)
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    assert file.line_count == 4000


def test_two_gateways_take_the_same_upload_at_once(fleet: Fleet, tmp_path: Path) -> None:
    path = write(tmp_path / "twice.jsonl", (chat(n, "x" * 700) for n in range(4000)))
    gateways = fleet.replicas("gateway")

    def upload(gateway: str, attempt: int) -> tuple[str, str]:
        with client_of(fleet, gateway=gateway) as client:
            file = client.upload(path, upload_id=f"at-the-same-time-{attempt}")
            return file.id, file.sha256

    with ThreadPoolExecutor(4) as pool:
        for attempt in range(3):
            found = {
                each.result()
                for each in [pool.submit(upload, gateway, attempt) for gateway in gateways * 2]
            }
            ((_, sha256),) = found
            assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.timeout(180)
def test_one_of_each_is_killed_at_once(fleet: Fleet, tmp_path: Path) -> None:
    fleet.reset_sandbox(batch_seconds=1)
    count = 300

    def submit(number: int) -> str:
        numbers = range(number * count, (number + 1) * count)
        path = write(tmp_path / f"{number}.jsonl", map(chat, numbers))
        with fleet.client() as client:
            return client.submit(path).id

    with ThreadPoolExecutor(8) as pool:
        early = [pool.submit(submit, number) for number in range(4)]
        early[0].result()
        kills = [pool.submit(fleet.kill, name) for name in (*SERVICES, "nats")]
        late = [pool.submit(submit, number) for number in range(4, 8)]
        batches = [each.result() for each in early + late]
        for kill in kills:
            kill.result()
    with fleet.client() as client:
        for number, batch_id in enumerate(batches):
            assert client.wait(batch_id, timeout=120).state == BatchState.COMPLETED
            numbers = range(number * count, (number + 1) * count)
            assert all(line.ok for line in check_answers(client.results(batch_id), numbers))
    bill = fleet.sandbox("/sandbox/bill")
    assert (bill["lines_billed"], bill["extra_billings"]) == (8 * count, 0)


class Load:
    """Callers of every kind, for as long as the block lasts; what fails, fails the block."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self._fleet = fleet
        self._folder = folder
        self.done: Counter[str] = Counter()
        self._changed = asyncio.Event()
        self._seen = asyncio.Event()
        """Set once a watch has shown something more."""

    async def run(self, until: asyncio.Event) -> None:
        raw = grpc.aio.insecure_channel(
            f"ipv4:{self._fleet.ready['gateway']}", (("grpc.service_config", SERVICE_CONFIG),)
        )
        async with async_client(self._fleet) as client, raw:
            self._client, self._raw = client, batches_pb2_grpc.BatchServiceStub(raw)
            self._large = await client.submit(
                write(self._folder / "large.jsonl", map(chat, range(LARGE)))
            )
            await client.wait(self._large.id, timeout=60)
            loops = (self._jobs, self._uploads, self._calls)
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(self._watch_all())
                running = [tasks.create_task(self._repeat(each, until)) for each in loops]
                await asyncio.wait(running)
                watching.cancel()

    async def progress(self) -> None:
        """Wait until every caller has got what it wanted once more."""
        before = self.done.copy()
        while any(self.done[kind] == before[kind] for kind in KINDS):
            await self._changed.wait()

    def _note(self, kind: str) -> None:
        self.done[kind] += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _repeat(self, work: Callable[[], Awaitable[None]], until: asyncio.Event) -> None:
        while not until.is_set():
            await work()
            self._note(work.__name__)
            if work != self._jobs:
                await self._pace(until)

    async def _pace(self, until: asyncio.Event) -> None:
        """Once more with each step of a batch: enough calls to fail, and no more of the machine."""
        signs = [asyncio.create_task(event.wait()) for event in (until, self._seen)]
        await asyncio.wait(signs, return_when=asyncio.FIRST_COMPLETED)
        for sign in signs:
            sign.cancel()

    async def _jobs(self) -> None:
        start = 10_000 + 20 * self.done["_jobs"]
        lines = "".join(json.dumps(chat(n)) + "\n" for n in range(start, start + 20))
        batch = await self._client.submit(lines.encode())
        revisions = [seen.revision async for seen in self._client.watch(batch.id, timeout=60)]
        assert revisions == sorted(set(revisions))
        found = [line async for line in self._client.results(batch.id)]
        assert all(line.ok for line in check_answers(found, range(start, start + 20)))

    async def _uploads(self) -> None:
        data = (self._folder / "large.jsonl").read_bytes()

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(data), 32 * 1024):
                yield data[start : start + 32 * 1024]
                # Long enough for a gateway to be stopped meanwhile.
                await self._client.get_batch(self._large.id)

        file = await self._client.upload(pieces())
        assert file.sha256 == hashlib.sha256(data).hexdigest()
        await self._client.files.delete(file.id)

    async def _calls(self) -> None:
        client, large = self._client, self._large
        assert large.id in {batch.id async for batch in client.list_batches()}
        made = await client.create_batch(large.input_file_id, request_id="always-the-same")
        assert made.id == (await client.get_batch(made.id)).id
        assert [failure async for failure in client.failures(large.id)] == []
        manifest = await client.download_results(large.id, self._folder / "results.jsonl")
        assert manifest.request_counts.succeeded == LARGE
        # As a client in any other language, with the service config that we hand out.
        request = batches_pb2.GetBatchRequest(batch_id=large.id)
        await self._raw.GetBatch(request, metadata=bearer(self._fleet), timeout=60)

    async def _watch_all(self) -> None:
        async for _ in self._client.watch_all():
            self._note("_watch_all")
            seen, self._seen = self._seen, asyncio.Event()
            seen.set()


async def how_a_raw_watch_ends(
    fleet: Fleet, collector: str, begun: asyncio.Event
) -> tuple[grpc.StatusCode, str]:
    """The code and the reason that a stopping collector gives."""
    async with grpc.aio.insecure_channel(fleet.ready["addresses"][collector]) as channel:
        stub = status_pb2_grpc.StatusServiceStub(channel)
        watch = stub.WatchBatches(status_pb2.WatchBatchesRequest(), metadata=bearer(fleet))

        async def read_on() -> None:
            async for _ in watch:
                begun.set()

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read_on()
    info = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(caught.value)
    assert status is not None, caught.value
    assert any(detail.Unpack(info) for detail in status.details)
    return caught.value.code(), info.reason


@pytest.mark.timeout(240)
async def test_a_rolling_restart_fails_no_call(fleet: Fleet, tmp_path: Path) -> None:
    fleet.reset_sandbox(batch_seconds=1)
    replicas = {service: fleet.replicas(service) for service in SERVICES}
    rounds = [
        [names[number] for names in replicas.values() if number < len(names)]
        for number in range(max(map(len, replicas.values())))
    ]
    load, over, watched = Load(fleet, tmp_path), asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(load.run(over))
        watch = tasks.create_task(how_a_raw_watch_ends(fleet, "collector", watched))
        await watched.wait()
        await load.progress()
        for names in rounds:
            await asyncio.gather(*(asyncio.to_thread(fleet.restart, name) for name in names))
        await load.progress()
        over.set()
    assert watch.result() == (grpc.StatusCode.UNAVAILABLE, "SERVER_STOPPING")
