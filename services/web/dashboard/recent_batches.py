"""How long models took, and what lines failed of: over the newest batches that have ended.

What is read is bounded, not the span of days: an account may have a million batches in it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import quantiles

from polybatch.errors import PolybatchError
from polybatch.v1 import batches_pb2, results_pb2

from services.web.dashboard.failures import causes_of
from services.web.dashboard.shown import ENDED, STATES, BatchView, moment
from services.web.listing import list_batches
from services.web.upstream import Engine

BATCHES = 200
FAILED = 20
FAILED_LINES = 200_000
_AT_ONCE = 5
_MODELS = 8
_CAUSES = 8


@dataclass(frozen=True)
class Took:
    """How long the shards of one model took at their provider, in seconds."""

    provider: str
    model: str
    shards: int
    least: float
    low: float
    """A quarter took no longer."""
    median: float
    high: float
    """Three quarters took no longer."""
    most: float


@dataclass(frozen=True)
class RecentBatches:
    """`batches`: how many were looked at; `failed`: how many of them for their causes."""

    took: Sequence[Took]
    models: int
    """As many as there are; `took` has those with the most shards."""
    longest: float
    causes: results_pb2.ListFailureCausesResponse
    batches: int
    failed: int


async def read_recent(engine: Engine, first: date) -> RecentBatches:
    """Of batches that were made on a day or later."""
    ended = [number for number, (name, _, _) in STATES.items() if name in ENDED]
    listed, _ = await list_batches(engine, BATCHES, None, oldest_first=False, states=ended)
    found = [each for each in listed if moment(each.created_at).date() >= first]
    took = durations(found)
    # Those that every batch comes by have their place; the others would be noise.
    shown = sorted(took, key=lambda each: each.shards, reverse=True)[:_MODELS]
    with_failures = _bounded(found)
    limit = asyncio.Semaphore(_AT_ONCE)

    async def asked(batch_id: str) -> results_pb2.ListFailureCausesResponse:
        async with limit:
            try:
                return await causes_of(engine, batch_id)
            except PolybatchError as error:
                # Deleted since the list was read.
                if error.reason not in ("BATCH_NOT_FOUND", "RESULTS_DELETED"):
                    raise
                return results_pb2.ListFailureCausesResponse()

    answers = await asyncio.gather(*(asked(each) for each in with_failures))
    return RecentBatches(
        took=shown,
        models=len(took),
        longest=max((each.most for each in shown), default=0.0),
        causes=added(answers),
        batches=len(found),
        failed=len(with_failures),
    )


def durations(batches: Iterable[batches_pb2.Batch]) -> list[Took]:
    """By provider and model, from what went to a provider to its outcome."""
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for batch in batches:
        for shard in batch.shards:
            if shard.HasField("submitted_at") and shard.HasField("settled_at"):
                passed = moment(shard.settled_at) - moment(shard.submitted_at)
                seconds[shard.provider, shard.model].append(max(0.0, passed.total_seconds()))
    return [_took(provider, model, sorted(each)) for (provider, model), each in seconds.items()]


def added(
    answers: Iterable[results_pb2.ListFailureCausesResponse],
) -> results_pb2.ListFailureCausesResponse:
    """The causes of several batches as one list, without the lines, which are of one batch."""
    causes: dict[tuple[str, str], results_pb2.FailureCause] = {}
    total = results_pb2.ListFailureCausesResponse()
    for answer in answers:
        total.failure_count += answer.failure_count
        total.other_line_count += answer.other_line_count
        for each in answer.causes:
            known = causes.setdefault(
                (each.id, each.code),
                results_pb2.FailureCause(
                    id=each.id,
                    code=each.code,
                    field=each.field,
                    message=each.message,
                    hint=each.hint,
                    provider=each.provider,
                ),
            )
            known.line_count += each.line_count
    ranked = sorted(causes.values(), key=lambda each: each.line_count, reverse=True)
    total.causes.extend(ranked[:_CAUSES])
    total.other_line_count += sum(each.line_count for each in ranked[_CAUSES:])
    return total


def _took(provider: str, model: str, seconds: list[float]) -> Took:
    several = len(seconds) > 1
    low, median, high = quantiles(seconds, n=4, method="inclusive") if several else 3 * seconds
    return Took(provider, model, len(seconds), seconds[0], low, median, high, seconds[-1])


def _bounded(batches: Iterable[batches_pb2.Batch]) -> list[str]:
    """The newest batches with lines that failed, as long as these are not too many to read."""
    found: list[str] = []
    lines = 0
    for batch in batches:
        counts = batch.request_counts
        failed = counts.failed + counts.cancelled + counts.expired
        if not BatchView(batch).has_failures:
            continue
        lines += failed
        if len(found) >= FAILED or (found and lines > FAILED_LINES):
            break
        found.append(batch.id)
    return found
