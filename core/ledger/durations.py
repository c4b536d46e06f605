"""How long a provider's batches of a model take: learned from each one that ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from core.ledger.database import Database
from core.ledger.states import Stop
from core.ledger.tables import Batch, ProviderDuration, Shard, now

# The mean of all at first; later each new one counts for so much.
_NEW_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of one model at one provider."""

    mean_seconds: float
    """From submission to the look that saw the end; the newest batches count for most."""
    ended: int
    """Batches that it was learned from."""


class Durations:
    """Durations by provider and the provider's model id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, provider: str, model: str) -> Expected | None:
        """What is known now; None: nothing."""
        async with self._database.read() as session:
            row = await session.get(ProviderDuration, (provider, model))
        return Expected(row.mean_seconds, row.ended) if row is not None else None


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
    moment = now()
    seconds = max((moment - shard.submitted_at).total_seconds(), 0.0)
    # The two dialects have the same statement under two names.
    insert: Any = sqlite.insert if database.is_sqlite else postgresql.insert
    mean, ended = col(ProviderDuration.mean_seconds), col(ProviderDuration.ended)
    share = _greatest(database)(1.0 / (ended + 1.0), _NEW_SHARE)
    await session.exec(
        insert(ProviderDuration)
        .values(
            provider=shard.provider,
            model=shard.remote_model,
            mean_seconds=seconds,
            ended=1,
            learned_at=moment,
        )
        .on_conflict_do_update(
            index_elements=["provider", "model"],
            set_={
                "mean_seconds": mean + share * (seconds - mean),
                "ended": ended + 1,
                "learned_at": moment,
            },
        )
    )


def _greatest(database: Database) -> Any:
    """The function that gives the greatest of its arguments."""
    return func.max if database.is_sqlite else func.greatest
