"""AccountService of polybatch.v1: accounts, their credits and budgets, for operators."""

from __future__ import annotations

from typing import Any

import grpc
import structlog
from polybatch.v1 import accounts_pb2, accounts_pb2_grpc

from core.ledger import Account, Accounts, Funding, GrantReused, Ledger, Scope
from core.pipeline import WaitingForFunds, outages
from core.serving import ApiError, require_scope
from core.serving.paging import cut_page, page_size, page_token, parse_page_token
from services.gateway.account_fields import Checked, account_not_found, found_account
from services.gateway.account_messages import account_message, posting_message

log = structlog.get_logger()

Context = grpc.aio.ServicerContext[Any, Any]

_CHANGEABLE = ("funding", "budget", "results_retention")
_MAX_REQUEST_ID_BYTES = 128
_MAX_NOTE = 512


class AccountServicer(accounts_pb2_grpc.AccountServiceServicer):
    """Answers as the comments in accounts.proto say."""

    def __init__(self, ledger: Ledger, waiting: WaitingForFunds) -> None:
        self._ledger = ledger
        self._accounts: Accounts = ledger.accounts
        self._waiting = waiting

    async def CreateAccount(
        self, request: accounts_pb2.CreateAccountRequest, _context: Context
    ) -> accounts_pb2.Account:
        _operators_only()
        checked = Checked()
        name = checked.account_name("name", request.name)
        funding = checked.funding(request.funding, otherwise=Funding.METERED)
        budget = checked.budget("budget", request)
        checked.done()
        with outages():
            account = await self._accounts.create(name, funding, **budget)
        if account is None:
            raise ApiError.already_exists("ACCOUNT_EXISTS", f"there is an account {name!r} already")
        log.info("account_created", account_id=account.id)
        return account_message(account, {})

    async def GetAccount(
        self, request: accounts_pb2.GetAccountRequest, _context: Context
    ) -> accounts_pb2.Account:
        _operators_only()
        with outages():
            return await self._shown(await found_account(self._accounts, request.account))

    async def ListAccounts(
        self, request: accounts_pb2.ListAccountsRequest, _context: Context
    ) -> accounts_pb2.ListAccountsResponse:
        _operators_only()
        size, after = page_size(request.page_size), parse_page_token(request.page_token)
        with outages():
            found, token = cut_page(await self._accounts.page(size + 1, after), size)
            spent = await self._accounts.spent([each.id for each in found])
        return accounts_pb2.ListAccountsResponse(
            accounts=[account_message(each, spent) for each in found], next_page_token=token
        )

    async def UpdateAccount(
        self, request: accounts_pb2.UpdateAccountRequest, _context: Context
    ) -> accounts_pb2.Account:
        _operators_only()
        checked = Checked()
        checked.mask(request.update_mask, _CHANGEABLE)
        changes: dict[str, Any] = {}
        if "funding" in request.update_mask:
            changes["funding"] = checked.funding(request.funding)
        if "budget" in request.update_mask:
            changes |= checked.budget("budget", request)
        if "results_retention" in request.update_mask:
            changes["retention_seconds"] = checked.retention("results_retention", request)
        checked.done()
        with outages():
            account = await found_account(self._accounts, request.account)
            changed = await self._accounts.update(account.id, **changes)
            if changed is None:
                raise account_not_found(request.account)
            log.info("account_changed", account_id=account.id, fields=sorted(changes))
            await self._waiting.account(account.id)
            return await self._shown(changed)

    async def GrantCredits(
        self, request: accounts_pb2.GrantCreditsRequest, _context: Context
    ) -> accounts_pb2.GrantCreditsResponse:
        caller = _operators_only()
        checked = Checked()
        nanos = checked.amount("amount", request)
        if not nanos and not checked.violations:
            checked.wrong("amount", "more than 0, or less to take credits away")
        if not 1 <= len(request.request_id.encode()) <= _MAX_REQUEST_ID_BYTES:
            checked.wrong("request_id", f"1 to {_MAX_REQUEST_ID_BYTES} bytes")
        if len(request.note) > _MAX_NOTE:
            checked.wrong("note", f"at most {_MAX_NOTE} characters")
        checked.done()
        with outages():
            account = await found_account(self._accounts, request.account)
            granted = await self._ledger.credits.grant(
                account.id, nanos, request_id=request.request_id, note=request.note
            )
            if isinstance(granted, GrantReused):
                raise ApiError.already_exists(
                    "REQUEST_ID_REUSED",
                    f"the request id {request.request_id!r} granted this account another amount: "
                    "choose a new one",
                )
            after, posting = granted
            log.info(
                "credits_granted",
                account_id=account.id,
                nano_dollars=nanos,
                reason=posting.reason,
                by_key_id=caller,
            )
            # Whether it is the first call or a repetition: the first one may have died before this.
            await self._waiting.account(account.id)
            return accounts_pb2.GrantCreditsResponse(
                account=await self._shown(after), posting=posting_message(posting)
            )

    async def ListPostings(
        self, request: accounts_pb2.ListPostingsRequest, _context: Context
    ) -> accounts_pb2.ListPostingsResponse:
        _operators_only()
        size, after = page_size(request.page_size), parse_page_token(request.page_token)
        with outages():
            account = await found_account(self._accounts, request.account)
            found = await self._accounts.postings(account.id, size + 1, after)
        shown = found[:size]
        token = page_token(shown[-1].created_at, shown[-1].reason) if len(found) > size else ""
        return accounts_pb2.ListPostingsResponse(
            postings=[posting_message(each) for each in shown], next_page_token=token
        )

    async def _shown(self, account: Account) -> accounts_pb2.Account:
        return account_message(account, await self._accounts.spent([account.id]))


def _operators_only() -> str:
    """The id of the operator's key. Raises SCOPE_MISSING."""
    return require_scope(Scope.OPERATOR, "managing accounts").key_id
