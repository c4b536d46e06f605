"""Of the fetch step, the second half: write a shard's results and settle it.

In: a sorter with all that came of a shard's lines. Out: its result lines in the store, in the
order of the input; the shard settled, with a successor for lines to be sent again. What can go
wrong: the store is away (what is written is deleted, the item comes back), or somebody else has
settled it meanwhile (what is written is deleted).
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from core.batchfile import (
    INDEX,
    Entry,
    LineMaker,
    LineOutcome,
    ResultTotals,
    ResultWriter,
    answer_tail,
    decode_request,
    error_json,
    read_listed,
    valid_custom_id,
)
from core.batchfile.result_lines import RESULT_MISSING
from core.blobs import StoredFile
from core.failpoints import Failpoint
from core.ledger import (
    STOP_ERRORS,
    Batch,
    File,
    Settlement,
    Shard,
    ShardPurpose,
    Stop,
    new_id,
    new_token,
    not_sent,
    now,
)
from core.pipeline import (
    Runtime,
    Settler,
    TokenQuotas,
)
from core.pipeline.timing import after
from core.providers import Outcome, Registry
from services.collector.dropped_fields import DroppedAnew, DroppedFields
from services.collector.earlier_costs import EarlierCostsWriter
from services.collector.sorter import Sorter
from services.collector.unfinished import deleted_unless_written

log = structlog.get_logger()

_MISSING = error_json(
    RESULT_MISSING,
    "The provider ended its batch without a result for this line. It may have been run, "
    "so it is not retried automatically.",
)
_STOPPED = (
    "The batch was stopped, and the provider ended its part without a result for this line: "
    "most likely it was never run."
)
_RETRIED = frozenset({Outcome.RETRYABLE, Outcome.EXPIRED})
_NOT_RUN = frozenset({Outcome.CANCELLED, Outcome.EXPIRED})
_FATES = {Stop.CANCEL: LineOutcome.CANCELLED, Stop.EXPIRE: LineOutcome.EXPIRED}


class ShardResults:
    """Writes the results of shards."""

    def __init__(self, runtime: Runtime, settler: Settler, providers: Registry) -> None:
        self._blobs = runtime.blobs
        self._settings = runtime.settings
        self._settler = settler
        self._providers = providers
        self._quotas = TokenQuotas(runtime)

    async def write(
        self,
        shard: Shard,
        batch: Batch,
        file: File,
        sorter: Sorter,
        *,
        rescued: bool = False,
        completed: bool = False,
    ) -> bool:
        """Write the result lines in input order and settle the shard.

        `rescued`: lines that the provider has not run are to be called one by one; `completed`: it
        has run its batch to the end. False when the shard was settled elsewhere in the meantime.
        """
        prefix = f"batches/{batch.id}/shards/{shard.id}/results/{new_token()}"
        writer = ResultWriter(
            self._blobs,
            prefix,
            point=Failpoint.SHARD_RESULTS,
            segment_bytes=self._settings.segment_bytes,
            digest=False,
        )
        # The batch may have ended without us, its blobs gone already.
        async with deleted_unless_written(
            self._blobs, prefix, writer, point=Failpoint.SHARD_RESULTS_DELETE
        ):
            totals, retry = await self._write_lines(
                shard, batch, file, sorter, prefix, writer, rescued=rescued, completed=completed
            )
        spend = sorter.spend()
        if not totals.failed and not retry:
            await self._quotas.observe(shard, sum(each.input_tokens for each in spend))
        settled = await self._settler.settle(
            shard,
            Settlement(
                succeeded=totals.succeeded,
                failed=totals.failed,
                cancelled=totals.cancelled,
                expired=totals.expired,
                # Of what is run here it is known whether a call was made.
                withheld=sorter.missing() if batch.halt_code and shard.ran_here else 0,
                retried=len(retry) // INDEX.size,
                results_prefix=prefix,
                spend=spend,
                answered=sorter.answered(),
            ),
            await self._retry_shards(shard, retry, rescued=rescued),
        )
        log.info(
            "shard_settled" if settled else "shard_settled_elsewhere",
            batch_id=batch.id,
            shard_id=shard.id,
            succeeded=totals.succeeded,
            failed=totals.failed - totals.cancelled - totals.expired,
            cancelled=totals.cancelled,
            expired=totals.expired,
            retried=len(retry) // INDEX.size,
        )
        if not settled:
            await self._blobs.delete_prefix(prefix, point=Failpoint.SHARD_RESULTS_DELETE)
        return settled

    async def _write_lines(
        self,
        shard: Shard,
        batch: Batch,
        file: File,
        sorter: Sorter,
        prefix: str,
        writer: ResultWriter,
        *,
        rescued: bool,
        completed: bool,
    ) -> tuple[ResultTotals, bytes]:
        """Write the result lines in input order; returns the line list of those to send again."""
        data = await StoredFile.open(self._blobs, f"{file.prefix}/data")
        models = [group["model"] for group in file.groups]
        made = LineMaker(batch.id, models).line
        lenient = batch.lenient_translation
        retry = bytearray()
        earlier = EarlierCostsWriter(self._blobs, prefix)
        may_retry = (
            not batch.stop
            and not batch.halt_code
            and not shard.given_up
            and shard.round < self._settings.retry_limit
            and batch.expires_at > after(self._settings.retry_delay)
        )
        again = _RETRIED if may_retry else frozenset()
        if rescued:
            again |= _NOT_RUN
        position = 0
        async with self._left_out(shard) as left_out:
            async for group in read_listed(data, self._blobs, shard.lines_key, shard.line_count):
                pieces = sorter.pieces(position, len(group))
                position += len(group)
                written: list[Entry] = []
                for (record, raw), (outcome, piece, whole, cost) in zip(group, pieces, strict=True):
                    line = record[2]
                    fate = LineOutcome.SUCCEEDED
                    if outcome is not Outcome.SUCCEEDED:
                        fate = LineOutcome.FAILED
                        if outcome in again:
                            retry += INDEX.pack(*record)
                            if cost != 0:
                                await earlier.add(line, cost)
                            continue
                        if not whole:
                            fate, piece = self._failed_tail(
                                shard, outcome, piece, batch, completed=completed
                            )
                    if not whole:
                        dropped = None
                        if lenient:
                            request = decode_request(raw)
                            dropped = await left_out.of(line, models[record[3]], request)
                        piece = made(line, valid_custom_id(raw), record[3], piece, cost, dropped)
                    else:
                        piece += b"\n"
                    written.append((line, fate, piece))
                await writer.extend(written)
        await earlier.close()
        return await writer.close(), bytes(retry)

    def _left_out(self, shard: Shard) -> DroppedFields | DroppedAnew:
        provider = self._providers.get(shard.provider)
        if provider is not None and shard.purpose == ShardPurpose.RESCUE:
            return DroppedAnew(provider)
        return DroppedFields(self._blobs, shard.dropped_prefix(shard.file_token or shard.token))

    def _failed_tail(
        self,
        shard: Shard,
        outcome: Outcome | None,
        piece: bytes,
        batch: Batch,
        *,
        completed: bool,
    ) -> tuple[LineOutcome, bytes]:
        attempts = shard.round + 1
        stop = Stop(batch.stop)
        if outcome is None:
            if batch.halt_code and shard.ran_here:
                error = error_json(batch.halt_code, not_sent(batch.halt_message))
                return LineOutcome.FAILED, answer_tail(None, error, shard.round)
            if not stop or completed:
                # A provider that has run all of its batch has run this line as well.
                return LineOutcome.FAILED, answer_tail(None, _MISSING, attempts)
            code, never_run = STOP_ERRORS[stop]
            if shard.ran_here:
                # Of what is run here it is known whether a call was made.
                tail = answer_tail(None, error_json(code, never_run), shard.round)
            else:
                tail = answer_tail(None, error_json(code, _STOPPED), attempts)
            return _FATES[stop], tail
        if outcome not in (Outcome.CANCELLED, Outcome.EXPIRED):
            return LineOutcome.FAILED, piece
        if stop is Stop.EXPIRE:
            # The provider was told to cancel because our window had closed.
            return _FATES[stop], answer_tail(None, error_json(*STOP_ERRORS[stop]), attempts)
        expired = outcome is Outcome.EXPIRED
        return LineOutcome.EXPIRED if expired else LineOutcome.CANCELLED, piece

    async def _retry_shards(
        self, shard: Shard, records: bytes, *, rescued: bool
    ) -> Sequence[Shard]:
        """A shard for the lines to be sent again; its line list is stored first."""
        if not records:
            return []
        successor = shard.successor(
            new_id("shard"),
            lines=len(records) // INDEX.size,
            round_number=shard.round + 1,
            due_at=after(self._settings.retry_delay * 2**shard.round),
            waiting_reason="lines that failed for a transient reason wait to be sent again",
        )
        if rescued:
            successor.purpose = ShardPurpose.RESCUE
            successor.due_at, successor.waiting_reason = now(), ""
        await self._blobs.put(successor.lines_key, records, point=Failpoint.RETRY_LINES)
        return [successor]
