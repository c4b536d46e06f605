"""The results of a shard that the dispatcher ran itself: they are in its log."""

from __future__ import annotations

from contextlib import aclosing

from core.batchfile import answer_tail, error_json
from core.batchfile.result_lines import RESULT_MISSING
from core.blobs import BlobStore
from core.ledger import Shard
from core.pipeline import Event, read_run
from core.prices.usage import NO_USAGE
from core.providers import Outcome
from services.collector.sorter import Sorter

_OUTCOMES = {
    Event.RETRYABLE: Outcome.FAILED,
    Event.FAILED: Outcome.FAILED,
    Event.SUCCEEDED: Outcome.SUCCEEDED,
}
"""A line that was to be run again when the run was stopped has failed."""

_LOST = error_json(
    RESULT_MISSING,
    "The run ended before the answer to this line came. It may have been run and paid for, so "
    "it is not retried automatically.",
)


async def take_run(blobs: BlobStore, shard: Shard, sorter: Sorter) -> None:
    """Take in what a shard's log says of its lines; nothing of lines that were never run."""
    last = bytearray(shard.line_count)
    async with aclosing(read_run(blobs, shard.run_prefix)) as groups:
        async for records in groups:
            for position, event, piece, usage in records:
                if event is Event.HELD:
                    continue
                last[position] = event
                if event in _OUTCOMES:
                    sorter.keep(position, _OUTCOMES[event], piece, usage)
    lost = answer_tail(None, _LOST, shard.round + 1)
    for position, event_number in enumerate(last):
        if event_number == Event.BEGUN:
            sorter.keep(position, Outcome.FAILED, lost, NO_USAGE)
