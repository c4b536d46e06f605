"""Whose turn it is: between accounts the share is even, within one the higher priority goes first.

Where places are few (runs at a provider without batches, tokens under a limit), the account with
the least under way is next; of equal ones that which was served longest ago. So an account's turn
never hangs on how much it has waiting, nor on what priority it gives that.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from core.ledger.database import Database
from core.ledger.states import CanaryState, ShardPurpose, ShardState, Stop
from core.ledger.tables import Batch, Shard, now


@dataclass(frozen=True, slots=True)
class QueuedShard:
    """A queued shard that waits for nothing but its turn."""

    id: str
    batch_id: str
    account_id: str
    priority: int
    created_at: datetime
    ordinal: int


class Turns:
    """Queued shards of all accounts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def queued(self, providers: Collection[str], of_account: int) -> list[QueuedShard]:
        """The first shards of each account that could be sent to these providers now.

        `of_account`: so many of each, the highest priority first, then the oldest.
        """
        place = func.row_number().over(
            partition_by=col(Shard.account_id),
            order_by=(col(Shard.priority).desc(), col(Shard.created_at), col(Shard.ordinal)),
        )
        columns = (
            col(Shard.id),
            col(Shard.batch_id),
            col(Shard.account_id),
            col(Shard.priority),
            col(Shard.created_at),
            col(Shard.ordinal),
        )
        placed = (
            select(*columns, place.label("place"))  # type: ignore[call-overload]
            .join(Batch, col(Batch.id) == Shard.batch_id)
            .where(
                Shard.state == ShardState.QUEUED,
                col(Shard.provider).in_(providers),
                Shard.waiting_reason == "",
                ~col(Shard.waits_for_quota),
                ~col(Shard.waits_for_funds),
                col(Shard.due_at) <= now(),
                Batch.stop == Stop.NONE,
                Batch.halt_code == "",
                col(Batch.paused_at).is_(None),
                (col(Batch.canary_state) != CanaryState.RUNNING)
                | (col(Shard.purpose) == ShardPurpose.CANARY),
            )
            .subquery()
        )
        names = ("id", "batch_id", "account_id", "priority", "created_at", "ordinal")
        wanted = select(*(placed.c[name] for name in names)).where(placed.c.place <= of_account)
        async with self._database.read() as session:
            return [QueuedShard(*row) for row in await session.exec(wanted)]


def accounts_waiting(provider: str, *conditions: Any) -> Any:
    """Accounts whose shards wait at a provider, with the time when one of theirs last went there.

    A subquery of `account_id` and `served_at`. `conditions`: which shards wait.
    """
    accounts = (
        select(col(Shard.account_id))
        .where(Shard.provider == provider, Shard.state == ShardState.QUEUED, *conditions)
        .distinct()
        .subquery()
    )
    served = aliased(Shard)
    # A look at an index for each account: never all that it has ever sent.
    served_at = (
        select(served.intended_at)
        .where(
            served.account_id == accounts.c.account_id,
            served.provider == provider,
            col(served.intended_at).is_not(None),
        )
        .order_by(col(served.intended_at).desc())
        .limit(1)
        .scalar_subquery()
    )
    return select(accounts.c.account_id, served_at.label("served_at")).subquery()
