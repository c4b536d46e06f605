"""Batches: making, planning, stopping and ending them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from core.failpoints import Failpoint
from core.ledger.batch_reads import BatchReads
from core.ledger.batch_search import folded, terms_of
from core.ledger.families import FamilyChanged, NewRetry, add_retry, lock_ancestors
from core.ledger.funds import NoFunds, NoPrice, release, reserve
from core.ledger.limits import NO_LIMITS, AccountLimits, Limit, OverLimit
from core.ledger.pauses import canary_reason, waits_for_canary
from core.ledger.progress import advance, unsettled
from core.ledger.states import (
    STOP_ERRORS,
    TERMINAL,
    BatchState,
    CanaryState,
    ShardPurpose,
    ShardState,
    Stale,
    Stop,
    stopped_lines,
)
from core.ledger.tables import Batch, Shard, Upload, now
from core.ledger.webhook_deliveries import add_deliveries


@dataclass(frozen=True, slots=True)
class RequestIdReused:
    """The request id made another batch, with other arguments."""

    batch_id: str


@dataclass(frozen=True, slots=True)
class FileGone:
    """The input file was deleted meanwhile."""


class Batches(BatchReads):
    """Batches of all accounts: each method is one transition, or a read."""

    async def create(
        self,
        batch: Batch,
        limits: AccountLimits = NO_LIMITS,
        *,
        reserve_nanos: int | None = None,
        retry: NewRetry | None = None,
    ) -> Batch | RequestIdReused | FileGone | FamilyChanged | OverLimit | NoFunds | NoPrice:
        """Record a new batch; the same request id returns the batch it made before.

        `reserve_nanos`: what it is to hold, where credits or a budget limit what it may spend;
        None: not known. `retry`: of which batch it is one, and its file, which is recorded with it.
        """
        point = Failpoint.BATCH_RETRY if retry else Failpoint.BATCH_CREATE
        async with self._database.write(point) as session:
            if batch.request_id is not None:
                await self._database.lock_name(
                    session, "request", batch.account_id, batch.request_id
                )
            await self._database.lock_account(session, batch.account_id)
            file = await self._database.lock_file(session, batch.input_file_id)
            if batch.request_id is not None:
                found = await session.exec(
                    select(Batch).where(
                        Batch.account_id == batch.account_id,
                        Batch.request_id == batch.request_id,
                    )
                )
                earlier = found.first()
                if earlier is not None:
                    same = earlier.request_digest == batch.request_digest
                    return earlier if same else RequestIdReused(earlier.id)
            if retry is not None:
                upload = await session.get(Upload, (batch.account_id, retry.file.upload_id))
                there = upload is not None and not upload.discarded
                file = retry.file if there else None
            if file is None:
                return FileGone()
            if limits.batches:
                living = await _count_living(session, batch.account_id)
                if living >= limits.batches:
                    return OverLimit(Limit.BATCHES, limits.batches, living)
            if retry is not None and not await lock_ancestors(session, self._database, retry):
                return FamilyChanged()
            lacking = await reserve(session, batch, reserve_nanos)
            if lacking is not None:
                return lacking
            batch.name_folded = folded(batch.name)
            if retry is not None:
                await add_retry(session, retry)
            session.add(batch)
            session.add_all(terms_of(batch, file.groups))
            if batch.ended:
                # One that is kept for what is wrong with its file.
                for name, value in kept_until(batch, batch.created_at).items():
                    setattr(batch, name, value)
                await add_deliveries(session, batch)
        return batch

    async def plan(
        self, batch_id: str, shards: Sequence[Shard], saved_nanos: int = 0
    ) -> Batch | Stale:
        """Record a batch's shards: VALIDATING -> IN_PROGRESS.

        For a batch that was cancelled before, the shards are settled as cancelled at
        once and it stays CANCELLING. `saved_nanos`: what those that are settled already, by answers
        of other batches, would have cost.
        """
        async with self._database.write(Failpoint.BATCH_PLAN) as session:
            batch = await self._database.lock_batch(session, batch_id)
            if (
                batch is None
                or batch.shard_count
                or batch.state
                not in (
                    BatchState.VALIDATING,
                    BatchState.CANCELLING,
                )
            ):
                return Stale(batch_id)
            stopped = batch.stop != Stop.NONE
            if batch.canary_state == CanaryState.RUNNING and not any(
                shard.purpose == ShardPurpose.CANARY for shard in shards
            ):
                # Nothing is left that could go first.
                batch.canary_state = CanaryState.PASSED
            for shard in shards:
                if stopped and shard.state != ShardState.SETTLED:
                    settle_unsent(shard, Stop(batch.stop))
                elif shard.state == ShardState.QUEUED and waits_for_canary(batch, shard):
                    shard.waiting_reason = canary_reason(batch)
                if shard.state == ShardState.SETTLED:
                    shard.settled_revision = batch.revision + 1
                session.add(shard)
            reused = sum(
                shard.line_count for shard in shards if shard.purpose == ShardPurpose.REUSED
            )
            if reused:
                batch.reused, batch.saved_nanos = reused, saved_nanos
            settled = all(shard.state == ShardState.SETTLED for shard in shards)
            if stopped:
                return await advance(session, batch, waiting_reason="", due_at=now())
            return await advance(
                session,
                batch,
                state=BatchState.IN_PROGRESS,
                in_progress_at=now(),
                waiting_reason="",
                # Lines may have taken the answers of other batches, all of them.
                due_at=now() if settled else batch.alarm_at,
            )

    async def fail(self, batch_id: str, code: str, message: str) -> Batch | Stale:
        """End a batch that cannot run as such: VALIDATING -> FAILED."""
        async with self._database.write(Failpoint.BATCH_FAIL) as session:
            batch = await self._database.lock_batch(session, batch_id)
            if batch is None or batch.state not in (
                BatchState.VALIDATING,
                BatchState.CANCELLING,
            ):
                return Stale(batch_id)
            await release(session, batch)
            failed = await advance(
                session,
                batch,
                state=BatchState.FAILED,
                waiting_reason="",
                failed_at=now(),
                queued=0,
                failed=batch.total,
                errors=[{"code": code, "message": message}],
                **kept_until(batch, now()),
            )
            await add_deliveries(session, failed)
            return failed

    async def cancel(self, batch_id: str) -> Batch | Stale:
        """Stop a batch for its owner: -> CANCELLING. Stale when it has ended or is ending."""
        async with self._database.write(Failpoint.BATCH_CANCEL) as session:
            batch = await self._database.lock_batch(session, batch_id)
            if batch is None or batch.state not in (
                BatchState.VALIDATING,
                BatchState.IN_PROGRESS,
            ):
                return Stale(batch_id)
            moment = now()
            return await advance(
                session,
                batch,
                state=BatchState.CANCELLING,
                stop=Stop.CANCEL,
                cancelling_at=moment,
                stopping_at=moment,
                due_at=moment,
            )

    async def close_window(self, batch_id: str) -> Batch | Stale:
        """Stop a batch whose completion window has closed; its lines expire."""
        async with self._database.write(Failpoint.BATCH_CLOSE_WINDOW) as session:
            batch = await self._database.lock_batch(session, batch_id)
            moment = now()
            if (
                batch is None
                or batch.state != BatchState.IN_PROGRESS
                or batch.stop != Stop.NONE
                or batch.expires_at > moment
            ):
                return Stale(batch_id)
            return await advance(
                session,
                batch,
                stop=Stop.EXPIRE,
                stopping_at=moment,
                waiting_reason="",
                due_at=moment,
            )

    async def settle_queued(self, batch_id: str) -> Batch | Stale:
        """Settle the shards of a stopping batch that were never sent."""
        async with self._database.write(Failpoint.BATCH_SETTLE_QUEUED) as session:
            batch = await self._database.lock_batch(session, batch_id)
            if batch is None or batch.stop == Stop.NONE:
                return Stale(batch_id)
            found = await session.exec(
                select(Shard).where(Shard.batch_id == batch_id, Shard.state == ShardState.QUEUED)
            )
            shards = list(found)
            if not shards:
                return Stale(batch_id)
            for shard in shards:
                settle_unsent(shard, Stop(batch.stop))
                shard.settled_revision = batch.revision + 1
            return await advance(session, batch)

    async def start_finalizing(self, batch_id: str, token: str, lease: timedelta) -> Batch | Stale:
        """Begin to assemble: all shards are settled. A batch being cancelled stays so.

        `token`: names the holder in `renew_lease`; whoever had it before has it no more.
        """
        held = {"assembler": token, "due_at": now() + lease}
        async with self._database.write(Failpoint.BATCH_FINALIZE) as session:
            batch = await self._database.lock_batch(session, batch_id)
            if (
                batch is None
                or BatchState(batch.state).terminal
                or not batch.shard_count
                or await unsettled(session, batch_id)
            ):
                return Stale(batch_id)
            if batch.state == BatchState.IN_PROGRESS:
                return await advance(
                    session,
                    batch,
                    state=BatchState.FINALIZING,
                    finalizing_at=now(),
                    **held,
                )
            await session.exec(update(Batch).where(col(Batch.id) == batch_id).values(**held))
            return batch

    async def renew_lease(self, batch_id: str, token: str, lease: timedelta) -> bool:
        """Renew the lease of a batch's results; False when somebody else has them."""
        async with self._database.write(Failpoint.BATCH_RENEW) as session:
            held = await session.exec(
                update(Batch)
                .where(col(Batch.id) == batch_id, col(Batch.assembler) == token)
                .values(due_at=now() + lease)
            )
            return bool(held.rowcount)

    async def end(
        self,
        batch_id: str,
        state: BatchState,
        results_prefix: str,
        *,
        succeeded: int,
        failed: int,
        cancelled: int = 0,
        expired: int = 0,
        common_cause: dict[str, str] | None = None,
        errors: Sequence[dict[str, str]] = (),
    ) -> Batch | Stale:
        """End a batch whose results are written: -> COMPLETED, EXPIRED or CANCELLED.

        The final counts are those of the results, and never change again. `failed`: all that
        did not succeed, `cancelled` and `expired` lines as well; `common_cause`, `errors`: as the
        columns.
        """
        async with self._database.write(Failpoint.BATCH_END) as session:
            batch = await self._database.lock_batch(session, batch_id)
            if batch is None or batch.state not in (
                BatchState.FINALIZING,
                BatchState.CANCELLING,
            ):
                return Stale(batch_id)
            stamp = {
                BatchState.COMPLETED: "completed_at",
                BatchState.EXPIRED: "expired_at",
                BatchState.CANCELLED: "cancelled_at",
            }[state]
            await release(session, batch)
            moment = now()
            ended = await advance(
                session,
                batch,
                state=state,
                results_prefix=results_prefix,
                results_revision=1,
                assembler="",
                waiting_reason="",
                finished_high_water=batch.total,
                succeeded=succeeded,
                failed=failed,
                cancelled=cancelled,
                expired=expired,
                common_cause=common_cause,
                errors=list(errors),
                **{stamp: moment},
                **kept_until(batch, moment),
            )
            await add_deliveries(session, ended)
            return ended

    async def defer(self, batch_id: str, due_at: datetime) -> bool:
        """Note when the next step is due, without a new revision: nobody sees it.

        False when the batch has ended.
        """
        async with self._database.write(Failpoint.BATCH_DEFER) as session:
            done = await session.exec(
                update(Batch)
                .where(col(Batch.id) == batch_id, col(Batch.state).not_in(TERMINAL))
                .values(due_at=due_at)
            )
            return bool(done.rowcount)

    async def wait(self, batch_id: str, reason: str, until: datetime) -> Batch | Stale | None:
        """Note why it cannot be planned or assembled just now, and when to try again.

        Returns the batch when this is news to its watchers, None otherwise.
        """
        async with self._database.write(Failpoint.BATCH_DEFER) as session:
            batch = await self._database.lock_batch(session, batch_id)
            if batch is None or batch.state not in (
                BatchState.VALIDATING,
                BatchState.FINALIZING,
                BatchState.CANCELLING,
            ):
                return Stale(batch_id)
            if batch.waiting_reason != reason:
                return await advance(session, batch, waiting_reason=reason, due_at=until)
            await session.exec(update(Batch).where(col(Batch.id) == batch_id).values(due_at=until))
            return None

    async def take_overdue(self, batch_id: str, seen: datetime) -> bool:
        """Take an overdue batch on, due now: True for the one sweeper that was first."""
        async with self._database.write(Failpoint.BATCH_OVERDUE) as session:
            done = await session.exec(
                update(Batch)
                .where(col(Batch.id) == batch_id, col(Batch.due_at) == seen)
                .values(due_at=now())
            )
            return bool(done.rowcount)


