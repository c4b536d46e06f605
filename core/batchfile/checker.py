"""Checks an upload and stores what the check gives: the line index and the report."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass

from core.batchfile.duplicates import duplicate_problems
from core.batchfile.index import (
    INDEX,
    INDEX_SEGMENT_BYTES,
    Group,
    Tally,
    mark_invalid,
    whole_records,
)
from core.batchfile.problems import Problem, decode_report, encode_report, merge_problems
from core.batchfile.problems_so_far import ProblemsSoFar
from core.batchfile.rules import Rules
from core.batchfile.scanner import LineScanner, Scanned, Summary
from core.batchfile.scratch import Scratch
from core.batchfile.totals import encode_totals
from core.blobs import BlobError, BlobStore, SegmentWriter, StoredFile
from core.failpoints import Failpoint
from core.json_depth import MAX_DEPTH

SHOWN_PROBLEMS = 20
_POINTS = {
    "index": Failpoint.UPLOAD_INDEX,
    "media": Failpoint.UPLOAD_INDEX,
    "report": Failpoint.UPLOAD_REPORT,
}


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """What is known of a file once all of it is checked."""

    endpoint: str
    """The url of all valid lines; empty if there is none."""
    bytes: int
    line_count: int
    """Lines that are not blank; 0 for an empty file."""
    invalid_count: int
    """Lines that not every batch takes."""
    lenient_count: int
    """Of these, lines that a lenient batch takes."""
    groups: list[Group]
    """The index's group numbers point in here; a group may have no valid line."""
    problem_count: int
    """Errors in the report; warnings left out."""
    problems: list[Problem]
    """The first 20 errors."""


class FileChecker:
    """Checks one file chunk by chunk; in the end stores `{prefix}/index` and `{prefix}/report`.

    With images, recordings or files in it also `{prefix}/media`: what they weigh, by line. And
    `{prefix}/totals`, what the estimate of its cost needs, unless ids come twice.

    An upload that is resumed is fed again, from its first byte, to a new checker. What
    comes out is the same each time, so two that end at once do no harm. Memory as
    LineScanner, and a few segments.
    """

    def __init__(
        self,
        store: BlobStore,
        prefix: str,
        rules: Rules,
        *,
        max_line_bytes: int,
        max_lines: int,
        max_depth: int = MAX_DEPTH,
        segment_bytes: int,
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._segment_bytes = min(segment_bytes, INDEX_SEGMENT_BYTES)
        self._scanner = LineScanner(
            rules, max_line_bytes=max_line_bytes, max_lines=max_lines, max_depth=max_depth
        )
        # Nothing final before the end: only then is it known which ids come twice.
        self._scratch = f"{prefix}/scratch/{secrets.token_hex(8)}"
        self._index = Scratch(store, f"{self._scratch}/index", segment_bytes=self._segment_bytes)
        self._report = Scratch(store, f"{self._scratch}/report", segment_bytes=self._segment_bytes)
        self._media = Scratch(store, f"{self._scratch}/media", segment_bytes=self._segment_bytes)
        self._has_media = False
        self._shown = _Shown()
        self._so_far = ProblemsSoFar(store, prefix)

    async def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file.

        Raises TooManyLines, BlobUnavailable.
        """
        for number, scanned in enumerate(self._scanner.feed(chunk)):
            if number:
                # Many short lines: others have their turn in between.
                await asyncio.sleep(0)
            await self._keep(scanned)

    async def tell(self) -> None:
        """Let others see the problems found so far; seldom enough to cost nothing.

        Raises BlobUnavailable.
        """
        await self._so_far.tell(self._shown.count, self._shown.first)

    async def finish(self, data: StoredFile) -> CheckedFile:
        """End the check. `data`: the file as stored, for the ids of duplicates.

        Raises TooManyLines, BlobUnavailable.
        """
        scanned, summary = await asyncio.to_thread(self._scanner.finish)
        await self._keep(scanned)
        counts: Summary | Tally = summary
        if summary.duplicates:
            counts = Tally(summary.groups)
            records = whole_records(self._index.stream(), INDEX.size)
            await self._store_as("index", mark_invalid(records, summary.duplicates.lines, counts))
            # The totals are of too many lines: whoever asks for them has the file read for them.
            await self._store.delete([f"{self._prefix}/totals"], point=Failpoint.UPLOAD_TOTALS)
        else:
            await self._store_as("index", self._index.stream())
            totals = encode_totals(summary.totals)
            await self._store.put(f"{self._prefix}/totals", totals, point=Failpoint.UPLOAD_TOTALS)
        if self._has_media:
            await self._store_as("media", self._media.stream())
        if summary.duplicates or summary.warnings:
            await self._store_as("report", self._merged(data, summary))
        else:
            await self._store_as("report", self._report.stream())
        # What crashed checkers of this upload left, too.
        await self._store.delete_prefix(
            f"{self._prefix}/scratch", point=Failpoint.UPLOAD_SCRATCH_DELETE
        )
        return CheckedFile(
            endpoint=summary.endpoint,
            bytes=summary.bytes,
            line_count=summary.line_count,
            invalid_count=counts.invalid_count,
            lenient_count=counts.lenient_count,
            groups=counts.groups,
            problem_count=self._shown.count,
            problems=self._shown.first,
        )

    async def abandon(self) -> None:
        """Stop; leaves nothing behind, unless the store is away."""
        await self._index.abandon()
        await self._report.abandon()
        await self._media.abandon()
        # Often called because the store is away; the next checker to end deletes it.
        with suppress(BlobError):
            await self._store.delete_prefix(self._scratch, point=Failpoint.UPLOAD_SCRATCH_DELETE)

    async def _keep(self, scanned: Scanned) -> None:
        await self._index.write(scanned.index)
        if scanned.media:
            self._has_media = True
            await self._media.write(scanned.media)
        if scanned.problems:
            self._shown.add(scanned.problems)
            await self._report.write(encode_report(scanned.problems))

    async def _merged(self, data: StoredFile, summary: Summary) -> AsyncGenerator[bytes, None]:
        """The whole report, in line order."""
        self._shown = _Shown()
        index = await StoredFile.open(self._store, f"{self._prefix}/index")
        late = merge_problems(
            _group_of(summary.warnings), duplicate_problems(data, index, summary.duplicates)
        )
        async for group in merge_problems(decode_report(self._report.stream()), late):
            self._shown.add(group)
            yield encode_report(group)

    async def _store_as(self, name: str, contents: AsyncGenerator[bytes, None]) -> None:
        writer = SegmentWriter(
            self._store,
            f"{self._prefix}/{name}",
            point=_POINTS[name],
            segment_bytes=self._segment_bytes,
            overwrite=True,
        )
        async with aclosing(contents):
            async for piece in contents:
                await writer.write(piece)
        await writer.close()


async def _group_of(problems: list[Problem]) -> AsyncGenerator[list[Problem], None]:
    yield problems


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
