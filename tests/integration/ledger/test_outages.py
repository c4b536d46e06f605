"""PostgreSQL goes, comes back, and loses answers."""

from __future__ import annotations

import asyncio
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest

from core.failpoints import Failpoint
from core.ledger import (
    Account,
    Batch,
    BatchState,
    File,
    Ledger,
    LedgerUnavailable,
    Settlement,
    Shard,
    ShardState,
    Stale,
    new_id,
    now,
)
from core.ledger.database import Database
from core.ledger.postgres_connecting import connector
from tests.support.ledger.rows import batch_row, create, file_row, shard_row, try_intend
from tests.support.stores.lossy import LossyProxy
from tests.support.stores.postgres import USER, PostgresServer, running_postgres

pytestmark = pytest.mark.long

LEASE = timedelta(minutes=10)


@pytest.fixture
def own_server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """A server that the test may stop; skipped where the shared one is."""
    with running_postgres() as server:
        yield server


@pytest.fixture
async def lossy(postgres_server: PostgresServer) -> AsyncIterator[LossyProxy]:
    """A way to the shared server that can lose the answer to a commit."""
    async with LossyProxy(postgres_server.port, b"COMMIT") as proxy:
        yield proxy


async def test_it_goes_on_when_the_server_is_back(own_server: PostgresServer) -> None:
    ledger = await Ledger.open(own_server.create_database())
    key = await ledger.accounts.create_key("alpha")
    for end in (own_server.stop, own_server.kill):
        # Several, so that the pool holds more than one connection that is dead then.
        await asyncio.gather(*(ledger.check() for _ in range(5)))
        end()
        with pytest.raises(LedgerUnavailable):
            await ledger.check()
        with pytest.raises(LedgerUnavailable):
            await ledger.accounts.create_key("beta")
        own_server.start()
        await asyncio.gather(*(ledger.check() for _ in range(5)))
        assert await ledger.accounts.authenticate(key.secret) is not None
    await ledger.close()


