"""What SQLite and PostgreSQL have to have in common, and how they are reached."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlmodel import SQLModel

from core.ledger import BadDatabaseUrl, Ledger, LedgerUnavailable, Scope, UnknownSchema
from core.ledger.engine import make_migration_engine
from core.ledger.schema import downgrade, upgrade
from tests.support.forked.python import python
from tests.support.ledger.rows import make_file, new_batch, reread
from tests.support.stores.postgres import PostgresServer

PROCESSES = 3
LEDGER = ("core.ledger", "sqlalchemy.dialects.sqlite.aiosqlite", "alembic.command")

OPEN = """
import asyncio, sys
from core.ledger import Ledger
async def main():
    print("started", flush=True)
    sys.stdin.readline()
    ledger = await Ledger.open(sys.argv[1])
    await ledger.check()
    await ledger.close()
asyncio.run(main())
"""


@pytest.mark.long
async def test_many_processes_may_migrate_at_once(database_url: str) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            *python("-c", OPEN, database_url, imported=LEDGER),
            cwd=Path(__file__).parents[3],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"started\n"
    outcomes = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    assert [
        (process.returncode, err) for process, (_, err) in zip(processes, outcomes, strict=True)
    ] == [(0, b"")] * PROCESSES


async def differences(database_url: str) -> list[object]:
    """Between the tables of a database and those of the code."""

    def compare(connection: sa.Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        return list(compare_metadata(context, SQLModel.metadata))

    engine = make_migration_engine(database_url)
    async with engine.connect() as connection:
        found = await connection.run_sync(compare)
    await engine.dispose()
    return found


async def test_the_migrations_make_the_tables_as_they_are(
    ledger: Ledger, database_url: str
) -> None:
    assert await differences(database_url) == []


@pytest.mark.long
async def test_a_ledger_from_before_late_answers_opens(tmp_path: Path) -> None:
    """Its schema is the oldest that has a way to the newest; it was made by its own code."""
    path = tmp_path / "ledger.sqlite3"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(Path(__file__).with_name("ledger_0007.sql").read_text())
        # One that was cancelled before its lines were counted apart.
        old.execute("CREATE TEMP TABLE ended AS SELECT * FROM shards WHERE state = 'submitting'")
        old.execute(
            "UPDATE ended SET id = 'shard_ended', batch_id = 'batch_ended', state = 'settled', "
            "failed = 4, fill_code = 'batch_cancelled'"
        )
        old.execute("INSERT INTO shards SELECT * FROM ended")
        old.execute("CREATE TEMP TABLE its_batch AS SELECT * FROM batches")
        old.execute("UPDATE its_batch SET id = 'batch_ended', state = 'cancelled', failed = 4")
        old.execute("INSERT INTO batches SELECT * FROM its_batch")
        # What the first start makes belongs to whoever runs the service.
        old.execute("CREATE TEMP TABLE first AS SELECT * FROM api_keys")
        old.execute("UPDATE first SET id = 'key_first', name = 'first key', key_sha256 = 'f'")
        old.execute("INSERT INTO api_keys SELECT * FROM first")
        old.commit()
    url = f"sqlite+aiosqlite:///{path}"
    async with AsyncExitStack() as stack:
        ledger = await Ledger.open(url)
        stack.push_async_callback(ledger.close)
        (key, account), (first, _) = await ledger.accounts.list_keys()
        assert (account, key.revoked_at) == ("alpha", None)
        assert (key.scope, first.scope) == (Scope.BATCH, Scope.ACCOUNT)
        (batch,) = await ledger.batches.get_many(["batch_0mx0gsi73hklkzkzvqzx"])
        assert (batch.state, batch.total, batch.results_revision) == ("in_progress", 10, 0)
        assert batch.key_id == "", "made before keys were kept with batches"
        sent, unknown = await ledger.shards.of_batch(batch.id)
        assert (sent.state, sent.remote_id, sent.file_token) == ("submitted", "batch_remote", "t1")
        assert (unknown.state, unknown.given_up_at) == ("submitting", None)
        (ended,) = await ledger.batches.get_many(["batch_ended"])
        assert (ended.failed, ended.cancelled, ended.expired) == (4, 4, 0)
        assert (batch.cancelled, sent.cancelled) == (0, 0)
        assert await ledger.batches.prices(batch.id) is None, "made before prices were kept"
    assert await differences(url) == []


@pytest.mark.long
async def test_a_ledger_from_before_prices_opens(database_url: str) -> None:
    """Its batches have none; those that are made from then on keep theirs."""
    ledger = await Ledger.open(database_url)
    old = new_batch(await make_file(ledger))
    old.prices = '{"not": "kept"}'
    await ledger.batches.create(old)
    await ledger.close()
    await asyncio.to_thread(downgrade, database_url, "0010")

    ledger = await Ledger.open(database_url)
    try:
        assert await differences(database_url) == []
        found = await reread(ledger, old)
        assert found.total == old.total
        assert await ledger.batches.prices(old.id) is None
        new = new_batch(await make_file(ledger, upload="upload-2"))
        new.prices = '{"form": 1}'
        await ledger.batches.create(new)
        assert await ledger.batches.prices(new.id) == '{"form": 1}'
    finally:
        await ledger.close()


@pytest.mark.parametrize(
    ("revision", "remedy"),
    [("9999", "a newer version was started on it"), ("0006", "it is older: start a version")],
)
async def test_a_schema_of_another_version_is_left_alone_and_named(
    ledger: Ledger, database_url: str, revision: str, remedy: str
) -> None:
    await ledger.accounts.create_key("alpha")
    engine = make_migration_engine(database_url)
    async with engine.connect() as connection:
        await connection.execute(sa.text(f"UPDATE alembic_version SET version_num = '{revision}'"))
        await connection.commit()
    with pytest.raises(UnknownSchema, match=f"has schema {revision}, .* knows 0007 to .*{remedy}"):
        await Ledger.open(database_url)
    async with engine.connect() as connection:
        found = await connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    await engine.dispose()
    assert found == revision
    assert len(await ledger.accounts.list_keys()) == 1


def test_migrations_may_take_long_whatever_limits_the_database_has(
    postgres_server: PostgresServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    name = postgres_url.rpartition("/")[2]
    for limit in limits:
        postgres_server.execute(f"ALTER DATABASE {name} SET {limit} = '30s'")
    found = {}

    def look(connection: sa.Connection) -> None:
        for limit in limits:
            found[limit] = connection.scalar(sa.text(f"SHOW {limit}"))

    monkeypatch.setattr("core.ledger.schema.refuse_unknown", look)
    upgrade(postgres_url)
    assert found == dict.fromkeys(limits, "0")


async def test_text_with_nul_is_no_error(ledger: Ledger) -> None:
    key = await ledger.accounts.create_key("al\0pha")
    again = await ledger.accounts.create_key("al\0pha")
    assert again.account_id == key.account_id
    assert await ledger.files.get("acct", "file_\0") is None
    assert await ledger.batches.get_many(["batch_\0", "batch_1"]) == []


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
async def test_the_driver_need_not_be_named(postgres_url: str, scheme: str) -> None:
    url = scheme + "://" + postgres_url.partition("://")[2]
    ledger = await Ledger.open(url + "?sslmode=prefer&application_name=mine")
    await ledger.close()


async def test_sqlite_needs_no_driver_either(tmp_path: Path) -> None:
    ledger = await Ledger.open(f"sqlite:///{tmp_path / 'new' / 'ledger.sqlite3'}")
    await ledger.close()


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:secret@host/db",
        "postgresql+psycopg2://u:secret@h/db",
        "secret",
        "sqlite:secret",
        "postgresql://u:secret@h:port/db",
        "postgresql://u:secret@h1:5432,h2:x/db",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite://secret/db",
    ],
)
async def test_another_url_is_refused_with_what_was_expected(url: str) -> None:
    with pytest.raises(BadDatabaseUrl, match="expected postgresql://") as caught:
        await Ledger.open(url)
    assert "secret" not in str(caught.value)


async def test_an_sslmode_that_there_is_not_is_refused() -> None:
    with pytest.raises(BadDatabaseUrl, match="sslmode is 'on': expected one of disable"):
        await Ledger.open("postgresql://u:secret@h1:5432,[::1]:5433/db?sslmode=on")


@pytest.mark.long
@pytest.mark.parametrize("parameter", ["connect_timeout=5", "channel_binding=prefer"])
async def test_a_parameter_that_only_libpq_knows_is_named(
    postgres_url: str, parameter: str
) -> None:
    """Providers of databases write such into the URLs that they show."""
    with pytest.raises(BadDatabaseUrl, match=parameter.partition("=")[0]):
        await Ledger.open(f"{postgres_url}?{parameter}")


async def test_a_login_that_is_refused_says_so(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database()
    with pytest.raises(LedgerUnavailable, match='role "nobody" does not exist'):
        await Ledger.open(url.replace("//polybatch@", "//nobody:secret@"))
    with pytest.raises(LedgerUnavailable, match='database "none" does not exist'):
        await Ledger.open(url.rpartition("/")[0] + "/none")


async def test_times_come_back_in_utc_whatever_the_server_thinks(
    postgres_server: PostgresServer,
) -> None:
    url = postgres_server.create_database()
    name = url.rpartition("/")[2]
    postgres_server.execute(f"ALTER DATABASE {name} SET timezone TO 'Asia/Kathmandu'")
    postgres_server.execute(
        f"ALTER DATABASE {name} SET default_transaction_isolation TO 'serializable'"
    )
    ledger = await Ledger.open(url)
    made = await ledger.accounts.create_key("alpha")
    found = await ledger.accounts.authenticate(made.secret)
    assert found.created_at.utcoffset() is not None
    assert found.created_at.tzname() == "UTC"
    await ledger.close()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_a_database_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    # As an older release has left it.
    path.touch(mode=0o644)
    ledger = await Ledger.open(f"sqlite:///{path}")
    try:
        await ledger.accounts.create_key("someone")
        assert [mode(path.with_name(path.name + end)) for end in ("", "-wal", "-shm")] == [
            0o600
        ] * 3
    finally:
        await ledger.close()
