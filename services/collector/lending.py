"""What an ended batch lends: the digests of the requests that it ran with success.

In: its result lines as they are assembled, and the digests that its planning left. Out: those that
other batches may take, stored beside them (core.batchfile.equal_requests). What can go wrong: the
store is away (raised). A death before its end: the same comes out again.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing

from core.batchfile import EQUAL, DigestReader, DigestWriter, Entry, LineOutcome
from core.blobs import BlobMissing, BlobStore
from core.failpoints import Failpoint
from core.ledger import Batch


class LentAnswers:
    """Notes which lines of a batch succeeded, in a bit each; nothing where answers are not
    reused."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._succeeded = bytearray()

    def add(self, lines: Iterable[Entry]) -> None:
        """Take in result lines."""
        if self._batch.reuse_seconds is None:
            return
        succeeded = self._succeeded
        for line, outcome, _ in lines:
            if outcome == LineOutcome.SUCCEEDED:
                if line >> 3 >= len(succeeded):
                    succeeded.extend(bytes((line >> 3) + 1 - len(succeeded)))
                succeeded[line >> 3] |= 1 << (line & 7)

    async def store(self, blobs: BlobStore) -> None:
        """Store what the batch lends. Raises BlobUnavailable."""
        if self._batch.reuse_seconds is None:
            return
        try:
            ran = await DigestReader.open(blobs, self._batch.ran_prefix)
        except BlobMissing:
            # It was stopped before it was planned.
            return
        writer = DigestWriter(blobs, self._batch.lent_prefix, point=Failpoint.BATCH_LENT)
        async with aclosing(ran.all()) as parts:
            async for records in parts:
                await writer.write(
                    [
                        (digest, line)
                        for digest, line in EQUAL.iter_unpack(records)
                        if line >> 3 < len(self._succeeded)
                        and self._succeeded[line >> 3] >> (line & 7) & 1
                    ]
                )
        await writer.close()
