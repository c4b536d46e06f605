"""Shards that their batch no longer waits for, although a provider may still answer them.

What was at a provider when a stopped batch ran out of patience has been paid for, or may
have been. So the shard goes on its way, its lines counted as failed meanwhile, and its
answers are merged into the results when they come; see core.ledger.states.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import bindparam, or_, update
from sqlmodel import col, select

from core.failpoints import Failpoint
from core.ledger.halting import judge
from core.ledger.progress import advance, awaited_shards
from core.ledger.statements import made_once
from core.ledger.states import (
    STOP_ERRORS,
    TERMINAL,
    ResultsGone,
    ShardState,
    Stale,
    Stop,
    stopped_lines,
)
from core.ledger.tables import Batch, Shard, now
from core.ledger.transitions import ShardTransitions

_NEVER_SENT = ("not_sent", "The provider never took this line: it was not run.")
_WAITING = made_once(
    select(Shard)
    .where(Shard.batch_id == bindparam("batch_id"), awaited_shards())
    .order_by(col(Shard.ordinal))
)
_AT_PROVIDER = (ShardState.SUBMITTING, ShardState.SUBMITTED, ShardState.FETCHING)


class AtWork:
    """Somebody else writes the results just now."""


class ToMerge(NamedTuple):
    """Late answers, and the batch into whose results they go."""

    batch: Batch
    come: Sequence[Shard]
    """Settled shards whose answers are not in the results."""


class LateAnswers(ShardTransitions):
    """Given-up shards of all batches, and their way into the results."""

    async def give_up(
        self, shard: Shard, code: str, message: str, until: datetime
    ) -> Batch | Stale:
        """Let the batch go on without a shard that is, or may be, at its provider.

        `code`, `message`: what its lines have in the results until they are answered;
        `until`: when the provider keeps nothing of it any more. A batch that is not stopped is
        judged as where a shard settles (core.ledger.halting).
        """
        async with self._locked(Failpoint.SHARD_GIVE_UP, shard.id) as (session, batch, fresh):
            if fresh is None or fresh.given_up_at is not None:
                return Stale(shard.id)
            moved = await self._move(
                session,
                shard,
                _AT_PROVIDER,
                sent=True,
                given_up_at=now(),
                late_until=until,
                fill_code=code,
                fill_message=message,
            )
            if not moved:
                return Stale(shard.id)
            return await advance(session, batch, **await judge(session, batch, fresh))

    async def abandon(self, shard: Shard) -> Batch | Stale:
        """Wait no longer for a given-up shard: what its lines have in the results stays."""
        async with self._locked(Failpoint.SHARD_ABANDON, shard.id) as (session, batch, _):
            moved = await self._move(
                session,
                shard,
                _AT_PROVIDER,
                state=ShardState.SETTLED,
                settled_at=now(),
                settled_revision=batch.revision + 1,
                failed=shard.line_count,
                **stopped_lines(shard.fill_code, shard.line_count),
                # It counts late answers from now on, and there are none.
                finished=0,
                late_merged=True,
                waiting_reason="",
            )
            return await advance(session, batch) if moved else Stale(shard.id)

    async def never_sent(self, shard: Shard) -> Batch | Stale:
        """Settle a given-up shard, as it was read, of which the provider surely has nothing."""
        async with self._locked(Failpoint.SHARD_NEVER_SENT, shard.id) as (session, batch, fresh):
            if fresh is None or not fresh.given_up:
                return Stale(shard.id)
            code, message = STOP_ERRORS.get(Stop(batch.stop), _NEVER_SENT)
            moved = await self._move(
                session,
                shard,
                (ShardState(shard.state),),
                state=ShardState.SETTLED,
                settled_at=now(),
                settled_revision=batch.revision + 1,
                dispatched_at=None,
                remote_id="",
                failed=shard.line_count,
                **stopped_lines(code, shard.line_count),
                finished=0,
                fill_code=code,
                fill_message=message,
                waiting_reason="",
                due_at=now(),
            )
            return await advance(session, batch) if moved else Stale(shard.id)

    async def waiting(self, batch_id: str) -> list[Shard]:
        """The given-up shards of a batch whose answers are not in its results."""
        async with self._database.read() as session:
            return list(await session.exec(_WAITING, params={"batch_id": batch_id}))

    async def overdue(self, before: datetime, limit: int) -> list[Shard]:
        """Settled shards whose answers should have been merged before a moment."""
        async with self._database.read() as session:
            found = await session.exec(
                select(Shard)
                .where(
                    awaited_shards(),
                    Shard.state == ShardState.SETTLED,
                    col(Shard.due_at) < before,
                )
                .order_by(col(Shard.due_at))
                .limit(limit)
            )
            return list(found)

    async def drop(self, batch_id: str) -> Batch | Stale:
        """Let go of the answers that came for a batch whose results are gone.

        They are charged already. Once the last one has come, what was kept for them can go.
        """
        async with self._database.write(Failpoint.BATCH_DROP_LATE) as session:
            batch = await self._database.lock_batch(session, batch_id)
            if batch is None or batch.results_gone != ResultsGone.ALL:
                return Stale(batch_id)
            dropped = await session.exec(
                update(Shard)
                .where(
                    col(Shard.batch_id) == batch_id,
                    awaited_shards(),
                    col(Shard.state) == ShardState.SETTLED,
                )
                .values(late_merged=True)
            )
            if not dropped.rowcount:
                return Stale(batch_id)
            changed = await advance(session, batch, assembler="")
            if changed.awaited:
                return changed
            return await advance(session, changed, removal_due_at=now())

    async def claim_merge(
        self, batch_id: str, token: str, lease: timedelta
    ) -> ToMerge | Stale | AtWork:
        """Take the results of an ended batch in hand, to merge late answers into them.

        `token`: names the holder in Batches.renew_lease and `merge`. Stale where nothing that has
        come is left to be merged: somebody else may have done it a moment ago.
        """
        moment = now()
        async with self._database.write(Failpoint.BATCH_CLAIM_MERGE) as session:
            batch = await self._database.lock_batch(session, batch_id)
            if batch is None or not batch.ended or not batch.results_prefix:
                return Stale(batch_id)
            held = await session.exec(
                update(Batch)
                .where(
                    col(Batch.id) == batch_id,
                    or_(col(Batch.assembler) == "", col(Batch.due_at) < moment),
                )
                .values(assembler=token, due_at=moment + lease)
            )
            if not held.rowcount:
                return AtWork()
            waiting = await session.exec(_WAITING, params={"batch_id": batch_id})
            come = [shard for shard in waiting if shard.state == ShardState.SETTLED]
            if not come:
                await session.rollback()
                return Stale(batch_id)
            return ToMerge(batch, come)

    async def merge(
        self,
        batch: Batch,
        token: str,
        shards: Sequence[Shard],
        results_prefix: str,
        common_cause: dict[str, str] | None = None,
    ) -> Batch | Stale:
        """Put new results in the place of a batch's old ones, with the answers of `shards`.

        `common_cause`: as Batch.common_cause, of the new results.

        Stale when the results are not those that the new ones were made of, or when
        somebody else holds them.
        """
        async with self._database.write(Failpoint.BATCH_MERGE) as session:
            fresh = await self._database.lock_batch(session, batch.id)
            if (
                fresh is None
                or fresh.state not in TERMINAL
                or fresh.results_prefix != batch.results_prefix
                or fresh.assembler != token
            ):
                return Stale(batch.id)
            merged = await session.exec(
                update(Shard)
                .where(
                    col(Shard.id).in_([shard.id for shard in shards]),
                    col(Shard.state) == ShardState.SETTLED,
                    awaited_shards(),
                )
                .values(late_merged=True)
            )
            if merged.rowcount != len(shards):
                await session.rollback()
                return Stale(batch.id)
            return await advance(
                session,
                fresh,
                results_prefix=results_prefix,
                results_revision=fresh.results_revision + 1,
                common_cause=common_cause,
                assembler="",
            )
