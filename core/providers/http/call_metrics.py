"""One HTTP exchange with a provider: how it can fail, and what it leaves in metrics and traces."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from core import tracing
from core.metrics import PROVIDER_CALL_SECONDS, PROVIDER_RECEIVED_BYTES, PROVIDER_SENT_BYTES

# A line run by itself is one exchange: a trace of its shard would have thousands.
_UNTRACED = frozenset({"run"})


class NotSent(Exception):
    """No connection came about: the provider has seen nothing."""


class HeldBack(Exception):
    """Nothing was sent: the provider has asked to wait."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds that are left."""


class Broken(Exception):
    """The exchange broke off; the provider may have acted on it."""


@dataclass(slots=True)
class Exchange:
    """What is known of an exchange so far."""

    status: int = 0
    """Of the answer; 0 before it came."""
    sent: int = 0
    """Bytes of the request's body."""
    received: int = 0


@contextmanager
def measured(provider: str, kind: str) -> Iterator[Exchange]:
    """Measure the exchange that the block makes; it fills in what the answer was.

    `kind`: create, upload, download, read, cancel, delete or run.
    """
    if kind in _UNTRACED:
        with _counted(provider, kind) as exchange:
            yield exchange
        return
    with (
        # Not the current one: a download hands its bytes out while it lasts.
        tracing.span(
            f"{provider} {kind}",
            "client",
            current=False,
            attributes={"polybatch.provider": provider, "polybatch.call": kind},
        ) as span,
        _counted(provider, kind) as exchange,
    ):
        try:
            yield exchange
        finally:
            if exchange.status:
                span.set("http.response.status_code", exchange.status)
            span.set("polybatch.sent_bytes", exchange.sent)
            span.set("polybatch.received_bytes", exchange.received)
            if exchange.status >= 400:
                span.fail(str(exchange.status))


@contextmanager
def _counted(provider: str, kind: str) -> Iterator[Exchange]:
    exchange = Exchange()
    started = time.perf_counter()
    broken = ""
    try:
        yield exchange
    except NotSent:
        broken = "not_sent"
        raise
    except Broken:
        broken = "broken"
        raise
    finally:
        code = broken or (str(exchange.status) if exchange.status else "cancelled")
        PROVIDER_CALL_SECONDS.labels(provider, kind, code).observe(time.perf_counter() - started)
        if exchange.status:
            PROVIDER_SENT_BYTES.labels(provider).inc(exchange.sent)
        PROVIDER_RECEIVED_BYTES.labels(provider).inc(exchange.received)
