"""Budgets: how many prompt tokens a provider lets be enqueued for a model at a time.

OpenAI refuses a batch that would go over the limit of its model and organisation. The
limit is a setting where the operator knows it, or is learned from a refusal. What is
enqueued is counted here: the estimates of all shards that are at the provider.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from core.failpoints import Failpoint
from core.ledger.database import Database
from core.ledger.states import ShardState, Stop
from core.ledger.tables import Batch, Shard, TokenBudget, now

FIRST_BYTES_PER_TOKEN = 3.0
"""Before anything is known of a model: English has about four, and JSON around it."""
_NEW_SHARE = 0.3
_CAUTION = 0.9
# Whatever was seen: hardly a text has more tokens than bytes, and one with fewer than a
# token in six bytes says little of the next.
_BYTES_PER_TOKEN = (1.0, 6.0)
# Below any limit that providers give. A smaller shard that is refused says that others have
# taken the room, not that the limit is small; one that stays too large is halved.
_SMALLEST_GUESS = 20_000
# Of the tokens of each shard that ran: a guess that is too low rises until it is refused.
_GUESS_GROWTH = 0.1
# An account may move to a higher tier; a guess may have come from others' tokens.
_STATED_LIMIT_AGE = timedelta(days=1)
_GUESSED_LIMIT_AGE = timedelta(hours=1)
ENQUEUED = (ShardState.SUBMITTING, ShardState.SUBMITTED)


@dataclass(frozen=True, slots=True)
class Budget:
    """What is known of one model at one provider."""

    limit: int | None
    """Tokens; None: no limit is known."""
    bytes_per_token: float = FIRST_BYTES_PER_TOKEN

    def tokens(self, size: int) -> int:
        """Estimate the prompt tokens of so many bytes of requests."""
        return max(1, round(size / self.bytes_per_token))


@dataclass(frozen=True, slots=True)
class NoRoom:
    """A shard does not fit under the limit yet, or it is another one's turn."""

    enqueued: int
    first: str | None
    """The shard whose turn it is; None when there is no room for any."""


class Budgets:
    """Budgets by provider and the provider's model id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, provider: str, model: str) -> Budget:
        """What is known now."""
        async with self._database.read() as session:
            row = await session.get(TokenBudget, (provider, model))
        if row is None:
            return Budget(None)
        limit = row.limit_tokens
        if limit is not None and row.learned_at is not None:
            age = _STATED_LIMIT_AGE if row.stated else _GUESSED_LIMIT_AGE
            if now() - row.learned_at > age:
                limit = None
        return Budget(limit, row.bytes_per_token)

    async def observe(self, provider: str, model: str, size: int, tokens: int) -> None:
        """Learn from a shard that has run: its bytes, and the tokens that were counted.

        A guessed limit rises a little.
        """
        seen = _bounded(_CAUTION * size / tokens)
        async with self._database.write(Failpoint.BUDGET_OBSERVE) as session:
            row = await _locked(session, self._database, provider, model)
            row.bytes_per_token += _NEW_SHARE * (seen - row.bytes_per_token)
            if row.limit_tokens is not None and not row.stated:
                row.limit_tokens += round(_GUESS_GROWTH * tokens)
            session.add(row)

    async def refused(self, shard: Shard, stated: int | None) -> int:
        """Learn from a refusal for the limit. Returns the limit that now holds.

        Without a stated limit it is guessed: what is enqueued was not too much, nor may
        half of what was refused be. With one, a shard that should have fitted had more
        tokens than was thought.
        """
        async with self._database.write(Failpoint.BUDGET_REFUSED) as session:
            row = await _locked(session, self._database, shard.provider, shard.remote_model)
            others = await enqueued(session, shard.provider, shard.remote_model)
            if shard.state in ENQUEUED:
                others -= shard.tokens
            if stated is None:
                limit = max(others, shard.tokens // 2, _SMALLEST_GUESS)
            else:
                limit = stated
                room = max(limit - others, 1)
                if shard.tokens <= room:
                    least = _bounded(_CAUTION * shard.byte_count / room)
                    row.bytes_per_token = min(row.bytes_per_token, least)
            row.limit_tokens, row.stated, row.learned_at = limit, stated is not None, now()
            session.add(row)
            return limit

    async def next_waiting(self, provider: str, model: str) -> Shard | None:
        """The shard whose turn it is when room appears."""
        async with self._database.read() as session:
            first = await first_waiting(session, provider, model)
            return await session.get(Shard, first) if first is not None else None


async def check_room(
    session: AsyncSession, database: Database, shard: Shard, tokens: int, limit: int
) -> NoRoom | None:
    """Whether a queued shard may go now: it fits, and nobody fairer waits.

    Holds the budget's lock until the transaction ends, so that two shards never
    take the same room. With nothing enqueued any shard may try.
    """
    await _locked(session, database, shard.provider, shard.remote_model)
    taken = await enqueued(session, shard.provider, shard.remote_model)
    if taken and taken + tokens > limit:
        return NoRoom(taken, None)
    first = await first_waiting(session, shard.provider, shard.remote_model, also=shard.id)
    return None if first in (None, shard.id) else NoRoom(taken, first)


async def enqueued(session: AsyncSession, provider: str, model: str) -> int:
    """Estimated tokens of all shards that are at the provider, or on their way."""
    found = await session.exec(
        select(func.coalesce(func.sum(Shard.tokens), 0)).where(
            Shard.provider == provider,
            Shard.remote_model == model,
            col(Shard.state).in_(ENQUEUED),
        )
    )
    return int(found.one())


async def first_waiting(
    session: AsyncSession, provider: str, model: str, also: str = ""
) -> str | None:
    """The id of the waiting shard whose turn it is.

    The account with the fewest tokens enqueued goes first, then the batch with the
    fewest, then the oldest. `also`: a shard that counts as waiting whatever its row says.
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
    found = await session.exec(
        select(Shard.id)
        .join(Batch, col(Batch.id) == Shard.batch_id)
        .outerjoin(accounts, accounts.c.account_id == Shard.account_id)  # type: ignore[attr-defined, arg-type]
        .outerjoin(batches, batches.c.batch_id == Shard.batch_id)  # type: ignore[attr-defined, arg-type]
        .where(
            Shard.provider == provider,
            Shard.remote_model == model,
            Shard.state == ShardState.QUEUED,
            Batch.stop == Stop.NONE,
            col(Shard.waits_for_room) | (col(Shard.id) == also),
        )
        .order_by(
            func.coalesce(accounts.c.tokens, 0),  # type: ignore[attr-defined]
            func.coalesce(batches.c.tokens, 0),  # type: ignore[attr-defined]
            col(Shard.created_at),
            col(Shard.ordinal),
        )
        .limit(1)
    )
    return found.first()


def _bounded(bytes_per_token: float) -> float:
    low, high = _BYTES_PER_TOKEN
    return min(max(bytes_per_token, low), high)


async def _locked(
    session: AsyncSession, database: Database, provider: str, model: str
) -> TokenBudget:
    await database.lock_name(session, "budget", provider, model)
    row = await session.get(TokenBudget, (provider, model))
    if row is None:
        row = TokenBudget(provider=provider, model=model)
        session.add(row)
        await session.flush()
    return row
