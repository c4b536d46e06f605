"""The real services of a run, on the sandbox, and what an operator does there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from polybatch import AsyncClient, KeyScope, NewKey

from tests.support.e2e.direct_server import Server
from tests.support.e2e.suite import Suite, running_suite
from tests.support.stores.process import free_port

HELD = 8
"""Providers whose batches an operator can hold: so many scenarios at a time may hold one."""

_PROVIDER = """
[held-{number}]
kind = "openai-compatible"
base_url = "{url}/v1"
api_key_env = "HELD_API_KEY"
endpoints = ["/v1/chat/completions"]
"""


@contextmanager
def running_stand(folder: Path) -> Iterator[Suite]:
    """Start the suite, and a second sandbox behind the providers that can be held."""
    server = Server(free_port(), folder / "held")
    server.start()
    try:
        providers = folder / "providers.toml"
        providers.write_text(
            "".join(_PROVIDER.format(number=n, url=server.url) for n in range(HELD))
        )
        with running_suite(
            folder, POLYBATCH_PROVIDERS_FILE=str(providers), HELD_API_KEY="held-key"
        ) as suite:
            suite.reset_sandbox()
            server.reset()
            yield suite
    finally:
        server.stop()


@dataclass
class Account:
    """An account of its own for each scenario."""

    key: NewKey
    """The program's."""
    judge: AsyncClient
    """With another key, past the proxy."""


class Stand:
    """The services as scenarios see them."""

    def __init__(self, suite: Suite) -> None:
        ready = suite.ready
        self.gateway = ready["gateway"].removeprefix("grpc://")
        self.collector = ready["collector"].removeprefix("grpc://")
        self._operator = self._client(Path(ready["operator_key_file"]).read_text().strip())
        self._free: asyncio.Queue[str] = asyncio.Queue()
        for number in range(HELD):
            self._free.put_nowait(f"held-{number}")

    async def close(self) -> None:
        """Close the operator's connections."""
        await self._operator.close()

    @asynccontextmanager
    async def account(self, name: str) -> AsyncIterator[Account]:
        """Make an account with two keys."""
        await self._operator.accounts.create(name)
        key = await self._operator.keys.create(account=name)
        own = await self._operator.keys.create(account=name, scope=KeyScope.ACCOUNT)
        async with self._client(own.secret) as judge:
            yield Account(key, judge)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[str]:
        """A provider to which nothing is sent before `release`."""
        name = await self._free.get()
        await self._operator.pause_provider(name)
        try:
            yield name
        finally:
            await self.release(name)
            self._free.put_nowait(name)

    async def release(self, provider: str) -> None:
        """Let the batches of a held provider run."""
        await self._operator.resume_provider(provider)

    def _client(self, key: str) -> AsyncClient:
        return AsyncClient(gateway=self.gateway, collector=self.collector, api_key=key)
