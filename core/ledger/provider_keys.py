"""Which keys their providers took when they were last tried: what every replica can show."""

from __future__ import annotations

from collections.abc import Mapping

from core.failpoints import Failpoint
from core.ledger.database import Database
from core.ledger.tables import ProviderKey, now


class TriedKeys:
    """The newest finding for each provider and credential."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, provider: str, credential: str, *, code: str = "") -> None:
        """Note what a provider said of a key just now. `code`: its refusal; empty: accepted."""
        async with self._database.write(Failpoint.PROVIDER_KEY) as session:
            # Two that tried at the same time must see each other.
            await self._database.lock_name(session, "key", provider, credential)
            row = await session.get(ProviderKey, (provider, credential))
            if row is None:
                row = ProviderKey(provider=provider, credential=credential, accepted=True)
            row.accepted, row.code, row.checked_at = not code, code, now()
            session.add(row)

    async def of(self, credentials: Mapping[str, str]) -> dict[str, ProviderKey]:
        """What is known of today's credentials, by provider."""
        async with self._database.read() as session:
            found = {
                provider: await session.get(ProviderKey, (provider, credential))
                for provider, credential in credentials.items()
            }
        return {provider: row for provider, row in found.items() if row is not None}
