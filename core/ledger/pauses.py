"""Pauses, of a batch or of a provider: nothing more is sent until it is resumed.

A pause is a column of the batch, or a row for the provider. It is asked for where a shard is let
go: in the transaction of the intent, where the create is marked as dispatched, and where a run is
started (`ShardTransitions._move(let_go=True)`); whoever runs lines looks every half a second
(`Pauses.kept`). So it holds for every replica from its commit on, whatever became of messages.

A shard that may not go says so in its `waiting_reason` (`Shard.held`), and has no message that
sleeps for it: it is woken by what ends the pause. So does one that waits for its batch's canary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, or_, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from core.failpoints import Failpoint
from core.ledger.progress import advance
from core.ledger.states import TERMINAL, CanaryState, ShardPurpose, ShardState, Stale, Stop
from core.ledger.tables import CANARY, PAUSED, Batch, ProviderPause, Shard, now
from core.ledger.transitions import ShardTransitions

_LOOK_AGAIN = timedelta(seconds=60)


class NotHeld:
    """The shard may go now."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What must not be begun now."""

    batches: frozenset[str]
    """Ids of the batches that are paused, of those that were asked for."""
    halted: frozenset[str]
    """Ids of those of which nothing more is sent for good."""
    providers: frozenset[str]


@dataclass(frozen=True, slots=True)
class HeldShard:
    """A shard that a pause kept, or may have kept."""

    id: str
    batch_id: str
    running: bool


class Pauses(ShardTransitions):
    """Pauses of all batches and providers."""

    async def pause_batch(self, batch_id: str, key_id: str) -> Batch | Stale | None:
        """Send nothing more of a batch. None: it is paused already; Stale: it has ended.

        `key_id`: of who pauses it.
        """
        async with self._database.write(Failpoint.BATCH_PAUSE) as session:
            batch = await self._database.lock_batch(session, batch_id)
            if batch is None or batch.state in TERMINAL:
                return Stale(batch_id)
            if batch.paused_at is not None:
                return None
            return await advance(session, batch, paused_at=now(), paused_by=key_id)

    async def resume_batch(self, batch_id: str) -> Batch | Stale | None:
        """Let a batch go on. None: it is not paused; Stale: it has ended."""
        async with self._database.write(Failpoint.BATCH_RESUME) as session:
            batch = await self._database.lock_batch(session, batch_id)
            if batch is None or batch.state in TERMINAL:
                return Stale(batch_id)
            if batch.paused_at is None:
                return None
            # Due now: should the messages that wake them be lost, the sweep finds them soon.
            await session.exec(
                update(Shard)
                .where(
                    col(Shard.batch_id) == batch_id,
                    col(Shard.state) == ShardState.QUEUED,
                    col(Shard.waiting_reason).startswith(PAUSED),
                )
                .values(waiting_reason="", due_at=now())
            )
            return await advance(session, batch, paused_at=None, paused_by="")

    async def pause_provider(self, provider: str, key_id: str) -> ProviderPause:
        """Send nothing more to a provider; one that is paused stays as it is."""
        async with self._database.write(Failpoint.PROVIDER_PAUSE) as session:
            await self._database.lock_name(session, "pause", provider)
            pause = await session.get(ProviderPause, provider)
            if pause is None:
                pause = ProviderPause(provider=provider, paused_at=now(), paused_by=key_id)
                session.add(pause)
            return pause

    async def resume_provider(self, provider: str) -> None:
        """Let a provider have work again."""
        async with self._database.write(Failpoint.PROVIDER_RESUME) as session:
            await self._database.lock_name(session, "pause", provider)
            await session.exec(delete(ProviderPause).where(col(ProviderPause.provider) == provider))

    async def providers(self) -> dict[str, ProviderPause]:
        """Those that are paused, by name."""
        async with self._database.read() as session:
            return {row.provider: row for row in await session.exec(select(ProviderPause))}

    async def kept(self, batch_ids: Collection[str]) -> Kept:
        """What must not be begun, of these batches and of all providers."""
        query = select(Batch.id, Batch.halt_code).where(
            col(Batch.id).in_(batch_ids),
            or_(col(Batch.paused_at).is_not(None), col(Batch.halt_code) != ""),
        )
        async with self._database.read() as session:
            found = list(await session.exec(query)) if batch_ids else []
            providers = await session.exec(select(ProviderPause.provider))
            return Kept(
                batches=frozenset(batch_id for batch_id, halted in found if not halted),
                halted=frozenset(batch_id for batch_id, halted in found if halted),
                providers=frozenset(providers),
            )

    async def hold(self, shard: Shard) -> Batch | Stale | NotHeld | None:
        """Keep a queued shard, or a running one that nobody runs, until it is woken.

        Returns the batch when this is news to its watchers, None where it was held before. Whoever
        ends the pause afterwards finds the shard.
        """
        async with self._locked(Failpoint.SHARD_HOLD, shard.id) as (session, batch, fresh):
            if fresh is None or batch.stop != Stop.NONE or batch.halt_code:
                return Stale(shard.id)
            # Two that hold and resume must see each other.
            await self._database.lock_name(session, "pause", fresh.provider)
            reason = await _reason(session, batch, fresh)
            if not reason:
                return NotHeld()
            running = fresh.state == ShardState.RUNNING
            waits = fresh.waits_for_quota or fresh.waits_for_funds
            free = not running or fresh.due_at <= now()
            if free and fresh.waiting_reason == reason and not waits:
                return None
            moved = await self._move(
                session,
                shard,
                (ShardState.QUEUED, ShardState.RUNNING),
                waits_for_quota=False,
                waits_for_funds=False,
                waiting_reason=reason,
                due_at=now() if running else now() + _LOOK_AGAIN,
            )
            return await advance(session, batch) if moved else Stale(shard.id)

    async def of_batch(self, batch_id: str) -> list[HeldShard]:
        """The shards of a batch that are to be woken when it is resumed, in their order."""
        query = (
            select(Shard.id, Shard.batch_id, Shard.state)
            .where(
                Shard.batch_id == batch_id,
                col(Shard.state).in_((ShardState.QUEUED, ShardState.RUNNING)),
            )
            .order_by(col(Shard.ordinal))
        )
        async with self._database.read() as session:
            return _held(list(await session.exec(query)))

    async def of_provider(self, provider: str, limit: int, after: str = "") -> list[HeldShard]:
        """The shards of a provider that are to be woken when it is resumed, by id.

        `after`: the id of the last one of the page before.
        """
        query = (
            select(Shard.id, Shard.batch_id, Shard.state)
            .where(
                Shard.provider == provider,
                col(Shard.state).in_((ShardState.QUEUED, ShardState.RUNNING)),
                or_(
                    col(Shard.waiting_reason).startswith(PAUSED),
                    col(Shard.waits_for_quota),
                ),
                Shard.id > after,
            )
            .order_by(col(Shard.id))
            .limit(limit)
        )
        async with self._database.read() as session:
            return _held(list(await session.exec(query)))


