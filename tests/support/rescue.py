"""Dispatcher and collector of one batch with a rescue, without a bus, before a sandbox."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx2
from polybatch.v1.events_pb2 import BatchEvent, WorkItem
from sqlalchemy import update
from sqlmodel import col

from core.batchfile import ResultFile
from core.blobs import BlobStore
from core.bus import Delivery, Snooze
from core.failpoints import Failpoint
from core.ledger import Account, Batch, Ledger, Shard, ShardState, now
from core.pipeline import LateShards, PauseWatch, ProviderKeys, Runtime, Settler
from core.prices.rates import Price, Processing
from core.prices.snapshot import read_snapshot
from core.prices.usage import Usage
from core.providers import KnownProviders, known_providers
from core.settings import ProviderAccess, Settings
from services.collector.bad_lines import BadLineIsolation
from services.collector.fetch import Fetcher
from services.collector.poll import Poller
from services.collector.rescue import Rescuer
from services.collector.stop import Stopper
from services.dispatcher.fair_scheduler import FairScheduler
from services.dispatcher.run import Runner
from services.dispatcher.sharding import plan_shards
from services.dispatcher.submit import Submitter
from tests.support.ledger.money import check_books
from tests.support.ledger.rows import add_rows
from tests.support.prices import batch_prices, cost_limit, file_prices
from tests.support.publishers import EnqueuedSteps

PATIENCE = 30.0
WINDOW = timedelta(hours=1)


class Announced(EnqueuedSteps):
    """Notes the kinds of changes as well."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: list[object] = []

    async def changed(self, batch: Batch, kind: object, shard: Shard | None = None) -> None:
        self.kinds.append(kind)


class Rescue:
    """Each step as its turn comes; the clock of the rescue is that of the batch."""

    def __init__(
        self, runtime: Runtime, known: KnownProviders, batch: Batch, sandbox: httpx2.AsyncClient
    ) -> None:
        self.ledger, self.blobs = runtime.ledger, runtime.blobs
        self.batch_id = batch.id
        self.sandbox = sandbox
        self.known = known
        self.publisher = cast("Announced", runtime.publisher)
        self.providers, self.calls = known.open(), known.open_calls()
        direct = known.open_direct()
        settler, late = Settler(runtime), LateShards(runtime, self.providers)
        scheduler = FairScheduler(runtime)
        poller = Poller(
            runtime,
            self.providers,
            settler,
            BadLineIsolation(runtime, settler),
            late,
            known.credentials,
        )
        prices = batch_prices(runtime.ledger, known)
        pauses = PauseWatch(runtime.ledger)
        submitter = Submitter(
            runtime,
            self.providers,
            direct,
            scheduler,
            known.credentials,
            ProviderKeys({}, recheck=0.0),
            cost_limit(runtime, known),
            pauses,
            self.calls,
        )
        self.stopper = Stopper(
            runtime,
            poller,
            late,
            Rescuer(runtime, poller, known.call_endpoints, known.line_by_line),
        )
        self._steps = {
            ShardState.QUEUED: submitter.handle,
            ShardState.SUBMITTING: submitter.handle,
            ShardState.SUBMITTED: poller.handle,
            ShardState.RUNNING: Runner(runtime, {**direct, **self.calls}, scheduler, pauses).handle,
            ShardState.FETCHING: Fetcher(
                runtime, self.providers, settler, late, prices, known.call_endpoints
            ).handle,
        }

    async def batch(self) -> Batch:
        found = await self.ledger.batches.get(self.batch_id)
        assert found is not None
        return found

    async def shards(self) -> list[Shard]:
        return await self.ledger.shards.of_batch(self.batch_id)

    async def step(self, *states: ShardState) -> None:
        """One step of each shard in one of these states (all that are open)."""
        for shard in await self.shards():
            if shard.state != ShardState.SETTLED and (not states or shard.state in states):
                item = WorkItem(batch_id=shard.batch_id, shard_id=shard.id)
                await self._steps[ShardState(shard.state)](item, Delivery(1, now()))

    async def send(self) -> None:
        """Until all of it is at its providers."""
        async with asyncio.timeout(PATIENCE):
            while any(s.state != ShardState.SUBMITTED for s in await self.shards()):
                await self.step(ShardState.QUEUED, ShardState.SUBMITTING)

    async def look(self) -> Snooze | None:
        """The stop step: the alarm clock of the rescue."""
        found = await self.stopper.handle(WorkItem(batch_id=self.batch_id), Delivery(1, now()))
        return found if isinstance(found, Snooze) else None

    async def end(self) -> Batch:
        """Until every line has its outcome."""
        async with asyncio.timeout(PATIENCE):
            while not (await self.batch()).all_settled:
                await self.look()
                await self.step()
                # What is polled too soon would only be asked again.
                await asyncio.sleep(0.01)
        return await self.batch()

    async def due(self, **changes: Any) -> None:
        """Let the time come for the rescue; `changes` of the batch besides."""
        await self.change(rescue_seconds=WINDOW.total_seconds() + 60, **changes)

    async def change(self, **changes: Any) -> None:
        async with self.ledger.batches._database.write(Failpoint.BATCH_DEFER) as session:
            await session.exec(
                update(Batch).where(col(Batch.id) == self.batch_id).values(**changes)
            )

    async def set(self, **options: Any) -> None:
        (await self.sandbox.post("/sandbox/config", json=options)).raise_for_status()

    async def bill(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.sandbox.get("/sandbox/bill")).json()
        return found

    async def called(self) -> int:
        """Single calls that were billed."""
        return sum(each["calls_billed"] for each in (await self.bill())["providers"].values())

    async def lines(self) -> dict[str, dict[str, Any]]:
        """Result lines of all shards by custom id."""
        found = {}
        for shard in await self.shards():
            if shard.results_prefix:
                results = await ResultFile.open(self.blobs, shard.results_prefix)
                async for group in results.lines():
                    for each in group:
                        line = json.loads(each.raw)
                        assert line["custom_id"] not in found, "it is in two shards"
                        found[line["custom_id"]] = line
        return found

    async def check_paid_once(self) -> None:
        """No line was billed twice; what was billed is what it has cost, to the nano-dollar."""
        assert (await self.bill())["extra_billings"] == 0
        stored = await self.ledger.batches.prices(self.batch_id)
        assert stored is not None
        prices = read_snapshot(stored)
        billed = 0
        for raw in (await self.sandbox.get("/sandbox/bill/lines")).text.splitlines():
            line = json.loads(raw)
            how = Processing(line["processing"])
            price = prices.price(line["provider"], line["model"], how)
            assert isinstance(price, Price)
            billed += price.cost(Usage(input=line["input_tokens"], output=line["output_tokens"]))
        assert (await self.batch()).cost_nanos == billed > 0
        await check_books(self.ledger)

    async def close(self) -> None:
        for opened in (*self.providers.values(), *self.calls.values()):
            await opened.close()


