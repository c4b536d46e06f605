"""The ledger of a suite that runs: what no call shows of it, and when its batches are due."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from sqlmodel import col, update

from core.failpoints import Failpoint
from core.ledger import Batch, Ledger, now
from core.settings import Settings
from tests.support.e2e.suite import Suite

Found = TypeVar("Found")

LONG_AGO = timedelta(hours=1)


def in_ledger(suite: Suite, do: Callable[[Ledger], Awaitable[Found]]) -> Found:
    """What comes of `do` with the suite's ledger."""
    settings = Settings(
        data_dir=suite.data_dir, database_url=suite.environment.get("POLYBATCH_DATABASE_URL", "")
    )

    async def opened() -> Found:
        ledger = await Ledger.open(settings.effective_database_url)
        try:
            return await do(ledger)
        finally:
            await ledger.close()

    return asyncio.run(opened())


def close_window(suite: Suite, batch_id: str, *, after: timedelta = timedelta(0)) -> None:
    """Let a batch's completion window close so long from now, once a test is where it has to be.

    A window of seconds would close earlier where the machine is busy.
    """
    moment = now()

    async def change(ledger: Ledger) -> None:
        async with ledger._database.write(Failpoint.BATCH_DEFER) as session:
            await session.exec(
                update(Batch)
                .where(col(Batch.id) == batch_id)
                # Overdue: the sweep sees to it.
                .values(expires_at=moment + after, due_at=moment - LONG_AGO)
            )

    in_ledger(suite, change)
