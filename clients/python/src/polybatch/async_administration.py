"""Keys, accounts and usage of the asyncio client."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable
from datetime import date, timedelta

from polybatch._operations.accounts import UNCHANGED, AccountRequests
from polybatch.models import (
    Account,
    Budget,
    CurrentKey,
    Funding,
    Key,
    KeyScope,
    NewKey,
    Posting,
    UsageEntry,
    UsageGroup,
)
from polybatch.models.money import USD

__all__ = ["AsyncAccounts", "AsyncKeys", "AsyncUsageReport"]


class AsyncKeys:
    """The account's keys: `client.keys`. Takes a key of the scope "account", but for `current`."""

    def __init__(self, requests: AccountRequests) -> None:
        self._requests = requests

    async def create(
        self,
        name: str = "",
        *,
        scope: KeyScope = KeyScope.BATCH,
        budget: Budget | None = None,
        allowed_providers: Iterable[str] = (),
        allowed_models: Iterable[str] = (),
        account: str = "",
    ) -> NewKey:
        """Makes a key; its secret is in the answer and nowhere else.

        `allowed_models`: names or patterns such as "gpt-5*"; none allow all. `account`: of
        operators, the id or name of another account.
        """
        return await self._requests.create_key(
            name, scope, budget, allowed_providers, allowed_models, account
        )

    def list(self, *, account: str = "", page_size: int = 100) -> AsyncGenerator[Key, None]:
        """Yields keys, oldest first, revoked ones too; `account`: of operators, "*" for all."""
        return self._requests.list_keys(account, page_size)

    async def update(
        self,
        key_id: str,
        *,
        name: str = UNCHANGED,
        budget: Budget | None = UNCHANGED,
        allowed_providers: Iterable[str] = UNCHANGED,
        allowed_models: Iterable[str] = UNCHANGED,
    ) -> Key:
        """Changes what is given; a budget of None and empty lists take the limit away."""
        return await self._requests.update_key(
            key_id, name, budget, allowed_providers, allowed_models
        )

    async def revoke(self, key_id: str) -> Key:
        """Ends a key; its batches go on."""
        return await self._requests.revoke_key(key_id)

    async def current(self) -> CurrentKey:
        """Returns the key that this client uses, and its account."""
        return await self._requests.current_key()


class AsyncAccounts:
    """All accounts: `client.accounts`. Takes a key of the scope "operator".

    `account` is an id or a name.
    """

    def __init__(self, requests: AccountRequests) -> None:
        self._requests = requests

    async def create(
        self, name: str, *, funding: Funding = Funding.METERED, budget: Budget | None = None
    ) -> Account:
        """Makes an account without a key. Conflict where there is one of this name."""
        return await self._requests.create_account(name, funding, budget)

    async def get(self, account: str) -> Account:
        """Returns what an account has and may spend."""
        return await self._requests.get_account(account)

    def list(self, *, page_size: int = 100) -> AsyncGenerator[Account, None]:
        """Yields accounts, oldest first, fetched page by page."""
        return self._requests.list_accounts(page_size)

    async def update(
        self,
        account: str,
        *,
        funding: Funding = UNCHANGED,
        budget: Budget | None = UNCHANGED,
        results_retention: timedelta | None = UNCHANGED,
    ) -> Account:
        """Changes what is given; a budget or a retention of None takes it away."""
        return await self._requests.update_account(account, funding, budget, results_retention)

    async def grant(
        self,
        account: str,
        amount: USD,
        *,
        note: str = "",
        request_id: str | None = None,
    ) -> tuple[Account, Posting]:
        """Adds credits in USD, or with an amount below 0 takes some away.

        The same `request_id` grants once, however often it is asked.
        """
        return await self._requests.grant(account, amount, note, request_id)

    def postings(self, account: str, *, page_size: int = 100) -> AsyncGenerator[Posting, None]:
        """Yields what moved an account's money, newest first, fetched page by page."""
        return self._requests.postings(account, page_size)


class AsyncUsageReport:
    """What was spent, on what: `client.usage`."""

    def __init__(self, requests: AccountRequests) -> None:
        self._requests = requests

    def list(
        self,
        first: date | None = None,
        last: date | None = None,
        *,
        by: Collection[UsageGroup | str] = (),
        account: str = "",
        page_size: int = 1000,
    ) -> AsyncGenerator[UsageEntry, None]:
        """Yields sums by the groups, in their order, fetched page by page; without groups one.

        `first`, `last`: days in UTC, both included; the first of this month and today, if they
        are not given. A key of the scope "batch" sees what it made itself. `account`: of
        operators, an id or name, "*" for all.
        """
        groups = [UsageGroup(group) for group in by]
        return self._requests.usage(first, last, groups, account, page_size)
