"""The fetch step: downloads are repeated, not the poll before them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from polybatch.v1.events_pb2 import WorkItem
from sqlalchemy import update

from core.batchfile import ResultFile
from core.blobs import BlobStore
from core.bus import Ack, Delivery, Snooze
from core.failpoints import Failpoint
from core.ledger import Batch, Ledger, Shard, ShardState, now
from core.pipeline import LateShards, Runtime, Settler
from core.prices.usage import Usage
from core.providers import (
    Intent,
    Outcome,
    Provider,
    ProviderRejected,
    ProviderUnavailable,
    RemoteBatch,
    RemoteState,
    ResultLine,
    ResultsGone,
    dump_result,
    known_providers,
    load_result,
)
from core.settings import ProviderAccess, Settings
from services.collector.fetch import Fetcher
from services.dispatcher.sharding import plan_shards
from tests.support.input_files import chat, store
from tests.support.prices import batch_prices, price, snapshot
from tests.support.publishers import EnqueuedSteps

ITEM = WorkItem(batch_id="batch_1", shard_id="shard_10000")
ENDED = RemoteBatch(
    "remote_1",
    RemoteState.ENDED,
    "completed",
    total=3,
    finished=3,
    result_sources=("out", "err"),
    ended_as="completed",
    ended_at=now() - timedelta(minutes=1),
    unanswered=Outcome.EXPIRED,
)


class Home:
    """A provider with results in two files; what goes wrong is told beforehand."""

    input_lifetime = timedelta(days=1)

    def __init__(self) -> None:
        self.intent = Intent("shard_10000", "t9", "", "", 3, 0, "", now(), file_token="t1")
        self.lines = {"out": (1, 3), "err": (2,)}
        self.failing: dict[int, Outcome] = {}
        self.troubles: dict[str, list[Exception]] = {}
        self.ended = ENDED
        self.polls = 0
        self.downloads: list[str] = []
        self.discarded: list[str] = []

    async def poll(self, remote_id: str) -> RemoteBatch:
        self.polls += 1
        return self.ended

    async def results(self, batch: RemoteBatch) -> AsyncGenerator[Sequence[ResultLine], None]:
        for source in batch.result_sources:
            self.downloads.append(source)
            if troubles := self.troubles.get(source):
                raise troubles.pop(0)
            yield [self._line(line) for line in self.lines[source]]

    def _line(self, line: int) -> ResultLine:
        response = b'{"status_code":200,"request_id":"","body":{}}'
        custom_id = self.intent.custom_id(line)
        outcome = self.failing.get(line, Outcome.SUCCEEDED)
        return ResultLine(custom_id, outcome, response, None, Usage(input=line))

    async def discard(self, remote_file_id: str) -> None:
        self.discarded.append(remote_file_id)

    async def discard_all(self, shard_id: str, since: Any) -> int:
        self.discarded.append(f"all of {shard_id}")
        return 1


class Stand:
    def __init__(self, runtime: Runtime, home: Home) -> None:
        self.home = home
        self.runtime = runtime
        self.ledger = runtime.ledger
        self._blobs = runtime.blobs
        providers = {"openai": cast("Provider", home)}
        late = LateShards(runtime, providers)
        prices = batch_prices(runtime.ledger)
        self.fetcher = Fetcher(runtime, providers, Settler(runtime), late, prices)

    async def fetch(self) -> Ack | Snooze:
        await self.ledger.shards.renew_lease(await self.shard(), timedelta())
        return await self.fetcher.handle(ITEM, Delivery(1, now()))

    async def shard(self) -> Shard:
        found = await self.ledger.shards.get(ITEM.shard_id)
        assert found is not None
        return found

    async def ran_here_until_cancelled(self) -> None:
        """As if the dispatcher had run it, and nothing had been called before the cancel."""
        await self.ledger.batches.cancel((await self.shard()).batch_id)
        async with self.ledger._database.write(Failpoint.SHARD_POLLED) as session:
            await session.exec(update(Shard).values(remote_id=""))

    async def answers(self) -> list[dict[str, Any]]:
        results = await ResultFile.open(self._blobs, (await self.shard()).results_prefix)
        return [json.loads(each.raw) async for group in results.lines() for each in group]

    async def lines(self) -> list[int]:
        results = await ResultFile.open(self._blobs, (await self.shard()).results_prefix)
        return [each.line async for group in results.lines() for each in group]


@pytest.fixture
async def stand(ledger: Ledger, blobs: BlobStore, tmp_path: Path) -> AsyncIterator[Stand]:
    access = ProviderAccess.model_validate({"openai_api_key": "k"})
    providers = known_providers(access, Settings()).open()
    batch, file = await store(blobs, [chat(n, "openai/gpt-4.1") for n in range(3)])
    shards = await plan_shards(batch, file, blobs, providers)
    await ledger.files.finish_upload(file)
    batch.prices = snapshot(price(model="gpt-4.1"))
    assert isinstance(await ledger.batches.create(batch), Batch)
    await ledger.batches.plan(batch.id, shards)
    made = Stand(
        Runtime(Settings(data_dir=tmp_path), ledger, blobs, cast("Any", None), EnqueuedSteps()),
        Home(),
    )
    common: dict[str, Any] = {
        "remote_model": "gpt-4.1",
        "sent_lines": 3,
        "sent_bytes": 1,
        "sent_sha256": "",
        "rejects_prefix": "",
        "credential": "",
        "lease": timedelta(),
    }
    first = await ledger.shards.intend(ITEM.shard_id, token="t1", **common)
    assert isinstance(first, Shard)
    assert await ledger.shards.mark_dispatched(first, timedelta(), remote_file_id="file-1")
    await ledger.shards.requeue(first, "later", now())
    # Its custom ids are those of the attempt that uploaded.
    second = await ledger.shards.intend(ITEM.shard_id, token="t9", file_token="t1", **common)
    assert isinstance(second, Shard)
    await ledger.shards.submitted(second, "remote_1", "file-1", now())
    await ledger.shards.fetching(second, "completed", dump_result(ENDED))
    yield made
    for provider in providers.values():
        await provider.close()


def test_what_is_kept_of_a_batch_comes_back_whole() -> None:
    assert load_result(json.loads(json.dumps(dump_result(ENDED)))) == ENDED
    assert load_result(None) is None
    assert load_result({"state": "of another release"}) is None


async def test_results_are_fetched_without_another_poll(stand: Stand) -> None:
    assert await stand.fetch() == Ack()
    shard = await stand.shard()
    assert (shard.state, shard.succeeded) == (ShardState.SETTLED, 3)
    assert await stand.lines() == [1, 2, 3]
    assert (stand.home.polls, stand.home.downloads) == (0, ["out", "err"])
    assert stand.home.discarded == ["file-1"]
    assert (await stand.shard()).remote_file_id == ""


async def test_a_failed_download_is_repeated_and_not_the_poll(stand: Stand) -> None:
    stand.home.troubles["out"] = [ProviderUnavailable("busy"), ProviderUnavailable("busy", 5.0)]
    assert isinstance(await stand.fetch(), Snooze)
    assert isinstance(await stand.fetch(), Snooze)
    assert await stand.fetch() == Ack()
    assert (await stand.shard()).succeeded == 3
    assert stand.home.polls == 0


async def test_two_files_come_home_though_every_second_call_is_throttled(stand: Stand) -> None:
    """The one in hand is not fetched again for the other's sake."""
    throttled = [ProviderUnavailable("slow down", 0.001) for _ in range(2)]
    stand.home.troubles["err"] = [*throttled]
    assert await stand.fetch() == Ack()
    assert stand.home.downloads == ["out", "err", "err", "err"]
    assert (await stand.shard()).succeeded == 3


