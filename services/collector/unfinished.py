"""Results that could not be written to their end."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from core.batchfile import ResultWriter
from core.blobs import BlobError, BlobStore
from core.failpoints import Failpoint


@asynccontextmanager
async def deleted_unless_written(
    blobs: BlobStore, prefix: str, writer: ResultWriter, *, point: Failpoint
) -> AsyncGenerator[None, None]:
    """Delete what lies under a prefix if the block, which writes it with the writer, fails.

    The next attempt has a prefix of its own, and so has each one after it: on a disk without room
    they would take whatever becomes free, and leave none for a whole file.
    """
    try:
        yield
    except Exception:
        await writer.abandon()
        with suppress(BlobError):
            await blobs.delete_prefix(prefix, point=point)
        raise
