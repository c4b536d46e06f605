"""The sweep: what is overdue is woken once, however many replicas sweep."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from core.bus import Step
from core.ledger import Batch, Ledger, ShardState, now
from core.pipeline import Runtime, Sweep, Watched
from core.settings import Settings
from tests.support.ledger.rows import batch_row, create, file_row, shard_row

INTERVAL = 1.0
LONG_AGO = timedelta(hours=1)
SWEEPERS = 5
BATCHES = 4


class Woken:
    """An announcer that only notes what it is to wake."""

    def __init__(self) -> None:
        self.items: list[tuple[Step, str, str]] = []

    async def enqueue(self, step: Step, batch_id: str, shard_id: str = "") -> None:
        self.items.append((step, batch_id, shard_id))


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.long)])
async def ledgers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[list[Ledger]]:
    """One database, as each of several replicas has it open."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'ledger.sqlite3'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    opened = [await Ledger.open(url) for _ in range(SWEEPERS)]
    yield opened
    for ledger in opened:
        await ledger.close()


async def make_overdue(ledger: Ledger) -> set[tuple[Step, str, str]]:
    """Batches that wait to be planned, others with a shard; returns what is to be woken."""
    moment = now() - LONG_AGO
    file = await ledger.files.finish_upload(
        file_row(account_id="acct_1", upload_id="upload-1", line_count=10, at=moment)
    )
    expected = set()
    for number in range(BATCHES):
        batch = await create(ledger, batch_row(file, total=10, queued=10, at=moment))
        if number % 2:
            expected.add((Step.PLAN, batch.id, ""))
            continue
        shard = shard_row(batch, line_count=10, at=moment)
        assert isinstance(await ledger.batches.plan(batch.id, [shard]), Batch)
        expected.add((Step.SUBMIT, batch.id, shard.id))
    return expected


def step_of(batch: Batch) -> Step | None:
    return Step.PLAN if batch.shard_count == 0 else None


async def test_replicas_that_sweep_at_once_wake_each_row_once(ledgers: list[Ledger]) -> None:
    expected = await make_overdue(ledgers[0])
    woken = Woken()
    sweeps = [
        Sweep(
            cast(
                Runtime,
                SimpleNamespace(
                    ledger=ledger,
                    publisher=woken,
                    settings=Settings(sweep_interval=INTERVAL),
                ),
            ),
            shards=[Watched((ShardState.QUEUED,), Step.SUBMIT)],
            batches=step_of,
        )
        for ledger in ledgers
    ]
    counts: list[Any] = await asyncio.gather(*(sweep.once() for sweep in sweeps))
    assert sorted(woken.items) == sorted(expected)
    assert sum(counts) == len(expected)


async def test_a_round_begins_with_what_others_have_locked() -> None:
    """Who stands still amid a statement would have each round wait for what he has locked."""
    stop = asyncio.Event()
    asked: list[str] = []

    async def end_hung() -> int:
        asked.append("end_hung")
        stop.set()
        return 1

    async def overdue(*_: object) -> list[object]:
        asked.append("overdue")
        return []

    ledger = SimpleNamespace(end_hung=end_hung, shards=SimpleNamespace(overdue=overdue))
    runtime = SimpleNamespace(
        ledger=ledger, publisher=Woken(), settings=Settings(sweep_interval=INTERVAL)
    )
    sweep = Sweep(cast(Runtime, runtime), shards=[Watched((ShardState.QUEUED,), Step.SUBMIT)])
    await sweep.run(stop)
    assert asked == ["end_hung", "overdue"]
