"""The main of a service's process: event loop, log, signals, exit code."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sys
from collections.abc import Awaitable, Callable

import structlog
import uvloop

from core.serving.logs import configure_logging
from core.serving.memory import tune_memory
from core.serving.redaction import Redactor, secrets_of

log = structlog.get_logger()


class StartupError(Exception):
    """The process cannot start, for a reason that its operator can fix."""


def run(
    main: Callable[[asyncio.Event], Awaitable[None]],
    *,
    service: str,
    log_level: str = "info",
    log_format: str = "json",
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop,
) -> int:
    """Run a service until it ends or is told to; returns the exit code.

    main gets an event that SIGTERM and SIGINT set: it stops gracefully then. A second
    signal ends the process at once. Exit code 1: main raised. A StartupError is logged
    as its message (as plain text where people read the log), anything else with its
    traceback. One that comes once it was told to stop is no failure.
    """
    # What C code dies of would leave nothing in the log; files and lines are all it writes.
    faulthandler.enable()
    tune_memory()
    configure_logging(service, level=log_level, format=log_format)
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(_serve(main))
    except StartupError as error:
        if log_format == "console":
            message = Redactor(secrets_of(os.environ))(str(error))
            print(f"{service} cannot start: {message}", file=sys.stderr, flush=True)
        else:
            log.error("startup_failed", cause=str(error))
        return 1
    except Exception:
        log.exception("process_failed")
        return 1
    return 0


async def _serve(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        log.info("stopping", signal=number.name)
        stop.set()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, on_signal, each)
    try:
        await main(stop)
    except StartupError as error:
        if not stop.is_set():
            raise
        log.info("not_started", cause=str(error))
