"""The command of a service that takes no arguments: everything is set by the environment."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable

from core.failpoints import arm
from core.serving import run
from core.settings import ProviderAccess, Settings, read_settings

Serve = Callable[[Settings, ProviderAccess, asyncio.Event], Awaitable[None]]


def run_service(name: str, purpose: str, serve: Serve) -> int:
    """Run a service until SIGTERM or SIGINT; returns the exit code."""
    argparse.ArgumentParser(
        prog=f"python -m services.{name}",
        description=f"{purpose} Everything is set by environment variables; see docs/settings.md.",
    ).parse_args()
    settings, access = read_settings()
    arm(name)

    async def body(stop: asyncio.Event) -> None:
        await serve(settings, access, stop)

    return run(body, service=name, log_level=settings.log_level, log_format=settings.log_format)
