"""Shards: the way of one provider batch through the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, case, func
from sqlalchemy.orm import aliased
from sqlmodel import col, select
from sqlmodel.sql.expression import SelectOfScalar

from core.failpoints import Failpoint
from core.ledger.attempts import Attempts
from core.ledger.batches import settle_unsent
from core.ledger.credits import charge
from core.ledger.durations import learn_duration
from core.ledger.halting import judge, settle_halted
from core.ledger.progress import advance
from core.ledger.spend import ModelSpend, Spent, usage_rows
from core.ledger.statements import made_once
from core.ledger.states import ShardState, Stale, Stop, stopped_lines
from core.ledger.tables import Batch, Shard, now


def _shown() -> SelectOfScalar[Shard]:
    settled_last = case((col(Shard.state) == ShardState.SETTLED, 1), else_=0)
    place = func.row_number().over(
        partition_by=col(Shard.batch_id), order_by=(settled_last, col(Shard.ordinal))
    )
    # One query for all: a hub asks for fifty batches that changed at the same time.
    wanted = col(Shard.batch_id).in_(bindparam("batch_ids", expanding=True))
    placed = made_once(select(Shard, place.label("place")).where(wanted)).subquery()
    return (
        select(aliased(Shard, placed))
        .where(placed.c.place <= bindparam("most"))
        .order_by(placed.c.place)
    )


_SHOWN = _shown()
_OF_BATCH = made_once(
    select(Shard).where(Shard.batch_id == bindparam("batch_id")).order_by(col(Shard.ordinal))
)


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a shard's lines."""

    succeeded: int
    failed: int
    """All that ended without success."""
    cancelled: int = 0
    """Of these, lines that a cancel kept from being answered."""
    expired: int = 0
    """The same of a completion window."""
    withheld: int = 0
    """Of `failed`, lines that a limit of their batch kept from being sent."""
    retried: int = 0
    results_prefix: str = ""
    fill_code: str = ""
    fill_message: str = ""
    spend: Sequence[ModelSpend] = ()
    """What was used and what it cost, of each model that was answered."""
    reused: int = 0
    """Lines that took the answer of an equal one."""
    saved_nanos: int = 0
    """What these would have cost."""
    answered: int = 0
    """Lines that the provider answered, well or ill; noted of shards that were given up."""

    @classmethod
    def filled(cls, lines: int, code: str, message: str, *, withheld: bool = False) -> Settlement:
        """One error for each of so many lines. `withheld`: a limit kept them from being sent."""
        return cls(
            0,
            lines,
            withheld=lines if withheld else 0,
            fill_code=code,
            fill_message=message,
            **stopped_lines(code, lines),
        )


