"""The stop-loss of a batch: nothing is sent that could bring it past its `max_cost`.

    cost so far + at most of what is in flight + at most of what is to go <= max_cost

It is asked for under the batch's lock, in the transaction that lets a shard go: two dispatchers
never take the same room. What comes back cheaper than it could have been frees room, and wakes
the shards that wait for it. With nothing in flight there is nothing to wait for: then as many
lines go as fit, and a line that does not fit alone never will, as a batch's cost only grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import bindparam, func, or_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from core.failpoints import Failpoint
from core.ledger.progress import advance
from core.ledger.statements import made_once
from core.ledger.states import ShardPurpose, ShardState, Stale, Stop
from core.ledger.tables import Account, ApiKey, Batch, Funding, Shard
from core.ledger.transitions import ShardTransitions

_IN_FLIGHT = (
    ShardState.SUBMITTING,
    ShardState.SUBMITTED,
    ShardState.RUNNING,
    ShardState.FETCHING,
)
"""What may still be charged. Also what was given up: its late answers are."""


_LIMITED = made_once(
    select(Batch)
    .outerjoin(Account, col(Account.id) == Batch.account_id)
    .outerjoin(ApiKey, col(ApiKey.id) == Batch.key_id)
    .where(
        Batch.id == bindparam("batch_id"),
        or_(
            col(Batch.max_cost_nanos).is_not(None),
            col(Account.funding) == Funding.PREPAID,
            col(Account.budget_nanos).is_not(None),
            col(ApiKey.budget_nanos).is_not(None),
        ),
    )
)
_AT_MOST = made_once(
    select(func.count(), func.coalesce(func.sum(Shard.at_most_nanos), 0)).where(
        Shard.batch_id == bindparam("batch_id"),
        col(Shard.state).in_(_IN_FLIGHT),
        Shard.purpose != ShardPurpose.TWINS,
    )
)


class Figures(NamedTuple):
    """What lines will cost, in nano-dollars; 0 where nothing limits spending."""

    expected_nanos: int = 0
    at_most_nanos: int = 0


@dataclass(frozen=True, slots=True)
class Room:
    """What is left under a batch's `max_cost`, in nano-dollars."""

    max_cost: int
    left: int
    """What it may still cost in all: no line that could cost more is ever sent."""
    free: int
    """Of this, what the shards in flight cannot come to need."""
    in_flight: int
    """Shards."""


@dataclass(frozen=True, slots=True)
class OverMaxCost:
    """A shard could bring its batch past its `max_cost`, by what is in flight now."""

    room: Room


@dataclass(frozen=True, slots=True)
class Limits:
    """What limits the spending of a batch."""

    limited: bool
    """By its `max_cost`, its account's credits, or a budget: its lines are to be reckoned."""
    room: Room | None = None
    """Under its `max_cost`; None: it has none."""


class StopLoss(ShardTransitions):
    """Room under the `max_cost` of batches, and shards that wait for it."""

    async def limits(self, batch_id: str) -> Limits:
        """What limits a batch, as of now."""
        async with self._database.read() as session:
            batch = (await session.exec(_LIMITED, params={"batch_id": batch_id})).first()
            if batch is None:
                return Limits(limited=False)
            return Limits(limited=True, room=await _room(session, batch))

    async def wait(
        self, shard: Shard, figures: Figures, reason: str, until: datetime
    ) -> Batch | Stale | Room | None:
        """Stay QUEUED until there is room. `until`: when to look again at the latest.

        Returns the batch when this is news to its watchers, None where it waits as before; and
        the room where it need not wait, as there is enough now, or nothing is in flight.
        """
        async with self._locked(Failpoint.SHARD_WAIT, shard.id) as (session, batch, fresh):
            if fresh is None or batch.stop != Stop.NONE:
                return Stale(shard.id)
            room = await _room(session, batch)
            if room is None:
                return Stale(shard.id)
            if not room.in_flight or figures.at_most_nanos <= room.free:
                return room
            known = fresh.waits_for_funds and fresh.waiting_reason == reason
            moved = await self._move(
                session,
                shard,
                (ShardState.QUEUED,),
                waits_for_funds=True,
                waits_for_quota=False,
                waiting_reason=reason,
                due_at=until,
                **figures._asdict(),
            )
            if not moved:
                return Stale(shard.id)
            return None if known else await advance(session, batch)

    async def waiting(self, batch_id: str, limit: int) -> list[str]:
        """Ids of the first shards of a batch that wait, in their order."""
        async with self._database.read() as session:
            found = await session.exec(
                select(Shard.id)
                .where(
                    Shard.batch_id == batch_id,
                    Shard.state == ShardState.QUEUED,
                    col(Shard.waits_for_funds),
                )
                .order_by(col(Shard.ordinal))
                .limit(limit)
            )
            return list(found)


async def check_max_cost(
    session: AsyncSession, batch: Batch, at_most_nanos: int
) -> OverMaxCost | None:
    """Whether a queued shard may go now, of a batch that is locked."""
    room = await _room(session, batch)
    if room is None or at_most_nanos <= room.free:
        return None
    return OverMaxCost(room)


async def _room(session: AsyncSession, batch: Batch) -> Room | None:
    if batch.max_cost_nanos is None:
        return None
    found = await session.exec(_AT_MOST, params={"batch_id": batch.id})
    shards, at_most = found.one()
    left = batch.max_cost_nanos - batch.cost_nanos
    return Room(batch.max_cost_nanos, left, left - int(at_most), int(shards))
