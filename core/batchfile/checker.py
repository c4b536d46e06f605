"""Checks an upload and stores what the check gives: the line index and the report."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass

from core.batchfile.diagnosis import Rules
from core.batchfile.duplicates import Duplicates, duplicate_problems
from core.batchfile.index import INDEX, Group, Tally, mark_invalid, stream_records
from core.batchfile.problems import Problem, encode_report, merge_problems, read_report
from core.batchfile.scanner import LineScanner, Scanned
from core.blobs import BlobStore, SegmentWriter, StoredFile

SHOWN_PROBLEMS = 20
_LINES_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """What is known of a file once all of it is checked."""

    endpoint: str
    """The url of all valid lines; empty if there is none."""
    bytes: int
    line_count: int
    """Lines that are not blank; 0 for an empty file."""
    invalid_count: int
    groups: list[Group]
    """The index's group numbers point in here; a group may have no valid line."""
    problem_count: int
    """Errors in the report; warnings left out."""
    problems: list[Problem]
    """The first 20 errors."""


class FileChecker:
    """Checks one file chunk by chunk; stores `{prefix}/index` and `{prefix}/report`.

    Both are written anew by each checker, so an upload that is resumed is fed again
    from its first byte. Memory as LineScanner, and a few segments.
    """

    def __init__(
        self,
        store: BlobStore,
        prefix: str,
        rules: Rules,
        *,
        max_line_bytes: int,
        max_lines: int,
        segment_bytes: int,
    ) -> None:
        self._store = store
        self._index_prefix = f"{prefix}/index"
        self._report_prefix = f"{prefix}/report"
        self._segment_bytes = segment_bytes
        self._scanner = LineScanner(rules, max_line_bytes=max_line_bytes, max_lines=max_lines)
        self._index = self._writer(self._index_prefix)
        self._report = self._writer(self._report_prefix)
        self._shown = _Shown()

    async def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file.

        Raises TooManyLines, BlobUnavailable.
        """
        # A chunk of very short bad lines makes more problems than bytes: in pieces, it
        # holds up the event loop, and fills the memory, a little at a time.
        pieces = 1 + chunk.count(b"\n") // _LINES_AT_ONCE
        if pieces == 1:
            await self._store_scanned(self._scanner.feed(chunk))
            return
        size = -(-len(chunk) // pieces)
        for start in range(0, len(chunk), size):
            await self._store_scanned(self._scanner.feed(chunk[start : start + size]))
            await asyncio.sleep(0)

    async def finish(self, data: StoredFile) -> CheckedFile:
        """End the check. `data`: the file as stored, for the ids of duplicates.

        Raises TooManyLines, BlobUnavailable.
        """
        scanned, summary = await asyncio.to_thread(self._scanner.finish)
        await self._store_scanned(scanned)
        await self._index.close()
        await self._report.close()
        groups, invalid_count = summary.groups, summary.invalid_count
        if summary.duplicates:
            tally = await self._mark(summary.duplicates, groups)
            groups, invalid_count = tally.groups, tally.invalid_count
            await self._report_duplicates(data, summary.duplicates)
        return CheckedFile(
            endpoint=summary.endpoint,
            bytes=summary.bytes,
            line_count=summary.line_count,
            invalid_count=invalid_count,
            groups=groups,
            problem_count=self._shown.count,
            problems=self._shown.first,
        )

    async def abandon(self) -> None:
        """Stop; what was stored is replaced by the next checker."""
        await self._index.abandon()
        await self._report.abandon()

    async def _store_scanned(self, scanned: Scanned) -> None:
        await self._index.write(scanned.index)
        if scanned.problems:
            self._shown.add(scanned.problems)
            await self._report.write(encode_report(scanned.problems))

    async def _mark(self, duplicates: Duplicates, groups: Sequence[Group]) -> Tally:
        tally = Tally(groups)
        index = await StoredFile.open(self._store, self._index_prefix)
        records = stream_records(index, INDEX.size)
        await self._rewrite(self._index_prefix, mark_invalid(records, duplicates.lines, tally))
        return tally

    async def _report_duplicates(self, data: StoredFile, duplicates: Duplicates) -> None:
        index = await StoredFile.open(self._store, self._index_prefix)
        report = await StoredFile.open(self._store, self._report_prefix)
        self._shown = _Shown()
        merged = merge_problems(read_report(report), duplicate_problems(data, index, duplicates))
        await self._rewrite(self._report_prefix, self._encoded(merged))

    async def _encoded(
        self, groups: AsyncIterator[Sequence[Problem]]
    ) -> AsyncGenerator[bytes, None]:
        async for group in groups:
            self._shown.add(group)
            yield encode_report(group)

    async def _rewrite(self, prefix: str, contents: AsyncIterator[bytes]) -> None:
        """Replace a stored file by what is made of it while it is read."""
        interim = f"{prefix}.new"
        await self._write(interim, contents)
        made = await StoredFile.open(self._store, interim)
        await self._write(prefix, made.stream())
        await self._store.delete_prefix(interim)

    async def _write(self, prefix: str, contents: AsyncIterator[bytes]) -> None:
        writer = self._writer(prefix)
        async for piece in contents:
            await writer.write(piece)
        await writer.close()

    def _writer(self, prefix: str) -> SegmentWriter:
        return SegmentWriter(self._store, prefix, segment_bytes=self._segment_bytes, overwrite=True)


class _Shown:
    """Counts the errors and keeps the first ones."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[Problem] = []

    def add(self, problems: Sequence[Problem]) -> None:
        for problem in problems:
            if problem.severity == "error":
                self.count += 1
                if len(self.first) < SHOWN_PROBLEMS:
                    self.first.append(problem)