def kept_until(batch: Batch, ended_at: datetime) -> dict[str, datetime | None]:
    """Until when results and input of a batch that ends at a moment are kept, as columns."""
    until = None
    if batch.retention_seconds is not None:
        until = ended_at + timedelta(seconds=batch.retention_seconds)
    return {"results_expire_at": until, "removal_due_at": until}


async def _count_living(session: AsyncSession, account_id: str) -> int:
    # States by name, not "other than": the index then leads to the few that live.
    living = [state for state in BatchState if state not in TERMINAL]
    query = select(sa.func.count()).where(
        Batch.account_id == account_id, col(Batch.state).in_(living)
    )
    return (await session.exec(query)).one()


def settle_unsent(shard: Shard, stop: Stop) -> None:
    """Give every line of a shard that was never sent the outcome of the stop."""
    shard.state = ShardState.SETTLED
    shard.settled_at = now()
    shard.waits_for_funds = False
    code, message = STOP_ERRORS[stop]
    if stop is Stop.EXPIRE and shard.waiting_reason:
        message = f"{message} Until then it waited: {shard.waiting_reason}"
    stopped = stopped_lines(code, shard.line_count)
    shard.failed = shard.line_count
    shard.cancelled, shard.expired = stopped["cancelled"], stopped["expired"]
    shard.waiting_reason = ""
    shard.fill_code, shard.fill_message = code, message
