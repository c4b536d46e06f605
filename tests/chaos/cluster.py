"""A whole installation whose processes a test kills: NATS, two sandboxes, the services.

The one sandbox is quick, the other one is slow: its batches end when they are stopped, and
it serves single calls. What else it runs on (PostgreSQL, another bus, object storage) and how
many replicas there are is up to the settings.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from polybatch import Client

from core.bus import EmbeddedNats
from core.failpoints import VARIABLE, Kill, Plan
from services.supervisor import probes
from tests.chaos.processes import Replica
from tests.support.stores.nats_cluster import NatsCluster
from tests.support.stores.process import free_port

ROOT = Path(__file__).parents[2]
PATIENCE = 90.0
"""Seconds after which something that must happen is said not to happen."""

QUICK = {
    "POLYBATCH_SWEEP_INTERVAL": "0.3",
    "POLYBATCH_POLL_MIN_INTERVAL": "0.05",
    "POLYBATCH_POLL_MAX_INTERVAL": "0.5",
    "POLYBATCH_RETRY_DELAY": "0.1",
    "POLYBATCH_SUBMIT_LEASE": "1.5",
    "POLYBATCH_FETCH_LEASE": "1.5",
    "POLYBATCH_RUN_LEASE": "1.5",
    "POLYBATCH_PROVIDER_TIMEOUT": "4",
    "POLYBATCH_RECONCILE_SETTLE": "1",
    "POLYBATCH_STOP_GRACE": "3",
    "POLYBATCH_UNREACHABLE_PAUSE": "0.5",
    "POLYBATCH_REFUSED_PAUSE": "0.5",
    "POLYBATCH_SHUTDOWN_GRACE": "2",
    "POLYBATCH_UPLOAD_RETENTION": "20",
    "POLYBATCH_WATCH_HEARTBEAT": "1",
    "POLYBATCH_WEBHOOK_ALLOW_PRIVATE": "1",
    "POLYBATCH_WEBHOOK_TIMEOUT": "1",
    "POLYBATCH_SEGMENT_BYTES": "65536",
    "POLYBATCH_GATEWAY_METRICS_LISTEN": "127.0.0.1:0",
    "POLYBATCH_COLLECTOR_METRICS_LISTEN": "127.0.0.1:0",
    "POLYBATCH_DISPATCHER_METRICS_LISTEN": "127.0.0.1:0",
}

PROVIDERS = """
[slow]
kind = "openai-compatible"
base_url = "{slow}/v1"
api_key_env = "SLOW_API_KEY"
endpoints = ["/v1/chat/completions"]

[ghost]
kind = "openai-compatible"
base_url = "{slow}/v1"
api_key_env = "GHOST_API_KEY"
endpoints = ["/v1/chat/completions"]

[choosy]
kind = "openai-compatible"
base_url = "{slow}/v1"
api_key_env = "SLOW_API_KEY"
endpoints = {choosy}

[paid]
kind = "openai-direct"
base_url = "{quick}/v1"
api_key_env = "PAID_API_KEY"
max_lines = 10
max_concurrency = 4

