"""How a batch's counts follow from its shards."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, case, func, update
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.sql.dml import Update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from core.ledger.statements import made_once
from core.ledger.states import STOP_ERRORS, ShardPurpose, ShardState, Stop
from core.ledger.tables import Batch, Shard, now

TWINS_WAIT = timedelta(days=36_500)
"""When lines are due that wait for the answers of others: never, until these have theirs."""
_AWAITED_UNTIL = "awaited_until"
_UNSENT = (ShardState.QUEUED, ShardState.SUBMITTING)
_SENT = (ShardState.SUBMITTED, ShardState.RUNNING, ShardState.FETCHING)


def _sums() -> Any:
    first = col(Shard.round) == 0
    given_up = awaited_shards()
    settled = (col(Shard.state) == ShardState.SETTLED) & ~given_up
    twins = col(Shard.purpose) == ShardPurpose.TWINS
    unsent = (col(Shard.state).in_(_UNSENT) | (twins & ~settled)) & ~given_up
    sent = col(Shard.state).in_(_SENT) & ~twins & ~given_up
    lines, finished = col(Shard.line_count), col(Shard.finished)

    def total(condition: Any, value: Any) -> Any:
        return func.coalesce(func.sum(case((condition, value), else_=0)), 0)

    return select(  # type: ignore[call-overload]
        func.count().label("shards"),
        total(settled, col(Shard.succeeded)).label("succeeded"),
        (total(settled, col(Shard.failed)) + total(given_up, lines)).label("failed"),
        *(
            (total(settled, ended) + total(given_up & (col(Shard.fill_code) == code), lines)).label(
                name
            )
            for name, ended, code in (
                ("cancelled", col(Shard.cancelled), STOP_ERRORS[Stop.CANCEL][0]),
                ("expired", col(Shard.expired), STOP_ERRORS[Stop.EXPIRE][0]),
            )
        ),
        total(first & unsent, lines).label("queued"),
        total(first & sent, lines - finished).label("submitted"),
        total(first & sent, finished).label("processed"),
        total(~first & (unsent | sent), lines).label("retrying"),
        total(given_up, lines).label("awaited"),
        func.max(case((given_up, col(Shard.late_until)))).label(_AWAITED_UNTIL),
        total(col(Shard.late_merged), finished).label("late"),
        # Those that a stop, or a limit, kept from being called are not among them.
        total(
            settled
            & (col(Shard.purpose) == ShardPurpose.RESCUE)
            & col(Shard.submitted_at).is_not(None),
            col(Shard.succeeded) + col(Shard.failed) - col(Shard.cancelled) - col(Shard.expired),
        ).label("rescued"),
        total(settled, col(Shard.input_tokens)).label("input_tokens"),
        total(settled, col(Shard.cached_input_tokens)).label("cached_input_tokens"),
        total(settled, col(Shard.output_tokens)).label("output_tokens"),
        total(settled, col(Shard.reasoning_tokens)).label("reasoning_tokens"),
        total(settled, col(Shard.cache_write_tokens)).label("cache_write_tokens"),
        # At once, also of answers that are still to be merged: they are charged already.
        func.coalesce(func.sum(col(Shard.cost_nanos)), 0).label("cost_nanos"),
        func.coalesce(func.sum(col(Shard.unpriced_lines)), 0).label("unpriced_lines"),
    ).where(col(Shard.batch_id) == bindparam("batch_id"))


def awaited_shards() -> Any:
    """Shards that their batch no longer waits for, and whose answers are not in its results."""
    return col(Shard.given_up_at).is_not(None) & ~col(Shard.late_merged)


_SUMS = made_once(_sums())
_batches: Any = Batch.__table__  # type: ignore[attr-defined]


async def advance(session: AsyncSession, batch: Batch, **changes: Any) -> Batch:
    """Write changes to a locked batch with its counts recomputed and its revision raised.

    Returns the batch as it now is. `retrying` are all unsettled lines that were
    sent before; the other unsettled lines are queued, submitted or processed.
    """
    found: Any = (await session.exec(_SUMS, params={"batch_id": batch.id})).one()
    # PostgreSQL's sums of large integers are decimals.
    sums = {name: int(value) for name, value in found._mapping.items() if name != _AWAITED_UNTIL}
    counts: dict[str, Any] = {}
    if shards := sums.pop("shards"):
        counts = {
            **sums,
            "shard_count": shards,
            "failed": sums["failed"] + batch.invalid,
            _AWAITED_UNTIL: found.awaited_until,
            "finished_high_water": max(
                batch.finished_high_water,
                sums["succeeded"] + sums["failed"] + batch.invalid + sums["processed"],
            ),
        }
        if sums["succeeded"] + sums["failed"] + batch.invalid == batch.total:
            # Whoever assembles it is expected from now on.
            counts["due_at"] = now()
        elif batch.reuse_seconds is not None:
            await _wake_twins(session, batch.id)
    changes = counts | changes | {"revision": batch.revision + 1}
    await session.exec(
        _advancing(tuple(changes)),
        params={"of_id": batch.id} | {f"to_{name}": value for name, value in changes.items()},
    )
    written(batch, changes)
    return batch


def written(row: Batch | Shard, changes: Mapping[str, Any]) -> None:
    """Bring up to date what a session holds of a locked row that it has just written to."""
    for name, value in changes.items():
        set_committed_value(row, name, value)


@functools.lru_cache(maxsize=128)
def _advancing(changes: tuple[str, ...]) -> Update:
    """The UPDATE that writes these columns: put together once."""
    values: dict[str, Any] = {name: bindparam(f"to_{name}") for name in changes}
    return update(_batches).where(_batches.c.id == bindparam("of_id")).values(**values)


async def _wake_twins(session: AsyncSession, batch_id: str) -> None:
    """Make the shards due whose lines take the answers of others, once these all have theirs."""
    ours = (
        col(Shard.batch_id) == batch_id,
        col(Shard.state) != ShardState.SETTLED,
        col(Shard.given_up_at).is_(None),
    )
    twins = col(Shard.purpose) == ShardPurpose.TWINS
    moment = now()
    others = select(Shard.id).where(*ours, ~twins).correlate(None).exists()
    await session.exec(
        update(Shard)
        .where(*ours, waiting_twins(moment), ~others)
        .values(due_at=moment, ended_at=moment),
    )


def waiting_twins(moment: datetime) -> Any:
    """Shards whose lines wait for the answers of others: there is nothing to be fetched yet."""
    return (col(Shard.purpose) == ShardPurpose.TWINS) & (
        col(Shard.due_at) > moment + TWINS_WAIT / 2
    )


_UNSETTLED = made_once(
    select(Shard.id)
    .where(
        Shard.batch_id == bindparam("batch_id"),
        Shard.state != ShardState.SETTLED,
        col(Shard.given_up_at).is_(None),
    )
    .limit(1)
)


async def unsettled(session: AsyncSession, batch_id: str) -> bool:
    """True while the batch waits for a shard that has no outcome yet."""
    found = await session.exec(_UNSETTLED, params={"batch_id": batch_id})
    return found.first() is not None