async def test_an_outage_in_a_transaction_leaves_no_trace(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database()
    name = url.rpartition("/")[2]
    ledger = await Ledger.open(url)
    database = ledger.accounts._database
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"

    async def write_and_be_cut() -> None:
        async with database.write(Failpoint.KEY_CREATE) as session:
            session.add(Account(id="acct_1", name="alpha", created_at=now()))
            await session.flush()
            await asyncio.to_thread(postgres_server.execute, cut)

    with pytest.raises(LedgerUnavailable):
        await write_and_be_cut()
    assert (await ledger.accounts.create_key("alpha")).account_id != "acct_1"
    await ledger.close()


async def test_it_leaves_a_server_that_takes_no_writes(postgres_server: PostgresServer) -> None:
    """As after a failover: connections to what is a standby now go on answering queries."""
    url = postgres_server.create_database()
    name = url.rpartition("/")[2]
    ledger = await Ledger.open(url)
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"

    async def meet_a_standby() -> None:
        postgres_server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        postgres_server.execute(cut)
        # Without a write, so that the pool holds connections that are good for reading.
        await asyncio.gather(*(ledger.accounts.authenticate("none") for _ in range(5)))
        postgres_server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = off")

    await meet_a_standby()
    with pytest.raises(LedgerUnavailable, match="read-only"):
        await ledger.accounts.create_key("alpha")
    await asyncio.gather(*(ledger.accounts.create_key(f"beta-{each}") for each in range(5)))
    await meet_a_standby()
    with pytest.raises(LedgerUnavailable, match="takes no writes"):
        await ledger.check()
    await ledger.close()


async def test_a_full_server_is_an_outage(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database()
    name = url.rpartition("/")[2]
    ledger = await Ledger.open(url)
    postgres_server.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
    postgres_server.execute("CREATE ROLE guest LOGIN")
    postgres_server.execute(f"GRANT ALL ON DATABASE {name} TO guest")
    with pytest.raises(LedgerUnavailable, match="too many connections"):
        await Ledger.open(url.replace("//polybatch@", "//guest@"))
    await ledger.close()
    postgres_server.execute(f"REVOKE ALL ON DATABASE {name} FROM guest; DROP ROLE guest")


async def test_no_transition_is_done_twice_when_its_answer_was_lost(
    postgres_url: str, lossy: LossyProxy
) -> None:
    """What a service does after an outage is the same call again."""
    own, _, name = postgres_url.rpartition("/")
    ledger = await Ledger.open(f"{own.rpartition(':')[0]}:{lossy.port}/{name}")

    async def lost(call: object) -> None:
        lossy.lose_next()
        with pytest.raises(LedgerUnavailable):
            await call  # type: ignore[misc]

    moment = now()
    file = file_row(account_id="acct_a", upload_id="upload-1", at=moment)
    await lost(ledger.files.begin_upload("acct_a", "upload-1"))
    assert not isinstance(await ledger.files.begin_upload("acct_a", "upload-1"), File)
    await lost(ledger.files.finish_upload(file))
    again = file.model_copy(update={"id": new_id("file")})
    assert (await ledger.files.finish_upload(File(**again.model_dump()))).id == file.id

    def new_batch() -> Batch:
        return batch_row(file, request_id="r1", total=10, at=moment)

    first = new_batch()
    batch_id = first.id
    await lost(ledger.batches.create(first))
    made = await create(ledger, new_batch())
    assert made.id == batch_id

    def new_shard() -> Shard:
        return shard_row(made, line_count=10)

    await lost(ledger.batches.plan(batch_id, [new_shard()]))
    assert isinstance(await ledger.batches.plan(batch_id, [new_shard()]), Stale)
    (shard,) = await ledger.shards.of_batch(batch_id)

    def intend(token: str) -> object:
        return try_intend(ledger, shard, token)

    await lost(intend("t1"))
    assert isinstance(await intend("t2"), Stale)  # type: ignore[misc]
    (shard,) = await ledger.shards.of_batch(batch_id)
    # The intent that nobody was told of is there, to be looked into when its lease is over.
    assert (shard.state, shard.token, shard.attempts) == (ShardState.SUBMITTING, "t1", 1)

    await lost(ledger.shards.mark_dispatched(shard, LEASE))
    # Whether the create has left is not known, so it is not let go a second time.
    assert not await ledger.shards.mark_dispatched(shard, LEASE)
    await lost(ledger.shards.submitted(shard, "remote-1", "file-1", moment))
    assert isinstance(await ledger.shards.submitted(shard, "remote-2", "f", moment), Stale)
    await lost(ledger.shards.fetching(shard, "completed"))
    assert isinstance(await ledger.shards.fetching(shard, "completed"), Stale)
    settlement = Settlement(succeeded=9, failed=0, retried=1)
    retry = new_shard()
    retry.line_count, retry.round = 1, 1
    await lost(ledger.shards.settle(shard, settlement, [retry]))
    assert isinstance(await ledger.shards.settle(shard, settlement, [new_shard()]), Stale)
    assert [row.line_count for row in await ledger.shards.of_batch(batch_id)] == [10, 1]
    await lost(ledger.batches.cancel(batch_id))
    assert isinstance(await ledger.batches.cancel(batch_id), Stale)
    await lost(ledger.batches.settle_queued(batch_id))
    assert isinstance(await ledger.batches.settle_queued(batch_id), Stale)

    def end() -> object:
        return ledger.batches.end(
            batch_id, BatchState.CANCELLED, "results/1", succeeded=9, failed=1
        )

    await lost(end())
    assert isinstance(await end(), Stale)  # type: ignore[misc]
    ended = await ledger.batches.get(batch_id)
    assert (ended.state, ended.succeeded, ended.failed) == (BatchState.CANCELLED, 9, 1)
    await ledger.close()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Where nobody answers, as at a machine that is gone: nothing is refused, either."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        # Its queue is full, so that it does not see who comes next.
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield server.getsockname()[1]


async def test_a_server_that_is_gone_without_a_word_keeps_nobody_from_the_next(
    postgres_server: PostgresServer, silent_port: int
) -> None:
    url = postgres_server.create_database()
    own = f":{postgres_server.port}"
    ledger = await Ledger.open(url.replace(own, f":{silent_port},127.0.0.1{own}"))
    await ledger.check()
    await ledger.close()


async def test_of_several_servers_the_one_that_takes_writes_is_found(
    own_server: PostgresServer, postgres_server: PostgresServer
) -> None:
    # Of this test's own: the servers number theirs alike.
    name = f"failover_{secrets.token_hex(4)}"
    for server in (own_server, postgres_server):
        server.execute(f"CREATE DATABASE {name}")
    own_server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    both = f"127.0.0.1:{own_server.port},127.0.0.1:{postgres_server.port}"
    ledger = await Ledger.open(f"postgresql://{USER}@{both}/{name}")
    await ledger.accounts.create_key("alpha")
    await ledger.close()


@pytest.mark.parametrize("asked", ["", "?target_session_attrs=read-write"])
async def test_standbys_alone_are_an_outage(postgres_server: PostgresServer, asked: str) -> None:
    """As amid a failover, before any of them is promoted."""
    url = postgres_server.create_database()
    name = url.rpartition("/")[2]
    postgres_server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    own = f":{postgres_server.port}"
    both = url if asked else url.replace(own, f"{own},127.0.0.1{own}")
    with pytest.raises(LedgerUnavailable, match="may be a standby"):
        await Ledger.open(both + asked)


@pytest.mark.skipif(sys.platform != "linux", reason="set on Linux alone")
async def test_a_machine_that_is_gone_is_not_waited_for(postgres_url: str) -> None:
    """Its connections end by themselves, long before a statement may take no longer."""
    connection = await connector(postgres_url, server_settings={})()
    own = connection._transport.get_extra_info("socket")
    assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
    assert own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) < 10
    await connection.close()


async def test_who_stands_still_amid_a_statement_keeps_nobody_waiting(postgres_url: str) -> None:
    """The server waits for him without a limit of its own, and what he has locked stays so."""
    ledger = await Ledger.open(postgres_url)
    database = ledger.accounts._database
    silent = await database._engine.connect()
    driver = (await silent.get_raw_connection()).driver_connection
    assert driver is not None
    await driver.execute("BEGIN; LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE")
    # Answered, and the statement is not over.
    await driver.prepare("SELECT 1")
    assert await database.end_hung() == 0
    assert await database.end_hung(timedelta()) == 1
    await ledger.accounts.create_key("alpha")
    await silent.invalidate()
    await silent.close()
    await ledger.close()


async def test_nobody_has_to_be_allowed_to_end_connections(postgres_server: PostgresServer) -> None:
    """Where an administrator has taken that away, the sweep goes on without."""
    url = postgres_server.create_database()
    name, role = url.rpartition("/")[2], f"plain_{secrets.token_hex(4)}"
    postgres_server.execute(f"CREATE ROLE {role} LOGIN")
    revoked = "REVOKE EXECUTE ON FUNCTION pg_terminate_backend FROM PUBLIC"
    postgres_server.execute(revoked, database=name)
    database = Database.connect(url.replace(f"{USER}@", f"{role}@"), pool_size=1)
    assert await database.end_hung() == 0
    await database._engine.dispose()