class Shards(Attempts):
    """Shards of all batches."""

    async def get(self, shard_id: str) -> Shard | None:
        """One shard."""
        async with self._database.read() as session:
            return await session.get(Shard, shard_id)

    async def of_batch(self, batch_id: str) -> list[Shard]:
        """All shards of a batch in the order of their planning."""
        async with self._database.read() as session:
            return list(await session.exec(_OF_BATCH, params={"batch_id": batch_id}))

    async def shown(self, batch_ids: Sequence[str], limit: int) -> dict[str, list[Shard]]:
        """For each batch the shards to show a watcher: unsettled first, at most `limit`.

        Asks nothing where there is no batch.
        """
        if not batch_ids:
            return {}
        shown: dict[str, list[Shard]] = {batch_id: [] for batch_id in batch_ids}
        async with self._database.read() as session:
            found = await session.exec(_SHOWN, params={"batch_ids": list(batch_ids), "most": limit})
            for shard in found:
                shown[shard.batch_id].append(shard)
        return shown

    async def remote_ids(self, provider: str, since: datetime) -> frozenset[str]:
        """The provider's batch ids that are ours already, of shards intended since a moment."""
        async with self._database.read() as session:
            found = await session.exec(
                select(Shard.remote_id).where(
                    Shard.provider == provider,
                    Shard.remote_id != "",
                    col(Shard.intended_at) >= since,
                )
            )
            return frozenset(found)

    async def polled(
        self, shard: Shard, status: str, finished: int, next_poll: datetime
    ) -> Batch | Stale | None:
        """Note a poll. Returns the batch when it shows something new, None otherwise."""
        finished = max(shard.finished, min(finished, shard.line_count))
        if (
            finished == shard.finished
            and status == shard.remote_status
            and not shard.waiting_reason
        ):
            moved = await self.postpone(shard, next_poll)
            return None if moved else Stale(shard.id)
        return await self._transition(
            Failpoint.SHARD_POLLED,
            shard,
            (ShardState.SUBMITTED,),
            remote_status=status,
            finished=finished,
            waiting_reason="",
            due_at=next_poll,
        )

    async def postpone(self, shard: Shard, due_at: datetime) -> bool:
        """Note when the next look is due, without a new revision: nobody sees it."""
        async with self._database.write(Failpoint.SHARD_POSTPONE) as session:
            return await self._move(
                session, shard, (ShardState.QUEUED, ShardState.SUBMITTED), due_at=due_at
            )

    async def unreachable(self, shard: Shard, reason: str, next_try: datetime) -> Batch | Stale:
        """Note that the provider or our storage does not do it for now; it stays where it is."""
        return await self._transition(
            Failpoint.SHARD_UNREACHABLE,
            shard,
            (ShardState.QUEUED, ShardState.SUBMITTED, ShardState.FETCHING),
            waits_for_quota=False,
            waits_for_funds=False,
            waiting_reason=reason,
            due_at=next_try,
        )

    async def fetching(
        self, shard: Shard, status: str, result: dict[str, Any] | None = None
    ) -> Batch | Stale:
        """SUBMITTED -> FETCHING: the provider is done with it; nobody holds it yet.

        `result`: where its results are, so that whoever fetches them need not ask again.
        How long it took is learned in the same transaction.
        """
        return await self._transition(
            Failpoint.SHARD_FETCHING,
            shard,
            (ShardState.SUBMITTED,),
            also=learn_duration,
            state=ShardState.FETCHING,
            remote_status=status,
            remote_result=result,
            ended_at=now(),
            waiting_reason="",
            due_at=now(),
        )

    async def claim_fetch(self, shard: Shard, lease: timedelta) -> bool:
        """Lease a shard to fetch, as it was read: True for one of several that try."""
        async with self._database.write(Failpoint.SHARD_FETCH_CLAIM) as session:
            return await self._move(
                session, shard, (ShardState.FETCHING,), same_due=True, due_at=now() + lease
            )

    async def found_results(self, shard: Shard, result: dict[str, Any]) -> bool:
        """Note where the results of a shard are that is being fetched, without a new revision."""
        async with self._database.write(Failpoint.SHARD_RESULTS_FOUND) as session:
            return await self._move(session, shard, (ShardState.FETCHING,), remote_result=result)

    async def refetch(self, shard: Shard, reason: str, until: datetime) -> Batch | Stale:
        """Stay FETCHING after results that were not whole; where they are is asked again."""
        return await self._transition(
            Failpoint.SHARD_REFETCH,
            shard,
            (ShardState.FETCHING,),
            refetches=shard.refetches + 1,
            remote_result=None,
            waiting_reason=reason,
            due_at=until,
        )

    async def settle(
        self, shard: Shard, settlement: Settlement, retry: Iterable[Shard] = ()
    ) -> Batch | Stale:
        """-> SETTLED, together with the shards that its retried lines go into.

        What it used and cost is written with it, and charged: once, as it settles once. So is what
        it shows of its batch's canary, or of the failures that are allowed (core.ledger.halting).

        Stale, too, where there are such and the batch no longer waits for the shard.
        """
        async with self._locked(Failpoint.SHARD_SETTLE, shard.id) as (session, batch, fresh):
            retry, spent = list(retry), Spent(settlement.spend)
            if fresh is None or (retry and fresh.given_up):
                return Stale(shard.id)
            changes: dict[str, Any] = {}
            if fresh.given_up:
                # Whoever merges its answers into the results is expected from now on.
                changes = {"finished": settlement.answered, "due_at": now()}
            if settlement.fill_code or not fresh.given_up:
                changes["fill_code"] = settlement.fill_code
                changes["fill_message"] = settlement.fill_message
            moved = await self._move(
                session,
                shard,
                (
                    ShardState.QUEUED,
                    ShardState.SUBMITTING,
                    ShardState.SUBMITTED,
                    ShardState.FETCHING,
                ),
                held=fresh,
                state=ShardState.SETTLED,
                # An attempt that was never dispatched may have uploaded its input all the same.
                stray_uploads=fresh.stray_uploads
                or (
                    fresh.state == ShardState.SUBMITTING
                    and fresh.dispatched_at is None
                    and fresh.file_token == fresh.token
                ),
                settled_at=now(),
                settled_revision=batch.revision + 1,
                waits_for_funds=False,
                waiting_reason="",
                succeeded=settlement.succeeded,
                failed=settlement.failed,
                cancelled=settlement.cancelled,
                expired=settlement.expired,
                withheld=settlement.withheld,
                retried=settlement.retried,
                results_prefix=settlement.results_prefix,
                input_tokens=spent.input_tokens,
                cached_input_tokens=spent.cached_input_tokens,
                output_tokens=spent.output_tokens,
                reasoning_tokens=spent.reasoning_tokens,
                cache_write_tokens=spent.cache_write_tokens,
                cost_nanos=spent.cost_nanos,
                unpriced_lines=spent.unpriced_lines,
                **changes,
            )
            if not moved:
                return Stale(shard.id)
            for ordinal, successor in enumerate(retry, start=batch.shard_count):
                successor.ordinal = ordinal
                if batch.stop != Stop.NONE:
                    settle_unsent(successor, Stop(batch.stop))
                    successor.settled_revision = batch.revision + 1
                elif batch.halt_code:
                    settle_halted(successor, batch)
                session.add(successor)
            session.add_all(usage_rows(batch, fresh, settlement.spend))
            changes = {}
            if settlement.reused:
                changes["reused"] = batch.reused + settlement.reused
                changes["saved_nanos"] = batch.saved_nanos + settlement.saved_nanos
            await session.flush()
            changes |= await judge(session, batch, fresh)
            advanced = await advance(session, batch, **changes)
            await charge(session, advanced, fresh, spent.cost_nanos)
            return advanced

    async def overdue(
        self, states: Sequence[ShardState], before: datetime, limit: int
    ) -> list[Shard]:
        """Shards whose next step was expected before a moment, longest waiting first."""
        async with self._database.read() as session:
            found = await session.exec(
                select(Shard)
                .where(col(Shard.state).in_(states), col(Shard.due_at) < before)
                .order_by(col(Shard.due_at))
                .limit(limit)
            )
            return list(found)

    async def take_overdue(self, shard: Shard, due_at: datetime) -> bool:
        """Take an overdue shard on, due then: True for the one sweeper that was first."""
        async with self._database.write(Failpoint.SHARD_OVERDUE) as session:
            return await self._move(
                session,
                shard,
                (ShardState(shard.state),),
                same_due=True,
                due_at=due_at,
            )