@asynccontextmanager
async def rescuing(
    ledger: Ledger,
    blobs: BlobStore,
    folder: Path,
    url: str,
    made: tuple[Batch, Any],
    *,
    providers_file: Path | None = None,
    **settings: Any,
) -> AsyncIterator[Rescue]:
    """A planned batch, and a sandbox that has forgotten everything."""
    keys: Sequence[str] = ("openai", "anthropic", "gemini")
    access = ProviderAccess.model_validate(
        {
            **{f"{name}_api_key": "key-of-a-test" for name in keys},
            "openai_base_url": f"{url}/v1",
            "anthropic_base_url": url,
            "gemini_base_url": url,
        }
    )
    given = Settings(
        data_dir=folder,
        providers_file=providers_file,
        poll_min_interval=0.01,
        poll_max_interval=0.02,
        unreachable_pause=0.01,
        refused_pause=0.01,
        retry_delay=0.01,
        reconcile_settle=0,
        **settings,
    )
    known = known_providers(access, given)
    runtime = Runtime(given, ledger, blobs, cast("Any", None), Announced())
    batch, file = made
    batch.rescue_seconds = 1.0
    batch.expires_at = batch.created_at + WINDOW
    file.endpoint = batch.endpoint
    await add_rows(ledger, Account(id=batch.account_id, name="team", created_at=now()))
    day = datetime.now(UTC).date()
    prices = await file_prices(ledger, known).of_file(batch.account_id, file, day, rescue=True)
    batch.prices = prices.encode().decode()
    await ledger.files.finish_upload(file)
    async with httpx2.AsyncClient(base_url=url, verify=False) as sandbox:
        await sandbox.post("/sandbox/reset")
        found = Rescue(runtime, known, batch, sandbox)
        try:
            shards = await plan_shards(batch, file, blobs, {**found.providers, **found.calls})
            assert isinstance(await ledger.batches.create(batch), Batch)
            await ledger.batches.plan(batch.id, shards)
            yield found
        finally:
            await found.close()


STARTED = BatchEvent.RESCUE_STARTED
