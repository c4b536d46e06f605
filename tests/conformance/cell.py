"""One client in one scenario: a folder, an account and a proxy of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from polybatch import Batch

from tests.conformance.clients import Client, environment
from tests.conformance.program import Program
from tests.conformance.proxy import Proxy
from tests.conformance.signals import Signals, check
from tests.conformance.stand import Account, Stand

PATIENCE = "30"
"""POLYBATCH_WAIT of the programs, in seconds."""


class Cell:
    """What a scenario works with."""

    def __init__(
        self, client: Client, stand: Stand, account: Account, folder: Path, stack: AsyncExitStack
    ) -> None:
        self.client = client
        self.stand = stand
        self.key = account.key
        self.judge = account.judge
        self.folder = folder
        self.results = folder / "out" / "results.jsonl"
        self.signals = Signals()
        self.proxy = Proxy(self.signals)
        self.programs: list[Program] = []
        self._stack = stack
        self._addresses: dict[str, str] = {}
        self.results.parent.mkdir(parents=True)
        stack.push_async_callback(self._end)

    async def _end(self) -> None:
        for program in self.programs:
            await program.kill()
        await self.proxy.close()

    async def open(self, *, replicas: int = 1, closed: int = 0, credentials: Any = None) -> None:
        """Open the proxy's ports, one for each service and replica, in the place of those that
        were there. The first `closed` of the replicas are not there yet. `credentials`: of TLS."""
        await self.proxy.close()
        scheme, host = ("grpcs://", "localhost") if credentials else ("", "127.0.0.1")
        services = {"gateway": self.stand.gateway, "collector": self.stand.collector}
        for service, upstream in services.items():
            names = [f"{service}-{number}" for number in range(1, replicas + 1)]
            ports = [self.proxy.add(name, upstream, credentials) for name in names]
            self._addresses[service] = ",".join(f"{scheme}{host}:{port}" for port in ports)
            await self.proxy.open(*names[closed:])

    @asynccontextmanager
    async def held(self) -> AsyncIterator[str]:
        """See Stand.held."""
        async with self.stand.held() as provider:
            yield provider

    def address(self, service: str) -> str:
        """Of the proxy, without a scheme."""
        return self._addresses[service].removeprefix("grpcs://")

    def write(self, lines: Iterable[dict[str, Any] | str]) -> str:
        """Write requests; returns the file's path."""
        path = self.folder / "requests.jsonl"
        with path.open("w") as file:
            for line in lines:
                file.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
        return str(path)

    def connection(self) -> dict[str, str]:
        """The variables that lead to the proxy, with the key."""
        return {
            "POLYBATCH_GATEWAY": self._addresses["gateway"],
            "POLYBATCH_COLLECTOR": self._addresses["collector"],
            "POLYBATCH_API_KEY": self.key.secret,
        }

    def connect_by_folder(self) -> None:
        """Put what `connection` says where programs look that are told nothing."""
        data = self.folder / "data"
        data.mkdir()
        (data / "addresses.json").write_text(json.dumps(self._addresses))
        (data / "api-key").write_text(self.key.secret + "\n")

    async def submit(self, *arguments: str, **variables: str) -> Program:
        """Start the program; its results go to `results`."""
        return await self.start([*arguments, str(self.results)], self.connection() | variables)

    async def start(self, arguments: Sequence[str], variables: Mapping[str, str]) -> Program:
        """Start the client's command with arguments and variables as they are."""
        given = {"POLYBATCH_DATA_DIR": str(self.folder / "data"), "POLYBATCH_WAIT": PATIENCE}
        program = await Program.start(
            self.client.command(arguments),
            environment(**(given | variables)),
            self.folder,
            self.signals,
        )
        self.programs.append(program)
        return program

    async def until(self, true: Callable[[], bool], what: str) -> None:
        """Wait for something that the running program brings about."""
        program = self.programs[-1]
        await self.signals.until(lambda: true() or program.ended, what)
        check(true(), f"the program ended with {program.code} before {what}")

    async def made(self) -> Batch:
        """The account's only batch. Raises Failed where there are more, or none."""
        batches = [batch async for batch in self.judge.list_batches()]
        check(len(batches) == 1, f"{len(batches)} batches were made, not one")
        return batches[0]

    async def finished(self, program: Program, code: int) -> Batch:
        """Wait for the program's end, and see that it has made one batch and written its
        results whole. Returns the batch."""
        await program.exits(code)
        batch = await self.made()
        named = program.batch_id()
        check(named == batch.id, f"stdout names {named}, made was {batch.id}")
        await self.check_results(batch.id)
        files = [file async for file in self.judge.files.list()]
        check(len(files) == 1, f"{len(files)} files were uploaded, not one")
        return batch

    async def check_results(self, batch_id: str) -> None:
        """See that the results are there, as the service has them, and nothing else is."""
        left = sorted(path.name for path in self.results.parent.iterdir())
        check(left == [self.results.name], f"the folder of the results holds {left}")
        await self.compare(batch_id, self.results.read_bytes())

    async def compare(self, batch_id: str, written: bytes) -> None:
        """See that results are those of the service."""
        kept = b"".join([line.raw + b"\n" async for line in self.judge.results(batch_id)])
        same = next(
            (n for n, (a, b) in enumerate(zip(written, kept, strict=False)) if a != b),
            min(len(written), len(kept)),
        )
        check(
            written == kept,
            f"the results are not the service's: {len(written):,} bytes, not {len(kept):,}; "
            f"the first that differs is {same:,}",
        )

    def check_nothing_written(self) -> None:
        """See that there are no results, nor a part of them."""
        left = sorted(path.name for path in self.results.parent.iterdir())
        check(not left, f"the folder of the results holds {left}, and should hold nothing")

    def story(self) -> str:
        """What happened, for whoever looks for the cause of a failure."""
        calls = "\n".join(map(str, self.proxy.calls)) or "none"
        programs = "\n".join(map(str, self.programs)) or "none"
        return f"calls:\n{calls}\nprograms:\n{programs}"


def chat(provider: str, number: int, text: str = "") -> dict[str, Any]:
    """A chat request."""
    models = {"anthropic": "claude-4.6-sonnet"}
    return {
        "custom_id": f"line-{number}",
        "provider": provider,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": f"{provider}/{models.get(provider, 'gpt-4.1')}",
            "messages": [{"role": "user", "content": f"question {number}. {text}"}],
            "max_tokens": 100,
        },
    }


def embedding(number: int) -> dict[str, Any]:
    """A request whose answer is long: some 35 KB."""
    return {
        "custom_id": f"line-{number}",
        "provider": "openai",
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {"model": "openai/text-embedding-3-large", "input": f"text {number}"},
    }
