from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.ledger import Ledger

ON_POSTGRES = {
    "test_transitions.py",
    "test_turns.py",
    "test_at_once.py",
    "test_databases.py",
    "test_halting.py",
    "test_pauses.py",
    "test_room.py",
    "test_spend.py",
    "test_usage.py",
}
"""What is run on PostgreSQL in `make test` too; the rest follows in `make test-long`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        kind = item.callspec.params.get("database_url") if hasattr(item, "callspec") else ""
        if kind == "postgres" and item.path.name not in ON_POSTGRES:
            item.add_marker(pytest.mark.long)


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind that the ledger runs on."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite+aiosqlite:///{tmp_path / 'ledger.sqlite3'}"


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    opened = await Ledger.open(database_url)
    yield opened
    await opened.close()
