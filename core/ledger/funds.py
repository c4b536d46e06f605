"""What batches may spend: they hold a part of their account's credits, and of the budgets of their
account and key, from their making to their end.

    reserve (a batch is made) --> cover (a shard goes) --> charge (it settles) --> release (the end)

Each is a part of the transaction that moves the batch or the shard, so there is nothing between
them to be made good after a crash: "A shard's money" in docs/architecture.md. A batch holds enough
for the shards that are under way; what a shard costs is taken out of what its batch holds
(core.ledger.credits.charge), and what is left at the end is released. A shard that is put back
releases nothing: the batch goes on holding it, for the next attempt. An account that is metered,
without a budget of its own or of the key, holds nothing, and its row is not locked.

The account's row is locked before the key's, both after all other rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import Integer, bindparam, func, or_, update
from sqlalchemy.sql.dml import Update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from core.failpoints import Failpoint
from core.ledger.accounts import month_of
from core.ledger.progress import advance
from core.ledger.statements import made_once
from core.ledger.states import ShardState, Stale, Stop
from core.ledger.tables import (
    Account,
    ApiKey,
    Batch,
    BudgetPeriod,
    Funding,
    Posting,
    PostingKind,
    Shard,
    Spending,
    now,
)
from core.ledger.transitions import ShardTransitions

_UNDER_WAY = (
    ShardState.SUBMITTING,
    ShardState.SUBMITTED,
    ShardState.RUNNING,
    ShardState.FETCHING,
)


# Asked for whenever a shard goes; mostly nothing limits it.
_LIMITS = made_once(
    select(Account.id)
    .outerjoin(ApiKey, col(ApiKey.id) == bindparam("key_id"))
    .where(
        col(Account.id) == bindparam("account_id"),
        or_(
            col(Account.funding) == Funding.PREPAID,
            col(Account.budget_nanos).is_not(None),
            col(ApiKey.budget_nanos).is_not(None),
        ),
    )
)
_EXPECTED = made_once(
    select(func.coalesce(func.sum(Shard.expected_nanos), 0)).where(
        Shard.batch_id == bindparam("batch_id"), col(Shard.state).in_(_UNDER_WAY)
    )
)


def _waiting(*conditions: Any) -> SelectOfScalar[Shard]:
    turn = func.row_number().over(partition_by=col(Shard.batch_id), order_by=col(Shard.ordinal))
    return made_once(
        select(Shard)
        .join(Batch, col(Batch.id) == Shard.batch_id)
        .where(
            Shard.account_id == bindparam("account_id"),
            col(Shard.waits_for_funds),
            Shard.state == ShardState.QUEUED,
            Batch.stop == Stop.NONE,
            col(Batch.paused_at).is_(None),
            *conditions,
        )
        .order_by(col(Shard.priority).desc(), turn, col(Batch.created_at), col(Batch.id))
        .limit(bindparam("most", type_=Integer))
    )


_WAITING = _waiting()
_WAITING_OF_BATCH = _waiting(Shard.batch_id == bindparam("batch_id"))


def _moved(table: type[Account | ApiKey], *names: str) -> Update:
    """The UPDATE that adds to an owner's sums."""
    return (
        update(table)
        .where(col(table.id) == bindparam("owner_id"))
        .values({name: getattr(table, name) + bindparam(name) for name in names})
        .execution_options(synchronize_session=False)
    )


_MOVED_OF_ACCOUNT = _moved(Account, "balance_nanos", "reserved_nanos")
_MOVED_OF_KEY = _moved(ApiKey, "reserved_nanos")


class Purse(StrEnum):
    """What money is taken out of."""

    CREDITS = "credits"
    ACCOUNT_BUDGET = "account"
    KEY_BUDGET = "key"


