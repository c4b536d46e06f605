"""One upload's place within the limits of its account."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog

from core.ledger import (
    AccountLimits,
    File,
    Ledger,
    LedgerUnavailable,
    Limit,
    OverLimit,
    Upload,
    UploadGone,
)
from core.serving import ApiError
from core.settings import Settings
from services.gateway.shielding import uninterrupted

log = structlog.get_logger()

_HEARTBEAT = 60.0
_REASONS = {
    Limit.OPEN_UPLOADS: "OPEN_UPLOADS_LIMIT",
    Limit.STORED_BYTES: "STORED_BYTES_LIMIT",
    Limit.BATCHES: "BATCHES_LIMIT",
    Limit.WEBHOOKS: "WEBHOOKS_LIMIT",
}
_SENTENCES = {
    Limit.OPEN_UPLOADS: "the account has {used} uploads open, of {limit} at a time: "
    "finish one first",
    Limit.STORED_BYTES: "the account has {used} bytes of input files stored, of {limit}: "
    "delete files that are no longer needed, then resume",
    Limit.BATCHES: "the account has {used} batches that have not ended, of {limit} at a time: "
    "wait for one to end",
    Limit.WEBHOOKS: "the account has {used} webhook endpoints, of {limit}: delete one first",
}
# When a look is worth it again, in seconds: a file or a batch takes its time to end.
# Endpoints do not go by themselves.
_RETRY_AFTER = {Limit.OPEN_UPLOADS: 5.0, Limit.STORED_BYTES: 60.0, Limit.BATCHES: 30.0}


def account_limits(settings: Settings) -> AccountLimits:
    """Those that the settings name."""
    return AccountLimits(
        open_uploads=settings.account_open_uploads,
        stored_bytes=settings.account_bytes,
        batches=settings.account_batches,
    )


def over_limit(over: OverLimit) -> ApiError:
    """RESOURCE_EXHAUSTED, with limit, present use and next step."""
    return ApiError.resource_exhausted(
        _REASONS[over.kind],
        _SENTENCES[over.kind].format(used=over.used, limit=over.limit),
        metadata={"limit": str(over.limit), "used": str(over.used)},
        retry_after=_RETRY_AFTER.get(over.kind),
    )


def conflict() -> ApiError:
    """UPLOAD_CONFLICT."""
    return ApiError.aborted(
        "UPLOAD_CONFLICT",
        "another stream writes the same upload, or it was deleted: ask GetUploadStatus, "
        "then resume",
        retry_after=1.0,
    )


class UploadReservation:
    """Counts as open from `begin` to `end`, or until the gateway is silent for too long."""

    def __init__(self, ledger: Ledger, settings: Settings, account_id: str, upload_id: str) -> None:
        self._ledger = ledger
        self._limits = account_limits(settings)
        self.account_id = account_id
        self.upload_id = upload_id
        # Often enough for the sweep never to take a slow upload for an abandoned one.
        self._heartbeat = min(_HEARTBEAT, settings.upload_retention / 4)
        # A stream may be silent for its idle timeout before the next heartbeat.
        self._lease = timedelta(seconds=3 * max(self._heartbeat, settings.upload_idle_timeout))
        self._upload: Upload | None = None
        self._due = 0.0

    @property
    def held(self) -> Upload | None:
        """What the ledger has of the place; None: it is not taken."""
        return self._upload

    async def begin(self) -> File | None:
        """Take the place. Returns the file if the upload is one already; raises ApiError.

        Whoever has called this calls `end`, too, however it ended.
        """
        return await self._reserve(0)

    async def reach(self, size: int) -> None:
        """To be called before the upload grows to so many bytes. Raises ApiError."""
        assert self._upload is not None, "begun"
        used_up = bool(self._limits.stored_bytes) and size > self._upload.bytes
        if used_up or asyncio.get_running_loop().time() > self._due:
            await self._reserve(size)

    async def end(self, committed: int | None = None) -> None:
        """Give the place back, with so many bytes kept for a stream that goes on (None: as
        many as before). Raises nothing: without the ledger, the place comes back by itself.
        """
        upload, self._upload = self._upload, None
        if upload is None:
            return
        try:
            await self._ledger.files.end_upload(upload, committed)
        except LedgerUnavailable as error:
            log.info("upload_end_not_recorded", cause=type(error).__name__)

    async def settle(self, size: int) -> None:
        """Give the place back, with all of these bytes kept, which somebody is told.

        Raises UPLOAD_CONFLICT where another stream has taken it since, and LedgerUnavailable: then
        it is held still.
        """
        assert self._upload is not None, "begun"
        if not await self._ledger.files.end_upload(self._upload, size):
            raise conflict()
        self._upload = None

    async def _reserve(self, size: int) -> File | None:
        # Cancelled after the ledger took it and before we knew, the place would stay taken.
        return await uninterrupted(self._held(size))

    async def _held(self, size: int) -> File | None:
        try:
            held = await self._ledger.files.begin_upload(
                self.account_id, self.upload_id, self._limits, size=size, lease=self._lease
            )
        except UploadGone as error:
            raise conflict() from error
        if isinstance(held, OverLimit):
            log.info("upload_over_limit", account_id=self.account_id, limit=held.kind)
            raise over_limit(held)
        if isinstance(held, File):
            return held
        self._upload = held
        self._due = asyncio.get_running_loop().time() + self._heartbeat
        return None
