"""What a file's lines ask for, added up: as its upload left it, or read from the file once.

The check of an upload leaves the totals beside the file. A file has none that came before there
were totals, or in which ids came twice: its lines are read the first time that somebody asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import structlog

from core.batchfile import (
    INDEX,
    INVALID,
    LENIENT,
    OPEN,
    LineSum,
    MediaTokens,
    Totals,
    asked_of,
    decode_request,
    decode_totals,
    encode_totals,
    read_records,
    stream_records,
)
from core.blobs import BlobMissing, BlobStore, StoredFile
from core.failpoints import Failpoint
from core.ledger import File, Ledger
from core.providers import look

log = structlog.get_logger()


class FileTotals:
    """The totals of files."""

    def __init__(self, ledger: Ledger, blobs: BlobStore) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._reading: dict[str, asyncio.Task[list[LineSum]]] = {}

    async def of(self, file: File) -> list[LineSum]:
        """The totals of a file; reads it where nobody has yet, some 20 s for a million lines.

        A caller that goes away meanwhile does not stop the reading: when it asks again it gets
        what the first call was for. Raises BlobMissing where the file is deleted meanwhile, and
        BlobUnavailable.
        """
        try:
            return decode_totals(await self._blobs.get(_key(file)))
        except BlobMissing:
            pass
        reading = self._reading.get(file.id)
        if reading is None:
            reading = self._reading[file.id] = asyncio.create_task(self._read(file))
            reading.add_done_callback(lambda ended: self._forget(file.id, ended))
        return await asyncio.shield(reading)

    def _forget(self, file_id: str, ended: asyncio.Task[list[LineSum]]) -> None:
        del self._reading[file_id]
        if not ended.cancelled() and (error := ended.exception()) is not None:
            # Whoever waits is told as well; nobody may wait any more.
            log.info("file_totals_not_read", file_id=file_id, cause=type(error).__name__)

    async def _read(self, file: File) -> list[LineSum]:
        sums = await _read(file, self._blobs)
        await self._blobs.put(_key(file), encode_totals(sums), point=Failpoint.FILE_TOTALS)
        kept = False
        try:
            kept = await self._ledger.files.get(file.account_id, file.id) is not None
        finally:
            if not kept:
                # Deleted while it was read, or nobody can tell: no one would delete these any more.
                await self._blobs.delete([_key(file)], point=Failpoint.FILE_TOTALS)
        if not kept:
            raise BlobMissing("the file was deleted", key=_key(file))
        return sums


def _key(file: File) -> str:
    return f"{file.prefix}/totals"


async def _read(file: File, blobs: BlobStore) -> list[LineSum]:
    totals = Totals()
    index = await StoredFile.open(blobs, f"{file.prefix}/index")
    data = await StoredFile.open(blobs, f"{file.prefix}/data")
    async for records in stream_records(index, INDEX.size):
        taken = [record for record in INDEX.iter_unpack(records) if not record[4] & INVALID]
        async with aclosing(read_records(data, taken)) as groups:
            async for group in groups:
                # Not on the loop: a group may hold megabytes of images.
                await asyncio.to_thread(add_totals, totals, file, group)
    return totals.sums()


def add_totals(
    totals: Totals,
    file: File,
    lines: Sequence[tuple[tuple[int, ...], bytes]],
    places: dict[int, int] | None = None,
) -> None:
    """Add what lines of a file ask for, each with its index record.

    `places`: of the file's groups in those of another, where the totals are of that one; it is
    given a place for each group that comes.
    """
    for (_offset, length, _line, number, flags), raw in lines:
        group = file.groups[number]
        body = decode_request(raw).body
        asked = asked_of(file.endpoint, body)
        media = look(body, provider=group["provider"], model=group["model"], url=file.endpoint)
        if media.unseen:
            asked = asked._replace(flags=asked.flags | OPEN)
        tokens = MediaTokens(media.tokens, media.audio_tokens, media.at_most)
        size = length - media.data_bytes
        place = number if places is None else places.setdefault(number, len(places))
        totals.add(place, size, asked, tokens, lenient=bool(flags & LENIENT))