@dataclass(frozen=True, slots=True)
class NoFunds:
    """A purse has less than is needed. Money is in nano-dollars."""

    purse: Purse
    owner_id: str
    """Of the account or the key."""
    needed: int
    reserved: int
    """What batches hold of it."""
    left: int
    """What nothing holds; below 0 where more was spent than there is."""
    period: BudgetPeriod | None = None
    """Of a budget."""

    @property
    def reason(self) -> str:
        """What a shard waits for, for people."""
        needs = f"needs {usd(self.needed)} USD more"
        if self.purse is Purse.CREDITS:
            held = f"free {usd(self.left)} (reserved {usd(self.reserved)})"
            return f"waits for credits: {needs}, {held}; a grant or another batch's end lets it go"
        month = self.period == BudgetPeriod.MONTH
        later = "a higher budget or the next month (UTC)" if month else "a higher budget"
        return (
            f"waits for room in the {self.purse}'s budget: {needs}, left {usd(self.left)} "
            f"(reserved {usd(self.reserved)}); {later} lets it go"
        )


@dataclass(frozen=True, slots=True)
class NoPrice:
    """What a batch will cost is not known, and something limits what it may spend."""


@dataclass(frozen=True, slots=True)
class _Payers:
    """Who pays for a batch."""

    account: Account | None
    key: ApiKey | None

    def budgets(self) -> Iterator[tuple[Purse, Account | ApiKey, int]]:
        """Budgets with their owners."""
        for purse, owner in (
            (Purse.ACCOUNT_BUDGET, self.account),
            (Purse.KEY_BUDGET, self.key),
        ):
            if owner is not None and owner.budget_nanos is not None:
                yield purse, owner, owner.budget_nanos


class EnoughNow:
    """Funds have come since they were found wanting."""


class Funds(ShardTransitions):
    """What batches hold, and which shards wait for more."""

    async def lacking(self, shard: Shard) -> NoFunds | None:
        """What a shard that waits for funds still lacks, by what its last attempt would have
        cost; the attempt decides."""
        async with self._database.read() as session:
            batch = await session.get(Batch, shard.batch_id)
            if batch is None:
                return None
            payers = await _payers(session, batch)
            short = await _short(session, batch, shard.expected_nanos)
            return await _lacking(session, payers, short)

    async def wait(
        self, shard: Shard, until: datetime, *, expected_nanos: int, at_most_nanos: int = 0
    ) -> tuple[Batch | None, NoFunds] | Stale | EnoughNow:
        """Stay QUEUED until there are funds; `until`: when to look again at the latest.

        `expected_nanos`, `at_most_nanos`: kept for the next attempt. Returns the batch where this
        is news to its watchers, and what is lacking. Whoever adds funds afterwards finds the
        shard among those that wait.
        """
        async with self._locked(Failpoint.SHARD_WAIT_FOR_FUNDS, shard.id) as found:
            session, batch, fresh = found
            if fresh is None or fresh.state != ShardState.QUEUED or batch.stop != Stop.NONE:
                return Stale(shard.id)
            short = await _short(session, batch, expected_nanos)
            lacking = await _lacking(session, await _payers(session, batch, lock=True), short)
            if lacking is None:
                return EnoughNow()
            known = fresh.waits_for_funds and fresh.waiting_reason == lacking.reason
            moved = await self._move(
                session,
                shard,
                (ShardState.QUEUED,),
                waits_for_funds=True,
                waits_for_quota=False,
                waiting_reason=lacking.reason,
                due_at=until,
                expected_nanos=expected_nanos,
                at_most_nanos=at_most_nanos,
            )
            if not moved:
                return Stale(shard.id)
            return None if known else await advance(session, batch), lacking

    async def waiting(self, account_id: str, limit: int, batch_id: str = "") -> list[Shard]:
        """Queued shards of an account, or of one batch of it, that wait for funds.

        Those of a higher priority first; the first of each batch goes before the second of any;
        among these the oldest batch.
        """
        query = _WAITING_OF_BATCH if batch_id else _WAITING
        parameters = {"account_id": account_id, "batch_id": batch_id, "most": limit}
        async with self._database.read() as session:
            return list(await session.exec(query, params=parameters))


async def reserve(
    session: AsyncSession, batch: Batch, nanos: int | None
) -> NoFunds | NoPrice | None:
    """Hold so much for a new batch, if anything limits what it may spend.

    `nanos`: None where it is not known. None: it may be made.
    """
    if not await _limited(session, batch):
        return None
    if nanos is None:
        return NoPrice()
    lacking = await _lacking(session, await _payers(session, batch, lock=True), nanos)
    if lacking is None:
        await _hold(session, batch, nanos, f"reserve:{batch.id}")
    return lacking


