"""Uploading: from the stream of an upload to the row of a file.

In: the spec of a stream and its chunks. Out: a checked file, with its index and its validation
report. What can go wrong: the client breaks off or is silent (what came is kept, to be resumed),
a limit is reached, another stream writes the same upload, the disk or the ledger is away; all
of it is an ApiError, and the upload's reservation is given back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from core.batchfile import FileChecker, Problem, Rules, TooManyLines
from core.blobs import BlobError, BlobMissing, BlobStore, SegmentConflict, StoredFile
from core.ledger import File, FileState, Ledger, LedgerUnavailable, UploadGone, new_id, now
from core.metrics import UPLOAD_BYTES, UPLOAD_LINES
from core.serving import ApiError
from core.settings import Settings
from services.gateway.discard import discard_upload, upload_prefix
from services.gateway.file_refusals import first_errors
from services.gateway.minimum_throughput import MinimumThroughput
from services.gateway.shielding import uninterrupted
from services.gateway.upload_reservation import UploadReservation, conflict
from services.gateway.upload_spec import Spec
from services.gateway.upload_writer import StoredUpload, UploadWriter

log = structlog.get_logger()

NextChunk = Callable[[], Awaitable[bytes | None]]
"""Gives the next chunk of the stream; None at its end."""

_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Finished:
    """An upload that has become a file."""

    file: File
    problems: Sequence[Problem]
    """The first 20 errors."""


class Uploads:
    """Takes uploads in; any number at the same time, on any replica."""

    def __init__(self, ledger: Ledger, blobs: BlobStore, rules: Rules, settings: Settings) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._rules = rules
        self._settings = settings

    async def receive(
        self,
        account_id: str,
        spec: Spec,
        next_chunk: NextChunk,
        expires: Callable[[], float | None] | None = None,
    ) -> Finished:
        """Take a whole stream in. Raises ApiError as the comment of UploadFile says.

        `expires`: asked at the end for `expires_seconds`, if not the spec has it.

        However it ends, what is committed stays, so that the upload can be resumed; only
        a file over the limits is given up.
        """
        rules = self._rules_for(spec)
        reservation = UploadReservation(self._ledger, self._settings, account_id, spec.upload_id)
        try:
            return await self._receive(account_id, spec, rules, reservation, next_chunk, expires)
        except BaseException:
            await uninterrupted(reservation.end())
            raise

    async def _receive(
        self,
        account_id: str,
        spec: Spec,
        rules: Rules,
        reservation: UploadReservation,
        next_chunk: NextChunk,
        expires: Callable[[], float | None] | None,
    ) -> Finished:
        stored = await self._open(spec, reservation)
        if isinstance(stored, File):
            return Finished(stored, await first_errors(self._blobs, stored))
        if spec.write_offset != stored.size:
            await reservation.end(stored.size)
            raise ApiError.failed_precondition(
                "WRITE_OFFSET_MISMATCH",
                f"write_offset is {spec.write_offset}; {stored.size} bytes are committed: "
                "continue from there",
                metadata={"committed_size": str(stored.size)},
            )
        writer = self._writer(account_id, spec, rules, stored.size)
        bound = log.bind(account_id=account_id, upload_id=spec.upload_id)
        bound.debug("upload_begun", offset=stored.size)
        try:
            await writer.replay(stored)
            await self._take_chunks(reservation, writer, next_chunk)
            taken = await writer.finish()
            if taken is not None:
                _check_content(spec, taken)
        except (SegmentConflict, BlobMissing) as error:
            bound.info("upload_conflict", committed=await writer.abandon())
            raise conflict() from error
        except (TooManyLines, FileTooLarge, ContentMismatch) as error:
            bound.info("upload_refused", cause=str(error))
            await writer.abandon()
            await self._delete(reservation)
            if isinstance(error, ContentMismatch):
                raise ApiError.invalid_argument("CONTENT_MISMATCH", str(error)) from error
            reason = "TOO_MANY_LINES" if isinstance(error, TooManyLines) else "FILE_TOO_LARGE"
            raise ApiError.resource_exhausted(reason, f"{error}: split the file") from error
        except BaseException as error:
            if not spec.discard_unfinished:
                await _keep(error, reservation, writer, bound)
                await uninterrupted(self._forget_deleted(reservation))
            else:
                await uninterrupted(self._discard(reservation, writer))
            raise
        if taken is None:
            await writer.abandon()
            await self._delete(reservation)
            raise conflict()
        if expires is not None and spec.expires_seconds is None:
            spec = replace(spec, expires_seconds=expires())
        try:
            file = await self._ledger.files.finish_upload(
                _row(account_id, spec, taken), reservation.held
            )
        except UploadGone as error:
            bound.info("upload_deleted_meanwhile")
            await self._forget_deleted(reservation)
            raise conflict() from error
        UPLOAD_LINES.labels("valid").inc(file.line_count - file.invalid_line_count)
        UPLOAD_LINES.labels("invalid").inc(file.invalid_line_count)
        bound.info(
            "upload_finished",
            file_id=file.id,
            bytes=file.bytes,
            lines=file.line_count,
            invalid_lines=file.invalid_line_count,
        )
        return Finished(file, taken.checked.problems)

    async def _open(self, spec: Spec, reservation: UploadReservation) -> File | StoredFile:
        """What is there of an upload, for which a place is taken; or the file that it became."""
        try:
            opened = await self._begin(reservation)
            anew = spec.discard_unfinished and not spec.write_offset
            if anew and isinstance(opened, StoredFile) and opened.size:
                # Its gateway has died, or its client has given that stream up: nobody resumes it.
                await self._delete(reservation)
                opened = await self._begin(reservation)
            return opened
        except asyncio.CancelledError:
            if spec.discard_unfinished and reservation.held:
                await uninterrupted(self._forget(reservation))
            raise

    async def _begin(self, reservation: UploadReservation) -> File | StoredFile:
        known = await reservation.begin()
        if known is not None:
            return known
        prefix = upload_prefix(reservation.account_id, reservation.upload_id)
        return await StoredFile.open(self._blobs, f"{prefix}/data")

    async def _delete(self, reservation: UploadReservation) -> None:
        ids = reservation.account_id, reservation.upload_id
        await discard_upload(self._ledger, self._blobs, *ids, reservation.held)

    async def _discard(self, reservation: UploadReservation, writer: UploadWriter) -> None:
        await writer.abandon()
        await self._forget(reservation)

    async def _forget_deleted(self, reservation: UploadReservation) -> None:
        """What was kept of an upload that was deleted while it was open: no sweep finds it."""
        ids = reservation.account_id, reservation.upload_id
        try:
            found = await self._ledger.files.find_upload(*ids)
        except LedgerUnavailable:
            return
        if found is None:
            await self._forget(reservation)

    async def _forget(self, reservation: UploadReservation) -> None:
        try:
            await self._delete(reservation)
        except (BlobError, LedgerUnavailable, OSError) as error:
            # Left to the sweep, as what a crash leaves.
            log.info("upload_not_discarded", cause=type(error).__name__)

    async def _take_chunks(
        self, reservation: UploadReservation, writer: UploadWriter, next_chunk: NextChunk
    ) -> None:
        settings, clock = self._settings, asyncio.get_running_loop().time
        throughput = MinimumThroughput(
            settings.upload_min_rate, window=settings.upload_idle_timeout
        )
        asked = clock()
        while (chunk := await next_chunk()) is not None:
            throughput.add(clock() - asked, len(chunk))
            size = writer.size + len(chunk)
            if size > self._settings.max_file_bytes:
                raise FileTooLarge(self._settings.max_file_bytes)
            await reservation.reach(size)
            await writer.take(chunk)
            UPLOAD_BYTES.inc(len(chunk))
            asked = clock()

    def _rules_for(self, spec: Spec) -> Rules:
        """The rules with the defaults of one upload. Raises UNKNOWN_PROVIDER."""
        provider = spec.default_provider or self._rules.default_provider
        if provider and provider not in self._rules.providers:
            known = ", ".join(sorted(self._rules.providers))
            raise ApiError.invalid_argument(
                "UNKNOWN_PROVIDER",
                f"there is no provider {provider[:_SHOWN]!r} to be the default of this upload; "
                f"expected one of {known}",
            )
        return replace(self._rules, default_provider=provider, default_model=spec.default_model)

    def _writer(self, account_id: str, spec: Spec, rules: Rules, offset: int) -> UploadWriter:
        prefix = upload_prefix(account_id, spec.upload_id)
        checker = FileChecker(
            self._blobs,
            prefix,
            rules,
            max_line_bytes=self._settings.max_line_bytes,
            max_lines=self._settings.max_lines,
            max_depth=self._settings.max_json_depth,
            segment_bytes=self._settings.segment_bytes,
        )
        return UploadWriter(
            self._blobs,
            prefix,
            checker,
            segment_bytes=self._settings.segment_bytes,
            offset=offset,
            with_md5=bool(spec.expected_md5),
        )


async def _keep(
    error: BaseException,
    reservation: UploadReservation,
    writer: UploadWriter,
    bound: structlog.stdlib.BoundLogger,
) -> None:
    if isinstance(error, (BlobError, OSError)):
        committed = await writer.abandon()
        bound.info("upload_failed", committed=committed)
        await reservation.end(committed)
    else:
        # The client is silent, or gone, or over a limit, or the server stops: all that
        # came is kept.
        await uninterrupted(_suspend(reservation, writer, bound))


async def _suspend(
    reservation: UploadReservation, writer: UploadWriter, bound: structlog.stdlib.BoundLogger
) -> None:
    committed = await writer.suspend()
    bound.info("upload_suspended", committed=committed)
    await reservation.end(committed)


class FileTooLarge(Exception):
    """The file has more bytes than a file may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the file has more than {limit} bytes")


