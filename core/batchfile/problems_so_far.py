"""What is wrong with an upload's lines, told while the rest of it is still on its way.

It lies beside the upload's other blobs, so that any replica can say it, and goes when the whole
report takes its place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec

from core.batchfile.problems import Problem
from core.blobs import BlobMissing, BlobStore
from core.failpoints import Failpoint

_LEAST_SECONDS = 1.0


class Found(msgspec.Struct, frozen=True):
    """The first problems, and how many there are; warnings left out."""

    count: int = 0
    first: Sequence[Problem] = ()


class ProblemsSoFar:
    """Those of one upload, as one stream of it finds them."""

    def __init__(
        self, store: BlobStore, prefix: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._key = _key(prefix)
        self._clock = clock
        self._told = 0
        self._due = clock()

    async def tell(self, count: int, first: Sequence[Problem]) -> None:
        """Write them where there are more than were told; once a second at most.

        Raises BlobUnavailable.
        """
        if count == self._told or self._clock() < self._due:
            return
        content = msgspec.json.encode(Found(count, first))
        await self._store.put(self._key, content, point=Failpoint.UPLOAD_PROBLEMS)
        self._told = count
        self._due = self._clock() + _LEAST_SECONDS


async def problems_so_far(store: BlobStore, prefix: str) -> Found:
    """What was told of an upload. Raises BlobUnavailable."""
    try:
        return msgspec.json.decode(await store.get(_key(prefix)), type=Found)
    except BlobMissing:
        return Found()


def _key(prefix: str) -> str:
    # Among what is deleted when the check ends.
    return f"{prefix}/scratch/problems"