async def _reason(session: AsyncSession, batch: Batch, shard: Shard) -> str:
    """Why a shard may not go now, for people; empty if it may."""
    if batch.paused_at is not None:
        return paused_reason(batch.paused_at, batch.paused_by)
    pause = await session.get(ProviderPause, shard.provider, populate_existing=True)
    if pause is not None:
        return (
            f"{PAUSED}{pause.paused_by} lets nothing be sent to {shard.provider} since "
            f"{_stamp(pause.paused_at)}; it goes on when an operator resumes the provider"
        )
    if waits_for_canary(batch, shard):
        return canary_reason(batch)
    return ""


def waits_for_canary(batch: Batch, shard: Shard) -> bool:
    """Whether other lines of its batch have to go first."""
    return batch.canary_state == CanaryState.RUNNING and shard.purpose != ShardPurpose.CANARY


def canary_reason(batch: Batch) -> str:
    """What is to be said of a shard that waits for the lines that go first."""
    lines = "the line" if batch.canary_lines == 1 else f"the {batch.canary_lines:,} lines"
    return f"{CANARY}waits for the outcome of {lines} of each model that go first"


def paused_reason(since: datetime, key_id: str) -> str:
    """What is to be said of a batch that is paused."""
    return f"{PAUSED}by {key_id} since {_stamp(since)}; it goes on when it is resumed"


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _held(rows: Sequence[tuple[str, str, str]]) -> list[HeldShard]:
    return [
        HeldShard(shard_id, batch_id, state == ShardState.RUNNING)
        for shard_id, batch_id, state in rows
    ]