async def cover(
    session: AsyncSession, batch: Batch, shard: Shard, expected_nanos: int, token: str
) -> NoFunds | None:
    """See to it that a batch holds what a shard will cost, before it is sent.

    What is held and not needed by the shards that are under way counts; what is missing is
    reserved, once for the attempt of this `token`. The batch is locked.
    """
    if not await _limited(session, batch):
        return None
    short = await _short(session, batch, expected_nanos)
    if short <= 0:
        return None
    lacking = await _lacking(session, await _payers(session, batch, lock=True), short)
    if lacking is None:
        await _hold(session, batch, short, f"extend:{shard.id}:{token}")
    return lacking


async def release(session: AsyncSession, batch: Batch) -> None:
    """Give back what a batch holds, in the transaction that ends it."""
    if batch.reserved_nanos:
        await _hold(
            session, batch, -batch.reserved_nanos, f"release:{batch.id}", PostingKind.RELEASE
        )


async def move_held(
    session: AsyncSession, batch: Batch, nanos: int, balance_nanos: int = 0
) -> None:
    """Add to what a locked batch holds, and to its account's and key's sums of it.

    `balance_nanos`: added to the account's balance. The posting is the caller's.
    """
    batch.reserved_nanos += nanos
    await session.flush()
    sums = {"balance_nanos": balance_nanos, "reserved_nanos": nanos}
    await session.exec(_MOVED_OF_ACCOUNT, params={"owner_id": batch.account_id, **sums})
    if nanos and batch.key_id:
        await session.exec(
            _MOVED_OF_KEY, params={"owner_id": batch.key_id, "reserved_nanos": nanos}
        )


def usd(nanos: int) -> str:
    """An exact amount, such as "0.00348295"."""
    return f"{Decimal(nanos).scaleb(-9).normalize():f}"


async def _limited(session: AsyncSession, batch: Batch) -> bool:
    found = await session.exec(
        _LIMITS, params={"account_id": batch.account_id, "key_id": batch.key_id}
    )
    return found.first() is not None


async def _payers(session: AsyncSession, batch: Batch, *, lock: bool = False) -> _Payers:
    account = await session.get(
        Account, batch.account_id, with_for_update=lock, populate_existing=True
    )
    key = None
    if batch.key_id:
        key = await session.get(ApiKey, batch.key_id, with_for_update=lock, populate_existing=True)
    return _Payers(account, key)


async def _short(session: AsyncSession, batch: Batch, expected_nanos: int) -> int:
    """How much more a batch has to hold for one more shard; 0 or less: nothing."""
    under_way = await session.exec(_EXPECTED, params={"batch_id": batch.id})
    return int(under_way.one()) + expected_nanos - batch.reserved_nanos


async def _lacking(session: AsyncSession, payers: _Payers, needed: int) -> NoFunds | None:
    """The first purse that has less than is needed."""
    account = payers.account
    if needed <= 0:
        return None
    if account is not None and account.funding == Funding.PREPAID and needed > account.free_nanos:
        return NoFunds(
            Purse.CREDITS, account.id, needed, account.reserved_nanos, account.free_nanos
        )
    for purse, owner, budget in payers.budgets():
        monthly = owner.budget_period == BudgetPeriod.MONTH
        spending = await session.get(
            Spending, (owner.id, month_of(now()) if monthly else ""), populate_existing=True
        )
        spent = 0 if spending is None else spending.cost_nanos
        left = budget - spent - owner.reserved_nanos
        if needed > left:
            return NoFunds(
                purse,
                owner.id,
                needed,
                owner.reserved_nanos,
                left,
                BudgetPeriod(owner.budget_period),
            )
    return None


async def _hold(
    session: AsyncSession,
    batch: Batch,
    nanos: int,
    reason: str,
    kind: PostingKind = PostingKind.RESERVE,
) -> None:
    if not nanos:
        return
    session.add(
        Posting(
            reason=reason,
            kind=kind,
            account_id=batch.account_id,
            key_id=batch.key_id,
            batch_id=batch.id,
            reserved_nanos=nanos,
            created_at=now(),
        )
    )
    await move_held(session, batch, nanos)
