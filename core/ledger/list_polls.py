"""Polls by list: one look at all batches of a provider, taken by one of several replicas."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import bindparam, case, func, update
from sqlmodel import col, select

from core.failpoints import Failpoint
from core.ledger.states import ShardState
from core.ledger.tables import Shard
from core.ledger.transitions import ShardTransitions

# Below the number of parameters that a statement may have.
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class ProviderLoad:
    """How many batches run at a provider."""

    total: int
    due: int
    """Of these, those that are to be looked at by now."""
    gathered: int
    """And those that are due at one moment within the time that was asked for: as a claim
    makes them."""


class InFlight(NamedTuple):
    """A shard whose batch runs: as much of it as tells whether an answer is news."""

    id: str
    remote_id: str
    remote_status: str
    finished: int
    line_count: int
    waiting_reason: str
    submitted_at: datetime | None
    due_at: datetime


_COLUMNS: Any = tuple(getattr(Shard, name) for name in InFlight._fields)
_shards: Any = Shard.__table__  # type: ignore[attr-defined]
_PUT_OFF = update(_shards).where(_shards.c.id == bindparam("shard")).values(due_at=bindparam("due"))


class ListPolls(ShardTransitions):
    """What runs at one provider and can be seen with one credential."""

    async def load(
        self, provider: str, credentials: Collection[str], moment: datetime, soon: datetime
    ) -> ProviderLoad:
        """Count what runs. `credentials`: as Shard.credential."""
        due, running = col(Shard.due_at), _running(provider, credentials)
        by_now = func.coalesce(func.sum(case((due <= moment, 1), else_=0)), 0)
        together = func.count()
        async with self._database.read() as session:
            counted: Any = await session.exec(select(func.count(), by_now).where(*running))
            total, overdue = counted.one()
            most = await session.exec(
                select(together)
                .where(*running, due > moment, due <= soon)
                .group_by(due)
                .order_by(together.desc())
                .limit(1)
            )
            return ProviderLoad(total, overdue, most.first() or 0)

    async def claim(
        self, shard: Shard, credentials: Collection[str], until: datetime, limit: int
    ) -> list[InFlight] | None:
        """Take all that runs beside a shard that is due, the shard included, for one look.

        Each is given back as it was, and is due again at the same `until`: others that wake
        for it meanwhile see that it was taken. None when the shard was taken already.
        """
        async with self._database.write(Failpoint.SHARD_CLAIM_POLLS) as session:
            await self._database.lock_name(session, "polls", shard.provider)
            found: Any = await session.exec(
                select(*_COLUMNS)
                .where(*_running(shard.provider, credentials))
                .order_by(col(Shard.due_at), col(Shard.id))
                .limit(limit)
                # Who is changed just now is left out: nobody waits for another one's row.
                .with_for_update(skip_locked=True)
            )
            claimed = [InFlight(*row) for row in found]
            if not any(each.id == shard.id and each.due_at == shard.due_at for each in claimed):
                return None
            for some in _chunks([each.id for each in claimed]):
                await session.exec(
                    update(Shard)
                    .where(col(Shard.id).in_(some))
                    .values(due_at=until)
                    .execution_options(synchronize_session=False)
                )
            return claimed

    async def put_off(self, due: Mapping[str, datetime], claimed: datetime) -> None:
        """Give shards of a claim a time of their own, unless they were moved since.

        `claimed`: the claim's `until`.
        """
        async with self._database.write(Failpoint.SHARD_POSTPONE) as session:
            connection = await session.connection()
            for some in _chunks(sorted(due)):
                found = await session.exec(
                    select(Shard.id)
                    .where(
                        col(Shard.id).in_(some),
                        Shard.state == ShardState.SUBMITTED,
                        Shard.due_at == claimed,
                    )
                    .with_for_update(skip_locked=True)
                )
                rows = [{"shard": shard_id, "due": due[shard_id]} for shard_id in found]
                if rows:
                    await connection.execute(_PUT_OFF, rows)


def _running(provider: str, credentials: Collection[str]) -> tuple[Any, ...]:
    """What is waited for: shards that their batch has given up have times of their own."""
    return (
        col(Shard.state) == ShardState.SUBMITTED,
        col(Shard.provider) == provider,
        col(Shard.credential).in_(list(credentials)),
        col(Shard.remote_id) != "",
        col(Shard.given_up_at).is_(None),
    )


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]
