"""Uploads whose bytes come in parts.

In: the begin of an upload, the streams of its parts, and their names in the order of the file.
Out: the bytes of all of them, as if they had come in one stream. What can go wrong: the upload was
not begun, was deleted, or is finished; a part is not there (each an ApiError).

A part is an unfinished upload of its own, under the id "<upload>.<part>": what deletes those that
nobody goes on with deletes parts too, and they count within the account's limits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import structlog

from core.blobs import BlobMissing, BlobStore, SegmentWriter, StoredFile
from core.failpoints import Failpoint
from core.ledger import File, Ledger, LedgerUnavailable, Upload
from core.metrics import UPLOAD_BYTES
from core.serving import ApiError
from core.settings import Settings
from services.gateway.discard import discard_upload, upload_prefix
from services.gateway.minimum_throughput import MinimumThroughput
from services.gateway.shielding import uninterrupted
from services.gateway.upload import FileTooLarge, NextChunk
from services.gateway.upload_reservation import UploadReservation, conflict
from services.gateway.upload_spec import check_upload_id

log = structlog.get_logger()

_READ_BYTES = 1024 * 1024


class Parts:
    """Begins uploads of parts, takes their parts, gives them back in order, deletes them."""

    def __init__(self, ledger: Ledger, blobs: BlobStore, settings: Settings) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._settings = settings

    async def begin(self, account_id: str, upload_id: str) -> File | None:
        """Note that parts will come. Returns the file if the upload is one already."""
        check_upload_id(upload_id)
        reservation = UploadReservation(self._ledger, self._settings, account_id, upload_id)
        file = await reservation.begin()
        await reservation.end(0)
        return file

    async def reopen(self, account_id: str, upload_id: str) -> None:
        """After an end that failed: if it has parts, more may come. Raises nothing."""
        try:
            # Without any it may be one that was deleted.
            if await self._ledger.files.parts(account_id, _part_id(upload_id, "")):
                await self.begin(account_id, upload_id)
        except (ApiError, LedgerUnavailable) as error:
            log.info("upload_not_reopened", cause=type(error).__name__)

    async def receive(
        self, account_id: str, upload_id: str, part: str, next_chunk: NextChunk
    ) -> None:
        """Take the stream of a part in, whole or not at all. Raises ApiError."""
        check_upload_id(upload_id)
        check_upload_id(part)
        await self._pending(account_id, upload_id)
        own_id = _part_id(upload_id, part)
        reservation = UploadReservation(self._ledger, self._settings, account_id, own_id)
        try:
            await reservation.begin()
            # Of a stream with the same id that broke.
            prefix = upload_prefix(account_id, own_id)
            await self._blobs.delete_prefix(prefix, point=Failpoint.UPLOAD_DELETE)
            size = await self._store(f"{prefix}/data", reservation, next_chunk)
            if (await StoredFile.open(self._blobs, f"{prefix}/data")).size != size:
                # Deleted under this stream by another of the same id.
                raise conflict()
            await reservation.settle(size)
        except BaseException:
            if (held := reservation.held) is not None:
                discarding = discard_upload(self._ledger, self._blobs, account_id, own_id, held)
                await uninterrupted(discarding)
            raise

    async def _store(
        self, prefix: str, reservation: UploadReservation, next_chunk: NextChunk
    ) -> int:
        settings, clock = self._settings, asyncio.get_running_loop().time
        throughput = MinimumThroughput(
            settings.upload_min_rate, window=settings.upload_idle_timeout
        )
        writer = SegmentWriter(
            self._blobs,
            prefix,
            point=Failpoint.UPLOAD_DATA,
            segment_bytes=settings.segment_bytes,
            offset=0,
        )
        try:
            asked = clock()
            while (chunk := await next_chunk()) is not None:
                throughput.add(clock() - asked, len(chunk))
                size = writer.size + len(chunk)
                if size > settings.max_file_bytes:
                    error = FileTooLarge(settings.max_file_bytes)
                    raise ApiError.resource_exhausted("FILE_TOO_LARGE", f"{error}: split the file")
                await reservation.reach(size)
                await writer.write(chunk)
                UPLOAD_BYTES.inc(len(chunk))
                asked = clock()
            return await writer.close()
        except BaseException:
            await writer.abandon()
            raise

    async def stream(
        self, account_id: str, upload_id: str, part: str
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a part. Raises PART_NOT_FOUND."""
        own_id = _part_id(upload_id, part)
        found = await self._ledger.files.find_upload(account_id, own_id)
        if not isinstance(found, Upload) or found.open_until is not None:
            raise _no_part(part)
        stored = await StoredFile.open(self._blobs, f"{upload_prefix(account_id, own_id)}/data")
        try:
            async with aclosing(stored.stream(chunk_bytes=_READ_BYTES)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except BlobMissing as error:
            raise _no_part(part) from error

    async def discard(self, account_id: str, upload_id: str) -> None:
        """Delete all parts of an upload."""
        for part in await self._ledger.files.parts(account_id, _part_id(upload_id, "")):
            await discard_upload(self._ledger, self._blobs, account_id, part.upload_id)

    async def delete(self, account_id: str, upload_id: str) -> None:
        """Delete an upload that is not finished, and its parts. Raises ApiError."""
        await self._pending(account_id, upload_id)
        await self.discard(account_id, upload_id)
        await discard_upload(self._ledger, self._blobs, account_id, upload_id)

    async def _pending(self, account_id: str, upload_id: str) -> None:
        found = await self._ledger.files.find_upload(account_id, upload_id)
        if found is None:
            raise ApiError.not_found(
                "UPLOAD_NOT_FOUND", f"there is no upload {upload_id[:64]!r} that goes on"
            )
        if isinstance(found, File):
            raise ApiError.failed_precondition(
                "UPLOAD_FINISHED",
                f"the upload is the file {found.id} already",
                metadata={"file_id": found.id},
            )


def _part_id(upload_id: str, part: str) -> str:
    """No upload that a client names has a dot in its id."""
    return f"{upload_id}.{part}"


def _no_part(part: str) -> ApiError:
    return ApiError.not_found("PART_NOT_FOUND", f"the upload has no part {part[:64]!r}")
