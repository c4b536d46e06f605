"""How long a provider's batches of a model take: learned from each one that ends."""

from __future__ import annotations

import functools
import math
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, func
from sqlmodel import SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from core.completion import Duration, Known
from core.ledger.database import Database
from core.ledger.states import Stop
from core.ledger.tables import Batch, BatchDuration, ProviderDuration, Shard, now
from core.ledger.upserts import dialect_of, upsert

# The mean of all at first; later each new one counts for so much.
_NEW_SHARE = 0.2
_KEPT = 200
"""Durations of single shards, for each model of a provider."""
_FORGETS_EACH = 16
_FRESH_SECONDS = 30.0
_MOST_KNOWN = 1000
_NOTHING = Known([])


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of one model at one provider."""

    mean_seconds: float
    """From submission to the look that saw the end; the newest batches count for most."""
    ended: int
    """Batches that it was learned from."""


class Durations:
    """Durations by provider and the provider's model id."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], tuple[float, Known]] = OrderedDict()

    async def newest(self, provider: str, model: str) -> Known:
        """The newest durations of single shards, 200 at the most; as read half a minute ago, or
        later: every watcher of every batch asks."""
        key, moment = (provider, model), self._clock()
        read_at, known = self._known.get(key, (-math.inf, _NOTHING))
        if moment - read_at < _FRESH_SECONDS:
            return known
        async with self._database.read() as session:
            found = await session.exec(
                select(BatchDuration.account_id, BatchDuration.line_count, BatchDuration.seconds)
                .where(BatchDuration.provider == provider, BatchDuration.model == model)
                .order_by(col(BatchDuration.ended_at).desc())
                .limit(_KEPT)
            )
            known = Known([Duration(*row) for row in found])
        self._known[key] = moment, known
        self._known.move_to_end(key)
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        return known

    async def of(self, provider: str, model: str) -> Expected | None:
        """What is known now; None: nothing."""
        async with self._database.read() as session:
            row = await session.get(ProviderDuration, (provider, model))
        return Expected(row.mean_seconds, row.ended) if row is not None else None


def _row(dialect: str, table: type[SQLModel]) -> Any:
    columns = table.__table__.columns  # type: ignore[attr-defined]
    return upsert(dialect, table).values({each.name: bindparam(each.name) for each in columns})


@functools.cache
def _learned(dialect: str) -> Any:
    mean, ended = col(ProviderDuration.mean_seconds), col(ProviderDuration.ended)
    row = _row(dialect, ProviderDuration)
    greatest = func.max if dialect == "sqlite" else func.greatest
    share = greatest(1.0 / (ended + 1.0), _NEW_SHARE)
    return row.on_conflict_do_update(
        index_elements=["provider", "model"],
        set_={
            "mean_seconds": mean + share * (row.excluded.mean_seconds - mean),
            "ended": ended + 1,
            "learned_at": row.excluded.learned_at,
        },
    )


@functools.cache
def _kept_run(dialect: str) -> Any:
    return _row(dialect, BatchDuration).on_conflict_do_nothing(index_elements=["shard_id"])


async def learn_duration(
    session: AsyncSession, database: Database, shard: Shard, batch: Batch
) -> None:
    """Learn from a shard whose batch has just been seen to have ended.

    One that its owner, its window or its rescue ended says nothing of how long others take. One
    statement, and the last row that a transition waits for: so no two wait for each other.
    """
    stopped = batch.stop != Stop.NONE or batch.rescue_started_at is not None
    if shard.submitted_at is None or stopped:
        return
    await learn_run(session, database, shard, batch)
    moment = now()
    await session.exec(
        _learned(dialect_of(session)),
        params={
            "provider": shard.provider,
            "model": shard.remote_model,
            "mean_seconds": max((moment - shard.submitted_at).total_seconds(), 0.0),
            "ended": 1,
            "learned_at": moment,
        },
    )


async def learn_run(session: AsyncSession, database: Database, shard: Shard, batch: Batch) -> None:
    """Keep how long a shard took, for estimates, and now and then forget the oldest ones."""
    if shard.submitted_at is None or batch.stop != Stop.NONE:
        return
    moment = now()
    await session.exec(
        _kept_run(dialect_of(session)),
        params={
            "shard_id": shard.id,
            "account_id": shard.account_id,
            "provider": shard.provider,
            "model": shard.remote_model,
            "line_count": shard.line_count,
            "seconds": max((moment - shard.submitted_at).total_seconds(), 0.0),
            "ended_at": moment,
        },
    )
    if zlib.crc32(shard.id.encode()) % _FORGETS_EACH:
        return
    # Who forgets holds nothing that another one who does waits for.
    await database.lock_name(session, "durations", shard.provider, shard.remote_model)
    of_model = (
        col(BatchDuration.provider) == shard.provider,
        col(BatchDuration.model) == shard.remote_model,
    )
    oldest = (
        select(BatchDuration.ended_at)
        .where(*of_model)
        .order_by(col(BatchDuration.ended_at).desc())
        .offset(_KEPT - 1)
        .limit(1)
        .scalar_subquery()
    )
    await session.exec(delete(BatchDuration).where(*of_model, col(BatchDuration.ended_at) < oldest))
