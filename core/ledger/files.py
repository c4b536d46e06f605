"""Input files and the uploads that become them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam, delete, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from core.failpoints import Failpoint
from core.ledger.database import Database
from core.ledger.limits import NO_LIMITS, AccountLimits, Limit, OverLimit
from core.ledger.states import TERMINAL
from core.ledger.tables import DISCARDED, Batch, File, Upload, now

# So much room is held for an upload beyond what has come, as much as has come between:
# large uploads ask seldom, and small ones keep little from others.
_LEAST_AHEAD = 16 * 1024 * 1024
_MOST_AHEAD = 256 * 1024 * 1024

# Whoever deletes for longer has died.
_DISCARD_LEASE = timedelta(minutes=1)

_OF_UPLOAD = select(File).where(
    File.account_id == bindparam("account_id"), File.upload_id == bindparam("upload_id")
)
_ENDED_UPLOAD = delete(Upload).where(
    col(Upload.account_id) == bindparam("account_id"),
    col(Upload.upload_id) == bindparam("upload_id"),
)


@dataclass(frozen=True, slots=True)
class FileInUse:
    """The file cannot go: a batch that has not ended, or waits for late answers, reads it."""

    batch_id: str
    until: datetime | None = None
    """When the batch has ended: until when late answers are waited for."""


class UploadGone(Exception):
    """The upload is being deleted, was deleted under its stream, or is another stream's."""


