"""The ledger gets its newest schema here, before any service is started.

Those have only so long to become ready, and would be ended in the middle, again at each start: the
first start of a new version takes minutes where the ledger is large.
"""

from __future__ import annotations

import asyncio

import structlog

from core.ledger import (
    BadDatabaseUrl,
    Ledger,
    LedgerUnavailable,
    UnknownSchema,
    check_database_url,
)
from core.serving import StartupError

log = structlog.get_logger()

_TOLD_AFTER = 3.0


async def bring_up_to_date(url: str, stop: asyncio.Event) -> None:
    """Migrate a ledger that there is; returns early where `stop` is set. Raises StartupError.

    A database that does not answer is left to the services, which wait for it.
    """
    file = check_database_url(url)
    if file is not None and not file.exists():
        return
    migrating = asyncio.create_task(_migrate(url))
    stopping = asyncio.create_task(stop.wait())
    try:
        for patience in (_TOLD_AFTER, None):
            done, _ = await asyncio.wait(
                {migrating, stopping}, timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            if done:
                break
            log.info("opening_the_ledger", hint="a new version may have to change all its rows")
        if migrating.done():
            migrating.result()
    finally:
        migrating.cancel()
        stopping.cancel()
        await asyncio.gather(migrating, stopping, return_exceptions=True)


async def _migrate(url: str) -> None:
    try:
        ledger = await Ledger.open(url, pool_size=1)
    except BadDatabaseUrl as error:
        raise StartupError(f"POLYBATCH_DATABASE_URL: {error}") from error
    except UnknownSchema as error:
        raise StartupError(str(error)) from error
    except LedgerUnavailable as error:
        log.warning("ledger_not_ready", cause=str(error))
    else:
        await ledger.close()
