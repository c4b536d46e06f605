"""Of the submit step: put a shard's lines into the provider's form, in a local file.

In: a shard's line list and the user's file. Out: a file as the provider takes it, with our own
custom ids; failed result lines of requests that cannot be translated. What can go wrong: a line
is refused (it costs nothing else), the shard is over a limit of the provider in its form
(Overfull: it is cut), the disk is full or the store away (raised: the item comes back).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from core.batchfile import (
    ResultWriter,
    answer_line,
    error_json,
    read_listed,
    valid_body,
    valid_custom_id,
)
from core.blobs import BlobStore, StoredFile, require_headroom
from core.endpoints import EMBEDDINGS
from core.failpoints import Failpoint
from core.ledger import Batch, File, Shard
from core.providers import LineRejected, Provider, embedding_inputs

_FLUSH_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True)
class Written:
    """The file is written."""

    size: int
    sha256: str
    lines: int
    rejected: int
    rejects_prefix: str
    """Stored result lines of the rejected requests; empty if there are none."""


@dataclass(frozen=True, slots=True)
class Overfull:
    """In the provider's form the shard is over a limit: only so many lines fit."""

    fitting: int


async def write_request_file(
    path: Path,
    *,
    batch: Batch,
    shard: Shard,
    file: File,
    token: str,
    provider: Provider,
    blobs: BlobStore,
    segment_bytes: int,
    reserve: int = 0,
) -> Written | Overfull:
    """Translate the shard's lines into `path`.

    A line that cannot be put into the provider's form becomes a failed result line
    and costs nothing else. What a lenient batch leaves out of lines is stored under
    the shard's dropped_prefix. `reserve`: bytes that stay free on the disk of `path`.

    Raises BlobUnavailable, and OSError for the file itself.
    """
    data = await StoredFile.open(blobs, f"{file.prefix}/data")
    models = [group["model"] for group in file.groups]
    # Once, as each look at a row of the ledger costs as much as a decoded line.
    prefix, endpoint, lenient = f"{shard.id}-{token}-", batch.endpoint, batch.lenient_translation
    beside = _BesideFile(blobs, batch, shard, token, segment_bytes)
    with path.open("wb") as opened:
        requests = _Requests(opened, path.parent, provider, batch.endpoint, reserve)
        async for group in read_listed(data, blobs, shard.lines_key, shard.line_count):
            for (_offset, _length, line, number, _flags), raw in group:
                body = valid_body(raw)
                try:
                    encoded, dropped = provider.encode_line(
                        f"{prefix}{line}", endpoint, models[number], body, lenient=lenient
                    )
                except LineRejected as rejection:
                    await beside.reject(line, valid_custom_id(raw), models[number], rejection)
                    continue
                if not requests.add(encoded, body):
                    return Overfull(fitting=requests.lines + beside.rejected)
                if dropped:
                    await beside.drop(line, dropped)
            await requests.flush()
        await requests.close()
    return Written(
        size=requests.written,
        sha256=requests.digest.hexdigest(),
        lines=requests.lines,
        rejected=beside.rejected,
        rejects_prefix=await beside.close(),
    )


class _Requests:
    """The requests in the provider's framing, within its limits."""

    def __init__(
        self, file: BinaryIO, folder: Path, provider: Provider, endpoint: str, reserve: int
    ) -> None:
        self._file = file
        self._folder = folder
        self._reserve = reserve
        self._framing = provider.framing
        self._limits = provider.limits
        self._counts_inputs = endpoint == EMBEDDINGS and provider.limits.max_embedding_inputs
        self._pending = bytearray(provider.framing.prefix)
        self._inputs = 0
        self.digest = hashlib.sha256()
        self.written = 0
        self.lines = 0

    def add(self, encoded: bytes, body: bytes) -> bool:
        """Add a request; False where the file would be over a limit. The first always fits."""
        framing, limits = self._framing, self._limits
        if self._counts_inputs:
            self._inputs += embedding_inputs(body)
        size = self.written + len(self._pending) + len(encoded) + len(framing.separator)
        if self.lines and (
            size + len(framing.suffix) > limits.max_bytes
            or self._inputs > (limits.max_embedding_inputs or self._inputs)
        ):
            return False
        if self.lines:
            self._pending += framing.separator
        self._pending += encoded
        self.lines += 1
        return True

    async def flush(self, *, least: int = _FLUSH_BYTES) -> None:
        """Write what is pending, if it is so much. Raises OSError."""
        if len(self._pending) >= least:
            chunk = bytes(self._pending)
            self._pending.clear()
            self.written += len(chunk)
            await asyncio.to_thread(self._write, chunk)

    async def close(self) -> None:
        """Write the rest."""
        self._pending += self._framing.suffix
        await self.flush(least=0)

    def _write(self, chunk: bytes) -> None:
        require_headroom(self._folder, len(chunk), self._reserve)
        self._file.write(chunk)
        self.digest.update(chunk)


class _BesideFile:
    """What is not sent: failed result lines, and lists of what was left out of lines."""

    def __init__(
        self, blobs: BlobStore, batch: Batch, shard: Shard, token: str, segment_bytes: int
    ) -> None:
        self._blobs = blobs
        self._batch = batch
        self._shard = shard
        self._segment_bytes = segment_bytes
        self._rejects_prefix = f"batches/{batch.id}/shards/{shard.id}/rejects/{token}"
        self._dropped_prefix = shard.dropped_prefix(token)
        self._rejects: ResultWriter | None = None
        self._dropped: ResultWriter | None = None
        self.rejected = 0

    async def reject(self, line: int, custom_id: str, model: str, rejection: LineRejected) -> None:
        """End a line that cannot be put into the provider's form."""
        if self._rejects is None:
            self._rejects = self._writer(self._rejects_prefix, Failpoint.SHARD_REJECTS)
        error = error_json(rejection.reason, f"{rejection.field}: {rejection.message}")
        attempts = self._shard.round
        answer = answer_line(
            self._batch.id, line, custom_id, None, error, model=model, attempts=attempts
        )
        await self._rejects.append(line, answer, succeeded=False)
        self.rejected += 1

    async def drop(self, line: int, paths: Sequence[str]) -> None:
        """Note what was left out of a line."""
        if self._dropped is None:
            self._dropped = self._writer(self._dropped_prefix, Failpoint.SHARD_DROPPED)
        await self._dropped.append(line, msgspec.json.encode(paths), succeeded=True)

    async def close(self) -> str:
        """End the writing; returns the prefix of the failed lines, empty if there are none."""
        for writer in (self._rejects, self._dropped):
            if writer is not None:
                await writer.close()
        return self._rejects_prefix if self.rejected else ""

    def _writer(self, prefix: str, point: Failpoint) -> ResultWriter:
        return ResultWriter(self._blobs, prefix, point=point, segment_bytes=self._segment_bytes)
