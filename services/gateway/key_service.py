"""KeyService of polybatch.v1: making, showing, changing and ending keys."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import grpc
import structlog
from polybatch.v1 import accounts_pb2, accounts_pb2_grpc

from core.ledger import Accounts, ApiKey, KeyLimits, Ledger, Scope
from core.pipeline import WaitingForFunds, outages
from core.serving import current_principal, require_scope
from core.serving.paging import page_size, page_token, parse_page_token
from services.gateway.account_fields import ALL_ACCOUNTS, Checked, named_account
from services.gateway.account_messages import account_message, key_message
from services.gateway.billing import key_not_found

log = structlog.get_logger()

Context = grpc.aio.ServicerContext[Any, Any]

_CHANGEABLE = ("name", "budget", "allowed_providers", "allowed_models")
_KEYS = "managing keys"


class KeyServicer(accounts_pb2_grpc.KeyServiceServicer):
    """Answers as the comments in accounts.proto say."""

    def __init__(
        self, ledger: Ledger, providers: Collection[str], waiting: WaitingForFunds
    ) -> None:
        """`providers`: the names of those that a key may be limited to."""
        self._accounts: Accounts = ledger.accounts
        self._providers = providers
        self._waiting = waiting

    async def CreateKey(
        self, request: accounts_pb2.CreateKeyRequest, _context: Context
    ) -> accounts_pb2.CreateKeyResponse:
        require_scope(Scope.ACCOUNT, _KEYS)
        checked = Checked()
        name = checked.key_name("name", request.name)
        limits = KeyLimits(
            scope=checked.scope("scope", request.scope),
            **checked.budget("budget", request),
            allowed_providers=checked.providers(
                "allowed_providers", request.allowed_providers, self._providers
            ),
            allowed_models=checked.models("allowed_models", request.allowed_models),
        )
        checked.done()
        caller = require_scope(limits.scope, f'making a key of the scope "{limits.scope}"')
        with outages():
            account = await named_account(self._accounts, request.account)
            made = await self._accounts.create_key(account.name, name, limits)
            key = await self._accounts.get_key(made.key_id)
        assert key is not None, "keys are not deleted"
        log.info(
            "key_created",
            key_id=key.id,
            account_id=key.account_id,
            scope=key.scope,
            by_key_id=caller.key_id,
        )
        return accounts_pb2.CreateKeyResponse(
            key=key_message(key, account.name, {}), secret=made.secret
        )

    async def ListKeys(
        self, request: accounts_pb2.ListKeysRequest, _context: Context
    ) -> accounts_pb2.ListKeysResponse:
        require_scope(Scope.ACCOUNT, _KEYS)
        size, after = page_size(request.page_size), parse_page_token(request.page_token)
        with outages():
            if request.account == ALL_ACCOUNTS:
                require_scope(Scope.OPERATOR, "all accounts")
                account_id = None
            else:
                account_id = (await named_account(self._accounts, request.account)).id
            found = await self._accounts.list_keys(account_id, size + 1, after)
            spent = await self._accounts.spent([key.id for key, _ in found])
        shown = found[:size]
        token = ""
        if len(found) > size:
            token = page_token(shown[-1][0].created_at, shown[-1][0].id)
        return accounts_pb2.ListKeysResponse(
            keys=[key_message(key, name, spent) for key, name in shown], next_page_token=token
        )

    async def UpdateKey(
        self, request: accounts_pb2.UpdateKeyRequest, _context: Context
    ) -> accounts_pb2.Key:
        require_scope(Scope.ACCOUNT, _KEYS)
        asked, checked = request.key, Checked()
        checked.mask(request.update_mask, _CHANGEABLE)
        changes: dict[str, Any] = {}
        for field in request.update_mask:
            match field:
                case "name":
                    changes["name"] = checked.key_name("key.name", asked.name)
                case "budget":
                    changes |= checked.budget("key.budget", asked)
                case "allowed_providers":
                    changes[field] = checked.providers(
                        "key.allowed_providers", asked.allowed_providers, self._providers
                    )
                case "allowed_models":
                    changes[field] = checked.models("key.allowed_models", asked.allowed_models)
        checked.done()
        with outages():
            key = await self._manageable(asked.id)
            await self._accounts.update_key(key.id, **changes)
            if "budget_nanos" in changes:
                await self._waiting.account(key.account_id)
            log.info(
                "key_changed",
                key_id=key.id,
                fields=sorted(changes),
                by_key_id=current_principal().key_id,
            )
            return await self._shown(key.id)

    async def RevokeKey(
        self, request: accounts_pb2.RevokeKeyRequest, _context: Context
    ) -> accounts_pb2.Key:
        require_scope(Scope.ACCOUNT, _KEYS)
        with outages():
            key = await self._manageable(request.key_id)
            if await self._accounts.revoke_key(key.id):
                log.info("key_revoked", key_id=key.id, by_key_id=current_principal().key_id)
            return await self._shown(key.id)

    async def GetCurrentKey(
        self, _request: accounts_pb2.GetCurrentKeyRequest, _context: Context
    ) -> accounts_pb2.GetCurrentKeyResponse:
        caller = current_principal()
        with outages():
            account = await self._accounts.get(caller.account_id)
            assert account is not None, "every key has an account"
            spent = await self._accounts.spent([account.id])
            shown = await self._shown(caller.key_id)
        may_see = caller.scope.includes(Scope.ACCOUNT)
        return accounts_pb2.GetCurrentKeyResponse(
            key=shown, account=account_message(account, spent if may_see else None)
        )

    async def _manageable(self, key_id: str) -> ApiKey:
        """A key that the caller may change.

        Raises KEY_NOT_FOUND, and SCOPE_MISSING where the key may more than the caller.
        """
        caller = current_principal()
        anywhere = caller.scope.includes(Scope.OPERATOR)
        key = await self._accounts.get_key(key_id, None if anywhere else caller.account_id)
        if key is None:
            raise key_not_found(key_id)
        require_scope(Scope(key.scope), f'changing a key of the scope "{key.scope}"')
        return key

    async def _shown(self, key_id: str) -> accounts_pb2.Key:
        key = await self._accounts.get_key(key_id)
        assert key is not None, "keys are not deleted"
        spent = await self._accounts.spent([key.id])
        return key_message(key, await self._accounts.name(key.account_id), spent)
