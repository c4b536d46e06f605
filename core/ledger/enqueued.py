"""What is enqueued at a provider for a model, and who of those that wait goes next."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, func, or_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from core.ledger.statements import made_once
from core.ledger.states import ShardPurpose, ShardState, Stop
from core.ledger.tables import Batch, Shard
from core.ledger.turns import next_account

ENQUEUED = (ShardState.SUBMITTING, ShardState.SUBMITTED)

# OpenAI checks its limit in this state, seconds after the create; others in the create.
_UNCHECKED = frozenset({"", "validating"})
# A batch that is being checked for so long will not be refused for the limit any more.
_CHECKED_AFTER = timedelta(minutes=2)


def is_accepted(shard: Shard, moment: datetime) -> bool:
    """Whether the provider has surely not refused the shard for its limit."""
    return shard.state == ShardState.SUBMITTED and (
        shard.remote_status.lower() not in _UNCHECKED
        or shard.finished > 0
        or (shard.submitted_at is not None and moment - shard.submitted_at > _CHECKED_AFTER)
    )


async def accepted_tokens(session: AsyncSession, shard: Shard, moment: datetime) -> int:
    """Tokens of the other shards of a model that its provider has surely taken, and still has.

    Without those that were given up, as of enqueued_tokens.
    """
    found = await session.exec(
        select(func.coalesce(func.sum(Shard.tokens), 0)).where(
            Shard.provider == shard.provider,
            Shard.remote_model == shard.remote_model,
            Shard.state == ShardState.SUBMITTED,
            col(Shard.given_up_at).is_(None),
            Shard.id != shard.id,
            or_(
                func.lower(Shard.remote_status).not_in(_UNCHECKED),
                col(Shard.finished) > 0,
                col(Shard.submitted_at) < moment - _CHECKED_AFTER,
            ),
        )
    )
    return int(found.one())


_OF_MODEL = (Shard.provider == bindparam("provider"), Shard.remote_model == bindparam("model"))
_TOKENS = made_once(
    select(func.coalesce(func.sum(Shard.tokens), 0)).where(
        *_OF_MODEL, col(Shard.state).in_(ENQUEUED), col(Shard.given_up_at).is_(None)
    )
)


async def enqueued_tokens(session: AsyncSession, provider: str, model: str) -> int:
    """Estimated tokens of all shards that are at the provider, or on their way.

    Without those that were given up: they were cancelled there, or ended long ago.
    """
    found = await session.exec(_TOKENS, params={"provider": provider, "model": model})
    return int(found.one())


def _share(key: Any) -> Any:
    """How many tokens are enqueued, by account or batch."""
    return (
        select(key, func.sum(Shard.tokens).label("tokens"))
        .where(*_OF_MODEL, col(Shard.state).in_(ENQUEUED), col(Shard.given_up_at).is_(None))
        .group_by(key)
        .subquery()
    )


_WAITS = (
    *_OF_MODEL,
    Shard.state == ShardState.QUEUED,
    Shard.purpose != ShardPurpose.RESCUE,
    Batch.stop == Stop.NONE,
    col(Batch.paused_at).is_(None),
    col(Shard.waits_for_quota) | (col(Shard.id) == bindparam("also")),
)


def _accounts() -> Any:
    accounts = _share(Shard.account_id)
    return (
        select(
            Shard.account_id,
            func.coalesce(func.max(accounts.c.tokens), 0),
            func.min(Shard.created_at),
        )
        .join(Batch, col(Batch.id) == Shard.batch_id)
        .outerjoin(accounts, accounts.c.account_id == Shard.account_id)
        .where(*_WAITS)
        .group_by(col(Shard.account_id))
    )


def _first_of_account() -> Any:
    batches = _share(Shard.batch_id)
    return (
        select(Shard.id)
        .join(Batch, col(Batch.id) == Shard.batch_id)
        .outerjoin(batches, batches.c.batch_id == Shard.batch_id)
        .where(*_WAITS, Shard.account_id == bindparam("account_id"))
        .order_by(
            col(Shard.priority).desc(),
            func.coalesce(batches.c.tokens, 0),
            col(Shard.created_at),
            col(Shard.ordinal),
        )
        .limit(1)
    )


_ACCOUNTS = made_once(_accounts())
_FIRST_OF_ACCOUNT = made_once(_first_of_account())


async def first_waiting(
    session: AsyncSession, provider: str, model: str, also: str = ""
) -> str | None:
    """The id of the waiting shard whose turn it is.

    The account with the fewest tokens enqueued goes first, of equal ones that which was served
    longest ago; of its shards the one of the highest priority, then of the batch with the fewest
    tokens, then the oldest. `also`: a shard that counts as waiting whatever its row says.
    """
    parameters = {"provider": provider, "model": model, "also": also}
    waiting = await session.exec(_ACCOUNTS, params=parameters)
    account = await next_account(session, provider, list(waiting))
    if account is None:
        return None
    found: Any = await session.exec(_FIRST_OF_ACCOUNT, params=parameters | {"account_id": account})
    first: str | None = found.first()
    return first
