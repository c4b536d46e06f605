"""A process as its operator sees it: metrics and traces, for as long as it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from core.metrics import MetricsListener
from core.serving.process import StartupError
from core.settings import TracingSettings
from core.tracing import BadTracing, start_tracing


@asynccontextmanager
async def traced(service: str) -> AsyncIterator[None]:
    """Export this process's spans for the length of the block. Raises StartupError."""
    try:
        tracing = start_tracing(service, TracingSettings())
    except BadTracing as error:
        raise StartupError(str(error)) from error
    try:
        yield
    finally:
        if tracing is not None:
            await tracing.stop()


@asynccontextmanager
async def metered(service: str, listen: str) -> AsyncIterator[None]:
    """Serve its metrics at host:port; empty: nowhere. Raises StartupError."""
    if not listen:
        yield
        return
    setting = f"POLYBATCH_{service.upper()}_METRICS_LISTEN"
    listener = _listener(listen, setting)
    try:
        listener.start()
    except OSError as error:
        raise StartupError(
            f"cannot listen on {listen} for metrics ({setting}): {error.strerror or error}; "
            f"set {setting} to another host:port, or to off for no metrics"
        ) from error
    try:
        yield
    finally:
        await listener.stop()


def _listener(listen: str, setting: str) -> MetricsListener:
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise StartupError(f"{setting} is {listen!r}: host:port was expected")
    return MetricsListener(host.removeprefix("[").removesuffix("]"), int(port))
