"""How much of what is under way: for metrics, so in small queries over living rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import case, func, literal, literal_column
from sqlmodel import col, select

from core.ledger.database import Database
from core.ledger.progress import waiting_twins
from core.ledger.states import TERMINAL, BatchState, ShardState
from core.ledger.tables import Account, Batch, Funding, Posting, Shard, WebhookDelivery, now
from core.ledger.webhook_deliveries import is_waiting

LIVING = tuple(state for state in BatchState if state not in TERMINAL)
UNSETTLED = tuple(state for state in ShardState if state is not ShardState.SETTLED)
_NEARLY_OUT = 10


@dataclass(frozen=True, slots=True)
class LivingBatches:
    """Batches in one state that have not ended. Counts of lines; ages in seconds."""

    state: BatchState
    batches: int
    oldest: float
    """Age of the oldest, since it was made."""
    overdue: int
    """Those whose window closed longer ago than was asked."""
    queued: int
    submitted: int
    processed: int
    retrying: int
    succeeded: int
    failed: int
    cancelled: int = 0
    expired: int = 0


@dataclass(frozen=True, slots=True)
class UnsettledShards:
    """Shards of one provider in one state."""

    provider: str
    state: ShardState
    shards: int
    lines: int
    """Without those that the provider has reported as finished."""
    oldest: float
    """Seconds since the one that has been in the state for longest came into it."""
    waiting_for_room: int
    """Those that wait for quota under the provider's enqueued-token limit."""


@dataclass(frozen=True, slots=True)
class WaitingLines:
    """Lines of one account that wait for a provider, for one reason."""

    provider: str
    reason: str
    """Human-readable."""
    lines: int
    shards: int


@dataclass(frozen=True, slots=True)
class WaitingDeliveries:
    """Webhook deliveries that have not ended."""

    deliveries: int = 0
    overdue: float = 0.0
    """How many seconds ago the one that has been due for longest was due."""


@dataclass(frozen=True, slots=True)
class Count:
    """All that is under way."""

    batches: Sequence[LivingBatches]
    shards: Sequence[UnsettledShards]
    webhooks: WaitingDeliveries = WaitingDeliveries()
    waiting_for_funds: int = 0
    """Batches with a shard that waits for credits, a budget, or room under `max_cost`."""
    nearly_out: int = 0
    """Prepaid accounts with less than a tenth of what they were granted free."""


class Statistics:
    """Counts what is under way. Costs grow with that, not with what has ended."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, *, grace: timedelta) -> Count:
        """Count. `grace`: how long after its window's end a batch is overdue."""
        moment = now()
        async with self._database.read() as session:
            batches = (await session.exec(_batches(moment - grace))).all()
            shards = (await session.exec(_shards(moment))).all()
            waiting = (await session.exec(_waiting_for_funds())).one()
            nearly_out = (await session.exec(_nearly_out())).one()
            deliveries, due = (await session.exec(_deliveries())).one()
        return Count(
            [
                LivingBatches(BatchState(state), count, _age(moment, oldest), *map(int, rest))
                for state, count, oldest, *rest in batches
            ],
            [
                UnsettledShards(
                    provider,
                    ShardState(state),
                    count,
                    int(lines),
                    _age(moment, oldest),
                    int(in_line),
                )
                for provider, state, count, lines, oldest, in_line in shards
            ],
            WaitingDeliveries(deliveries, _age(moment, due or moment)),
            waiting,
            nearly_out,
        )

    async def waiting(self, account_id: str, limit: int = 1000) -> list[WaitingLines]:
        """What of an account waits for providers, and why; the most lines first."""
        lines = func.sum(Shard.line_count - Shard.finished)
        async with self._database.read() as session:
            found = await session.exec(
                select(Shard.provider, Shard.waiting_reason, lines, func.count())
                .where(
                    col(Shard.state).in_(UNSETTLED),
                    Shard.account_id == account_id,
                    Shard.waiting_reason != "",
                )
                .group_by(col(Shard.provider), col(Shard.waiting_reason))
                .order_by(lines.desc(), col(Shard.provider), col(Shard.waiting_reason))
                .limit(limit)
            )
            return [
                WaitingLines(provider, reason, int(count), shards)
                for provider, reason, count, shards in found
            ]


def _batches(overdue_before: datetime) -> Any:
    def total(value: Any) -> Any:
        return func.coalesce(func.sum(value), 0)

    overdue = col(Batch.expires_at) < overdue_before
    return (
        select(  # type: ignore[call-overload]
            Batch.state,
            func.count(),
            func.min(col(Batch.created_at)),
            total(case((overdue, 1), else_=0)),
            total(Batch.queued),
            total(Batch.submitted),
            total(Batch.processed),
            total(Batch.retrying),
            total(Batch.succeeded),
            total(Batch.failed - Batch.cancelled - Batch.expired),
            total(Batch.cancelled),
            total(Batch.expired),
        )
        .where(col(Batch.state).in_(LIVING))
        .group_by(col(Batch.state))
    )


def _shards(moment: datetime) -> Any:
    came = case(
        (col(Shard.state) == ShardState.SUBMITTING, col(Shard.intended_at)),
        (col(Shard.state) == ShardState.FETCHING, col(Shard.ended_at)),
        (col(Shard.state) != ShardState.QUEUED, col(Shard.submitted_at)),
        else_=col(Shard.created_at),
    )
    waiting = (col(Shard.state) == ShardState.QUEUED) & col(Shard.waits_for_quota)
    return (
        select(  # type: ignore[call-overload]
            Shard.provider,
            Shard.state,
            func.count(),
            func.coalesce(func.sum(Shard.line_count - Shard.finished), 0),
            func.min(func.coalesce(came, col(Shard.created_at))),
            func.sum(case((waiting, literal(1)), else_=literal(0))),
        )
        .where(
            col(Shard.state).in_(UNSETTLED),
            col(Shard.given_up_at).is_(None),
            # They are as old as their batch, and nothing is stuck.
            ~waiting_twins(moment),
        )
        .group_by(col(Shard.provider), col(Shard.state))
    )


def _waiting_for_funds() -> Any:
    return select(func.count(func.distinct(col(Shard.batch_id)))).where(
        col(Shard.waits_for_funds), Shard.state == ShardState.QUEUED
    )


def _nearly_out() -> Any:
    granted = (
        select(func.sum(Posting.balance_nanos))
        # Literally, as in the index of these few.
        .where(
            col(Posting.kind) == literal_column("'grant'"),
            col(Posting.account_id) == col(Account.id),
        )
        .scalar_subquery()
    )
    free = col(Account.balance_nanos) - col(Account.reserved_nanos)
    return select(func.count()).where(
        col(Account.funding) == Funding.PREPAID, free * _NEARLY_OUT < granted
    )


def _deliveries() -> Any:
    return select(func.count(), func.min(col(WebhookDelivery.due_at))).where(is_waiting())


def _age(moment: datetime, since: datetime) -> float:
    return max(0.0, (moment - since).total_seconds())
