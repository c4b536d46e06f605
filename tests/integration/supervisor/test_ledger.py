"""The ledger has its newest schema before any service is started."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from core.ledger import Ledger
from core.ledger.schema import downgrade, is_newest
from core.serving import StartupError
from services.supervisor.ledger import bring_up_to_date


@pytest.fixture
async def url(tmp_path: Path) -> str:
    """Of a ledger that there is."""
    found = f"sqlite:///{tmp_path / 'data' / 'ledger.sqlite3'}"
    await (await Ledger.open(found)).close()
    return found


def set_revision(folder: Path, revision: str) -> None:
    with closing(sqlite3.connect(folder / "data" / "ledger.sqlite3")) as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        database.commit()


async def test_an_older_ledger_gets_the_newest_schema(url: str) -> None:
    await asyncio.to_thread(downgrade, url, "0013")
    assert not await is_newest(url)
    await bring_up_to_date(url, asyncio.Event())
    assert await is_newest(url)


async def test_a_newer_ledger_is_refused_in_one_line(url: str, tmp_path: Path) -> None:
    set_revision(tmp_path, "9999")
    with pytest.raises(StartupError, match="the database has schema 9999, "):
        await bring_up_to_date(url, asyncio.Event())


async def test_a_new_ledger_is_left_to_the_services(tmp_path: Path) -> None:
    await bring_up_to_date(f"sqlite:///{tmp_path / 'none.sqlite3'}", asyncio.Event())
    assert os.listdir(tmp_path) == []


async def test_a_database_that_is_away_is_left_to_the_services() -> None:
    await bring_up_to_date("postgresql://nobody@127.0.0.1:1/none", asyncio.Event())


async def test_a_parameter_that_the_database_does_not_know_is_refused(postgres_url: str) -> None:
    unknown = f"{postgres_url}{'&' if '?' in postgres_url else '?'}keepalive=10"
    with pytest.raises(StartupError, match=r'POLYBATCH_DATABASE_URL: .*"keepalive"'):
        await bring_up_to_date(unknown, asyncio.Event())


@pytest.mark.usefixtures("url")
async def test_no_service_is_started_on_a_ledger_that_it_cannot_use(tmp_path: Path) -> None:
    set_revision(tmp_path, "9999")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.supervisor", "--sandbox", "--ports=auto"),
        env={
            "PATH": "",
            "PYTHONPATH": ":".join(sys.path),
            "POLYBATCH_DATA_DIR": f"{tmp_path}/data",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 1
    (line,) = said.decode().splitlines()
    assert line.startswith("supervisor cannot start: the database has schema 9999, ")