async def test_a_long_wait_for_the_second_file_is_not_sat_out(stand: Stand) -> None:
    stand.home.troubles["err"] = [ProviderUnavailable("later", 3600.0)]
    again = await stand.fetch()
    assert isinstance(again, Snooze)
    assert again.delay == 3600.0
    assert "later" in (await stand.shard()).waiting_reason


@pytest.mark.parametrize(
    "trouble",
    [ResultsGone("results_expired", "gone", 404), ProviderRejected("no", "not yours", 403)],
)
async def test_results_that_lie_elsewhere_by_now_are_asked_for_once(
    stand: Stand, trouble: Exception
) -> None:
    stand.home.troubles["out"] = [trouble]
    stand.home.lines = {"out": (), "new": (1, 2, 3)}
    stand.home.ended = RemoteBatch(
        "remote_1", RemoteState.ENDED, "completed", result_sources=("new",), ended_as="completed"
    )
    assert await stand.fetch() == Ack()
    assert (await stand.shard()).succeeded == 3
    assert stand.home.polls == 1


async def test_results_that_are_gone_are_gone(stand: Stand) -> None:
    stand.home.troubles["out"] = [ResultsGone("results_expired", "gone", 404)]
    assert await stand.fetch() == Ack()
    shard = await stand.shard()
    assert (shard.state, shard.failed) == (ShardState.SETTLED, 3)
    assert stand.home.polls == 1, "nothing says that they lie elsewhere"


