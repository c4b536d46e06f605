"""`python -m services.dispatcher`: run the dispatcher."""

from __future__ import annotations

import argparse
import asyncio
import sys

from core.serving import run
from core.settings import ProviderAccess, Settings
from services.dispatcher.service import serve


def main() -> int:
    """Run the dispatcher until SIGTERM or SIGINT; returns the exit code."""
    argparse.ArgumentParser(
        prog="python -m services.dispatcher",
        description="Plans batches into shards and submits them to the providers. "
        "Everything is set by environment variables; see the README's table of settings.",
    ).parse_args()
    settings = Settings()

    async def body(stop: asyncio.Event) -> None:
        await serve(settings, ProviderAccess(), stop)

    return run(
        body,
        service="dispatcher",
        log_level=settings.log_level,
        log_format=settings.log_format,
    )


if __name__ == "__main__":
    sys.exit(main())
