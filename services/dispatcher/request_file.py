"""Step 2 of a batch's lifecycle: put a shard's lines into the provider's form, in a local file.

In: a shard's line list and the user's file. Out: a file as the provider takes it, with our own
custom ids; failed result lines of requests that cannot be translated. What can go wrong: a line
is refused (it costs nothing else), the shard is over a limit of the provider in its form
(Overfull: it is cut), the disk is full or the store away (raised: the item comes back).
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from core.batchfile import (
    ResultWriter,
    answer_line,
    decode_request,
    error_json,
    read_listed,
)
from core.blobs import BlobStore, StoredFile, require_headroom
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
    framing, limits = provider.framing, provider.limits
    rejects_prefix = f"batches/{batch.id}/shards/{shard.id}/rejects/{token}"
    rejects: ResultWriter | None = None
    lenient, left_out = batch.lenient_translation, None
    digest = hashlib.sha256()
    written = lines = rejected = inputs = 0
    pending = bytearray(framing.prefix)
    models = [group["model"] for group in file.groups]

    with path.open("wb") as spool:

        def flush(chunk: bytes) -> None:
            require_headroom(path.parent, len(chunk), reserve)
            spool.write(chunk)
            digest.update(chunk)

        async for group in read_listed(data, blobs, shard.lines_key, shard.line_count):
            for (_offset, _length, line, number, _flags), raw in group:
                request = decode_request(raw)
                body = bytes(request.body)
                try:
                    encoded, dropped = provider.encode_line(
                        f"{shard.id}-{token}-{line}",
                        batch.endpoint,
                        models[number],
                        body,
                        lenient=lenient,
                    )
                except LineRejected as rejection:
                    if rejects is None:
                        rejects = ResultWriter(
                            blobs,
                            rejects_prefix,
                            point=Failpoint.SHARD_REJECTS,
                            segment_bytes=segment_bytes,
                        )
                    error = error_json(rejection.reason, f"{rejection.field}: {rejection.message}")
                    await rejects.append(
                        line,
                        answer_line(
                            batch.id,
                            line,
                            request.custom_id,
                            None,
                            error,
                            model=models[number],
                            attempts=shard.round,
                        ),
                        succeeded=False,
                    )
                    rejected += 1
                    continue
                if limits.max_embedding_inputs is not None:
                    inputs += embedding_inputs(body)
                size = written + len(pending) + len(encoded) + len(framing.separator)
                if lines and (
                    size + len(framing.suffix) > limits.max_bytes
                    or inputs > (limits.max_embedding_inputs or inputs)
                ):
                    return Overfull(fitting=lines + rejected)
                if dropped:
                    if left_out is None:
                        prefix = shard.dropped_prefix(token)
                        left_out = ResultWriter(
                            blobs,
                            prefix,
                            point=Failpoint.SHARD_DROPPED,
                            segment_bytes=segment_bytes,
                        )
                    await left_out.append(line, msgspec.json.encode(dropped), succeeded=True)
                if lines:
                    pending += framing.separator
                pending += encoded
                lines += 1
            if len(pending) >= _FLUSH_BYTES:
                chunk = bytes(pending)
                pending.clear()
                written += len(chunk)
                await asyncio.to_thread(flush, chunk)
        pending += framing.suffix
        written += len(pending)
        await asyncio.to_thread(flush, bytes(pending))

    for writer in (rejects, left_out):
        if writer is not None:
            await writer.close()
    return Written(
        size=written,
        sha256=digest.hexdigest(),
        lines=lines,
        rejected=rejected,
        rejects_prefix=rejects_prefix if rejected else "",
    )
