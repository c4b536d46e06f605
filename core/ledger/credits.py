"""What moves an account's money: postings, with the balance and the sums that budgets look at kept
beside them. Nano-dollars."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, update
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from core.failpoints import Failpoint
from core.ledger.accounts import month_of
from core.ledger.database import Database
from core.ledger.funds import move_held
from core.ledger.tables import Account, Batch, Posting, PostingKind, Shard, Spending, now
from core.ledger.upserts import dialect_of, upsert


@dataclass(frozen=True, slots=True)
class GrantReused:
    """The request id granted the account another amount."""

    posting: Posting


class Credits:
    """Postings of all accounts. Each is made once, by its reason."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def grant(
        self, account_id: str, nanos: int, *, request_id: str, note: str = ""
    ) -> tuple[Account, Posting] | GrantReused:
        """Add to an account's balance, or take away from it, once for each request id.

        Returns the account as it is now, and the posting, the earlier one where it is a
        repetition. Raises KeyError for an unknown account.
        """
        reason = f"grant:{account_id}:{request_id}"
        async with self._database.write(Failpoint.CREDITS_GRANT) as session:
            # Of two calls with one id, the second sees the posting of the first.
            await self._database.lock_account(session, account_id)
            account = await session.get(Account, account_id)
            if account is None:
                raise KeyError(account_id)
            earlier = await session.get(Posting, reason)
            if earlier is not None:
                same = earlier.balance_nanos == nanos
                return (account, earlier) if same else GrantReused(earlier)
            posting = Posting(
                reason=reason,
                kind=PostingKind.GRANT,
                account_id=account_id,
                balance_nanos=nanos,
                note=note,
                created_at=now(),
            )
            session.add(posting)
            changed = await session.exec(
                update(Account)
                .where(col(Account.id) == account_id)
                .values(balance_nanos=col(Account.balance_nanos) + nanos)
                .returning(Account)
                .execution_options(synchronize_session=False, populate_existing=True)
            )
            return changed.scalar_one(), posting


async def charge(session: AsyncSession, batch: Batch, shard: Shard, cost_nanos: int) -> None:
    """Charge what a shard cost, in the transaction that settles it: once, by its reason.

    It is taken out of what the batch holds, as far as that goes. The batch is locked.
    The rows of the account and of its sums are locked last, as every transition of the account's
    batches comes to them.
    """
    if not cost_nanos:
        return
    moment = shard.settled_at or now()
    held = min(cost_nanos, batch.reserved_nanos)
    session.add(
        Posting(
            reason=f"charge:{shard.id}",
            kind=PostingKind.CHARGE,
            account_id=batch.account_id,
            key_id=batch.key_id,
            batch_id=batch.id,
            shard_id=shard.id,
            balance_nanos=-cost_nanos,
            reserved_nanos=-held,
            created_at=now(),
        )
    )
    await move_held(session, batch, -held, -cost_nanos)
    spent = [
        {"owner_id": owner, "month": month, "cost_nanos": cost_nanos}
        for owner in filter(None, (batch.account_id, batch.key_id))
        for month in ("", month_of(moment))
    ]
    await session.exec(_spent(dialect_of(session)), params=spent)


async def charge_for_the_record(
    session: AsyncSession, batch: Batch, shard: Shard, cost_nanos: int
) -> None:
    """The same for what was spent before balances were kept: it counts, and takes no credits."""
    if not cost_nanos:
        return
    await charge(session, batch, shard, cost_nanos)
    session.add(
        Posting(
            reason=f"adjust:{shard.id}",
            kind=PostingKind.ADJUST,
            account_id=batch.account_id,
            key_id=batch.key_id,
            batch_id=batch.id,
            shard_id=shard.id,
            balance_nanos=cost_nanos,
            note="spent before balances were kept",
            created_at=now(),
        )
    )
    await session.flush()
    await session.exec(
        update(Account)
        .where(col(Account.id) == batch.account_id)
        .values(balance_nanos=col(Account.balance_nanos) + cost_nanos)
        .execution_options(synchronize_session=False)
    )


_spendings: Any = Spending.__table__  # type: ignore[attr-defined]


# Made once: putting one together takes longer than running it.
@functools.cache
def _spent(dialect: str) -> Any:
    row = upsert(dialect, _spendings).values(
        {name: bindparam(name) for name in ("owner_id", "month", "cost_nanos")}
    )
    return row.on_conflict_do_update(
        index_elements=["owner_id", "month"],
        set_={"cost_nanos": _spendings.c.cost_nanos + row.excluded.cost_nanos},
    )
