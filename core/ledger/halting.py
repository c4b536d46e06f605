"""What is judged when a shard has settled: the canary, and the share of lines that failed.

In: a locked batch, and a shard that has just settled. Out: what changes of the batch, in the same
transaction: that its other lines go now, or that nothing more of it is sent (it is *halted*): then
what is queued is settled, what is at a provider comes home, and the batch completes.

Lines that were never sent count in neither share: the invalid ones, and those that a max cost held
back; nor do those that a stop kept from being answered.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy import case, func, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from core.ledger.states import CanaryState, ShardPurpose, ShardState, Stop
from core.ledger.tables import CANARY, Batch, Shard, now

CANARY_FAILED = "canary_failed"
"""The code of lines that were not sent, as too many of the batch's canary failed."""
FAILURE_LIMIT = "failure_limit"
"""The code of lines that were not sent, as too many of the batch's lines failed."""
_LEAST_LINES = 20
"""With an outcome, before a share of them says anything."""
_SHOWN_MODELS = 3


async def judge(session: AsyncSession, batch: Batch, shard: Shard) -> dict[str, Any]:
    """What changes of a batch as its shard has settled; nothing where it has none of the options.

    What the transaction has written so far must be flushed.
    """
    # Lines that take the outcome of others come last: nothing is left that could be kept back.
    if batch.stop != Stop.NONE or batch.halt_code or shard.purpose == ShardPurpose.TWINS:
        return {}
    changes: dict[str, Any] = {}
    if batch.canary_state == CanaryState.RUNNING:
        if shard.purpose != ShardPurpose.CANARY:
            return {}
        changes = await _judge_canary(session, batch)
        if changes.get("canary_state") != CanaryState.PASSED:
            return changes
    if batch.max_failure_rate is not None:
        changes |= await _judge_failures(session, batch, batch.max_failure_rate)
    if "canary_state" in changes and "halt_code" not in changes:
        # Due now: should the messages that wake them be lost, the sweep finds them soon.
        await session.exec(
            update(Shard)
            .where(
                col(Shard.batch_id) == batch.id,
                col(Shard.state) == ShardState.QUEUED,
                col(Shard.waiting_reason).startswith(CANARY),
            )
            .values(waiting_reason="", due_at=now())
        )
    return changes


def settle_halted(shard: Shard, batch: Batch) -> None:
    """Give the lines of a new shard of a halted batch their outcome."""
    for name, value in _unsent(batch.halt_code, batch.halt_message).items():
        setattr(shard, name, value)
    shard.failed = shard.withheld = shard.line_count
    shard.settled_revision = batch.revision + 1


async def _judge_canary(session: AsyncSession, batch: Batch) -> dict[str, Any]:
    of_canary = (Shard.batch_id == batch.id, Shard.purpose == ShardPurpose.CANARY)
    open_shards = await session.exec(
        select(func.count()).where(
            *of_canary, Shard.state != ShardState.SETTLED, col(Shard.given_up_at).is_(None)
        )
    )
    if open_shards.one():
        return {}
    # Of each model by itself: a model that fails is not hidden by one that has more lines.
    found = await session.exec(
        select(Shard.model, *_sums())
        .where(*of_canary)
        .group_by(col(Shard.provider), col(Shard.model))
        .order_by(col(Shard.provider), col(Shard.model))
    )
    allowed = batch.canary_max_failure_rate
    failed = [
        f"{int(failed):,} of {int(failed + succeeded):,} of {model}"
        for model, failed, succeeded in found
        if _over(failed, succeeded, allowed)
    ]
    if not failed:
        return {"canary_state": CanaryState.PASSED}
    models = ", ".join(failed[:_SHOWN_MODELS])
    more = len(failed) - _SHOWN_MODELS
    others = f" and of {more:,} more models" if more > 0 else ""
    message = (
        f"of the lines that went first failed {models}{others}, more than the share of "
        f"{allowed:g} that canary_max_failure_rate allows of each model"
    )
    return {
        "canary_state": CanaryState.FAILED,
        **await _halt(session, batch, CANARY_FAILED, message),
    }


async def _judge_failures(session: AsyncSession, batch: Batch, allowed: float) -> dict[str, Any]:
    found = await session.exec(
        select(*_sums()).where(
            Shard.batch_id == batch.id,
            Shard.state == ShardState.SETTLED,
            col(Shard.given_up_at).is_(None),
        )
    )
    failed, succeeded = map(int, found.one())
    lines = failed + succeeded
    if lines < _LEAST_LINES or not _over(failed, succeeded, allowed):
        return {}
    message = (
        f"{failed:,} of the {lines:,} lines that had their outcome failed, more than the share of "
        f"{allowed:g} that max_failure_rate allows"
    )
    return await _halt(session, batch, FAILURE_LIMIT, message)


async def _halt(session: AsyncSession, batch: Batch, code: str, message: str) -> dict[str, Any]:
    await session.exec(
        update(Shard)
        .where(col(Shard.batch_id) == batch.id, col(Shard.state) == ShardState.QUEUED)
        .values(
            failed=col(Shard.line_count),
            withheld=col(Shard.line_count),
            settled_revision=batch.revision + 1,
            **_unsent(code, message),
        )
        .execution_options(synchronize_session=False)
    )
    return {
        "halt_code": code,
        "halt_message": message,
        "halted_revision": batch.revision + 1,
    }


def _unsent(code: str, message: str) -> dict[str, Any]:
    return {
        "state": ShardState.SETTLED,
        "settled_at": now(),
        "waits_for_quota": False,
        "waits_for_funds": False,
        "waiting_reason": "",
        "fill_code": code,
        "fill_message": not_sent(message),
    }


def not_sent(message: str) -> str:
    """What is said of a line of a halted batch. `message`: Batch.halt_message."""
    return f"It was not sent: {message}."


def _sums() -> tuple[Any, Any]:
    """Lines that failed, and that succeeded, of those that were sent and not stopped.

    Those of a shard that its batch no longer waits for have failed, whatever comes of them later.
    """
    failed = col(Shard.failed) - col(Shard.cancelled) - col(Shard.expired) - col(Shard.withheld)
    given_up = col(Shard.given_up_at).is_not(None)
    failed, succeeded = (
        case((given_up, col(Shard.line_count)), else_=failed),
        case((given_up, 0), else_=col(Shard.succeeded)),
    )
    return (
        func.coalesce(func.sum(failed), 0).label("failed"),
        func.coalesce(func.sum(succeeded), 0).label("succeeded"),
    )


def _over(failed: int, succeeded: int, allowed: float) -> bool:
    # As it was written: 29 of 100 are no more than 0.29, which a float is a little less than.
    return failed > Decimal(repr(allowed)) * (failed + succeeded)
