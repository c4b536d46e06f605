"""The lines of a shard that are still to be run: those that are due again, then the rest in order.

In: the shard's line list and its file. Out: one call after the other. What can go wrong: a line
cannot be read (BlobError), or not be put into the provider's form (it is told, and passed over).
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import NamedTuple

from core.batchfile import INDEX, decode_request, read_records
from core.blobs import StoredFile
from core.ledger import File
from core.providers import DirectProvider, LineRejected


class QueuedLine(NamedTuple):
    """A line in the provider's form."""

    position: int
    body: bytes


class LineQueue:
    """Reads a line when its turn comes: in memory are positions alone."""

    def __init__(
        self,
        records: bytes,
        data: StoredFile,
        file: File,
        *,
        url: str,
        provider: DirectProvider,
        final: Callable[[int], bool],
        reject: Callable[[int, LineRejected], None],
        lenient: bool = False,
    ) -> None:
        """`records`: the shard's line list. `final`: whether a position has its result.

        `lenient`: what the provider lacks is left out of requests.
        `reject`: is told of lines that the provider cannot accept.
        """
        self._records = records
        self._data = data
        self._groups = file.groups
        self._url = url
        self._final = final
        self._reject = reject
        # A plug-in for direct providers alone may know no other way.
        self._encode_body = (
            partial(provider.encode_body, lenient=True) if lenient else provider.encode_body
        )
        self._again: list[tuple[float, int]] = []

    def put_back(self, position: int, due: float) -> None:
        """Have a line run again from a moment on, in the event loop's time."""
        heapq.heappush(self._again, (due, position))

    @property
    def next_due(self) -> float | None:
        """When the first of those that were put back may be run; None: there is none."""
        return self._again[0][0] if self._again else None

    async def ready(self, fresh: AsyncGenerator[QueuedLine, None]) -> QueuedLine | None:
        """A line that can be run now: one that is due again, or the next in order (`fresh`)."""
        while self._again and self._again[0][0] <= asyncio.get_running_loop().time():
            _, position = heapq.heappop(self._again)
            offset, length, _, group, _ = INDEX.unpack_from(self._records, position * INDEX.size)
            line = self._encode(position, group, await self._data.read(offset, length))
            if line is not None:
                return line
        return await anext(fresh, None)

    async def fresh(self) -> AsyncGenerator[QueuedLine, None]:
        """The lines without a final result, in order."""
        wanted = (
            (offset, length, position, group)
            for position, (offset, length, _, group, _) in enumerate(
                INDEX.iter_unpack(self._records)
            )
            if not self._final(position)
        )
        async with aclosing(read_records(self._data, wanted)) as groups:
            async for records in groups:
                for (_, _, position, group), raw in records:
                    line = self._encode(position, group, raw)
                    if line is not None:
                        yield line

    def _encode(self, position: int, group: int, raw: bytes) -> QueuedLine | None:
        """The call for a line; None if the provider cannot accept it."""
        model = self._groups[group]["model"]
        try:
            body = bytes(decode_request(raw).body)
            encoded = self._encode_body(self._url, model, body)
        except LineRejected as error:
            self._reject(position, error)
            return None
        return QueuedLine(position, encoded)
