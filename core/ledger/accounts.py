"""Accounts and their keys."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select

from core.failpoints import Failpoint
from core.ledger.database import Database
from core.ledger.ids import new_id
from core.ledger.tables import Account, ApiKey, now

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


class Accounts:
    """Who may call."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_key(self, account_name: str, key_name: str = "") -> NewKey:
        """Make a key for an account, and the account itself when it is new."""
        secret = new_secret()
        async with self._database.write(Failpoint.KEY_CREATE) as session:
            await self._database.lock_name(session, "account", account_name)
            found = await session.exec(select(Account).where(Account.name == account_name))
            account = found.first()
            if account is None:
                account = Account(id=new_id("acct"), name=account_name, created_at=now())
                session.add(account)
                await session.flush()
            key = ApiKey(
                id=new_id("key"),
                account_id=account.id,
                name=key_name,
                key_sha256=hash_key(secret),
                created_at=now(),
            )
            session.add(key)
        return NewKey(key.id, account.id, secret)

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
                session.add(
                    ApiKey(
                        id=new_id("key"),
                        account_id=account.id,
                        name=key_name,
                        key_sha256=hash_key(secret),
                        created_at=now(),
                    )
                )
        except IntegrityError:
            # The account's name is unique: of two at the same time, one ends here.
            return False
        return True

    async def name(self, account_id: str) -> str:
        """What operators call an account. Raises KeyError for an unknown one."""
        async with self._database.read() as session:
            found = await session.get(Account, account_id)
            if found is None:
                raise KeyError(account_id)
            return found.name

    async def any_key(self) -> bool:
        """True when at least one key was ever made."""
        async with self._database.read() as session:
            return (await session.exec(select(ApiKey.id).limit(1))).first() is not None

    async def authenticate(self, secret: str) -> ApiKey | None:
        """Find the key that a secret belongs to; None if there is none or it is revoked."""
        async with self._database.read() as session:
            found = await session.exec(
                select(ApiKey).where(
                    ApiKey.key_sha256 == hash_key(secret), col(ApiKey.revoked_at).is_(None)
                )
            )
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

    async def list_keys(self) -> list[tuple[ApiKey, str]]:
        """All keys with their account's name, oldest first."""
        async with self._database.read() as session:
            found = await session.exec(
                select(ApiKey, Account.name)
                .join(Account, col(Account.id) == ApiKey.account_id)
                .order_by(col(ApiKey.created_at))
            )
            return [(key, name) for key, name in found]

    async def revoke_key(self, key_id: str) -> bool:
        """End a key; False when there is no such living key."""
        async with self._database.write(Failpoint.KEY_REVOKE) as session:
            done = await session.exec(
                update(ApiKey)
                .where(col(ApiKey.id) == key_id, col(ApiKey.revoked_at).is_(None))
                .values(revoked_at=now())
            )
            return bool(done.rowcount)