async def test_missing_lines_are_asked_for_again(stand: Stand) -> None:
    stand.home.ended = RemoteBatch(
        "remote_1",
        RemoteState.ENDED,
        "completed",
        result_sources=("out", "err"),
        ended_as="completed",
    )
    kept = dump_result(stand.home.ended)
    assert await stand.ledger.shards.found_results(await stand.shard(), kept)
    stand.home.lines = {"out": (1,), "err": (2,)}
    assert isinstance(await stand.fetch(), Snooze)
    assert (await stand.shard()).remote_result is None
    stand.home.lines = {"out": (1, 3), "err": (2,)}
    stand.home.troubles["out"] = [ProviderUnavailable("busy")]
    assert isinstance(await stand.fetch(), Snooze)
    assert stand.home.polls == 1
    assert await stand.fetch() == Ack()
    assert stand.home.polls == 1, "what the poll said is kept"
    assert (await stand.shard()).succeeded == 3


async def test_a_line_that_a_completed_batch_lacks_may_have_been_run_though_ours_was_stopped(
    stand: Stand,
) -> None:
    """Nobody is told that it never ran, and runs it again for that."""
    ended = replace(ENDED, ended_as="completed", unanswered=None)
    assert await stand.ledger.shards.found_results(await stand.shard(), dump_result(ended))
    async with stand.ledger._database.write(Failpoint.SHARD_REFETCH) as session:
        await session.exec(update(Shard).values(refetches=3))
    await stand.ledger.batches.cancel((await stand.shard()).batch_id)
    stand.home.lines = {"out": (1,), "err": (2,)}
    assert await stand.fetch() == Ack()
    shard = await stand.shard()
    assert (shard.succeeded, shard.failed, shard.cancelled) == (2, 1, 0)
    assert [each["error"]["code"] for each in await stand.answers() if each["error"]] == [
        "result_missing"
    ]


async def test_lines_that_a_stopped_run_never_called_were_cancelled(stand: Stand) -> None:
    await stand.ran_here_until_cancelled()
    assert await stand.fetch() == Ack()
    shard = await stand.shard()
    assert (shard.succeeded, shard.failed, shard.cancelled) == (0, 3, 3)
    for answer in await stand.answers():
        assert (answer["error"]["code"], answer["attempts"]) == ("batch_cancelled", 0)
        assert "before this line was run" in answer["error"]["message"]


async def test_results_wait_for_access_to_their_provider(stand: Stand) -> None:
    """They are paid for: a key that is not set for a while costs none of them."""
    runtime = stand.runtime
    late, prices = LateShards(runtime, {}), batch_prices(runtime.ledger)
    without = Fetcher(runtime, {}, Settler(runtime), late, prices)
    await stand.ledger.shards.renew_lease(await stand.shard(), timedelta())
    assert isinstance(await without.handle(ITEM, Delivery(1, now())), Snooze)
    shard = await stand.shard()
    assert (shard.state, shard.failed) == (ShardState.FETCHING, 0)
    assert shard.waiting_reason == "openai: this installation has no access to it"
    assert await stand.fetch() == Ack()
    assert (await stand.shard()).succeeded == 3
