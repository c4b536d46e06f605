"""A real NATS cluster of three nodes with JetStream, on loopback.

with running_cluster() as cluster:
    url = cluster.url
    cluster.nodes[1].kill()
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from core.bus.embedded import server_binary
from tests.support.stores.process import START_TIMEOUT, ServerProcess, answers, free_port

NOBODY: Mapping[str, str] = {}
# Without a leader JetStream leaves requests unanswered.
_HAS_LEADER = "metadata leader"


class NatsNode:
    """One node; its address stays the same over restarts. All methods block."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.port = free_port()
        self.cluster_port = free_port()
        self._monitor = f"127.0.0.1:{free_port()}"
        self.store_dir = folder / name
        self._config = folder / f"{name}.conf"
        self.process = ServerProcess(
            f"nats-server {name}",
            [str(server_binary()), "--config", str(self._config)],
            "Server is ready",
            folder / f"{name}.log",
        )

    @property
    def url(self) -> str:
        """Where clients connect to this node."""
        return f"nats://127.0.0.1:{self.port}"

    def configure(self, nodes: list[NatsNode], login: Mapping[str, str]) -> None:
        """Write its configuration: it knows all nodes of its cluster."""
        # JSON is valid in the server's configuration format.
        self._config.write_text(
            json.dumps(
                {
                    "server_name": self.name,
                    "host": "127.0.0.1",
                    "port": self.port,
                    "http": self._monitor,
                    "jetstream": {"store_dir": str(self.store_dir)},
                    **({"authorization": login} if login else {}),
                    "cluster": {
                        "name": "polybatch-test",
                        "host": "127.0.0.1",
                        "port": self.cluster_port,
                        "routes": [f"nats://127.0.0.1:{node.cluster_port}" for node in nodes],
                    },
                },
                indent=2,
            )
        )

    def start(self) -> None:
        """Start it and wait until it takes connections; JetStream may answer later."""
        self.process.start()

    def wait_healthy(self) -> None:
        """Wait until it has all that the cluster has: before that no other node may go."""
        deadline = time.monotonic() + START_TIMEOUT
        pause = threading.Event()
        while not answers(f"http://{self._monitor}/healthz"):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} was not healthy within {START_TIMEOUT} s")
            pause.wait(0.05)

    def leads(self, size: int) -> bool:
        """Whether it leads a cluster of so many nodes, all of which are there."""
        with urllib.request.urlopen(f"http://{self._monitor}/jsz", timeout=5) as answer:
            replicas = json.load(answer).get("meta_cluster", {}).get("replicas", [])
        there = [each for each in replicas if each["current"] and not each.get("offline")]
        return len(there) == size - 1

    def received(self) -> tuple[int, int]:
        """Messages that came in since its start, from clients and other nodes, and their bytes."""
        with urllib.request.urlopen(f"http://{self._monitor}/varz", timeout=5) as answer:
            counts = json.load(answer)
        return counts["in_msgs"], counts["in_bytes"]

    def stop(self) -> None:
        """Stop it orderly."""
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL it."""
        self.process.kill()

    def wipe(self) -> None:
        """Delete all that it stored; it must not run."""
        shutil.rmtree(self.store_dir)


class NatsCluster:
    """Three nodes, or as many as asked for. All methods block."""

    def __init__(self, folder: Path, size: int = 3, login: Mapping[str, str] = NOBODY) -> None:
        """login: {"user", "password"} that clients need; empty: none."""
        self.nodes = [NatsNode(f"n{number}", folder) for number in range(1, size + 1)]
        for node in self.nodes:
            node.configure(self.nodes, login)

    @property
    def url(self) -> str:
        """All nodes' URLs, as POLYBATCH_NATS_URL takes them."""
        return ",".join(node.url for node in self.nodes)

    def node(self, name: str) -> NatsNode:
        """The node of a name, such as the leader's in a stream's info."""
        return next(node for node in self.nodes if node.name == name)

    def at(self, port: int | None) -> NatsNode:
        """The node that a client is connected to."""
        return next(node for node in self.nodes if node.port == port)

    def start(self) -> None:
        """Start all nodes and wait until their leader knows them all: JetStream answers."""
        starting = [node.process.launch(_HAS_LEADER) for node in self.nodes]
        for node in starting:
            node.wait_ready()
        deadline = time.monotonic() + START_TIMEOUT
        pause = threading.Event()
        while not any(node.leads(len(self.nodes)) for node in self.nodes):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the nodes did not meet within {START_TIMEOUT} s")
            pause.wait(0.05)

    def stop(self) -> None:
        """Stop all nodes orderly."""
        for node in self.nodes:
            node.stop()

    def kill(self) -> None:
        """SIGKILL all nodes."""
        for node in self.nodes:
            node.kill()


@contextmanager
def running_cluster(size: int = 3, login: Mapping[str, str] = NOBODY) -> Iterator[NatsCluster]:
    """A cluster in a folder of its own, gone at the end. Raises ServerBinaryMissing."""
    with tempfile.TemporaryDirectory(prefix="polybatch-nats-") as folder:
        cluster = NatsCluster(Path(folder), size, login)
        try:
            cluster.start()
            yield cluster
        finally:
            # Orderly, a cluster hands its leaderships over first, which takes seconds.
            cluster.kill()
