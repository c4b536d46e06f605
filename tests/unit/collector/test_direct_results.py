"""Shards that the dispatcher ran: their results, and how they are stopped."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from core.batchfile import answer_tail
from core.blobs import BlobStore
from core.bus import Step
from core.ledger import Batch, Ledger, Settlement, Shard, ShardState
from core.pipeline import Event, LateShards, RunLog, Runtime, Settler
from core.prices.usage import Usage
from core.providers import Outcome
from core.settings import Settings
from services.collector.bad_lines import BadLineIsolation
from services.collector.direct_results import take_run
from services.collector.poll import Poller
from services.collector.sorter import Sorter
from services.collector.stop import Stopper
from tests.support.ledger.rows import reread, shard_row
from tests.support.prices import price, tally
from tests.support.publishers import EnqueuedSteps

OK = answer_tail(b'{"status_code":200}', None, 1)
BAD = answer_tail(b'{"status_code":500}', None, 2)


@pytest.fixture
async def shard(ledger: Ledger, batch: Batch) -> Shard:
    """Three lines that run."""
    planned = shard_row(batch, id="shard_1", provider="local", model="m", line_count=3)
    await ledger.batches.plan(batch.id, [planned])
    started = await ledger.runs.start(planned, remote_model="m", most=1, most_of_batch=1)
    assert isinstance(started, Batch)
    found = await ledger.shards.get("shard_1")
    assert found is not None
    return found


async def sorted_log(
    blobs: BlobStore, shard: Shard, folder: Path, events: Sequence[tuple[int, Event, bytes]]
) -> list[tuple[Outcome | None, bytes]]:
    log = await RunLog.open(blobs, shard.run_prefix, shard.line_count)
    log.fence("t")
    for position, event, piece in events:
        log.add(position, event, piece, Usage(input=2, output=1) if piece else None)
    await log.flush()
    with Sorter(array("I", [4, 5, 9]), tally(3, price()), folder, attempts=1) as sorter:
        await take_run(blobs, shard, sorter)
        used = sum(piece != b"" for _, _, piece in events)
        assert sum(spent.cost_nanos for spent in sorter.spend()) == 7 * used
        assert sum(cost or 0 for *_, cost in sorter.pieces(0, 3)) == 7 * used
        return [(outcome, piece) for outcome, piece, *_ in sorter.pieces(0, 3)]


async def test_the_last_result_of_a_line_counts(
    blobs: BlobStore, shard: Shard, tmp_path: Path
) -> None:
    pieces = await sorted_log(
        blobs,
        shard,
        tmp_path,
        [
            (2, Event.BEGUN, b""),
            (0, Event.RETRYABLE, BAD),
            (2, Event.SUCCEEDED, OK),
            (0, Event.RETRYABLE, BAD.replace(b":2}", b":3}")),
            (1, Event.RETRYABLE, BAD),
            (1, Event.FAILED, BAD.replace(b":2}", b":4}")),
        ],
    )
    assert pieces == [
        (Outcome.FAILED, BAD.replace(b":2}", b":3}")),
        (Outcome.FAILED, BAD.replace(b":2}", b":4}")),
        (Outcome.SUCCEEDED, OK),
    ]


async def test_lines_whose_answer_never_came(
    blobs: BlobStore, shard: Shard, tmp_path: Path
) -> None:
    begun, returned, untouched = await sorted_log(
        blobs,
        shard,
        tmp_path,
        [(0, Event.BEGUN, b""), (1, Event.BEGUN, b""), (1, Event.RETURNED, b"")],
    )
    assert begun[0] is Outcome.FAILED
    assert b'"result_missing"' in begun[1]
    assert returned[0] is None, "it was surely not run"
    assert untouched[0] is None


def stopper(ledger: Ledger, blobs: BlobStore, tmp_path: Path) -> tuple[Stopper, EnqueuedSteps]:
    wakes = EnqueuedSteps()
    settings = Settings(data_dir=tmp_path, stop_grace=0.0)
    runtime = Runtime(settings, ledger, blobs, cast("object", None), wakes)  # type: ignore[arg-type]
    settler = Settler(runtime)
    late = LateShards(runtime, {})
    poller = Poller(runtime, {}, settler, BadLineIsolation(runtime, settler), late, {}, {})
    return Stopper(runtime, poller, late), wakes


async def see_to(stopper: Stopper, ledger: Ledger, shard: Shard, *, overdue: bool) -> Shard:
    batch = await ledger.batches.cancel(shard.batch_id)
    stop = (await ledger.batches.get(shard.batch_id) or cast("Batch", batch)).stop
    fresh = await reread(ledger, shard)
    await stopper._see_to(fresh, stop, overdue=overdue)
    found = await reread(ledger, shard)
    return found


async def test_a_stop_leaves_a_shard_to_whoever_runs_it(
    ledger: Ledger, blobs: BlobStore, shard: Shard, tmp_path: Path
) -> None:
    held = await ledger.runs.claim(shard, timedelta(minutes=1))
    assert isinstance(held, Shard)
    step, wakes = stopper(ledger, blobs, tmp_path)
    assert (await see_to(step, ledger, shard, overdue=False)).state == ShardState.RUNNING
    assert not wakes.wakes
    ended = await see_to(step, ledger, shard, overdue=True)
    assert ended.state == ShardState.FETCHING, "the grace is over: with what is kept"
    assert wakes.wakes == [(Step.FETCH, "shard_1")]
    again = await see_to(step, ledger, shard, overdue=True)
    assert again.state == ShardState.FETCHING, "its results are here and will be fetched"


async def test_a_stop_ends_a_shard_that_nobody_runs(
    ledger: Ledger, blobs: BlobStore, shard: Shard, tmp_path: Path
) -> None:
    step, wakes = stopper(ledger, blobs, tmp_path)
    assert (await see_to(step, ledger, shard, overdue=False)).state == ShardState.FETCHING
    assert wakes.wakes == [(Step.FETCH, "shard_1")]
    settled = await ledger.shards.settle(
        await ledger.shards.get("shard_1") or shard, Settlement(0, 3)
    )
    assert isinstance(settled, Batch)
