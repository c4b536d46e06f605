"""Keys of accounts: made, found, changed, ended."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from core.failpoints import Failpoint
from core.ledger.database import Database
from core.ledger.ids import new_id
from core.ledger.tables import Account, ApiKey, BudgetPeriod, now
from core.scopes import Scope

KEY_PREFIX = "pb_"
_ASKED_AT_ONCE = 500


def new_secret() -> str:
    """A key that nobody can guess."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def hash_key(secret: str) -> str:
    """SHA-256 of a key, in hexadecimal. Keys hold 256 random bits, so no salt is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made: the only moment at which its secret is known."""

    key_id: str
    account_id: str
    secret: str


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What a key may do and spend."""

    scope: Scope = Scope.BATCH
    budget_nanos: int | None = None
    """Nano-dollars; None: no limit of its own."""
    budget_period: BudgetPeriod = BudgetPeriod.TOTAL
    allowed_providers: Sequence[str] | None = None
    """Slugs; None: all."""
    allowed_models: Sequence[str] | None = None
    """Names as lines have them, or patterns with "*"; None: all."""


class Keys:
    """The part of Accounts that is about keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_key(
        self, account_name: str, key_name: str = "", limits: KeyLimits | None = None
    ) -> NewKey:
        """Make a key for an account, and the account itself when it is new.

        `limits`: the scope "batch" and nothing else, if they are not given.
        """
        secret = new_secret()
        async with self._database.write(Failpoint.KEY_CREATE) as session:
            account_id = await self._account_named(session, account_name)
            key = _row(account_id, key_name, secret, limits or KeyLimits())
            session.add(key)
        return NewKey(key.id, account_id, secret)

    async def create_first_key(self, account_name: str, key_name: str, secret: str) -> bool:
        """Make the very first key, of a secret that the caller has kept already.

        False, and nothing made, when there is a key or somebody else was faster.
        """
        try:
            async with self._database.write(Failpoint.KEY_FIRST) as session:
                if (await session.exec(select(ApiKey.id).limit(1))).first() is not None:
                    return False
                account = Account(id=new_id("acct"), name=account_name, created_at=now())
                session.add(account)
                await session.flush()
                session.add(_row(account.id, key_name, secret, KeyLimits(Scope.ACCOUNT)))
        except IntegrityError:
            # The account's name is unique: of two at the same time, one ends here.
            return False
        return True

    async def create_operator_key(self, account_name: str, key_name: str, secret: str) -> bool:
        """Make the first key of the scope "operator", as `create_first_key` does its own.

        The account is made where it is new.
        """
        async with self._database.write(Failpoint.KEY_OPERATOR) as session:
            # Of two at the same time, the second sees the key of the first.
            account_id = await self._account_named(session, account_name)
            if (await session.exec(_OPERATOR_KEYS)).first() is not None:
                return False
            session.add(_row(account_id, key_name, secret, KeyLimits(Scope.OPERATOR)))
        return True

    async def any_key(self) -> bool:
        """True when at least one key was ever made."""
        async with self._database.read() as session:
            return (await session.exec(select(ApiKey.id).limit(1))).first() is not None

    async def any_operator_key(self) -> bool:
        """True when at least one key of the scope "operator" was ever made."""
        async with self._database.read() as session:
            return (await session.exec(_OPERATOR_KEYS)).first() is not None

    async def authenticate(self, secret: str) -> ApiKey | None:
        """Find the key that a secret belongs to; None if there is none or it is revoked."""
        async with self._database.read() as session:
            found = await session.exec(_LIVING_KEY, params={"digest": hash_key(secret)})
            return found.first()

    async def revoked(self, key_ids: Collection[str]) -> set[str]:
        """Those of the keys that are revoked."""
        ids = list(key_ids)
        found: set[str] = set()
        async with self._database.read() as session:
            for start in range(0, len(ids), _ASKED_AT_ONCE):
                query = select(ApiKey.id).where(
                    col(ApiKey.id).in_(ids[start : start + _ASKED_AT_ONCE]),
                    col(ApiKey.revoked_at).is_not(None),
                )
                found.update(await session.exec(query))
        return found

    async def key_names(self, key_ids: Collection[str]) -> dict[str, str]:
        """What the keys are called, by id, revoked ones too."""
        ids = list(key_ids)
        found: dict[str, str] = {}
        async with self._database.read() as session:
            for start in range(0, len(ids), _ASKED_AT_ONCE):
                query = select(ApiKey.id, ApiKey.name).where(
                    col(ApiKey.id).in_(ids[start : start + _ASKED_AT_ONCE])
                )
                found.update(dict((await session.exec(query)).all()))
        return found

    async def get_key(self, key_id: str, account_id: str | None = None) -> ApiKey | None:
        """A key, revoked or not, if it belongs to the account (None: whoever it belongs to)."""
        async with self._database.read() as session:
            key = await session.get(ApiKey, key_id)
            return None if key is None or account_id not in (None, key.account_id) else key

    async def list_keys(
        self,
        account_id: str | None = None,
        size: int | None = None,
        after: tuple[datetime, str] | None = None,
    ) -> list[tuple[ApiKey, str]]:
        """Keys with their account's name, oldest first, revoked ones too.

        `account_id`: None for those of all accounts; `size`: at the most; `after`: from behind
        the (created_at, id) of the last one seen.
        """
        query = (
            select(ApiKey, Account.name)
            .join(Account, col(Account.id) == ApiKey.account_id)
            .order_by(col(ApiKey.created_at), col(ApiKey.id))
            .limit(size)
        )
        if account_id is not None:
            query = query.where(ApiKey.account_id == account_id)
        if after is not None:
            query = query.where(
                sa.tuple_(col(ApiKey.created_at), col(ApiKey.id))
                > sa.tuple_(*map(sa.literal, after))
            )
        async with self._database.read() as session:
            return [(key, name) for key, name in await session.exec(query)]

    async def update_key(self, key_id: str, **changes: Any) -> ApiKey | None:
        """Change columns of a key; None when there is no such key."""
        async with self._database.write(Failpoint.KEY_UPDATE) as session:
            changed = await session.exec(
                update(ApiKey).where(col(ApiKey.id) == key_id).values(**changes).returning(ApiKey)
            )
            found: ApiKey | None = changed.scalar_one_or_none()
            return found

    async def revoke_key(self, key_id: str) -> bool:
        """End a key; False when there is no such living key."""
        async with self._database.write(Failpoint.KEY_REVOKE) as session:
            done = await session.exec(
                update(ApiKey)
                .where(col(ApiKey.id) == key_id, col(ApiKey.revoked_at).is_(None))
                .values(revoked_at=now())
            )
            return bool(done.rowcount)

    async def _account_named(self, session: AsyncSession, name: str) -> str:
        """The id of an account, which is made where it is new. Under the lock of its name."""
        await self._database.lock_name(session, "account", name)
        found = (await session.exec(select(Account.id).where(Account.name == name))).first()
        if found is not None:
            return found
        account = Account(id=new_id("acct"), name=name, created_at=now())
        session.add(account)
        await session.flush()
        return account.id


_LIVING_KEY = select(ApiKey).where(
    ApiKey.key_sha256 == sa.bindparam("digest"), col(ApiKey.revoked_at).is_(None)
)
_OPERATOR_KEYS = select(ApiKey.id).where(ApiKey.scope == Scope.OPERATOR).limit(1)


def _row(account_id: str, name: str, secret: str, limits: KeyLimits) -> ApiKey:
    return ApiKey(
        id=new_id("key"),
        account_id=account_id,
        name=name,
        key_sha256=hash_key(secret),
        created_at=now(),
        scope=limits.scope,
        budget_nanos=limits.budget_nanos,
        budget_period=limits.budget_period,
        allowed_providers=list(limits.allowed_providers) if limits.allowed_providers else None,
        allowed_models=list(limits.allowed_models) if limits.allowed_models else None,
    )
