"""`python -m services.collector`: run the collector."""

from __future__ import annotations

import argparse
import asyncio
import sys

from core.serving import run
from core.settings import ProviderAccess, Settings
from services.collector.service import serve


def main() -> int:
    """Run the collector until SIGTERM or SIGINT; returns the exit code."""
    argparse.ArgumentParser(
        prog="python -m services.collector",
        description="Polls the providers, brings results home, serves status and results. "
        "Everything is set by environment variables; see the README's table of settings.",
    ).parse_args()
    settings = Settings()

    async def body(stop: asyncio.Event) -> None:
        await serve(settings, ProviderAccess(), stop)

    return run(
        body,
        service="collector",
        log_level=settings.log_level,
        log_format=settings.log_format,
    )


if __name__ == "__main__":
    sys.exit(main())
