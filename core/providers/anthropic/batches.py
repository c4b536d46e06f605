"""Batches as Anthropic shows them, and what they mean."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
import structlog

from core.providers.contract import RemoteBatch, RemoteState
from core.providers.parsing import count_of

log = structlog.get_logger()

STATES = {
    "in_progress": RemoteState.RUNNING,
    "canceling": RemoteState.STOPPING,
    "ended": RemoteState.ENDED,
}


# A time without a zone cannot be compared with one that has it.
_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class _Counts(msgspec.Struct, frozen=True):
    processing: int = 0
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0

    @property
    def total(self) -> int:
        return self.processing + self.finished

    @property
    def finished(self) -> int:
        return self.succeeded + self.errored + self.canceled + self.expired


class Batch(msgspec.Struct):
    id: str
    processing_status: str
    created_at: _Moment
    request_counts: _Counts = _Counts()
    ended_at: _Moment | None = None
    archived_at: Any = None
    results_url: str | None = None


class _Page(msgspec.Struct):
    data: list[Batch]
    has_more: bool = False


read_batch = msgspec.json.Decoder(Batch).decode
read_page = msgspec.json.Decoder(_Page).decode


def batch_of(batch: Batch, results_address: str) -> RemoteBatch:
    """A batch as it is now. `results_address`: where its results are, once it has ended."""
    if batch.processing_status not in STATES:
        status = batch.processing_status
        log.warning("unknown_remote_status", remote_id=batch.id, status=status)
    state = STATES.get(batch.processing_status, RemoteState.RUNNING)
    ended = state is RemoteState.ENDED
    # Archived 29 days after its creation: what it was stays known, its results do not.
    readable = ended and batch.archived_at is None
    return RemoteBatch(
        remote_id=batch.id,
        state=state,
        native_status=batch.processing_status,
        total=count_of(batch.request_counts.total),
        finished=count_of(batch.request_counts.finished),
        result_sources=(results_address,) if readable else (),
        ended_as=_ended_as(batch) if ended else "",
        ended_at=batch.ended_at,
    )


def _ended_as(batch: Batch) -> str:
    counts = batch.request_counts
    if counts.expired:
        return "expired"
    return "cancelled" if counts.canceled else "completed"
