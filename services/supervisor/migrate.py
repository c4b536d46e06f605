"""`python -m services.supervisor.migrate`: give the ledger of the settings its newest schema."""

from __future__ import annotations

import asyncio
import sys

from core.ledger import BadDatabaseUrl, Ledger, LedgerUnavailable, UnknownSchema
from core.settings import read_settings
from services.supervisor.ledger import REFUSED, UNAVAILABLE


async def migrate(url: str) -> int:
    """Returns the exit code; prints why it is not 0."""
    try:
        ledger = await Ledger.open(url, pool_size=1)
    except BadDatabaseUrl as error:
        print(f"POLYBATCH_DATABASE_URL: {error}")
        return REFUSED
    except UnknownSchema as error:
        print(error)
        return REFUSED
    except LedgerUnavailable as error:
        print(error)
        return UNAVAILABLE
    await ledger.close()
    return 0


if __name__ == "__main__":
    settings, _ = read_settings()
    sys.exit(asyncio.run(migrate(settings.effective_database_url)))
