"""SQLite on a disk without room, and under a lock that somebody else holds."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from core.failpoints import Failpoint
from core.ledger import Ledger, LedgerFull, LedgerUnavailable
from core.ledger.database import Database
from tests.support.stores.small_disk import MIB, filled, small_disk


async def test_a_full_disk_is_told_from_other_outages_and_costs_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 8 * MIB) as disk:
        ledger = await Ledger.open(f"sqlite:///{disk}/ledger.sqlite3")
        key = await ledger.accounts.create_key("alpha")
        made: list[str] = []

        async def make_many() -> None:
            # Some fit into what the files have already.
            while True:
                await ledger.accounts.create_key(f"beta {len(made)}")
                made.append(f"beta {len(made)}")

        with filled(disk, 0), pytest.raises(LedgerFull):
            await make_many()
        assert await ledger.accounts.authenticate(key.secret) is not None
        await ledger.accounts.create_key("gamma")
        names = [account for _, account in await ledger.accounts.list_keys()]
        assert sorted(names) == sorted(["alpha", *made, "gamma"])
        await ledger.close()


async def test_a_lock_that_somebody_holds_is_an_outage_for_writers_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.ledger.engine.SQLITE_BUSY_SECONDS", 1)
    path = tmp_path / "ledger.sqlite3"
    ledger = await Ledger.open(f"sqlite:///{path}")
    key = await ledger.accounts.create_key("alpha")
    somebody = sqlite3.connect(path, isolation_level=None)
    somebody.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerUnavailable, match="locked"):
        await ledger.accounts.create_key("beta")
    assert await ledger.accounts.authenticate(key.secret) is not None
    somebody.execute("ROLLBACK")
    somebody.close()
    await ledger.accounts.create_key("beta")
    await ledger.close()


async def test_a_writer_that_gets_no_turn_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.ledger.database.SQLITE_BUSY_SECONDS", 0.01)
    database = Database.connect(f"sqlite:///{tmp_path / 'ledger.sqlite3'}", pool_size=1)
    async with database.write(Failpoint.MIGRATE):
        with pytest.raises(LedgerUnavailable, match="no turn to write came"):
            async with database.write(Failpoint.MIGRATE):
                pass
    async with database.write(Failpoint.MIGRATE):
        pass
    await database.close()
