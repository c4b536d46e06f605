"""Every metric that a process counts by itself. Times in seconds, sizes in bytes."""

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, disable_created_metrics

# A second series for each, with the time of its first value, which nobody here asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]

_QUICK = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_SLOW = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)

RPC_SECONDS = Histogram(
    "polybatch_rpc_seconds",
    "RPCs that have ended, by method and gRPC code; uploads and watches may be long.",
    ["method", "code"],
    buckets=_QUICK,
)
RPC_IN_FLIGHT = Gauge("polybatch_rpc_in_flight", "RPCs that are running.", ["method"])

HTTP_SECONDS = Histogram(
    "polybatch_http_seconds",
    "HTTP requests that have ended, by route, method and status; uploads may be long. Status 0: "
    "the client left before there was one.",
    ["route", "method", "status"],
    buckets=_QUICK,
)
HTTP_IN_FLIGHT = Gauge("polybatch_http_in_flight", "HTTP requests that are running.")

UPLOAD_BYTES = Counter("polybatch_upload_bytes", "Bytes of input files that clients have sent.")
UPLOAD_LINES = Counter("polybatch_upload_lines", "Lines of uploads that became files.", ["verdict"])
DOWNLOAD_BYTES = Counter(
    "polybatch_download_bytes", "Bytes that clients have fetched: input, report, results.", ["kind"]
)
WATCHERS = Gauge("polybatch_watchers", "Open watches: of one batch, or of an account's.", ["kind"])

BATCHES_CREATED = Counter("polybatch_batches_created", "Batches made.")
BATCHES_ENDED = Counter("polybatch_batches_ended", "Batches that have ended, by state.", ["state"])
LINES_SETTLED = Counter(
    "polybatch_lines_settled",
    "Lines settled by how: succeeded, failed, cancelled, expired, or retried in a further shard.",
    ["provider", "outcome"],
)
TOKENS = Counter(
    "polybatch_tokens",
    "Tokens reported by providers: input, of these cached_input and cache_write; output, of these "
    "reasoning.",
    ["provider", "kind"],
)
SPEND = Counter(
    "polybatch_spend_usd",
    "What answers cost, in USD, by model: its id where the catalogue lists it, or else other.",
    ["provider", "model"],
)
UNPRICED_LINES = Counter(
    "polybatch_unpriced_lines",
    "Lines answered with tokens whose model has no price: what they cost is in no sum.",
    ["provider"],
)

WORK_SECONDS = Histogram(
    "polybatch_work_seconds",
    "Time that a handler worked on a delivery of a work item, by what came of it: done, again "
    "(not yet, look later), failed (the handler raised), handed_back (the service stopped).",
    ["step", "outcome"],
    buckets=_SLOW,
)
WORK_WAIT_SECONDS = Histogram(
    "polybatch_work_wait_seconds",
    "Time from the publishing of a work item to its first delivery.",
    ["step"],
    buckets=_SLOW,
)
WORK_ITEMS_IN_HAND = Gauge("polybatch_work_in_hand", "Work items being handled.", ["step"])
POLL_LAG_SECONDS = Histogram(
    "polybatch_poll_lag_seconds",
    "How much later than due a provider was asked for a shard's state.",
    ["provider"],
    buckets=_SLOW,
)
SWEEP_WOKEN = Counter(
    "polybatch_sweep_woken",
    "Rows that had waited too long and were put on the bus again.",
    ["step"],
)

PROVIDER_CALL_SECONDS = Histogram(
    "polybatch_provider_call_seconds",
    "HTTP exchanges with a provider, by kind (create, upload, download, read, cancel, delete, run) "
    "and code: the HTTP status, not_sent, broken, or cancelled.",
    ["provider", "kind", "code"],
    buckets=_SLOW,
)
PROVIDER_SENT_BYTES = Counter(
    "polybatch_provider_sent_bytes", "Bytes of request bodies sent to a provider.", ["provider"]
)
PROVIDER_RECEIVED_BYTES = Counter(
    "polybatch_provider_received_bytes", "Bytes of bodies received from a provider.", ["provider"]
)

WEBHOOK_SECONDS = Histogram(
    "polybatch_webhook_seconds",
    "Calls of webhook receivers, by what became of the delivery: delivered, retried (later again), "
    "failed (given up), lost (taken over by somebody else meanwhile).",
    ["outcome"],
    buckets=_QUICK,
)

BUS_CONNECTED = Gauge("polybatch_bus_connected", "1 while NATS and its work stream answer.")
DEPENDENCY_UP = Gauge(
    "polybatch_dependency_up", "1 if the latest readiness check was answered.", ["dependency"]
)
DISK_FREE_BYTES = Gauge("polybatch_disk_free_bytes", "Free space where the data folder lies.")
DISK_SIZE_BYTES = Gauge("polybatch_disk_size_bytes", "Size of the file system of the data folder.")


def leave_out(*gauges: Gauge) -> None:
    """Export no value of gauges that this process never sets: its 0 would be taken for one."""
    for gauge in gauges:
        REGISTRY.unregister(gauge)
