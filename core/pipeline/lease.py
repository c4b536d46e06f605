"""The lease of work that is being done: a short one, renewed for as long as we live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import structlog

from core.ledger import LedgerUnavailable

log = structlog.get_logger()

_SHARE = 1 / 3
"""Of the lease: how soon it is renewed, so that one lost renewal costs nothing."""

Renew = Callable[[timedelta], Awaitable[bool]]
"""Puts the lease's end so far ahead; False when somebody else has the work."""


@asynccontextmanager
async def renewing_lease(renew: Renew, lease: timedelta) -> AsyncIterator[None]:
    """Renew a lease while the block runs; when it raises, the lease ends soon.

    A lease saves work, no more: what must not be done twice asks the ledger itself.
    """
    keeper = asyncio.create_task(_keep(renew, lease))
    try:
        yield
    except asyncio.CancelledError:
        # The process is ending: another one need not wait.
        await asyncio.shield(_let_go(keeper, renew, timedelta()))
        raise
    except BaseException:
        # The item comes back by itself; the sweep should not send another one at once.
        await asyncio.shield(_let_go(keeper, renew, lease * _SHARE))
        raise
    finally:
        keeper.cancel()
        await asyncio.wait([keeper])


async def _let_go(keeper: asyncio.Task[None], renew: Renew, rest: timedelta) -> None:
    keeper.cancel()
    await asyncio.wait([keeper])
    try:
        await renew(rest)
    except LedgerUnavailable as error:
        log.warning("lease_not_ended", cause=type(error).__name__)


async def _keep(renew: Renew, lease: timedelta) -> None:
    while True:
        await asyncio.sleep(lease.total_seconds() * _SHARE)
        try:
            if not await renew(lease):
                log.info("lease_lost")
                return
        except LedgerUnavailable as error:
            # It may come back before the lease is over.
            log.warning("lease_not_renewed", cause=type(error).__name__)
