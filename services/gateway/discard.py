"""Deleting uploads and files for good: blobs first, their row last.

A crash in between leaves the row, and with it somebody who comes back: the sweep.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog

from core.blobs import BlobError, BlobStore
from core.failpoints import Failpoint
from core.ledger import Ledger, LedgerUnavailable, Upload, now
from core.pipeline.timing import repeat

log = structlog.get_logger()

_PAGE = 100


def upload_prefix(account_id: str, upload_id: str) -> str:
    """Where the blobs of an upload lie, and of the file that it becomes."""
    return f"files/{account_id}/{upload_id}"


async def discard_upload(
    ledger: Ledger,
    blobs: BlobStore,
    account_id: str,
    upload_id: str,
    held: Upload | None = None,
) -> None:
    """Delete what was stored under an upload id, then the upload's row; a file stays.

    `held`: of the stream that asks for it; what another one has taken up stays, too.

    A stream that comes to its end late, or does not know its upload's end, must not take with it
    the file that another one has made of the same upload.
    """
    if not await ledger.files.discard_upload(account_id, upload_id, held):
        return
    prefix = upload_prefix(account_id, upload_id)
    await blobs.delete_prefix(prefix, point=Failpoint.UPLOAD_DELETE)
    await ledger.files.forget_upload(account_id, upload_id)


class UploadSweep:
    """Discards the uploads that nobody has gone on with for longer than `retention`."""

    def __init__(
        self, ledger: Ledger, blobs: BlobStore, *, retention: timedelta, interval: float
    ) -> None:
        """`interval`: seconds between two sweeps."""
        self._ledger = ledger
        self._blobs = blobs
        self._retention = retention
        self._interval = interval

    async def run(self, stop: asyncio.Event) -> None:
        """Sweep until `stop` is set."""
        await repeat(self._once_or_log, self._interval, stop)

    async def _once_or_log(self) -> None:
        try:
            await self.once()
        except (LedgerUnavailable, BlobError, OSError) as error:
            # What is away may come back; the next sweep looks again.
            log.warning("upload_sweep_failed", cause=type(error).__name__)

    async def once(self) -> int:
        """One sweep. Returns how many uploads were discarded."""
        discarded = 0
        for upload in await self._ledger.files.stale_uploads(now() - self._retention, _PAGE):
            if not await self._ledger.files.claim_upload(upload):
                continue
            await discard_upload(self._ledger, self._blobs, upload.account_id, upload.upload_id)
            log.info("upload_discarded", account_id=upload.account_id, upload_id=upload.upload_id)
            discarded += 1
        return discarded
