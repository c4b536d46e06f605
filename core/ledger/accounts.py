"""Accounts: who pays, how, and what moved their money; and their keys (core.ledger.keys)."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import update
from sqlmodel import col, select

from core.failpoints import Failpoint
from core.ledger.ids import new_id
from core.ledger.keys import Keys
from core.ledger.tables import Account, BudgetPeriod, Funding, Posting, Spending, now

_ASKED_AT_ONCE = 500


def month_of(moment: datetime) -> str:
    """The calendar month that spendings are kept by, of a moment in UTC, such as "2026-11"."""
    return f"{moment:%Y-%m}"


class Accounts(Keys):
    """Who may call, and who pays."""

    async def create(
        self,
        name: str,
        funding: Funding = Funding.METERED,
        budget_nanos: int | None = None,
        budget_period: BudgetPeriod = BudgetPeriod.TOTAL,
    ) -> Account | None:
        """Make an account without a key; None when there is one of this name."""
        async with self._database.write(Failpoint.ACCOUNT_CREATE) as session:
            await self._database.lock_name(session, "account", name)
            found = await session.exec(select(Account.id).where(Account.name == name))
            if found.first() is not None:
                return None
            account = Account(
                id=new_id("acct"),
                name=name,
                created_at=now(),
                funding=funding,
                budget_nanos=budget_nanos,
                budget_period=budget_period,
            )
            session.add(account)
        return account

    async def get(self, account_id: str) -> Account | None:
        """An account by its id."""
        async with self._database.read() as session:
            return await session.get(Account, account_id)

    async def find(self, id_or_name: str) -> Account | None:
        """An account by its id, or by its name."""
        async with self._database.read() as session:
            found = await session.get(Account, id_or_name)
            if found is not None:
                return found
            named = await session.exec(select(Account).where(Account.name == id_or_name))
            return named.first()

    async def name(self, account_id: str) -> str:
        """What operators call an account. Raises KeyError for an unknown one."""
        found = await self.get(account_id)
        if found is None:
            raise KeyError(account_id)
        return found.name

    async def names(self, account_ids: Collection[str]) -> dict[str, str]:
        """What accounts are called, by id."""
        ids = list(account_ids)
        found: dict[str, str] = {}
        async with self._database.read() as session:
            for start in range(0, len(ids), _ASKED_AT_ONCE):
                query = select(Account.id, Account.name).where(
                    col(Account.id).in_(ids[start : start + _ASKED_AT_ONCE])
                )
                found.update(dict((await session.exec(query)).all()))
        return found

    async def page(self, size: int, after: tuple[datetime, str] | None) -> list[Account]:
        """Accounts oldest first, from behind the (created_at, id) of the last one seen."""
        query = select(Account).order_by(col(Account.created_at), col(Account.id)).limit(size)
        if after is not None:
            query = query.where(
                sa.tuple_(col(Account.created_at), col(Account.id))
                > sa.tuple_(*map(sa.literal, after))
            )
        async with self._database.read() as session:
            return list(await session.exec(query))

    async def update(self, account_id: str, **changes: Any) -> Account | None:
        """Change columns of an account; None when there is no such account."""
        async with self._database.write(Failpoint.ACCOUNT_UPDATE) as session:
            changed = await session.exec(
                update(Account)
                .where(col(Account.id) == account_id)
                .values(**changes)
                .returning(Account)
            )
            found: Account | None = changed.scalar_one_or_none()
            return found

    async def postings(
        self, account_id: str, size: int, after: tuple[datetime, str] | None
    ) -> list[Posting]:
        """What moved an account's money, newest first, from behind the (created_at, reason)
        of the last one seen."""
        query = (
            select(Posting)
            .where(Posting.account_id == account_id)
            .order_by(col(Posting.created_at).desc(), col(Posting.reason).desc())
            .limit(size)
        )
        if after is not None:
            query = query.where(
                sa.tuple_(col(Posting.created_at), col(Posting.reason))
                < sa.tuple_(*map(sa.literal, after))
            )
        async with self._database.read() as session:
            return list(await session.exec(query))

    async def spent(self, owner_ids: Collection[str]) -> dict[tuple[str, BudgetPeriod], int]:
        """What accounts or keys were charged, in nano-dollars: in all, and in this month.

        Pairs that are missing were charged nothing.
        """
        ids, month = list(owner_ids), month_of(now())
        found: dict[tuple[str, BudgetPeriod], int] = {}
        async with self._database.read() as session:
            for start in range(0, len(ids), _ASKED_AT_ONCE):
                query = select(Spending).where(
                    col(Spending.owner_id).in_(ids[start : start + _ASKED_AT_ONCE]),
                    col(Spending.month).in_(("", month)),
                )
                for row in await session.exec(query):
                    period = BudgetPeriod.MONTH if row.month else BudgetPeriod.TOTAL
                    found[row.owner_id, period] = row.cost_nanos
        return found
