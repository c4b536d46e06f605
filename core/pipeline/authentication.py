"""Whose a caller's key is, by the ledger: for every service that callers reach."""

from __future__ import annotations

from core.ledger import Accounts
from core.pipeline.shared_reads import SharedReads
from core.pipeline.storage_errors import outages
from core.scopes import Scope
from core.serving import Authenticate, Principal


def authenticator(accounts: Accounts) -> Authenticate:
    """Find the account that a key belongs to."""
    keys = SharedReads(accounts.authenticate)

    async def authenticate(secret: str) -> Principal | None:
        with outages():
            key = await keys.get(secret)
        return None if key is None else Principal(key.account_id, key.id, Scope(key.scope))

    return authenticate
