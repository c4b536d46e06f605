"""The ledger has its newest schema before any service is started."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import MutableMapping
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import pytest
import structlog
from structlog.testing import capture_logs

from core.ledger import Ledger
from core.ledger.schema import downgrade, is_newest
from core.serving import StartupError
from services.supervisor import ledger
from services.supervisor.ledger import bring_up_to_date


@pytest.fixture
async def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a ledger that there is, and that the settings name."""
    found = f"sqlite:///{tmp_path / 'data' / 'ledger.sqlite3'}"
    monkeypatch.setenv("POLYBATCH_DATABASE_URL", found)
    await (await Ledger.open(found)).close()
    return found


def set_revision(folder: Path, revision: str) -> None:
    with closing(sqlite3.connect(folder / "data" / "ledger.sqlite3")) as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        database.commit()


async def test_an_older_ledger_gets_the_newest_schema(url: str) -> None:
    await asyncio.to_thread(downgrade, url, "0013")
    assert not await is_newest(url)
    await bring_up_to_date(asyncio.Event())
    assert await is_newest(url)


@pytest.mark.usefixtures("url")
async def test_a_newer_ledger_is_refused_in_one_line(tmp_path: Path) -> None:
    set_revision(tmp_path, "9999")
    with pytest.raises(StartupError, match=r"^the database has schema 9999, [^\n]*$"):
        await bring_up_to_date(asyncio.Event())


async def test_a_new_ledger_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'folder' / 'new.sqlite3'}"
    monkeypatch.setenv("POLYBATCH_DATABASE_URL", url)
    await bring_up_to_date(asyncio.Event())
    assert await is_newest(url)


async def test_a_migration_ends_where_the_suite_is_stopped(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for the lock here, as another may for minutes while it changes all rows."""
    stop = asyncio.Event()

    def told(log: object, name: str, event: MutableMapping[str, Any]) -> NoReturn:
        if event["event"] == "opening_the_ledger":
            stop.set()
        raise structlog.DropEvent

    monkeypatch.setattr(ledger, "log", structlog.wrap_logger(None, processors=[told]))
    await asyncio.to_thread(downgrade, url, "0013")
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        database.execute("BEGIN EXCLUSIVE")
        await bring_up_to_date(stop)
    assert stop.is_set()
    assert not await is_newest(url)


async def test_what_a_migration_dies_of_is_said(url: str) -> None:
    await asyncio.to_thread(downgrade, url, "0013")
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        database.execute(
            "CREATE TRIGGER kept BEFORE UPDATE ON alembic_version "
            "BEGIN SELECT RAISE(ABORT, 'it stays'); END"
        )
    with pytest.raises(StartupError, match=r"exit code \d+: (?s:.)*it stays"):
        await bring_up_to_date(asyncio.Event())


@pytest.mark.usefixtures("url")
@pytest.mark.parametrize("damage", ["no database", "cut off"])
async def test_a_ledger_that_cannot_be_read_is_named_in_one_line(
    tmp_path: Path, damage: str
) -> None:
    file = tmp_path / "data" / "ledger.sqlite3"
    file.write_bytes(
        b"no database" * 1000 if damage == "no database" else file.read_bytes()[:20_000]
    )
    with pytest.raises(StartupError, match=rf"^{file} is damaged, or no ledger: [^\n]*$"):
        await bring_up_to_date(asyncio.Event())


async def test_a_database_that_is_away_is_left_to_the_services(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POLYBATCH_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    with capture_logs() as logs:
        await bring_up_to_date(asyncio.Event())
    # On a busy machine it may have been told before that the ledger is being opened.
    assert [each["event"] for each in logs][-1] == "ledger_not_ready"


async def test_a_parameter_that_the_database_does_not_know_is_refused(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = f"{postgres_url}{'&' if '?' in postgres_url else '?'}keepalive=10"
    monkeypatch.setenv("POLYBATCH_DATABASE_URL", unknown)
    with pytest.raises(StartupError, match=r'^POLYBATCH_DATABASE_URL: .*"keepalive"'):
        await bring_up_to_date(asyncio.Event())


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
