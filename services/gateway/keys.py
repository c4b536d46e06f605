"""API keys: the first ones, and their administration from the command line.

The first key, and the operator's beside it. Clients of the embedded mode find each in a file
of the data folder. Several gateways may start at once, and each may die at any moment, so the
file comes first and is made by linking a whole file to its name, which only one process can do;
all others then read that one's secret. The row of the ledger comes second: whoever is first there
makes the key, of the same secret. Gateways on several machines with one database have a
file each: the one whose secret became the key keeps it, the others remove theirs.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path

import structlog

from core.failpoints import Failpoint, writing
from core.ledger import KEY_PREFIX, Accounts, ApiKey, BudgetPeriod, KeyLimits, Ledger, new_secret
from core.serving import StartupError

log = structlog.get_logger()

FIRST_ACCOUNT = "default"
_FIRST_KEY = "first key"
_OPERATOR_KEY = "operator key"
_NANO = 1_000_000_000
_MOST_DOLLARS = 1_000_000_000


async def ensure_first_key(accounts: Accounts, path: Path) -> None:
    """Make the account "default" with one key, kept in `path`, unless there is a key.

    Raises StartupError when the file is there but holds no key.
    """
    if not await accounts.any_key():
        await _ensure_key(accounts, path, accounts.create_first_key, _FIRST_KEY)


async def ensure_operator_key(accounts: Accounts, path: Path) -> None:
    """Make a key of the scope "operator" in the same way, unless there ever was one.

    At the first start, and at the first one of an installation from before there were scopes.
    Raises StartupError when the file is there but holds no key.
    """
    if not await accounts.any_operator_key():
        await _ensure_key(accounts, path, accounts.create_operator_key, _OPERATOR_KEY)


async def _ensure_key(
    accounts: Accounts, path: Path, create: Callable[[str, str, str], Awaitable[bool]], name: str
) -> None:
    made_file = await asyncio.to_thread(_create_key_file, path)
    secret = await asyncio.to_thread(read_key_file, path)
    if await create(FIRST_ACCOUNT, name, secret):
        log.info("first_key_created", account=FIRST_ACCOUNT, name=name, key_file=str(path))
    elif made_file and await accounts.authenticate(secret) is None:
        await asyncio.to_thread(path.unlink)


def read_key_file(path: Path) -> str:
    """The secret that a key file holds. Raises StartupError."""
    try:
        secret = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StartupError(f"the key file {path} cannot be read: {error}") from error
    if not secret.startswith(KEY_PREFIX) or len(secret) < len(KEY_PREFIX) + 32:
        raise StartupError(
            f"the key file {path} holds no key: it should be one line beginning with "
            f"{KEY_PREFIX}; remove it to have a new key made"
        )
    return secret


def _create_key_file(path: Path) -> bool:
    """Write a new secret for the owner's eyes only; False when the file is there already."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as out:
            out.write(new_secret() + "\n")
            out.flush()
            os.fsync(out.fileno())
        with writing(Failpoint.KEY_FILE):
            os.link(unfinished, path)
    except FileExistsError:
        return False
    finally:
        unfinished.unlink()
    return True


def nanos_of_dollars(text: str) -> int:
    """Nano-dollars of an amount such as "12.50". Raises ValueError."""
    try:
        dollars = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is no amount of USD such as 12.50") from None
    exponent = dollars.as_tuple().exponent
    # Of what is no number it is a letter.
    if not isinstance(exponent, int) or exponent < -9 or not 0 <= dollars <= _MOST_DOLLARS:
        raise ValueError(
            f"{text!r} is no amount of USD from 0 to {_MOST_DOLLARS:,}, with nine decimals at most"
        )
    return int(dollars * _NANO)


async def create_key(ledger: Ledger, account: str, name: str, limits: KeyLimits) -> int:
    """Print a new key; returns the exit code."""
    key = await ledger.accounts.create_key(account, name, limits)
    print(f"key      {key.key_id}")
    print(f"account  {account} ({key.account_id})")
    print(f"secret   {key.secret}")
    print(f"scope    {limits.scope}")
    if limits.budget_nanos is not None:
        print(f"budget   {_budget(limits)}")
    for field, allowed in (
        ("provider", limits.allowed_providers),
        ("model", limits.allowed_models),
    ):
        if allowed:
            print(f"{field + 's':<8} {', '.join(allowed)}")
    print("The secret is shown only now: keep it.")
    return 0


async def list_keys(ledger: Ledger) -> int:
    """Print all keys, without their secrets; returns the exit code."""
    for key, account in await ledger.accounts.list_keys():
        state = f"revoked {key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "valid"
        words = [key.id, account, f"{key.created_at:%Y-%m-%d %H:%M}", state, key.scope]
        if key.budget_nanos is not None:
            words.append(_budget(key))
        print("  ".join([*words, key.name]).rstrip())
    return 0


async def revoke_key(ledger: Ledger, key_id: str) -> int:
    """End a key; returns the exit code, 1 when there is no such living key."""
    if await ledger.accounts.revoke_key(key_id):
        print(f"revoked {key_id}: it begins no new call, and its open ones end within seconds")
        return 0
    print(f"there is no valid key {key_id}")
    return 1


def _budget(limits: KeyLimits | ApiKey) -> str:
    dollars = Decimal(limits.budget_nanos or 0) / _NANO
    period = " a month" if limits.budget_period == BudgetPeriod.MONTH else " in all"
    return f"{dollars:f} USD{period}"
