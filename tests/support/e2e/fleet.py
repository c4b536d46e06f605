"""The suite past one machine: two gateways, three dispatchers and three collectors, under two
supervisors with a data folder each, on PostgreSQL, a NATS cluster and object storage.

It stands in for the suite of one machine, in the same tests: `make test-replicas`.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.e2e.direct_server import Server
from tests.support.e2e.suite import Suite, launch, stopped_after, wait_for
from tests.support.stores.nats_cluster import NatsCluster, running_cluster
from tests.support.stores.object_storage import running_object_storage
from tests.support.stores.postgres import PostgresServer, running_postgres
from tests.support.stores.process import ServerMissing, free_port

# The replicas of both machines together are those of the issue.
ONE = ("--gateways", "1", "--dispatchers", "2", "--collectors", "1")
TWO = ("--gateways", "1", "--dispatchers", "1", "--collectors", "2")
SERVICES = ("gateway", "dispatcher", "collector")


@dataclass
class Fleet(Suite):
    """Two machines as one suite. Replicas have the names of their children; those of the
    second machine end in "@2"."""

    machines: list[Suite] = field(default_factory=list)
    cluster: NatsCluster | None = None
    server: Server | None = None
    """The sandbox."""
    turns: dict[str, Iterator[str]] = field(default_factory=dict)
    """Which replica of a service is next to be killed."""

    @property
    def ready(self) -> dict[str, Any]:
        """As one suite's: addresses separated by commas, and the pids of all replicas."""
        found = [machine.ready for machine in self.machines]
        assert self.server is not None
        keys = [each["api_key_file"] for each in found if Path(each["api_key_file"]).exists()]
        return {
            **{name: ",".join(each[name] for each in found) for name in SERVICES},
            "addresses": _merged(found, "addresses"),
            "metrics": _merged(found, "metrics"),
            "pids": _merged(found, "pids"),
            # Of two machines that start at the same time, one makes the first key.
            "api_key_file": keys[0],
            "sandbox": self.server.url,
            "web": found[0]["web"],
        }

    def replicas(self, service: str) -> list[str]:
        """Names of a service's replicas."""
        return [name for name in self.ready["addresses"] if name.startswith(service)]

    def kill(self, name: str) -> None:
        """SIGKILL one process; a service's replicas, or the NATS nodes, by turns.

        A dispatcher that runs lines itself just now goes first.
        """
        assert self.cluster is not None
        if name == "nats":
            node = self.cluster.node(self._turn(name, [node.name for node in self.cluster.nodes]))
            node.kill()
            node.start()
            return
        if name in SERVICES:
            running = [each for each in self.replicas(name) if self._runs_lines(each)]
            name = running[0] if running else self._turn(name, self.replicas(name))
        super().kill(name)

    def _runs_lines(self, name: str) -> bool:
        _, _, since_start = self.log(name).rpartition('"server_started"')
        return since_start.count('"run_begun"') > since_start.count('"run_over"')

    def restart(self, name: str) -> None:
        """SIGTERM one replica and wait until it is back."""
        before = self.ready["pids"][name]
        os.kill(before, signal.SIGTERM)
        wait_for(lambda: self.ready["pids"].get(name) not in (before, None), f"a new {name}")

    def log(self, name: str) -> str:
        """What a replica has logged so far."""
        child, _, number = name.partition("@")
        machine = self.machines[int(number or 1) - 1]
        return (machine.log_dir / f"{child}.log").read_text()

    def log_counts(self, service: str, event: str) -> dict[str, int]:
        """How often each replica of a service has logged an event."""
        text = f'"event": "{event}"'
        return {name: self.log(name).count(text) for name in self.replicas(service)}

    def _turn(self, name: str, among: list[str]) -> str:
        return next(self.turns.setdefault(name, itertools.cycle(among)))


def _merged(machines: list[dict[str, Any]], part: str) -> dict[str, Any]:
    return {
        name if number == 1 else f"{name}@{number}": value
        for number, machine in enumerate(machines, start=1)
        for name, value in machine[part].items()
    }


@contextmanager
def blob_settings(folder: Path) -> Iterator[Mapping[str, str]]:
    """Object storage; where its server is missing a folder that the machines share."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(running_object_storage())
        except ServerMissing:
            if os.environ.get("CI"):
                raise
            yield {"POLYBATCH_BLOBS_URL": (folder / "blobs").as_uri()}
        else:
            yield {**server.environment, "POLYBATCH_BLOBS_URL": server.create_bucket()}


@contextmanager
def running_fleet(
    folder: Path, postgres: PostgresServer | None = None, *, quick: bool = True, **settings: str
) -> Iterator[Fleet]:
    """Start everything, all replicas at the same time on an empty database; stop it and see
    that it went well. Raises ServerMissing."""
    with ExitStack() as stack:
        database = postgres or stack.enter_context(running_postgres())
        cluster = stack.enter_context(running_cluster())
        sandbox = Server(free_port(), folder / "sandbox")
        sandbox.start()
        stack.callback(sandbox.stop)
        common = {
            "POLYBATCH_DATABASE_URL": database.create_database(),
            "POLYBATCH_NATS_URL": cluster.url,
            "OPENAI_BASE_URL": f"{sandbox.url}/v1",
            "ANTHROPIC_BASE_URL": sandbox.url,
            "GEMINI_BASE_URL": sandbox.url,
            "GEMINI_API_KEY": "sandbox-gemini",
            **stack.enter_context(blob_settings(folder)),
            **settings,
        }
        machines = [
            launch(folder / f"machine-{number}", *counts, quick=quick, **common)
            for number, counts in enumerate((ONE, TWO), start=1)
        ]
        for machine in machines:
            stack.enter_context(stopped_after(machine))
        first = machines[0]
        fleet = Fleet(
            first.supervisor,
            first.ready_file,
            dict(first.environment),
            first.log_dir,
            machines=machines,
            cluster=cluster,
            server=sandbox,
        )
        fleet.environment["POLYBATCH_DATA_DIR"] = str(Path(fleet.ready["api_key_file"]).parent)
        yield fleet
