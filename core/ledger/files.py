"""Input files and the uploads that become them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import delete, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from core.failpoints import Failpoint
from core.ledger.database import Database
from core.ledger.states import TERMINAL
from core.ledger.tables import Batch, File, Upload, now


@dataclass(frozen=True, slots=True)
class FileInUse:
    """The file cannot go: a batch that has not ended reads it."""

    batch_id: str


class Files:
    """Input files of all accounts. Every read names the account that asks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin_upload(self, account_id: str, upload_id: str) -> File | None:
        """Note that an upload goes on now. Returns the file when it is finished already."""
        async with self._database.write(Failpoint.UPLOAD_BEGIN) as session:
            await self._lock(session, account_id, upload_id)
            found = await session.exec(
                select(File).where(File.account_id == account_id, File.upload_id == upload_id)
            )
            file = found.first()
            if file is None:
                await session.merge(_upload_now(account_id, upload_id))
            return file

    async def finish_upload(self, file: File) -> File:
        """Record a checked file. When another stream was faster, its file is returned."""
        async with self._database.write(Failpoint.UPLOAD_FINISH) as session:
            await self._lock(session, file.account_id, file.upload_id)
            found = await session.exec(
                select(File).where(
                    File.account_id == file.account_id, File.upload_id == file.upload_id
                )
            )
            earlier = found.first()
            if earlier is not None:
                return earlier
            session.add(file)
            await session.exec(
                delete(Upload).where(
                    col(Upload.account_id) == file.account_id,
                    col(Upload.upload_id) == file.upload_id,
                )
            )
        return file

    async def find_upload(self, account_id: str, upload_id: str) -> File | Upload | None:
        """The file that an upload became, or the upload that goes on."""
        async with self._database.read() as session:
            found = await session.exec(
                select(File).where(File.account_id == account_id, File.upload_id == upload_id)
            )
            return found.first() or await session.get(Upload, (account_id, upload_id))

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
        self, account_id: str, size: int, after: tuple[datetime, str] | None
    ) -> list[File]:
        """Files newest first, from behind the (created_at, id) of the last one seen."""
        query = select(File).where(File.account_id == account_id)
        if after is not None:
            query = query.where(
                sa.tuple_(col(File.created_at), col(File.id)) < sa.tuple_(*map(sa.literal, after))
            )
        query = query.order_by(col(File.created_at).desc(), col(File.id).desc()).limit(size)
        async with self._database.read() as session:
            return list(await session.exec(query))

    async def delete(self, account_id: str, file_id: str) -> File | FileInUse | None:
        """Delete a file's row unless a batch still needs it; returns the row that went.

        Its upload is an unfinished one from then on, which the caller forgets once it has
        deleted the blobs; if it dies before, the sweep of stale uploads does both.
        """
        async with self._database.write(Failpoint.FILE_DELETE) as session:
            seen = await session.get(File, file_id)
            if seen is None or seen.account_id != account_id:
                return None
            await self._lock(session, account_id, seen.upload_id)
            file = await self._database.lock_file(session, file_id)
            if file is None:
                return None
            found = await session.exec(
                select(Batch.id)
                .where(Batch.input_file_id == file_id, col(Batch.state).not_in(TERMINAL))
                .limit(1)
            )
            reader = found.first()
            if reader is not None:
                return FileInUse(reader)
            await session.delete(file)
            await session.merge(_upload_now(file.account_id, file.upload_id))
            return file

    async def _lock(self, session: AsyncSession, account_id: str, upload_id: str) -> None:
        """Whatever becomes of one upload happens one after another."""
        await self._database.lock_name(session, "upload", account_id, upload_id)


def _upload_now(account_id: str, upload_id: str) -> Upload:
    return Upload(account_id=account_id, upload_id=upload_id, created_at=now())
