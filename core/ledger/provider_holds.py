"""Until when providers want no call: what every process reads when it starts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlmodel import col, select

from core.failpoints import Failpoint
from core.ledger.database import Database
from core.ledger.tables import ProviderHold, now


class Holds:
    """Holds by provider and credential. Of two for one the later one is kept."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, holds: Mapping[tuple[str, str], datetime]) -> None:
        """Note holds, each unless a longer one is noted: all of them or none.

        `holds`: until when, by provider and credential.
        """
        async with self._database.write(Failpoint.PROVIDER_HOLD) as session:
            # In one order, so that none waits for another one in a circle.
            for (provider, credential), until in sorted(holds.items()):
                # Two that were told at the same time must see each other.
                await self._database.lock_name(session, "hold", provider, credential)
                row = await session.get(ProviderHold, (provider, credential))
                if row is None:
                    row = ProviderHold(provider=provider, credential=credential, until=until)
                row.until = max(row.until, until)
                session.add(row)

    async def current(self) -> list[ProviderHold]:
        """Those that are not over."""
        async with self._database.read() as session:
            found = await session.exec(select(ProviderHold).where(col(ProviderHold.until) > now()))
            return list(found)
