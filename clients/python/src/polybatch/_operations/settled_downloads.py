"""Downloads of what is settled so far, and of families of batches.

What breaks off goes on behind the last whole line that came, so that no line comes twice.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from polybatch import models
from polybatch._operations.calls import Caller
from polybatch._operations.watches import Watches
from polybatch._transport import methods
from polybatch.errors import DataError, PolybatchError
from polybatch.models import ResultFilter
from polybatch.v1 import results_pb2

ExtentObserver = Callable[["models.ResultsExtent"], None]
"""Called with how much there is, before the lines come; of results that are followed, again each
time that there is more."""

_HEAD = b'{"id":"'
_NEWLINE = b"\n"


class SettledDownloads:
    """ResultService.DownloadResults with `partial` or `merged`."""

    def __init__(self, caller: Caller, watches: Watches) -> None:
        self._caller = caller
        self._watches = watches

    async def lines(
        self,
        batch_id: str,
        which: ResultFilter,
        *,
        follow: bool = False,
        merged: bool = False,
        on_extent: ExtentObserver | None = None,
    ) -> AsyncGenerator[models.ResultLine, None]:
        """Yields lines of the results, each once; see `chunks`."""
        pieces = self.chunks(batch_id, which, follow=follow, merged=merged, on_extent=on_extent)
        async with aclosing(pieces):
            async for lines in pieces:
                for raw in lines.split(_NEWLINE)[:-1]:
                    yield models.ResultLine.parse(raw)

    async def chunks(
        self,
        batch_id: str,
        which: ResultFilter,
        *,
        follow: bool = False,
        merged: bool = False,
        on_extent: ExtentObserver | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Yields whole lines: what is settled so far, in input order.

        `follow`: then what comes next, in input order among itself, until the batch has ended;
        `merged`: those of the batch and of its retries, instead.
        """
        if merged and follow:
            raise ValueError("follow and merged exclude each other: leave out one")
        settled_after = 0
        while True:
            download = _Download(self._caller, batch_id, which, settled_after, merged, on_extent)
            async with aclosing(download.chunks()) as pieces:
                async for lines in pieces:
                    yield lines
            header = download.header
            if not follow or not header.incomplete:
                return
            settled_after = header.settled_until
            await self._more(batch_id, settled_after, header.settled_line_count)

    async def _more(self, batch_id: str, revision: int, settled_lines: int) -> None:
        """Returns once more lines of a batch are settled, or it has ended."""
        snapshots = self._watches.watch(batch_id, last_revision=revision, within=None)
        async with aclosing(snapshots):
            async for batch in snapshots:
                counts = batch.request_counts
                settled = counts.succeeded + counts.failed + counts.cancelled + counts.expired
                if batch.ended or settled > settled_lines:
                    return


class _Download:
    """One of them: its header, once it has come, and its lines."""

    def __init__(
        self,
        caller: Caller,
        batch_id: str,
        which: ResultFilter,
        settled_after: int,
        merged: bool,
        on_extent: ExtentObserver | None,
    ) -> None:
        self._caller = caller
        self._on_extent = on_extent
        self._request = results_pb2.DownloadResultsRequest(
            batch_id=batch_id,
            filter=which.to_proto(),
            partial=not merged,
            merged=merged,
            settled_after=settled_after,
        )
        self._received = 0
        self.header: Any = None

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yields whole lines, as many as the header announces."""
        attempts = self._caller.attempts(methods.DOWNLOAD_RESULTS.server)
        while True:
            stream = self._caller.transport.replies(methods.DOWNLOAD_RESULTS, self._request)
            begun: list[bytes] = []
            try:
                while (reply := await stream.read()) is not None:
                    if reply.WhichOneof("payload") == "header":
                        self._take_header(reply.header)
                        continue
                    attempts.progress()
                    whole, newline, rest = reply.chunk.rpartition(_NEWLINE)
                    if newline:
                        lines = b"".join([*begun, whole, newline])
                        begun.clear()
                        self._note(lines)
                        yield lines
                    if rest:
                        begun.append(rest)
                if self.header is not None and not begun and self._is_complete():
                    return
                raise stream.ended_early("the download")
            except PolybatchError as error:
                await attempts.pause(error)
            finally:
                stream.cancel()

    def _take_header(self, header: Any) -> None:
        if self.header is None:
            self.header = header
            # Whatever is settled meanwhile, after a break the same lines come again.
            self._request.settled_until = header.settled_until
            if self._on_extent is not None:
                self._on_extent(models.ResultsExtent.from_proto(header))

    def _note(self, lines: bytes) -> None:
        self._received += lines.count(_NEWLINE)
        last = lines[lines.rfind(_NEWLINE, 0, -1) + 1 :]
        self._request.after_line = _number(last)

    def _is_complete(self) -> bool:
        if self._request.merged and self._request.filter:
            # How many are left may change meanwhile, as retries end.
            return True
        return bool(self._received == self.header.line_count)


def _number(line: bytes) -> int:
    """The number of its input line, at the end of a result line's id. DataError if it has none."""
    end = line.find(b'"', len(_HEAD))
    digits = line[:end].rpartition(b"-")[2]
    if not line.startswith(_HEAD) or not digits.isdigit():
        raise DataError(
            "a line of the results does not say which line of the input it is of.",
            reason="RESULT_UNREADABLE",
        )
    return int(digits)
