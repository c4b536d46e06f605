"""Metrics for Prometheus: what is measured, and the HTTP listener that it is read from.

Counters and histograms say what one process did since its start; the gauges of the
ledger (core/pipeline/telemetry.py) are asked at each scrape, so that a restart changes
nothing of them. Labels are bounded: provider, step, state, method, code, a model that the
catalogue lists; never an id, an account or anything that a caller chose.
"""

from core.metrics.catalogue import (
    BATCHES_CREATED,
    BATCHES_ENDED,
    BUS_CONNECTED,
    DEPENDENCY_UP,
    DISK_FREE_BYTES,
    DISK_SIZE_BYTES,
    DOWNLOAD_BYTES,
    HTTP_IN_FLIGHT,
    HTTP_SECONDS,
    LINES_SETTLED,
    POLL_LAG_SECONDS,
    PROVIDER_CALL_SECONDS,
    PROVIDER_RECEIVED_BYTES,
    PROVIDER_SENT_BYTES,
    RPC_IN_FLIGHT,
    RPC_SECONDS,
    SPEND,
    SWEEP_WOKEN,
    TOKENS,
    UNPRICED_LINES,
    UPLOAD_BYTES,
    UPLOAD_LINES,
    WATCHERS,
    WEBHOOK_SECONDS,
    WORK_ITEMS_IN_HAND,
    WORK_SECONDS,
    WORK_WAIT_SECONDS,
    leave_out,
)
from core.metrics.listener import MetricsListener
from core.metrics.scraped import AskedAtScrape, Family, Reading, Readings
