from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.ledger import Ledger
from core.ledger.schema import upgrade
from tests.support.stores.postgres import PostgresServer

ON_POSTGRES = {"test_at_once.py"}
"""What is run on PostgreSQL in `make test` too; the rest follows in `make test-long`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        kind = item.callspec.params.get("database_url") if hasattr(item, "callspec") else ""
        if kind == "postgres" and item.path.name not in ON_POSTGRES:
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session")
def migrated(postgres_server: PostgresServer) -> str:
    """The name of a database on PostgreSQL that the migrations made."""
    url = postgres_server.create_database()
    upgrade(url)
    return url.rpartition("/")[2]


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without rows, of each kind that the ledger runs on.

    On PostgreSQL the migrations, which take a fifth of a second, are those of a copy, but where
    they are what is tested.
    """
    if request.param == "postgres":
        if request.path.name == "test_databases.py":
            return str(request.getfixturevalue("postgres_url"))
        server: PostgresServer = request.getfixturevalue("postgres_server")
        return server.create_database(request.getfixturevalue("migrated"))
    return f"sqlite+aiosqlite:///{tmp_path / 'ledger.sqlite3'}"


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    opened = await Ledger.open(database_url)
    yield opened
    await opened.close()
