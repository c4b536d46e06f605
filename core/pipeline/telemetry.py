"""A service as its operator sees it: metrics and traces, for as long as it runs."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from core.ledger import Count, LivingBatches
from core.ledger.statistics import LIVING
from core.metrics import DISK_FREE_BYTES, DISK_SIZE_BYTES, AskedAtScrape, Family, Reading, Readings
from core.pipeline.runtime import Runtime
from core.serving.observed import metered, traced

LEDGER_READ = Family(
    "polybatch_ledger_read", "1 if the ledger answered this scrape; else its gauges are left out."
)
BATCHES = Family("polybatch_batches", "Batches that have not ended.", ("state",))
BATCH_AGE = Family(
    "polybatch_batch_oldest_seconds", "Age of the oldest batch in a state.", ("state",)
)
OVERDUE = Family(
    "polybatch_batches_overdue",
    "Batches that have not ended though their window closed more than twice "
    "POLYBATCH_STOP_GRACE ago.",
)
LINES = Family("polybatch_lines", "Lines of batches that have not ended.", ("state",))
SHARDS = Family("polybatch_shards", "Shards without an outcome.", ("provider", "state"))
SHARD_LINES = Family(
    "polybatch_shard_lines", "Unfinished lines of such shards.", ("provider", "state")
)
SHARD_AGE = Family(
    "polybatch_shard_oldest_seconds",
    "How long the shard that has been in a state for longest has been in it.",
    ("provider", "state"),
)
WAITING_FOR_ROOM = Family(
    "polybatch_shards_waiting_for_room",
    "Shards that wait for quota under the provider's enqueued-token limit.",
    ("provider",),
)
WAITING_FOR_FUNDS = Family(
    "polybatch_batches_waiting_for_funds",
    "Batches of which something waits for credits, a budget, or room under max_cost.",
)
NEARLY_OUT = Family(
    "polybatch_accounts_nearly_out_of_credits",
    "Prepaid accounts with less than a tenth of what they were granted free.",
)
WEBHOOKS_WAITING = Family("polybatch_webhooks_waiting", "Webhook deliveries that have not ended.")
WEBHOOKS_OVERDUE = Family(
    "polybatch_webhook_overdue_seconds",
    "How long ago the delivery that has been due for longest was due.",
)

_FAMILIES = (
    BATCHES,
    BATCH_AGE,
    OVERDUE,
    LINES,
    SHARDS,
    SHARD_LINES,
    SHARD_AGE,
    WAITING_FOR_ROOM,
    WAITING_FOR_FUNDS,
    NEARLY_OUT,
    WEBHOOKS_WAITING,
    WEBHOOKS_OVERDUE,
)


@asynccontextmanager
async def telemetry(
    runtime: Runtime, service: str, listen: str, *, ledger: bool = False
) -> AsyncIterator[None]:
    """Serve the metrics of this process, and export its spans, for the length of the block.

    `listen`: host:port for the metrics, or empty for none. `ledger`: export the ledger's
    gauges too. Every replica of a service that does exports the same ones: take their
    maximum, not their sum. Raises StartupError.
    """
    async with traced(service), metered(service, listen):
        gauges = ledger_gauges(runtime) if ledger and listen else None
        if listen:
            _watch_disk(runtime.settings.data_dir)
        if gauges is not None:
            gauges.start()
        try:
            yield
        finally:
            if gauges is not None:
                gauges.stop()


def _watch_disk(data_dir: Path) -> None:
    folder = data_dir.absolute()
    DISK_FREE_BYTES.set_function(lambda: shutil.disk_usage(folder).free)
    DISK_SIZE_BYTES.set_function(lambda: shutil.disk_usage(folder).total)


def ledger_gauges(runtime: Runtime) -> AskedAtScrape:
    """What is under way, by the ledger: the same whichever process is asked, and after a
    restart."""
    grace = timedelta(seconds=2 * runtime.settings.stop_grace)

    async def ask() -> Readings:
        return readings(await runtime.ledger.statistics.take(grace=grace))

    return AskedAtScrape(LEDGER_READ, _FAMILIES, ask)


def readings(count: Count) -> Readings:
    """The values of the ledger's gauges."""
    found = {living.state: living for living in count.batches}
    batches = [found.get(state, LivingBatches(state, *([0] * 9))) for state in LIVING]
    lines = {
        name: sum(getattr(living, name) for living in batches)
        for name in (
            "queued",
            "submitted",
            "processed",
            "retrying",
            "succeeded",
            "failed",
            "cancelled",
            "expired",
        )
    }
    waiting: dict[str, int] = {}
    for shards in count.shards:
        waiting[shards.provider] = waiting.get(shards.provider, 0) + shards.waiting_for_room
    return {
        BATCHES: _by_state((living.state, living.batches) for living in batches),
        BATCH_AGE: _by_state((living.state, living.oldest) for living in batches),
        OVERDUE: [Reading((), sum(living.overdue for living in batches))],
        LINES: _by_state(lines.items()),
        SHARDS: [Reading((each.provider, each.state), each.shards) for each in count.shards],
        SHARD_LINES: [Reading((each.provider, each.state), each.lines) for each in count.shards],
        SHARD_AGE: [Reading((each.provider, each.state), each.oldest) for each in count.shards],
        WAITING_FOR_ROOM: _by_state(waiting.items()),
        WAITING_FOR_FUNDS: [Reading((), count.waiting_for_funds)],
        NEARLY_OUT: [Reading((), count.nearly_out)],
        WEBHOOKS_WAITING: [Reading((), count.webhooks.deliveries)],
        WEBHOOKS_OVERDUE: [Reading((), count.webhooks.overdue)],
    }


def _by_state(values: Iterable[tuple[str, float]]) -> list[Reading]:
    return [Reading((str(name),), value) for name, value in values]
