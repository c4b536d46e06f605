"""Deleting for good what is deleted or past its time: batches, results, files.

In: rows that are due. Out: no blob of them. What can go wrong: the process dies, or the store is
away; the row stays due, and the next sweep goes on. Late answers may still come for a batch that
is gone: until then its shards and its input stay, as these are read for the answers' cost.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import structlog

from core.blobs import BlobError, BlobStore
from core.failpoints import Failpoint
from core.ledger import Batch, FileInUse, Ledger, LedgerUnavailable, ResultsGone, Stale, is_past
from core.pipeline.timing import repeat
from services.gateway.discard import discard_upload

log = structlog.get_logger()

_PAGE = 50
_LEASE_INTERVALS = 4
"""Who has taken a batch on and needs longer has others at it as well, which does no harm."""
_LATE_PATIENCE = timedelta(hours=1)
"""Behind the moment when the last late answer is given up: the collector wakes us before."""


class RemovalSweep:
    """Deletes what is due, in bounded steps: some rows in each sweep, oldest first."""

    def __init__(self, ledger: Ledger, blobs: BlobStore, *, interval: float) -> None:
        """`interval`: seconds between two sweeps."""
        self._ledger = ledger
        self._blobs = blobs
        self._interval = interval
        self._lease = timedelta(seconds=_LEASE_INTERVALS * interval)

    async def run(self, stop: asyncio.Event) -> None:
        """Sweep until `stop` is set."""
        await repeat(self._once_or_log, self._interval, stop)

    async def _once_or_log(self) -> None:
        try:
            await self.once()
        except (LedgerUnavailable, BlobError, OSError) as error:
            # What is away may come back; the next sweep looks again.
            log.warning("removal_failed", cause=type(error).__name__)

    async def once(self) -> int:
        """One sweep. Returns how many batches and files it has seen to."""
        seen = 0
        for batch in await self._ledger.removal.due(_PAGE):
            claimed = await self._ledger.removal.claim(batch, self._lease)
            if claimed is not None:
                await self._remove(claimed)
                seen += 1
        for file in await self._ledger.files.expired(_PAGE):
            deleted = await self._ledger.files.delete(file.account_id, file.id)
            if deleted is None or isinstance(deleted, FileInUse):
                # Somebody was faster, or a batch was made of it meanwhile.
                continue
            await discard_upload(self._ledger, self._blobs, file.account_id, deleted.upload_id)
            log.info("file_expired", account_id=file.account_id, file_id=file.id)
            seen += 1
        return seen

    async def _remove(self, batch: Batch) -> None:
        past, gone = is_past(batch), batch.results_gone == ResultsGone.ALL
        if past and not gone:
            expired = await self._ledger.removal.expire_results(batch.id)
            gone = not isinstance(expired, Stale)
        awaited = batch.awaited > 0
        if gone:
            folder = f"batches/{batch.id}"
            await self._blobs.delete_prefix(
                f"{folder}/results" if awaited else folder, point=Failpoint.BATCH_BLOBS_DELETE
            )
        if past and not awaited:
            await self._remove_input(batch.account_id, batch.input_file_id)
        await self._ledger.removal.done(batch, _next_due(batch, past=past))
        log.info("batch_removed" if past else "results_removed", batch_id=batch.id)

    async def _remove_input(self, account_id: str, file_id: str) -> None:
        """An input file that no batch needs; one of a retry holds copies of its lines."""
        file = await self._ledger.files.delete_input(account_id, file_id)
        if file is not None:
            await discard_upload(self._ledger, self._blobs, account_id, file.upload_id)


def _next_due(batch: Batch, *, past: bool) -> datetime | None:
    if not past:
        return batch.results_expire_at
    return batch.awaited_until + _LATE_PATIENCE if batch.awaited and batch.awaited_until else None
