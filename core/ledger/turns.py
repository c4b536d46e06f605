"""Whose turn it is: between accounts the share is even, within one the higher priority goes first.

Where places are few (runs at a provider without batches, tokens under a limit), the account with
the least under way is next; of equal ones that which was served longest ago. So an account's turn
never hangs on how much it has waiting, nor on what priority it gives that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, literal, union_all
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from core.ledger.database import Database
from core.ledger.statements import made_once
from core.ledger.states import CanaryState, ShardPurpose, ShardState, Stop
from core.ledger.tables import Batch, Shard, now

_TIE = 2
# Of so many accounts it is looked up when they were served; those that wait longest.
_MOST_TIED = 200


@dataclass(frozen=True, slots=True)
class QueuedShard:
    """A queued shard that waits for nothing but its turn."""

    id: str
    batch_id: str
    account_id: str
    priority: int
    created_at: datetime
    ordinal: int


def _queued() -> Any:
    place = func.row_number().over(
        partition_by=col(Shard.account_id),
        order_by=(col(Shard.priority).desc(), col(Shard.created_at), col(Shard.ordinal)),
    )
    columns: list[Any] = [getattr(Shard, field.name) for field in fields(QueuedShard)]
    placed = (
        select(*columns, place.label("place"))  # type: ignore[call-overload]
        .join(Batch, col(Batch.id) == Shard.batch_id)
        .where(
            Shard.state == ShardState.QUEUED,
            col(Shard.provider).in_(bindparam("providers", expanding=True)),
            Shard.waiting_reason == "",
            ~col(Shard.waits_for_quota),
            ~col(Shard.waits_for_funds),
            col(Shard.due_at) <= bindparam("moment"),
            Batch.stop == Stop.NONE,
            Batch.halt_code == "",
            col(Batch.paused_at).is_(None),
            (col(Batch.canary_state) != CanaryState.RUNNING)
            | (col(Shard.purpose) == ShardPurpose.CANARY),
        )
        .subquery()
    )
    wanted: list[Any] = [placed.c[column.key] for column in columns]
    return select(*wanted).where(placed.c.place <= bindparam("of_account"))


_QUEUED = made_once(_queued())


class Turns:
    """Queued shards of all accounts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def queued(self, providers: Collection[str], of_account: int) -> list[QueuedShard]:
        """The first shards of each account that could be sent to these providers now.

        `of_account`: so many of each, the highest priority first, then the oldest.
        """
        parameters = {"providers": list(providers), "of_account": of_account, "moment": now()}
        async with self._database.read() as session:
            return [QueuedShard(*row) for row in await session.exec(_QUEUED, params=parameters)]


async def next_account(
    session: AsyncSession, provider: str, waiting: Sequence[tuple[str, int, datetime]]
) -> str | None:
    """The account whose turn it is at a provider; None: none waits.

    `waiting`: each account that waits, how much it has under way, and since when it waits.
    """
    accounts = with_least(waiting)
    if len(accounts) < _TIE:
        return accounts[0] if accounts else None
    asked = union_all(*(select(literal(each).label("account_id")) for each in accounts)).subquery()
    # A look at an index for each account: never all that it has ever sent.
    served_at = (
        select(Shard.intended_at)
        .where(
            Shard.account_id == asked.c.account_id,
            Shard.provider == provider,
            col(Shard.intended_at).is_not(None),
        )
        .order_by(col(Shard.intended_at).desc())
        .limit(1)
        .scalar_subquery()
    )
    found = await session.exec(select(asked.c.account_id, served_at))
    served = {account: at for account, at in found if at is not None}
    return longest_unserved(accounts, served)


def with_least(waiting: Sequence[tuple[str, int, datetime]]) -> list[str]:
    """The accounts that have least under way, those first that wait longest; `waiting` as of
    next_account. Of many only the first."""
    least = min((load for _, load, _ in waiting), default=0)
    tied = sorted((since, account) for account, load, since in waiting if load == least)
    return [account for _, account in tied[:_MOST_TIED]]


def longest_unserved(accounts: Sequence[str], served: Mapping[str, datetime]) -> str:
    """The account that was served longest ago; who was never served is first, of several whoever
    stands first."""
    return min(accounts, key=lambda each: (each in served, served.get(each, 0)))
