"""What it costs to look at a thousand batches in flight: calls to their providers in an hour.

The real ledger, pollers and adapters, against an HTTP server that counts; only the clock is
made up, and jumps over most of the day. Messages that would wake too early are left out: they
cost no call.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import structlog
from polybatch.v1.events_pb2 import WorkItem

from benchmarks.figures import Figure
from benchmarks.options import Options
from core.blobs import BlobStore
from core.bus import Bus, Delivery
from core.ledger import Batch, BatchState, File, FileState, Ledger, Shard, ShardState, new_id, now
from core.pipeline import EventPublisher, LateShards, Runtime, Settler
from core.providers import known_providers
from core.settings import ProviderAccess, Settings
from services.collector.bad_lines import BadLineIsolation
from services.collector.poll import Poller

LIMIT = 1000.0
_HOURS = (0, 1, 11, 23)
"""Of the day, those that are measured: looks become rarer in the first ones."""
_MODELS = {"openai": "gpt-4.1", "anthropic": "claude-sonnet-4-6"}
_FAR = timedelta(days=365)
_PATHS = re.compile(r"/openai/batches|/anthropic/v1/messages/batches")


async def measure(options: Options) -> list[Figure]:
    """Calls in the dearest and in the last of the measured hours."""
    # The pollers run in this process, whose output is the table.
    quiet = structlog.make_filtering_bound_logger(logging.WARNING)
    structlog.configure(wrapper_class=quiet)
    folder = options.folder / "polling"
    folder.mkdir()
    async with counting_provider() as (server, url):
        calls = await _day(folder, server, url, options.flying)
    name = f"provider calls an hour for {options.flying:,} batches in flight"
    basis = "half OpenAI's, half Anthropic's, for 24 hours"
    return [
        Figure(f"{name}, the dearest hour", max(calls), "calls", limit=LIMIT, basis=basis),
        Figure(f"{name}, the last hour", calls[-1], "calls", limit=LIMIT, basis=basis),
    ]


class CountingProvider:
    """OpenAI's and Anthropic's batches, all of which run on and on."""

    def __init__(self) -> None:
        self.calls = 0
        self._batches: dict[str, list[dict[str, Any]]] = {name: [] for name in _MODELS}

    def add(self, provider: str, created: datetime) -> str:
        """A batch that is the newest; returns its id."""
        batches = self._batches[provider]
        made: dict[str, Any] = {"id": f"{provider}-{len(batches)}"}
        if provider == "openai":
            made |= {
                "object": "batch",
                "status": "in_progress",
                "created_at": int(created.timestamp()),
                "request_counts": {"total": 1000, "completed": 0, "failed": 0},
            }
        else:
            made |= {
                "type": "message_batch",
                "processing_status": "in_progress",
                "created_at": created.isoformat(),
                "request_counts": {"processing": 1000, "succeeded": 0},
            }
        batches.insert(0, made)
        return cast(str, made["id"])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the GETs of one connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                body = json.dumps(self._answer(head.split(b" ", 2)[1].decode())).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                writer.write(b"content-length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    def _answer(self, target: str) -> Any:
        self.calls += 1
        address = urlsplit(target)
        batches = self._batches[address.path.split("/")[1]]
        asked = _PATHS.sub("", address.path).strip("/")
        if asked:
            return next(batch for batch in batches if batch["id"] == asked)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        after = query.get("after", query.get("after_id"))
        place = [batch["id"] for batch in batches].index(after) + 1 if after else 0
        page = batches[place : place + int(query["limit"])]
        return {"data": page, "has_more": place + len(page) < len(batches)}


@asynccontextmanager
async def counting_provider() -> AsyncIterator[tuple[CountingProvider, str]]:
    """A server on loopback, and its base URL."""
    provider = CountingProvider()
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    async with server:
        yield provider, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


class _Silent:
    """A bus that nobody listens on."""

    async def publish_event(self, event: Any) -> None: ...

    async def publish_work(self, *item: Any, **options: Any) -> None: ...


async def _day(folder: Path, server: CountingProvider, url: str, count: int) -> list[float]:
    settings = Settings(data_dir=folder, poll_min_interval=5.0, poll_max_interval=60.0)
    access = ProviderAccess.model_validate(
        {
            "openai_api_key": "sk-benchmark",
            "anthropic_api_key": "sk-benchmark",
            "openai_base_url": f"{url}/openai",
            "anthropic_base_url": f"{url}/anthropic",
        }
    )
    known = known_providers(access, settings)
    providers = {name: each for name, each in known.open().items() if name in _MODELS}
    ledger = await Ledger.open(settings.effective_database_url)
    bus = cast(Bus, _Silent())
    blobs = BlobStore.open(settings.effective_blobs_url)
    runtime = Runtime(settings, ledger, blobs, bus, EventPublisher(bus, ledger))
    settler = Settler(runtime)
    begun = clock = now()

    def moment() -> datetime:
        return clock

    collectors = [
        Poller(
            runtime,
            providers,
            settler,
            BadLineIsolation(runtime, settler),
            LateShards(runtime, providers),
            known.credentials,
            clock=moment,
        )
        for _ in range(2)
    ]
    try:
        await _submit(ledger, server, known.credentials, count, begun)
        delivery = Delivery(1, begun)
        calls: list[float] = []
        turn = 0
        for hour in _HOURS:
            before = server.calls
            clock = begun + timedelta(hours=hour)
            end = clock + timedelta(hours=1)
            while clock < end:
                turn += 1
                (due,) = await ledger.shards.overdue((ShardState.SUBMITTED,), begun + _FAR, 1)
                if due.due_at >= end:
                    break
                clock = max(clock, due.due_at)
                item = WorkItem(batch_id=due.batch_id, shard_id=due.id)
                await collectors[turn % 2].handle(item, delivery)
            calls.append(float(server.calls - before))
        return calls
    finally:
        await asyncio.gather(*(provider.close() for provider in providers.values()))
        await ledger.close()


async def _submit(
    ledger: Ledger,
    server: CountingProvider,
    credentials: Any,
    count: int,
    begun: datetime,
) -> None:
    """Batches of one shard each, one submitted every tenth of a second."""
    file = File(
        id=new_id("file"),
        account_id="acct_1",
        upload_id="upload-1",
        state=FileState.READY,
        created_at=begun,
    )
    file = await ledger.files.finish_upload(file)
    for number in range(count):
        provider = list(_MODELS)[number % 2]
        submitted = begun + timedelta(seconds=0.1 * number)
        batch = Batch(
            id=new_id("batch"),
            account_id="acct_1",
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            state=BatchState.VALIDATING,
            total=1000,
            created_at=submitted,
            expires_at=submitted + timedelta(days=1),
            due_at=submitted,
        )
        await ledger.batches.create(batch)
        shard = Shard(
            id=new_id("shard"),
            batch_id=batch.id,
            account_id="acct_1",
            ordinal=0,
            provider=provider,
            model=f"{provider}/{_MODELS[provider]}",
            remote_model=_MODELS[provider],
            endpoint=batch.endpoint,
            state=ShardState.SUBMITTED,
            remote_id=server.add(provider, submitted),
            credential=credentials[provider],
            line_count=1000,
            created_at=submitted,
            submitted_at=submitted,
            due_at=submitted + timedelta(seconds=5),
        )
        await ledger.batches.plan(batch.id, [shard])