class ContentMismatch(Exception):
    """The bytes are not those that the client expects."""


def _check_content(spec: Spec, taken: StoredUpload) -> None:
    size = taken.checked.bytes
    if spec.expected_bytes and size != spec.expected_bytes:
        raise ContentMismatch(f"the upload has {size} bytes, not {spec.expected_bytes}")
    if spec.expected_md5 and taken.md5 != spec.expected_md5:
        raise ContentMismatch(f"the upload has the MD5 {taken.md5}, not {spec.expected_md5[:64]}")


def _row(account_id: str, spec: Spec, taken: StoredUpload) -> File:
    checked = taken.checked
    fit = checked.line_count > 0 and checked.invalid_count == 0
    moment, kept = now(), spec.expires_seconds
    return File(
        id=new_id("file"),
        account_id=account_id,
        upload_id=spec.upload_id,
        filename=spec.filename,
        state=FileState.READY if fit else FileState.INVALID,
        bytes=checked.bytes,
        sha256=taken.sha256,
        line_count=checked.line_count,
        invalid_line_count=checked.invalid_count,
        lenient_line_count=checked.lenient_count,
        problem_count=checked.problem_count,
        endpoint=checked.endpoint,
        groups=[
            {
                "provider": group.provider,
                "model": group.model,
                "lines": group.lines,
                "bytes": group.bytes,
                "lenient_lines": group.lenient_lines,
            }
            for group in checked.groups
        ],
        created_at=moment,
        expires_at=None if kept is None else moment + timedelta(seconds=kept),
    )
