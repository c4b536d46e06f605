"""What is enqueued at a provider for a model, and who of those that wait goes next."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import func, or_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

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
    """Tokens of the other shards of a model that its provider has surely taken."""
    found = await session.exec(
        select(func.coalesce(func.sum(Shard.tokens), 0)).where(
            Shard.provider == shard.provider,
            Shard.remote_model == shard.remote_model,
            Shard.state == ShardState.SUBMITTED,
            Shard.id != shard.id,
            or_(
                func.lower(Shard.remote_status).not_in(_UNCHECKED),
                col(Shard.finished) > 0,
                col(Shard.submitted_at) < moment - _CHECKED_AFTER,
            ),
        )
    )
    return int(found.one())


async def enqueued_tokens(session: AsyncSession, provider: str, model: str) -> int:
    """Estimated tokens of all shards that are at the provider, or on their way.

    Without those that were given up: they were cancelled there, or ended long ago.
    """
    found = await session.exec(
        select(func.coalesce(func.sum(Shard.tokens), 0)).where(
            Shard.provider == provider,
            Shard.remote_model == model,
            col(Shard.state).in_(ENQUEUED),
            col(Shard.given_up_at).is_(None),
        )
    )
    return int(found.one())


async def first_waiting(
    session: AsyncSession, provider: str, model: str, also: str = ""
) -> str | None:
    """The id of the waiting shard whose turn it is.

    The account with the fewest tokens enqueued goes first, of equal ones that which was served
    longest ago; of its shards the one of the highest priority, then of the batch with the fewest
    tokens, then the oldest. `also`: a shard that counts as waiting whatever its row says.
    """

    def share(key: object) -> object:
        return (
            select(key, func.sum(Shard.tokens).label("tokens"))  # type: ignore[call-overload]
            .where(
                Shard.provider == provider,
                Shard.remote_model == model,
                col(Shard.state).in_(ENQUEUED),
            )
            .group_by(key)
            .subquery()
        )

    accounts, batches = share(Shard.account_id), share(Shard.batch_id)
    waits = (
        Shard.provider == provider,
        Shard.remote_model == model,
        Shard.state == ShardState.QUEUED,
        Shard.purpose != ShardPurpose.RESCUE,
        Batch.stop == Stop.NONE,
        col(Batch.paused_at).is_(None),
        col(Shard.waits_for_quota) | (col(Shard.id) == also),
    )
    waiting = await session.exec(
        select(
            Shard.account_id,
            func.coalesce(func.max(accounts.c.tokens), 0),  # type: ignore[attr-defined]
            func.min(Shard.created_at),
        )
        .join(Batch, col(Batch.id) == Shard.batch_id)
        .outerjoin(accounts, accounts.c.account_id == Shard.account_id)  # type: ignore[attr-defined, arg-type]
        .where(*waits)
        .group_by(col(Shard.account_id))
    )
    account = await next_account(session, provider, list(waiting))
    if account is None:
        return None
    found = await session.exec(
        select(Shard.id)
        .join(Batch, col(Batch.id) == Shard.batch_id)
        .outerjoin(batches, batches.c.batch_id == Shard.batch_id)  # type: ignore[attr-defined, arg-type]
        .where(*waits, Shard.account_id == account)
        .order_by(
            col(Shard.priority).desc(),
            func.coalesce(batches.c.tokens, 0),  # type: ignore[attr-defined]
            col(Shard.created_at),
            col(Shard.ordinal),
        )
        .limit(1)
    )
    return found.first()
