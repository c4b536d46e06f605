"""The fake service, and both clients behind one shape so that each test runs on both."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from polybatch import AsyncClient, Client, PolybatchError, RetryPolicy
from polybatch.cli import main

from tests.support.client.command import GOOD, Command, Converting
from tests.support.client.fake_service import API_KEY, FakePolybatch

RetryObserver = Callable[[PolybatchError, float], None]

QUICK = RetryPolicy(first_wait=0.01, longest_wait=0.05, give_up_after=2.0)


class Api:
    """A client whose calls are awaited and whose iterators are collected."""

    def __init__(self) -> None:
        self.retries: list[tuple[PolybatchError, float]] = []
        self.backs: list[str] = []
        self._observer: RetryObserver | None = None

    def observe(self, observer: RetryObserver) -> None:
        """Calls `observer` too before each wait."""
        self._observer = observer

    def on_retry(self, error: PolybatchError, wait: float) -> None:
        """What the client calls."""
        self.retries.append((error, wait))
        if self._observer is not None:
            self._observer(error, wait)

    def options(self, address: str, **others: Any) -> dict[str, Any]:
        """Arguments of the client."""
        return {
            "gateway": address,
            "collector": address,
            "api_key": API_KEY,
            "retry": QUICK,
            "on_retry": self.on_retry,
            "on_back": self.backs.append,
        } | others

    async def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Calls a method by its name, such as "files.get"."""
        raise NotImplementedError

    async def items(self, name: str, *args: Any, first: int | None = None, **kwargs: Any) -> Any:
        """Calls a method that returns an iterator; leaves it after the `first` items."""
        raise NotImplementedError


class BlockingApi(Api):
    """Client, in a thread."""

    def __init__(self, address: str, **others: Any) -> None:
        super().__init__()
        self.client = Client(**self.options(address, **others))

    async def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """See Api."""
        return await asyncio.to_thread(attrgetter(name)(self.client), *args, **kwargs)

    async def items(self, name: str, *args: Any, first: int | None = None, **kwargs: Any) -> Any:
        """See Api."""

        def collect() -> list[Any]:
            found = []
            for item in itertools.islice(attrgetter(name)(self.client)(*args, **kwargs), first):
                found.append(item)
            return found

        return await asyncio.to_thread(collect)


class AsyncioApi(Api):
    """AsyncClient."""

    def __init__(self, address: str, **others: Any) -> None:
        super().__init__()
        self.client = AsyncClient(**self.options(address, **others))

    async def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """See Api."""
        return await attrgetter(name)(self.client)(*args, **kwargs)

    async def items(self, name: str, *args: Any, first: int | None = None, **kwargs: Any) -> Any:
        """See Api."""
        found = []
        if first == 0:
            return found
        async for item in attrgetter(name)(self.client)(*args, **kwargs):
            found.append(item)
            if len(found) == first:
                break
        return found


@pytest.fixture
def fake() -> Iterator[FakePolybatch]:
    """A fake polybatch that listens on a free port."""
    service = FakePolybatch()
    service.start()
    try:
        yield service
    finally:
        service.close()


@asynccontextmanager
async def connected(kind: str, address: str, **others: Any) -> AsyncIterator[Api]:
    """The client of a kind, "blocking" or "asyncio", with short waits; `others`: arguments."""
    if kind == "blocking":
        blocking = BlockingApi(address, **others)
        with blocking.client:
            yield blocking
    else:
        asynchronous = AsyncioApi(address, **others)
        async with asynchronous.client:
            yield asynchronous


@pytest.fixture(params=[pytest.param("blocking", marks=pytest.mark.long), "asyncio"])
async def api(request: pytest.FixtureRequest, fake: FakePolybatch) -> AsyncIterator[Api]:
    """Both clients in turn, connected to the fake.

    The blocking one is made of the other (clients/python/make_blocking.py), and the end-to-end
    tests are its callers.
    """
    async with connected(request.param, fake.address) as client:
        yield client


@pytest.fixture
def collector(fake: FakePolybatch) -> Iterator[FakePolybatch]:
    """The collector of the fake's batches, at a port of its own, to be stopped by itself."""
    service = FakePolybatch()
    service.batches, service.results = fake.batches, fake.results
    service.start()
    try:
        yield service
    finally:
        service.close()


@pytest.fixture
def command(tmp_path: Path, fake: FakePolybatch) -> Command:
    (tmp_path / "good.jsonl").write_bytes(GOOD)
    (tmp_path / "bad.jsonl").write_bytes(b'{"custom_id": "a"}\nnot json\n{}\nnor this\n')
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("POLYBATCH_")
    }
    return Command(
        tmp_path,
        inherited
        | {
            "POLYBATCH_GATEWAY": fake.address,
            "POLYBATCH_COLLECTOR": fake.address,
            "POLYBATCH_API_KEY": API_KEY,
        },
    )


@pytest.fixture
def served(fake: FakePolybatch, monkeypatch: pytest.MonkeyPatch) -> FakePolybatch:
    """The fake, which the command in this process finds."""
    monkeypatch.setenv("POLYBATCH_GATEWAY", fake.address)
    monkeypatch.setenv("POLYBATCH_COLLECTOR", fake.address)
    monkeypatch.setenv("POLYBATCH_API_KEY", API_KEY)
    return fake


@pytest.fixture
def convert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Converting:
    """Runs `polybatch convert` in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def convert(*arguments: str) -> tuple[int, str]:
        code = main(["convert", *arguments])
        return code, capfd.readouterr().err

    return convert
