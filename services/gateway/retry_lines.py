"""Which lines of an ended batch a retry of it takes.

In: the batch, its family, and the codes and causes that are asked for. Out: those of its lines that
failed so, each with its index record, in the order of the input, but for those that another retry
has answered or may still answer. Memory: a few reads, and a group of line numbers of each retry.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass

from core.batchfile import (
    INDEX,
    INVALID,
    LENIENT,
    ResultFile,
    ResultLine,
    listed_lines,
    read_failure,
    read_records,
    stream_records,
)
from core.blobs import BlobMissing, BlobStore, StoredFile
from core.failure_causes import providers_by_model
from core.ledger import Batch, File, Ledger, Shard

Taken = list[tuple[tuple[int, ...], bytes]]
"""Index records with their lines."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which of the lines that did not succeed."""

    codes: frozenset[str] = frozenset()
    """With one of these error codes; none: whatever it is."""
    cause_ids: frozenset[str] = frozenset()
    """Likewise."""

    @property
    def all(self) -> bool:
        """Whether nobody has to read why a line failed."""
        return not self.codes and not self.cause_ids

    def among(self, lines: Sequence[ResultLine], providers: dict[str, str]) -> list[int]:
        """The numbers of those that are wanted, of result lines that did not succeed."""
        found = []
        for line in lines:
            failure = read_failure(line.raw)
            if self.codes and failure.code not in self.codes:
                continue
            if self.cause_ids and failure.cause(providers).id not in self.cause_ids:
                continue
            found.append(line.number)
        return found


class RetryLines:
    """Chooses them."""

    def __init__(self, ledger: Ledger, blobs: BlobStore) -> None:
        self._ledger = ledger
        self._blobs = blobs

    async def chosen(
        self,
        batch: Batch,
        file: File,
        family: Sequence[Batch],
        awaited: Sequence[Shard],
        wanted: Wanted,
    ) -> AsyncGenerator[Taken, None]:
        """Yield groups of lines.

        `family`: the batch and all that retry lines of the same file, but for those that it retries
        lines of itself; `awaited`: shards of the family that a provider may still answer, of those
        batches that have ended.

        Raises BlobMissing where results or input go meanwhile.
        """
        results = await ResultFile.open(self._blobs, batch.results_prefix)
        index = await StoredFile.open(self._blobs, f"{file.prefix}/index")
        data = await StoredFile.open(self._blobs, f"{file.prefix}/data")
        if not results.line_count == batch.total == index.size // INDEX.size:
            raise BlobMissing("results or input are gone", key=batch.results_prefix)
        bad = INVALID if batch.lenient_translation else INVALID | LENIENT
        async with AsyncExitStack() as stack:
            settled = [
                _Numbers(await stack.enter_async_context(aclosing(lines)))
                for lines in await self._left_out(batch, family, awaited)
            ]
            failed = _Numbers(
                await stack.enter_async_context(aclosing(_failed(results, file, wanted)))
            )
            records = await stack.enter_async_context(aclosing(stream_records(index, INDEX.size)))
            first = 0
            async for chunk in records:
                count = len(chunk) // INDEX.size
                at = [number - first for number in await failed.until(first + count - 1)]
                first += count
                found = [INDEX.unpack_from(chunk, number * INDEX.size) for number in at]
                found = [record for record in found if not record[4] & bad]
                if not found:
                    continue
                answered: set[int] = set()
                for numbers in settled:
                    answered.update(await numbers.until(found[-1][2]))
                found = [record for record in found if record[2] not in answered]
                async with aclosing(read_records(data, found)) as groups:
                    async for group in groups:
                        yield group

    async def _left_out(
        self, batch: Batch, family: Sequence[Batch], awaited: Sequence[Shard]
    ) -> list[AsyncGenerator[list[int], None]]:
        """Numbers of lines that were answered, or may still be, each stream in rising order."""
        streams = [_listed(self._blobs, each.lines_key, each.line_count) for each in awaited]
        for retry in family:
            if retry.id == batch.id or retry.deleted_at is not None:
                continue
            if not retry.ended:
                file = await self._ledger.files.get_input(retry)
                if file is None:
                    raise BlobMissing("the input of a retry is gone", key=retry.id)
                index = await StoredFile.open(self._blobs, f"{file.prefix}/index")
                if index.size != file.line_count * INDEX.size:
                    # Half deleted: the retry has ended, and went, since the family was read.
                    raise BlobMissing("the input of a retry is gone", key=file.prefix)
                streams.append(_indexed(index))
            elif retry.results_prefix:
                results = await ResultFile.open(self._blobs, retry.results_prefix)
                if results.line_count != retry.total:
                    raise BlobMissing("the results of a retry are gone", key=retry.results_prefix)
                streams.append(_succeeded(results))
        return streams


class _Numbers:
    """A stream of rising numbers, and where its reader stands."""

    def __init__(self, groups: AsyncIterator[list[int]]) -> None:
        self._groups = groups
        self._ahead: list[int] = []

    async def until(self, last: int) -> list[int]:
        """Those up to `last` that were not asked for before."""
        found: list[int] = []
        while not self._ahead or self._ahead[-1] <= last:
            found += self._ahead
            self._ahead = await anext(self._groups, [])
            if not self._ahead:
                return found
        found += [number for number in self._ahead if number <= last]
        self._ahead = [number for number in self._ahead if number > last]
        return found


async def _failed(
    results: ResultFile, file: File, wanted: Wanted
) -> AsyncGenerator[list[int], None]:
    """The numbers of records of lines that did not succeed, as far as they are wanted."""
    if wanted.all:
        async with aclosing(results.numbered(succeeded=False)) as groups:
            async for group in groups:
                if group:
                    yield [number for number, _ in group]
        return
    providers = providers_by_model(file.groups)
    async with aclosing(results.lines(succeeded=False)) as found:
        async for lines in found:
            # Patterns over thousands of messages would hold up the event loop.
            numbers = await asyncio.to_thread(wanted.among, lines, providers)
            if numbers:
                yield numbers


async def _succeeded(results: ResultFile) -> AsyncGenerator[list[int], None]:
    async with aclosing(results.numbered(succeeded=True)) as groups:
        async for group in groups:
            if group:
                yield [line for _, line in group]


async def _indexed(index: StoredFile) -> AsyncGenerator[list[int], None]:
    async with aclosing(stream_records(index, INDEX.size)) as chunks:
        async for chunk in chunks:
            yield [line for _, _, line, _, _ in INDEX.iter_unpack(chunk)]


async def _listed(blobs: BlobStore, key: str, count: int) -> AsyncGenerator[list[int], None]:
    yield list((await listed_lines(blobs, key, count)).lines)