class Files:
    """Input files of all accounts. Every read names the account that asks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin_upload(
        self,
        account_id: str,
        upload_id: str,
        limits: AccountLimits = NO_LIMITS,
        *,
        size: int = 0,
        lease: timedelta = timedelta(minutes=3),
    ) -> File | Upload | OverLimit:
        """Note that an upload of so many bytes goes on now, for the length of the lease.

        Returns the file when it is finished already. Otherwise the upload, with room held
        for some more bytes than `size`: once they are used up, ask again.

        Raises UploadGone while it is being deleted: what a stream writes now may go as well.
        """
        async with self._database.write(Failpoint.UPLOAD_BEGIN) as session:
            await self._lock(session, account_id, upload_id)
            file = (await session.exec(_OF_UPLOAD, params=_key(account_id, upload_id))).first()
            if file is not None:
                return file
            await self._database.lock_account(session, account_id)
            upload = await session.get(Upload, (account_id, upload_id))
            if upload is None:
                upload = _upload_now(account_id, upload_id)
            moment = now()
            if upload.discarded and upload.created_at > moment - _DISCARD_LEASE:
                raise UploadGone
            if limits.open_uploads and not (upload.open_until and upload.open_until > moment):
                count = await _count_open(session, account_id, moment)
                if count >= limits.open_uploads:
                    return OverLimit(Limit.OPEN_UPLOADS, limits.open_uploads, count)
            if limits.stored_bytes and size >= upload.bytes:
                used = await _count_bytes(session, account_id, upload_id)
                room = limits.stored_bytes - used
                if room < max(size, 1):
                    return OverLimit(Limit.STORED_BYTES, limits.stored_bytes, used + upload.bytes)
                ahead = min(max(size, _LEAST_AHEAD), _MOST_AHEAD)
                upload.bytes = min(size + ahead, room)
            upload.created_at = moment
            upload.open_until = moment + lease
            session.add(upload)
        return upload

    async def end_upload(self, upload: Upload, size: int | None) -> bool:
        """Note that a stream has ended before its upload was finished, at so many bytes
        (None: at as many as it held).

        False, and nothing is done, if another stream has taken the upload up since.
        """
        async with self._database.write(Failpoint.UPLOAD_END) as session:
            ended = await session.exec(
                update(Upload)
                .where(
                    col(Upload.account_id) == upload.account_id,
                    col(Upload.upload_id) == upload.upload_id,
                    col(Upload.open_until) == upload.open_until,
                )
                .values(open_until=None, bytes=col(Upload.bytes) if size is None else size)
            )
            return bool(ended.rowcount)

    async def finish_upload(self, file: File, begun: Upload | None = None) -> File:
        """Record a checked file. When another stream was faster, its file is returned.

        `begun`: what begin_upload noted last. Raises UploadGone if that was deleted since, or
        another stream has taken the upload up: its bytes may not be those that were checked.
        """
        async with self._database.write(Failpoint.UPLOAD_FINISH) as session:
            await self._lock(session, file.account_id, file.upload_id)
            key = _key(file.account_id, file.upload_id)
            earlier = (await session.exec(_OF_UPLOAD, params=key)).first()
            if earlier is not None:
                return earlier
            if begun is not None:
                upload = await session.get(Upload, (file.account_id, file.upload_id))
                if upload is None or upload.open_until != begun.open_until:
                    raise UploadGone
            session.add(file)
            await session.exec(_ENDED_UPLOAD, params=key)
        return file

    async def find_upload(self, account_id: str, upload_id: str) -> File | Upload | None:
        """The file that an upload became, or the upload that goes on."""
        async with self._database.read() as session:
            found = await session.exec(_OF_UPLOAD, params=_key(account_id, upload_id))
            return found.first() or await session.get(Upload, (account_id, upload_id))

    async def parts(self, account_id: str, prefix: str) -> list[Upload]:
        """Unfinished uploads whose ids begin so."""
        async with self._database.read() as session:
            found = await session.exec(
                select(Upload).where(
                    Upload.account_id == account_id,
                    col(Upload.upload_id).startswith(prefix, autoescape=True),
                )
            )
            return list(found)

    async def stale_uploads(self, before: datetime, limit: int) -> list[Upload]:
        """Uploads that have not gone on since a moment and never became files."""
        async with self._database.read() as session:
            found = await session.exec(
                select(Upload)
                .where(col(Upload.created_at) < before)
                .order_by(col(Upload.created_at))
                .limit(limit)
            )
            return list(found)

    async def claim_upload(self, stale: Upload) -> bool:
        """Take on a stale upload: True for the one sweeper that was first.

        False too when the upload goes on again. Should the sweeper die, the upload is
        stale again after as long a time.
        """
        async with self._database.write(Failpoint.UPLOAD_CLAIM) as session:
            await self._lock(session, stale.account_id, stale.upload_id)
            done = await session.exec(
                update(Upload)
                .where(
                    col(Upload.account_id) == stale.account_id,
                    col(Upload.upload_id) == stale.upload_id,
                    col(Upload.created_at) == stale.created_at,
                )
                .values(created_at=now())
            )
            return bool(done.rowcount)

    async def discard_upload(
        self, account_id: str, upload_id: str, held: Upload | None = None
    ) -> bool:
        """Note that what is stored of an unfinished upload goes: no stream can finish it now.

        False: it has become a file, and stays; or, `held` being what the stream that discards it
        has begun, another one has taken it up since.
        """
        async with self._database.write(Failpoint.UPLOAD_DISCARD) as session:
            await self._lock(session, account_id, upload_id)
            key = _key(account_id, upload_id)
            if (await session.exec(_OF_UPLOAD, params=key)).first() is not None:
                return False
            upload = await session.get(Upload, (account_id, upload_id))
            if held is not None and upload is not None and upload.open_until != held.open_until:
                return False
            await session.merge(_discarded_now(account_id, upload_id))
        return True

    async def forget_upload(self, account_id: str, upload_id: str) -> None:
        """Drop an unfinished upload's row."""
        async with self._database.write(Failpoint.UPLOAD_FORGET) as session:
            await self._lock(session, account_id, upload_id)
            await session.exec(
                delete(Upload).where(
                    col(Upload.account_id) == account_id, col(Upload.upload_id) == upload_id
                )
            )

    async def get(self, account_id: str, file_id: str) -> File | None:
        """A file of the account."""
        async with self._database.read() as session:
            file = await session.get(File, file_id)
            return file if file is not None and file.account_id == account_id else None

    async def get_input(self, batch: Batch) -> File | None:
        """The file that a batch reads."""
        return await self.get(batch.account_id, batch.input_file_id)

    async def page(
        self,
        account_id: str,
        size: int,
        after: tuple[datetime, str] | None,
        *,
        oldest_first: bool = False,
    ) -> list[File]:
        """Files newest first, from behind the (created_at, id) of the last one seen."""
        query = select(File).where(File.account_id == account_id)
        place = sa.tuple_(col(File.created_at), col(File.id))
        if after is not None:
            last = sa.tuple_(*map(sa.literal, after))
            query = query.where(place > last if oldest_first else place < last)
        order = (col(File.created_at), col(File.id))
        query = query.order_by(*(order if oldest_first else (each.desc() for each in order)))
        query = query.limit(size)
        async with self._database.read() as session:
            return list(await session.exec(query))

    async def delete(self, account_id: str, file_id: str) -> File | FileInUse | None:
        """Delete a file's row unless a batch still needs it; returns the row that went.

        Its upload is an unfinished one from then on, which the caller forgets once it has
        deleted the blobs; if it dies before, the sweep of stale uploads does both.
        """
        async with self._database.write(Failpoint.FILE_DELETE) as session:
            file = await self._locked(session, account_id, file_id)
            if file is None:
                return None
            found = await session.exec(
                select(Batch).where(Batch.input_file_id == file_id, _reads()).limit(1)
            )
            reader = found.first()
            if reader is not None:
                return FileInUse(reader.id, reader.awaited_until if reader.ended else None)
            return await _deleted(session, file)

    async def expired(self, limit: int) -> list[File]:
        """Files that were to be kept until now, which no batch needs, oldest first."""
        being_read = sa.exists().where(col(Batch.input_file_id) == col(File.id), _reads())
        async with self._database.read() as session:
            found = await session.exec(
                select(File)
                .where(col(File.expires_at) <= now(), ~being_read)
                .order_by(col(File.expires_at))
                .limit(limit)
            )
            return list(found)

    async def delete_input(self, account_id: str, file_id: str) -> File | None:
        """Delete the row of a batch's input, once all batches of it are deleted or past their time.

        Goes on as `delete`. None: it is needed, or gone already.
        """
        async with self._database.write(Failpoint.FILE_DELETE) as session:
            file = await self._locked(session, account_id, file_id)
            if file is None:
                return None
            kept = sa.and_(
                col(Batch.deleted_at).is_(None),
                sa.or_(
                    col(Batch.results_expire_at).is_(None), col(Batch.results_expire_at) > now()
                ),
            )
            keeping = await session.exec(
                select(Batch.id)
                .where(Batch.input_file_id == file_id, sa.or_(_reads(), kept))
                .limit(1)
            )
            if keeping.first() is not None:
                return None
            return await _deleted(session, file)

    async def _locked(self, session: AsyncSession, account_id: str, file_id: str) -> File | None:
        """A file of an account, with its upload locked before it; None: it is gone."""
        seen = await session.get(File, file_id)
        if seen is None or seen.account_id != account_id:
            return None
        await self._lock(session, account_id, seen.upload_id)
        return await self._database.lock_file(session, file_id)

    async def _lock(self, session: AsyncSession, account_id: str, upload_id: str) -> None:
        """Whatever becomes of one upload happens one after another."""
        await self._database.lock_name(session, "upload", account_id, upload_id)


