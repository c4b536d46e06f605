"""Calls about keys, accounts and usage, written once for both clients."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Collection, Iterable
from datetime import date, timedelta
from typing import Any

from polybatch._operations.calls import Caller
from polybatch._transport import account_methods as methods
from polybatch._transport.methods import Method
from polybatch.errors import Conflict
from polybatch.models.accounts import (
    Account,
    Budget,
    CurrentKey,
    Funding,
    Key,
    KeyScope,
    NewKey,
    Posting,
    funding_to_proto,
    scope_to_proto,
)
from polybatch.models.money import USD, to_money
from polybatch.models.usage import UsageEntry, UsageGroup
from polybatch.v1 import accounts_pb2, usage_pb2

UNCHANGED: Any = object()
"""Of an update: leave the field as it is."""


class AccountRequests:
    """KeyService, AccountService and UsageService."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def create_key(
        self,
        name: str,
        scope: KeyScope,
        budget: Budget | None,
        allowed_providers: Iterable[str],
        allowed_models: Iterable[str],
        account: str,
    ) -> NewKey:
        """KeyService.CreateKey."""
        request = accounts_pb2.CreateKeyRequest(
            name=name,
            scope=scope_to_proto(scope),
            budget=budget.to_proto() if budget else None,
            allowed_providers=allowed_providers,
            allowed_models=allowed_models,
            account=account,
        )
        reply = await self._caller.unary(methods.CREATE_KEY, request)
        return NewKey(Key.from_proto(reply.key), reply.secret)

    async def list_keys(self, account: str, page_size: int) -> AsyncGenerator[Key, None]:
        """KeyService.ListKeys, page after page."""
        request = accounts_pb2.ListKeysRequest(account=account, page_size=page_size)
        async for page in self._pages(methods.LIST_KEYS, request):
            for message in page.keys:
                yield Key.from_proto(message)

    async def update_key(
        self,
        key_id: str,
        name: str,
        budget: Budget | None,
        allowed_providers: Iterable[str],
        allowed_models: Iterable[str],
    ) -> Key:
        """KeyService.UpdateKey, of the fields that are not UNCHANGED."""
        request = accounts_pb2.UpdateKeyRequest(key=accounts_pb2.Key(id=key_id))
        for field, value in (
            ("name", name),
            ("budget", budget),
            ("allowed_providers", allowed_providers),
            ("allowed_models", allowed_models),
        ):
            if value is UNCHANGED:
                continue
            request.update_mask.append(field)
            if isinstance(value, Budget):
                request.key.budget.CopyFrom(value.to_proto())
            elif isinstance(value, str):
                request.key.name = value
            elif value is not None:
                getattr(request.key, field).extend(value)
        return Key.from_proto(await self._caller.unary(methods.UPDATE_KEY, request))

    async def revoke_key(self, key_id: str) -> Key:
        """KeyService.RevokeKey."""
        request = accounts_pb2.RevokeKeyRequest(key_id=key_id)
        return Key.from_proto(await self._caller.unary(methods.REVOKE_KEY, request))

    async def current_key(self) -> CurrentKey:
        """KeyService.GetCurrentKey."""
        request = accounts_pb2.GetCurrentKeyRequest()
        reply = await self._caller.unary(methods.GET_CURRENT_KEY, request)
        return CurrentKey(Key.from_proto(reply.key), Account.from_proto(reply.account))

    async def create_account(self, name: str, funding: Funding, budget: Budget | None) -> Account:
        """AccountService.CreateAccount."""
        attempts = self._caller.attempts(methods.CREATE_ACCOUNT.server)
        request = accounts_pb2.CreateAccountRequest(
            name=name,
            funding=funding_to_proto(funding),
            budget=budget.to_proto() if budget else None,
        )
        try:
            made = await self._caller.unary(methods.CREATE_ACCOUNT, request, attempts)
        except Conflict:
            # A first attempt whose reply was lost may have made it.
            if not attempts.repeats:
                raise
            return await self.get_account(name)
        return Account.from_proto(made)

    async def get_account(self, account: str) -> Account:
        """AccountService.GetAccount."""
        request = accounts_pb2.GetAccountRequest(account=account)
        return Account.from_proto(await self._caller.unary(methods.GET_ACCOUNT, request))

    async def list_accounts(self, page_size: int) -> AsyncGenerator[Account, None]:
        """AccountService.ListAccounts, page after page."""
        request = accounts_pb2.ListAccountsRequest(page_size=page_size)
        async for page in self._pages(methods.LIST_ACCOUNTS, request):
            for message in page.accounts:
                yield Account.from_proto(message)

    async def update_account(
        self,
        account: str,
        funding: Funding,
        budget: Budget | None,
        results_retention: timedelta | None,
    ) -> Account:
        """AccountService.UpdateAccount, of the fields that are not UNCHANGED."""
        request = accounts_pb2.UpdateAccountRequest(account=account)
        if funding is not UNCHANGED:
            request.update_mask.append("funding")
            request.funding = funding_to_proto(funding)
        if budget is not UNCHANGED:
            request.update_mask.append("budget")
            if budget is not None:
                request.budget.CopyFrom(budget.to_proto())
        if results_retention is not UNCHANGED:
            request.update_mask.append("results_retention")
            if results_retention is not None:
                request.results_retention.FromTimedelta(results_retention)
        return Account.from_proto(await self._caller.unary(methods.UPDATE_ACCOUNT, request))

    async def grant(
        self, account: str, amount: USD, note: str, request_id: str | None
    ) -> tuple[Account, Posting]:
        """AccountService.GrantCredits. It is always repeatable: its id is random if not given."""
        request = accounts_pb2.GrantCreditsRequest(
            account=account,
            amount=to_money(amount, "amount", signed=True),
            note=note,
            request_id=request_id or secrets.token_urlsafe(18),
        )
        reply = await self._caller.unary(methods.GRANT_CREDITS, request)
        return Account.from_proto(reply.account), Posting.from_proto(reply.posting)

    async def postings(self, account: str, page_size: int) -> AsyncGenerator[Posting, None]:
        """AccountService.ListPostings, page after page."""
        request = accounts_pb2.ListPostingsRequest(account=account, page_size=page_size)
        async for page in self._pages(methods.LIST_POSTINGS, request):
            for message in page.postings:
                yield Posting.from_proto(message)

    async def usage(
        self,
        first: date | None,
        last: date | None,
        by: Collection[UsageGroup],
        account: str,
        page_size: int,
    ) -> AsyncGenerator[UsageEntry, None]:
        """UsageService.GetUsage, page after page."""
        request = usage_pb2.GetUsageRequest(
            group_by=[UsageGroup(group).to_proto() for group in by],
            account=account,
            page_size=page_size,
        )
        for field, day in (("from", first), ("to", last)):
            if day is not None:
                sent = getattr(request, field)
                sent.year, sent.month, sent.day = day.year, day.month, day.day
        async for page in self._pages(methods.GET_USAGE, request):
            for message in page.entries:
                yield UsageEntry.from_proto(message)

    async def _pages(self, method: Method, request: Any) -> AsyncGenerator[Any, None]:
        while True:
            page = await self._caller.unary(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
