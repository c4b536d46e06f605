"""Two hundred lines over three providers that refuse every second call, from plan to results."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from polybatch.v1.events_pb2 import WorkItem
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from core.blobs import BlobStore
from core.bus import Ack, Delivery, Snooze
from core.ledger import Batch, Ledger, ShardState, now
from core.pipeline import LateShards, PauseWatch, ProviderKeys, Runtime, Settler
from core.providers import known_providers
from core.settings import ProviderAccess, Settings
from services.collector.bad_lines import BadLineIsolation
from services.collector.fetch import Fetcher
from services.collector.poll import Poller
from services.dispatcher.fair_scheduler import FairScheduler
from services.dispatcher.sharding import plan_shards
from services.dispatcher.submit import Submitter
from tests.support.input_files import chat, store
from tests.support.prices import batch_prices, cost_limit, price, snapshot
from tests.support.providers.conformance_stand import running_sandbox
from tests.support.publishers import EnqueuedSteps

LINES = 200
PATIENCE = 60.0
RETRY_AFTER = 0.05
MODELS = ("openai/gpt-4.1", "anthropic/claude-4.5-sonnet", "gemini/gemini-3.8-flash")
UPLOADS = {"/v1/files": "openai", "/upload/v1beta/files": "gemini"}


class EverySecond:
    """Refuses the first, third, fifth ... call to each provider, and counts."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.calls: Counter[str] = Counter()
        self.uploads: Counter[str] = Counter()
        self.deletions: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or path.startswith("/sandbox"):
            await self._app(scope, receive, send)
            return
        anthropic = path.startswith("/v1/messages")
        provider = "anthropic" if anthropic else "openai" if path.startswith("/v1/") else "gemini"
        self.calls[provider] += 1
        if self.calls[provider] % 2:
            error = {"message": "slow down", "type": "rate_limit_error", "code": None}
            headers = {"retry-after": str(RETRY_AFTER)}
            await JSONResponse({"error": error}, 429, headers)(scope, receive, send)
            return
        # The bytes of a resumable upload follow at an address with a query.
        if scope["method"] == "POST" and path in UPLOADS and not scope["query_string"]:
            self.uploads[UPLOADS[path]] += 1
        if scope["method"] == "DELETE":
            self.deletions[path] += 1
        await self._app(scope, receive, send)


@pytest.fixture
def throttled(tmp_path: Path) -> Iterator[tuple[str, EverySecond]]:
    with running_sandbox(tmp_path / "sandbox") as (url, prompter):
        prompter.app = every = EverySecond(prompter.app)
        yield url, every


class Line:
    """Dispatcher and collector without a bus: each step as its turn comes."""

    def __init__(self, runtime: Runtime, providers: Any, credentials: Any) -> None:
        self._ledger = runtime.ledger
        settler = Settler(runtime)
        keys = ProviderKeys({}, recheck=0.0)
        submitter = Submitter(
            runtime,
            providers,
            {},
            FairScheduler(runtime),
            credentials,
            keys,
            cost_limit(runtime),
            PauseWatch(runtime.ledger),
        )
        culprits = BadLineIsolation(runtime, settler)
        late = LateShards(runtime, providers)
        poller = Poller(runtime, providers, settler, culprits, late, credentials)
        self._steps = {
            ShardState.QUEUED: submitter.handle,
            ShardState.SUBMITTING: submitter.handle,
            ShardState.SUBMITTED: poller.handle,
            ShardState.FETCHING: Fetcher(
                runtime, providers, settler, late, batch_prices(runtime.ledger)
            ).handle,
        }

    async def bring(self, shard_id: str) -> None:
        """Bring a shard to its end."""
        count = 0
        while True:
            shard = await self._ledger.shards.get(shard_id)
            assert shard is not None
            if shard.state == ShardState.SETTLED:
                return
            count += 1
            item = WorkItem(batch_id=shard.batch_id, shard_id=shard_id)
            outcome = await self._steps[ShardState(shard.state)](item, Delivery(count, now()))
            if isinstance(outcome, Snooze):
                # As the bus does it.
                await asyncio.sleep(outcome.delay)
            assert isinstance(outcome, Snooze | Ack)


@pytest.fixture
async def opened(
    throttled: tuple[str, EverySecond],
) -> AsyncIterator[tuple[Any, Any]]:
    url, _ = throttled
    access = ProviderAccess.model_validate(
        {
            **{f"{name}_api_key": "k" for name in ("openai", "anthropic", "gemini")},
            "openai_base_url": f"{url}/v1",
            "anthropic_base_url": url,
            "gemini_base_url": url,
        }
    )
    known = known_providers(access, Settings(reconcile_settle=0))
    providers = known.open()
    yield providers, known.credentials
    for provider in providers.values():
        await provider.close()


async def test_every_second_call_is_refused(
    ledger: Ledger,
    blobs: BlobStore,
    tmp_path: Path,
    throttled: tuple[str, EverySecond],
    opened: tuple[Any, Any],
) -> None:
    url, every = throttled
    providers, credentials = opened
    batch, file = await store(blobs, [chat(n, MODELS[n % 3]) for n in range(LINES)])
    shards = await plan_shards(batch, file, blobs, providers)
    assert len(shards) == 3
    await ledger.files.finish_upload(file)
    batch.prices = snapshot(price(model="gpt-4.1"))
    assert isinstance(await ledger.batches.create(batch), Batch)
    await ledger.batches.plan(batch.id, shards)
    settings = Settings(
        data_dir=tmp_path, poll_min_interval=0.01, unreachable_pause=0.01, refused_pause=0.01
    )
    runtime = Runtime(settings, ledger, blobs, cast("Any", None), EnqueuedSteps())
    line = Line(runtime, providers, credentials)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        for shard in shards:
            tasks.create_task(line.bring(shard.id))
    for shard in await ledger.shards.of_batch(batch.id):
        assert (shard.succeeded, shard.failed) == (shard.line_count, 0), shard.fill_message
    assert every.uploads == {"openai": 1, "gemini": 1}, "each was uploaded once"
    assert len(every.deletions) == 2
    assert set(every.deletions.values()) == {1}, "and deleted once"
    async with httpx2.AsyncClient(base_url=url, verify=False) as client:
        bill = (await client.get("/sandbox/bill")).json()
    assert (bill["lines_billed"], bill["extra_billings"]) == (LINES, 0)
    assert (bill["batches_created"], bill["uploads_kept"]) == (3, 0)
