"""Shards whose lines the dispatcher runs itself, for providers without a batch API.

A running shard is leased: `due_at` is the lease's end, and each claim changes the token,
so that whoever held the shard before can move it no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import case, func, or_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from core.failpoints import Failpoint
from core.ledger.durations import learn_run
from core.ledger.funds import NoFunds, cover
from core.ledger.ids import new_token
from core.ledger.pauses import waits_for_canary
from core.ledger.progress import advance
from core.ledger.states import ShardPurpose, ShardState, Stale, Stop
from core.ledger.stop_loss import OverMaxCost, check_max_cost
from core.ledger.tables import PAUSED, Batch, Shard, now
from core.ledger.transitions import Held, ShardTransitions
from core.ledger.turns import next_account

_AT_WORK = (
    col(Shard.state) == ShardState.RUNNING,
    # A paused batch keeps no place from the others.
    ~col(Shard.waiting_reason).startswith(PAUSED),
)


_KEPT_SHARE = 4
"""One place in so many is for accounts that have no shard running: one account alone, with many
batches, could take them all, and each is taken for as long as a shard runs."""


@dataclass(frozen=True, slots=True)
class AtCapacity:
    """As many shards run at the provider as may at a time: of its batch, or of all."""

    running: int
    of_batch: int


class Runs(ShardTransitions):
    """Running shards of all batches."""

    async def start(
        self,
        shard: Shard,
        *,
        remote_model: str,
        most: int,
        most_of_batch: int,
        expected_nanos: int = 0,
        at_most_nanos: int = 0,
    ) -> Batch | Stale | Held | AtCapacity | OverMaxCost | NoFunds:
        """QUEUED -> RUNNING, before the first call is made. Nobody holds it yet.

        `most`: shards that may run at its provider, of which the last quarter is for accounts
        that have none there; `most_of_batch`: those of one batch, so that a large one does not
        keep the others waiting. `expected_nanos`,
        `at_most_nanos`: what its lines will cost, where anything limits that.
        """
        moment = now()
        async with self._locked(Failpoint.RUN_START, shard.id) as (session, batch, fresh):
            if fresh is None or batch.stop != Stop.NONE or fresh.state != ShardState.QUEUED:
                return Stale(shard.id)
            if batch.paused_at is not None or batch.halt_code or waits_for_canary(batch, fresh):
                return Held()
            # Two that begin at the same time must see each other.
            await self._database.lock_name(session, "runs", fresh.provider)
            running, of_account, of_batch = await self._running(session, fresh)
            full = most - most // _KEPT_SHARE if of_account else most
            if running >= full or of_batch >= most_of_batch:
                return AtCapacity(running, of_batch)
            over = await check_max_cost(session, batch, at_most_nanos)
            if over is not None:
                return over
            token = new_token()
            lacking = await cover(session, batch, fresh, expected_nanos, token)
            if lacking is not None:
                return lacking
            moved = await self._move(
                session,
                shard,
                (ShardState.QUEUED,),
                let_go=True,
                state=ShardState.RUNNING,
                token=token,
                attempts=fresh.attempts + 1,
                remote_model=remote_model,
                expected_nanos=expected_nanos,
                at_most_nanos=at_most_nanos,
                intended_at=moment,
                submitted_at=moment,
                waits_for_quota=False,
                waits_for_funds=False,
                waiting_reason="",
                due_at=moment,
            )
            if not moved:
                # With what was reserved for it. Its batch is locked: it can only be the provider.
                await session.rollback()
                return Held()
            return await advance(session, batch)

    async def _running(self, session: AsyncSession, shard: Shard) -> tuple[int, int, int]:
        """Shards that run at the shard's provider: all, those of its account and its batch."""

        def own(condition: Any) -> Any:
            return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)

        found = await session.exec(
            select(
                func.count(),
                own(col(Shard.account_id) == shard.account_id),
                own(col(Shard.batch_id) == shard.batch_id),
            ).where(Shard.provider == shard.provider, *_AT_WORK)
        )
        running, of_account, of_batch = found.one()
        return int(running), int(of_account), int(of_batch)

    async def next_waiting(
        self, provider: str, most: int, most_of_batch: int, purpose: ShardPurpose | None = None
    ) -> Shard | None:
        """The shard whose turn it is when another has ended. `most`, `most_of_batch`: as of start.

        `purpose`: the only one that is run line by line, at a provider that has batches.
        The account with the fewest running shards goes first, of equal ones that which was served
        longest ago; of its shards the one of the highest priority, then the oldest.
        """
        running = (
            select(
                col(Shard.batch_id),
                col(Shard.account_id),
                func.count().label("shards"),
            )
            .where(Shard.provider == provider, *_AT_WORK)
            .group_by(col(Shard.batch_id), col(Shard.account_id))
            .cte()
        )
        accounts = (
            select(running.c.account_id, func.sum(running.c.shards).label("shards"))
            .group_by(running.c.account_id)
            .subquery()
        )
        in_all = select(func.coalesce(func.sum(running.c.shards), 0)).scalar_subquery()
        of_account = func.coalesce(accounts.c.shards, 0)
        waits = (
            Shard.provider == provider,
            Shard.state == ShardState.QUEUED,
            col(Shard.waits_for_quota),
            *(() if purpose is None else (Shard.purpose == purpose,)),
            Batch.stop == Stop.NONE,
            col(Batch.paused_at).is_(None),
            func.coalesce(running.c.shards, 0) < most_of_batch,
        )
        async with self._database.read() as session:
            waiting = await session.exec(
                select(Shard.account_id, func.max(of_account), func.min(Shard.created_at))
                .join(Batch, col(Batch.id) == Shard.batch_id)
                .outerjoin(running, running.c.batch_id == Shard.batch_id)
                .outerjoin(accounts, accounts.c.account_id == Shard.account_id)
                .where(*waits, or_(of_account == 0, in_all < most - most // _KEPT_SHARE))
                .group_by(col(Shard.account_id))
            )
            account = await next_account(session, provider, list(waiting))
            if account is None:
                return None
            found = await session.exec(
                select(Shard)
                .join(Batch, col(Batch.id) == Shard.batch_id)
                .outerjoin(running, running.c.batch_id == Shard.batch_id)
                .where(*waits, Shard.account_id == account)
                .order_by(
                    col(Shard.priority).desc(),
                    col(Shard.created_at),
                    col(Shard.ordinal),
                )
                .limit(1)
            )
            return found.first()

    async def claim(self, shard: Shard, lease: timedelta) -> Shard | Stale:
        """Lease a running shard as it was read; its lease before must be over.

        Of several that try, one succeeds. The shard that it gets has the token under
        which it holds it.
        """
        if shard.due_at > now():
            return Stale(shard.id)
        async with self._database.write(Failpoint.RUN_CLAIM) as session:
            moved = await self._move(
                session,
                shard,
                (ShardState.RUNNING,),
                same_due=True,
                token=new_token(),
                due_at=now() + lease,
            )
            claimed = await session.get(Shard, shard.id)
            return claimed if moved and claimed is not None else Stale(shard.id)

    async def renew_lease(self, shard: Shard, lease: timedelta) -> bool:
        """Renew the lease of a shard, without a new revision; False when it was lost."""
        async with self._database.write(Failpoint.RUN_RENEW) as session:
            return await self._move(session, shard, (ShardState.RUNNING,), due_at=now() + lease)

    async def progressed(
        self, shard: Shard, finished: int, reason: str, lease: timedelta
    ) -> Batch | Stale:
        """Note how far it is and what it waits for, and renew its lease."""
        return await self._transition(
            Failpoint.RUN_PROGRESS,
            shard,
            (ShardState.RUNNING,),
            finished=finished,
            waiting_reason=reason,
            due_at=now() + lease,
        )

    async def release(self, shard: Shard) -> bool:
        """Let somebody else go on with it at once."""
        async with self._database.write(Failpoint.RUN_RELEASE) as session:
            return await self._move(session, shard, (ShardState.RUNNING,), due_at=now())

    async def end(self, shard: Shard) -> Batch | Stale:
        """RUNNING -> FETCHING: no further call will be made for it; nobody holds it yet."""
        return await self._transition(
            Failpoint.RUN_END,
            shard,
            (ShardState.RUNNING,),
            also=learn_run,
            state=ShardState.FETCHING,
            ended_at=now(),
            waiting_reason="",
            due_at=now(),
        )