def _key(account_id: str, upload_id: str) -> dict[str, str]:
    return {"account_id": account_id, "upload_id": upload_id}


def _reads() -> Any:
    """That a batch has not ended, or waits for late answers: its input is read."""
    return sa.or_(col(Batch.state).not_in(TERMINAL), col(Batch.awaited) > 0)


async def _deleted(session: AsyncSession, file: File) -> File:
    await session.delete(file)
    await session.merge(_discarded_now(file.account_id, file.upload_id))
    return file


async def _count_open(session: AsyncSession, account_id: str, moment: datetime) -> int:
    query = select(sa.func.count()).where(
        Upload.account_id == account_id, col(Upload.open_until) > moment
    )
    return (await session.exec(query)).one()


async def _count_bytes(session: AsyncSession, account_id: str, upload_id: str) -> int:
    """Bytes of the account's files and of its uploads but one."""
    files = select(sa.func.coalesce(sa.func.sum(File.bytes), 0)).where(
        File.account_id == account_id
    )
    uploads = select(sa.func.coalesce(sa.func.sum(Upload.bytes), 0)).where(
        Upload.account_id == account_id, Upload.upload_id != upload_id
    )
    # In one statement: an upload that becomes a file meanwhile is one of the two.
    query = sa.select(files.scalar_subquery(), uploads.scalar_subquery())
    stored, held = (await session.exec(query)).one()  # type: ignore[call-overload]
    return int(stored) + int(held)


def _upload_now(account_id: str, upload_id: str) -> Upload:
    return Upload(account_id=account_id, upload_id=upload_id, created_at=now())


def _discarded_now(account_id: str, upload_id: str) -> Upload:
    upload = _upload_now(account_id, upload_id)
    upload.open_until = DISCARDED
    return upload
