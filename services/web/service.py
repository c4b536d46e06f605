"""The HTTP API as a process: listens, calls gateway and collector, stops in order.

It holds no state and opens neither ledger nor blobs nor bus: any number of replicas may run.
"""

from __future__ import annotations

import asyncio

import structlog
from polybatch.errors import ConfigurationError

from core.metrics import BUS_CONNECTED, DISK_FREE_BYTES, DISK_SIZE_BYTES, leave_out
from core.serving import StartupError
from core.serving.observed import metered, traced
from core.serving.tls_settings import tls_files
from core.settings import Settings
from services.web.app import create_app
from services.web.server import HttpServer
from services.web.upstream import Upstream, find_services

log = structlog.get_logger()


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run until `stop` is set; then let requests under way end. Raises StartupError."""
    if not settings.web_listen:
        raise StartupError("POLYBATCH_WEB_LISTEN is off: there is nothing to run")
    try:
        upstream = Upstream(find_services(settings))
    except ConfigurationError as error:
        raise StartupError(str(error)) from error
    leave_out(BUS_CONNECTED, DISK_FREE_BYTES, DISK_SIZE_BYTES)
    async with traced("web"), metered("web", settings.web_metrics_listen):
        server = HttpServer(
            create_app(upstream, settings, stop.is_set),
            settings.web_listen,
            tls=tls_files(settings),
            connections=settings.max_connections,
        )
        try:
            await server.start()
            await stop.wait()
            # Health checks say so from now on.
            await asyncio.sleep(settings.drain_delay)
        finally:
            await server.stop(settings.shutdown_grace)
            await upstream.close()
