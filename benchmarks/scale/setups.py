"""What is measured: the embedded mode, and replicas on servers of their own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.sandbox_control import called
from benchmarks.suite import Suite, running_suite
from tests.support.stores.nats_cluster import NatsCluster, running_cluster
from tests.support.stores.object_storage import ObjectStorage, running_object_storage
from tests.support.stores.postgres import PostgresServer, running_postgres
from tests.support.stores.process import ServerMissing, ServerProcess, free_port

_READY = "sandbox_ready"
# One caller makes all the load here.
_UNLIMITED = {
    "POLYBATCH_ACCOUNT_REQUESTS_PER_SECOND": "0",
    "POLYBATCH_ACCOUNT_BATCHES": "0",
    "POLYBATCH_ACCOUNT_BYTES": "0",
}
DIRECT = "local"
"""Provider without batches, whose calls the dispatchers make themselves."""
_PROVIDERS = """
[{name}]
kind = "openai-direct"
base_url = "{url}/v1"
max_concurrency = {calls}
max_lines = {lines}
"""
DIRECT_CALLS = 16
DIRECT_SHARD_LINES = 30


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many of each service; none: the embedded mode."""

    gateways: int = 0
    dispatchers: int = 0
    collectors: int = 0

    def __str__(self) -> str:
        if not self.gateways:
            return "embedded"
        return f"{self.gateways}+{self.dispatchers}+{self.collectors}"

    @property
    def arguments(self) -> list[str]:
        """The supervisor's."""
        if not self.gateways:
            return []
        counts = {
            "--gateways": self.gateways,
            "--dispatchers": self.dispatchers,
            "--collectors": self.collectors,
        }
        return [word for name, count in counts.items() for word in (name, str(count))]


EMBEDDED = Replicas()


@dataclass(frozen=True, slots=True)
class Setup:
    """A running setup."""

    replicas: Replicas
    suite: Suite
    stands: Stands
    environment: Mapping[str, str] = field(default_factory=dict)
    """Where its stores are."""


@dataclass(slots=True)
class Stands:
    """The servers that the setups stand on, and the sandbox that all of them ask."""

    folder: Path
    postgres: PostgresServer
    cluster: NatsCluster
    storage: ObjectStorage | None
    """None: its server is missing, replicas share a folder."""
    sandbox: str
    """http:// URL."""
    _setups: int = 0

    @asynccontextmanager
    async def running(self, replicas: Replicas, **settings: str) -> AsyncIterator[Setup]:
        """Start a setup with stores of its own that are empty; the sandbox forgets everything.

        `settings`: variables that are otherwise than here.
        """
        self._setups += 1
        folder = self.folder / f"setup-{self._setups}"
        folder.mkdir()
        await asyncio.to_thread(self.set_sandbox, "/sandbox/reset", {})
        await asyncio.to_thread(
            self.set_sandbox, "/sandbox/config", {"batch_seconds": 0, "call_seconds": 0}
        )
        providers = folder / "providers.toml"
        providers.write_text(
            _PROVIDERS.format(
                name=DIRECT, url=self.sandbox, calls=DIRECT_CALLS, lines=DIRECT_SHARD_LINES
            )
        )
        stores = self._stores(folder) if replicas.gateways else {}
        environment = {
            **_UNLIMITED,
            **stores,
            "POLYBATCH_PROVIDERS_FILE": str(providers),
            # What is measured is the work, not how long nobody looks.
            "POLYBATCH_POLL_MIN_INTERVAL": "0.1",
            "OPENAI_BASE_URL": f"{self.sandbox}/v1",
            "ANTHROPIC_BASE_URL": self.sandbox,
            "OPENAI_API_KEY": "sandbox-key",
            "ANTHROPIC_API_KEY": "sandbox-key",
            **settings,
        }
        async with running_suite(folder, *replicas.arguments, **environment) as suite:
            yield Setup(replicas, suite, self, stores)

    def set_sandbox(self, path: str, content: Any = None) -> Any:
        """Call the sandbox's own interface."""
        return called(self.sandbox + path, content)

    @property
    def lines_billed(self) -> int:
        """By the sandbox, since the setup was started."""
        return int(self.set_sandbox("/sandbox/bill")["lines_billed"])

    def _stores(self, folder: Path) -> dict[str, str]:
        stores = {
            "POLYBATCH_DATABASE_URL": self.postgres.create_database(),
            "POLYBATCH_NATS_URL": self.cluster.url,
        }
        if self.storage is None:
            return stores | {"POLYBATCH_BLOBS_URL": (folder / "blobs").as_uri()}
        return {
            **stores,
            **self.storage.environment,
            "POLYBATCH_BLOBS_URL": self.storage.create_bucket(),
        }


@contextmanager
def running_stands(folder: Path) -> Iterator[Stands]:
    """Start all servers. Raises ServerMissing, but for object storage."""
    with ExitStack() as stack:
        postgres = stack.enter_context(running_postgres("fsync=on"))
        cluster = stack.enter_context(running_cluster())
        try:
            storage = stack.enter_context(running_object_storage())
        except ServerMissing as missing:
            print(f"{missing}; replicas share a folder instead", file=sys.stderr)
            storage = None
        port = free_port()
        sandbox = ServerProcess(
            "sandbox",
            [
                *(sys.executable, "-m", "services.sandbox"),
                *("--listen", f"127.0.0.1:{port}", "--data-dir", str(folder / "sandbox")),
            ],
            _READY,
            folder / "sandbox.log",
        )
        stack.callback(sandbox.stop)
        sandbox.start()
        yield Stands(folder, postgres, cluster, storage, f"http://127.0.0.1:{port}")
