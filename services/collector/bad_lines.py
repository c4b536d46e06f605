"""Leave out the lines for whose sake a provider refused a whole batch, and send the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import structlog

from core.batchfile import (
    INDEX,
    ResultFile,
    ResultWriter,
    answer_line,
    decode_request,
    error_json,
    iter_index,
    read_lines,
)
from core.blobs import StoredFile
from core.failpoints import Failpoint
from core.ledger import File, Settlement, Shard, new_id, new_token, now
from core.pipeline import Runtime, Settler
from core.providers import BadLine, Refused, at_lines

log = structlog.get_logger()

# A provider may name one line at a time; after so many attempts the shard is given up.
_ATTEMPT_LIMIT = 20
# What is wrong with the model of one line is wrong with all of the shard.
_SHARED_FIELDS = frozenset({"body.model"})


class BadLineIsolation:
    """Splits a refused shard into its bad lines, which fail, and the rest."""

    def __init__(self, runtime: Runtime, settler: Settler) -> None:
        self._blobs = runtime.blobs
        self._segment_bytes = runtime.settings.segment_bytes
        self._settler = settler

    async def leave_out(self, shard: Shard, file: File, refusal: Refused) -> bool:
        """Settle the shard's bad lines and queue the rest. False where that cannot help."""
        named = {bad.position: bad for bad in refusal.bad_lines if bad.field not in _SHARED_FIELDS}
        if not named or shard.attempts >= _ATTEMPT_LIMIT:
            return False
        records = await self._blobs.get(shard.lines_key)
        bad_lines = await self._bad_lines(shard, records, named)
        if not bad_lines or len(bad_lines) == shard.line_count:
            return False
        rest, bad = bytearray(), bytearray()
        for position, (_, _, line, _, _) in enumerate(INDEX.iter_unpack(records)):
            record = records[position * INDEX.size : (position + 1) * INDEX.size]
            if line in bad_lines:
                bad += record
            else:
                rest += record
        prefix = await self._write_failures(shard, file, bytes(bad), bad_lines)
        successor = shard.successor(
            new_id("shard"),
            lines=len(rest) // INDEX.size,
            round_number=shard.round,
            due_at=now(),
        )
        await self._blobs.put(successor.lines_key, bytes(rest), point=Failpoint.BAD_LINES)
        log.info(
            "bad_lines_left_out",
            batch_id=shard.batch_id,
            shard_id=shard.id,
            lines=len(bad_lines),
        )
        await self._settler.settle(
            shard,
            Settlement(
                0,
                len(bad_lines),
                retried=successor.line_count,
                results_prefix=prefix,
            ),
            [successor],
        )
        return True

    async def _bad_lines(
        self, shard: Shard, records: bytes, named: dict[int, BadLine]
    ) -> dict[int, BadLine]:
        """The bad lines by line number, which their messages name as well.

        Positions count the lines that were sent.
        """
        unsent: set[int] = set()
        if shard.rejects_prefix:
            rejects = await ResultFile.open(self._blobs, shard.rejects_prefix)
            async for group in rejects.lines():
                unsent.update(reject.line for reject in group)
        sent = [line for _, _, line, _, _ in INDEX.iter_unpack(records) if line not in unsent]
        return {
            sent[position - 1]: replace(bad, message=at_lines(bad.message, partial(_line_at, sent)))
            for position, bad in named.items()
            if _line_at(sent, position) is not None
        }

    async def _write_failures(
        self, shard: Shard, file: File, records: bytes, bad_lines: dict[int, BadLine]
    ) -> str:
        prefix = f"batches/{shard.batch_id}/shards/{shard.id}/results/{new_token()}"
        writer = ResultWriter(
            self._blobs,
            prefix,
            point=Failpoint.BAD_RESULTS,
            segment_bytes=self._segment_bytes,
        )
        data = await StoredFile.open(self._blobs, f"{file.prefix}/data")
        models = {record.line: file.groups[record.group]["model"] for record in iter_index(records)}
        async for group in read_lines(data, records):
            for line, raw in group:
                bad = bad_lines[line]
                error = error_json(bad.code, f"{bad.field}: {bad.message}".removeprefix(": "))
                custom_id = decode_request(raw).custom_id
                await writer.append(
                    line,
                    answer_line(
                        shard.batch_id,
                        line,
                        custom_id,
                        None,
                        error,
                        model=models[line],
                        attempts=shard.round + 1,
                    ),
                    succeeded=False,
                )
        await writer.close()
        return prefix


def _line_at(sent: Sequence[int], position: int) -> int | None:
    """The user's line at a position of what was sent."""
    return sent[position - 1] if 0 < position <= len(sent) else None