[local]
kind = "openai-direct"
base_url = "{slow}/v1"
max_lines = 10
max_concurrency = 4
"""
"""`ghost` has its key at the gateway alone, so its batches cannot be planned; `choosy` has chat
completions there alone, so its lines cannot be put into its form."""
CHOOSY = {"gateway": '["/v1/chat/completions"]', "dispatcher": '["/v1/embeddings"]'}

KEYS = {
    "OPENAI_API_KEY": "sandbox-openai",
    "ANTHROPIC_API_KEY": "sandbox-anthropic",
    "GEMINI_API_KEY": "sandbox-gemini",
    "SLOW_API_KEY": "sandbox-slow",
    "PAID_API_KEY": "sandbox-paid",
}


class Server:
    """A command that listens at a port."""

    def __init__(self, command: Sequence[str], probe: Callable[[], Any], log: Path) -> None:
        self._command = command
        self._probe = probe
        self._log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )
        asyncio.run(_within(self._probe()))

    def kill(self) -> None:
        """SIGKILL it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class Cluster:
    """What a schedule of kills is run against."""

    def __init__(
        self,
        folder: Path,
        replicas: Mapping[str, int] | None = None,
        settings: Mapping[str, str] | None = None,
        nodes: NatsCluster | None = None,
    ) -> None:
        """`replicas`: of each service, one where left out; `settings`: on top of QUICK.

        `nodes`: a running NATS cluster in the place of a server of its own.
        """
        self.folder = folder
        self.data_dir = folder / "data"
        self.logs = folder / "logs"
        self.failpoints = folder / "failpoints"
        for made in (self.data_dir, self.logs, self.failpoints):
            made.mkdir(parents=True)
        ports = _ports()
        nats = EmbeddedNats(self.data_dir, next(ports))
        self.nats_url = nodes.url if nodes else nats.url
        self._nodes = nodes
        self._next_node = itertools.cycle(nodes.nodes if nodes else ())
        self.nats = Server(
            nats.command(log_to_file=True),
            probes.nats_greets("127.0.0.1", nats.port),
            self.logs / "nats.log",
        )
        self.quick, self._quick_server = self._sandbox("quick", next(ports))
        self.slow, self._slow_server = self._sandbox("slow", next(ports))
        self.environment = {
            **os.environ,
            **QUICK,
            **KEYS,
            "POLYBATCH_DATA_DIR": str(self.data_dir),
            "POLYBATCH_NATS_URL": self.nats_url,
            "OPENAI_BASE_URL": f"{self.quick}/v1",
            "ANTHROPIC_BASE_URL": self.quick,
            "GEMINI_BASE_URL": self.quick,
            VARIABLE: str(self.failpoints),
            **(settings or {}),
        }
        self.replicas: list[Replica] = []
        self.addresses: dict[str, list[str]] = {}
        for service in ("gateway", "dispatcher", "collector"):
            for number in range((replicas or {}).get(service, 1)):
                self._add(service, f"{service}-{number}", next(ports))

    def _sandbox(self, name: str, port: int) -> tuple[str, Server]:
        command = [sys.executable, "-m", "services.sandbox", "--listen", f"127.0.0.1:{port}"]
        command += ["--data-dir", str(self.folder / name)]
        probe = probes.http_ok("127.0.0.1", port)
        return f"http://127.0.0.1:{port}", Server(command, probe, self.logs / f"{name}.log")

    def _add(self, service: str, name: str, port: int) -> None:
        address = f"127.0.0.1:{port}"
        providers = self.folder / f"{name}.toml"
        choosy = CHOOSY.get(service, CHOOSY["gateway"])
        providers.write_text(PROVIDERS.format(quick=self.quick, slow=self.slow, choosy=choosy))
        own = {
            f"POLYBATCH_{service.upper()}_LISTEN": address,
            "POLYBATCH_PROVIDERS_FILE": str(providers),
        }
        if service == "gateway":
            own["GHOST_API_KEY"] = "sandbox-ghost"
        log = self.logs / f"{name}.log"
        self.replicas.append(Replica(service, name, {**self.environment, **own}, log))
        self.addresses.setdefault(service, []).append(address)

    def start(self) -> None:
        """Start everything and wait until every service serves."""
        for server in self._servers():
            server.start()
        for replica in self.replicas:
            replica.start()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until every service serves."""
        for addresses in self.addresses.values():
            for address in addresses:
                asyncio.run(_within(probes.grpc_serving(address)()))

    def stop(self) -> None:
        """Stop everything, the services in order."""
        try:
            self.arm([])
        finally:
            for replica in self.replicas:
                replica.stop()
            for server in self._servers():
                server.kill()

    def client(self, key_file: str = "api-key") -> Client:
        """A client with the first key, or that of another file of the data folder."""
        return Client(
            gateway=",".join(self.addresses["gateway"]),
            collector=",".join(self.addresses["collector"]),
            api_key_file=self.data_dir / key_file,
            # Longer than by default: whole fleets are killed again and again.
            wait=300.0,
        )

    def arm(self, kills: Sequence[Kill]) -> None:
        """Order these deaths instead of those that were ordered before."""
        new = self.failpoints / "plan.new"
        new.write_bytes(msgspec.json.encode(Plan(list(kills))))
        new.replace(self.failpoints / "plan.json")

    def fired(self, kill: Kill) -> bool:
        """Whether a death has happened."""
        return (self.failpoints / "fired" / kill.id).exists()

    def wake(self, stall: Kill) -> None:
        """Let a process that stands still go on."""
        claim = self.failpoints / "fired" / stall.id
        if claim.exists():
            os.kill(int(claim.read_text()), signal.SIGCONT)

    def reached(self) -> dict[str, set[str]]:
        """The "point moment" lines by service that any process has passed so far."""
        found: dict[str, set[str]] = {}
        for path in (self.failpoints / "reached").iterdir():
            service = path.name.rpartition("-")[0]
            found.setdefault(service, set()).update(path.read_text().splitlines())
        return found

    def restart_nats(self) -> None:
        """SIGKILL NATS, or the next node of its cluster, and start it again on the same store."""
        server = next(self._next_node) if self._nodes else self.nats
        server.kill()
        server.start()

    def _servers(self) -> list[Server]:
        own = [] if self._nodes else [self.nats]
        return [*own, self._quick_server, self._slow_server]

    @property
    def faults(self) -> list[str]:
        """What runs no more though nobody killed it."""
        return [replica.fault for replica in self.replicas if replica.fault]


def leave_on_sigterm() -> None:
    """For commands: let SIGTERM end them in order, with all that they have started."""

    def leave(*_: object) -> None:
        # A second one, as make and its shell pass them on, must not break the leaving off.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, leave)


def tell(sandbox: str, path: str, content: Any = None) -> Any:
    """Call a sandbox's own interface."""
    request = urllib.request.Request(
        f"{sandbox}{path}",
        data=None if content is None else json.dumps(content).encode(),
        headers={"content-type": "application/json"},
        method="GET" if content is None else "POST",
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.loads(response.read())


def wait_for(condition: Callable[[], bool], what: str, timeout: float = PATIENCE) -> None:
    """Look at other processes until something has come true there."""
    pause = threading.Event()
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
        pause.wait(0.02)


async def _within(probe: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        await probe


def _ports() -> Iterator[int]:
    """Free ports, each once; none that a connection could take while its service is away."""
    given: set[int] = set()
    while True:
        port = free_port()
        if port not in given:
            given.add(port)
            yield port


@contextmanager
def running_cluster(folder: Path, **options: Any) -> Iterator[Cluster]:
    """A cluster that is stopped at the end; its services must have run all along."""
    cluster = Cluster(folder, **options)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
    assert not cluster.faults, cluster.faults
