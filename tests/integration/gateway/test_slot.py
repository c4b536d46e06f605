"""An upload's place is given back, at whatever moment its call is cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from core.ledger import Ledger, OverLimit
from core.settings import Settings
from services.gateway.shielding import uninterrupted
from services.gateway.upload_reservation import UploadReservation

ACCOUNT = "acct_1"


class Commits:
    """Says when a call to the ledger is done, and withholds its answer until told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ledger: Ledger, name: str) -> None:
        self.done = asyncio.Event()
        self.answer = asyncio.Event()
        call = getattr(ledger.files, name)

        async def withheld(*arguments: Any, **named: Any) -> Any:
            result = await call(*arguments, **named)
            self.done.set()
            await self.answer.wait()
            return result

        monkeypatch.setattr(ledger.files, name, withheld)


async def test_cancelled_when_the_ledger_has_taken_it(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(account_open_uploads=1)
    commits = Commits(monkeypatch, ledger, "begin_upload")
    reservation = UploadReservation(ledger, settings, ACCOUNT, "upload-1")
    beginning = asyncio.create_task(reservation.begin())
    await commits.done.wait()
    beginning.cancel()
    commits.answer.set()
    with pytest.raises(asyncio.CancelledError):
        await beginning
    await reservation.end()
    assert await UploadReservation(ledger, settings, ACCOUNT, "upload-2").begin() is None


async def test_cancelled_a_second_time_while_it_ends(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(account_open_uploads=1)
    reservation = UploadReservation(ledger, settings, ACCOUNT, "upload-1")
    await reservation.begin()
    commits = Commits(monkeypatch, ledger, "end_upload")
    ending = asyncio.create_task(uninterrupted(reservation.end()))
    await commits.done.wait()
    for _ in range(2):
        ending.cancel()
        await asyncio.sleep(0)
    assert not ending.done()
    commits.answer.set()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert await UploadReservation(ledger, settings, ACCOUNT, "upload-2").begin() is None


async def test_an_end_without_a_size_keeps_the_bytes_that_it_held(ledger: Ledger) -> None:
    settings = Settings(account_bytes=1 << 20)
    reservation = UploadReservation(ledger, settings, ACCOUNT, "upload-1")
    await reservation.begin()
    await reservation.reach(700_000)
    await reservation.end()
    held = await ledger.files.begin_upload(ACCOUNT, "upload-2", size=1)
    assert not isinstance(held, OverLimit)
    upload = await ledger.files.find_upload(ACCOUNT, "upload-1")
    assert upload.bytes >= 700_000
