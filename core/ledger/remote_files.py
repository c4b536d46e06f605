"""What was uploaded to a provider for a shard, once the shard is settled: deleted by one only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, or_, update
from sqlmodel import col, select

from core.failpoints import Failpoint
from core.ledger.database import Database
from core.ledger.statements import made_once
from core.ledger.states import ShardState
from core.ledger.tables import Shard, now


@dataclass(frozen=True, slots=True)
class LeftFile:
    """What has to be deleted at a provider."""

    shard_id: str
    batch_id: str
    provider: str
    remote_file_id: str
    """Empty where no id is known."""
    orphans: bool
    """Copies may lie beside it that only their names tell."""
    since: datetime
    """No upload is older."""
    settled_at: datetime


_LEFT = (
    Shard.state == ShardState.SETTLED,
    or_(col(Shard.given_up_at).is_(None), col(Shard.late_merged)),
    or_(col(Shard.remote_file_id) != "", col(Shard.stray_uploads)),
)
_LEFT_OF_SHARD = made_once(select(Shard).where(*_LEFT, Shard.id == bindparam("shard_id")))
_LOCKED_LEFT_OF_SHARD = _LEFT_OF_SHARD.with_for_update()
_LEFT_OF_BATCH = made_once(
    select(Shard.id).where(
        *_LEFT,
        Shard.batch_id == bindparam("batch_id"),
        or_(col(Shard.inputs_due_at).is_(None), col(Shard.inputs_due_at) <= bindparam("moment")),
    )
)
_TAKEN = made_once(
    update(Shard)
    .where(col(Shard.id) == bindparam("shard_id"))
    .values(remote_file_id="", stray_uploads=False, inputs_due_at=None)
    .execution_options(synchronize_session=False)
)


class RemoteFiles:
    """Uploaded inputs of settled shards."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, shard_id: str) -> LeftFile | None:
        """Take over the deletion of what was uploaded for a settled shard.

        One caller gets it; None where there is nothing, or where a provider's batch may still
        need it: the shard is not settled, or was given up and its answers are waited for.
        """
        async with self._database.write(Failpoint.INPUT_TAKE) as session:
            query = _LEFT_OF_SHARD if self._database.is_sqlite else _LOCKED_LEFT_OF_SHARD
            shard = (await session.exec(query, params={"shard_id": shard_id})).first()
            if shard is None:
                return None
            left = LeftFile(
                shard_id=shard.id,
                batch_id=shard.batch_id,
                provider=shard.provider,
                remote_file_id=shard.remote_file_id,
                orphans=shard.stray_uploads,
                since=shard.created_at,
                settled_at=shard.settled_at or now(),
            )
            await session.exec(_TAKEN, params={"shard_id": shard_id})
            return left

    async def put_back(self, left: LeftFile, due: datetime) -> None:
        """Leave to somebody, not before a moment, what the provider did not delete."""
        async with self._database.write(Failpoint.INPUT_RETURN) as session:
            await session.exec(
                update(Shard)
                .where(col(Shard.id) == left.shard_id)
                .values(
                    remote_file_id=left.remote_file_id,
                    stray_uploads=left.orphans,
                    inputs_due_at=due,
                )
                .execution_options(synchronize_session=False)
            )

    async def left(self, batch_id: str) -> list[str]:
        """Settled shards of a batch whose uploads nobody has taken over; those that are due."""
        async with self._database.read() as session:
            found = await session.exec(
                _LEFT_OF_BATCH, params={"batch_id": batch_id, "moment": now()}
            )
            return list(found)

    async def due(self, limit: int) -> list[str]:
        """Batches of which a deletion is due that went wrong before."""
        async with self._database.read() as session:
            found = await session.exec(
                select(Shard.batch_id)
                .where(col(Shard.inputs_due_at) <= now())
                .group_by(Shard.batch_id)
                .limit(limit)
            )
            return list(found)
