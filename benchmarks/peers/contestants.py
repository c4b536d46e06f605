"""Who runs the file: a script with the vendor's SDK, LiteLLM's proxy before it, polybatch."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import MeasurementFailed
from benchmarks.peers.inputs import MODEL
from benchmarks.peers.processes import family
from tests.support.stores.process import ServerProcess, free_port

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).parent / "client_script.py"
CONFIG = Path(__file__).parent / "litellm.yml"
POLL_SECONDS = 0.1
"""Between two looks at a batch, of all of them: none of them merely waits for its turn."""
# One caller makes all the load here.
_UNLIMITED = {
    "POLYBATCH_ACCOUNT_REQUESTS_PER_SECOND": "0",
    "POLYBATCH_ACCOUNT_BATCHES": "0",
    "POLYBATCH_ACCOUNT_BYTES": "0",
}
_LISTENING = ("DISPATCHER", "WEB", "GATEWAY_METRICS", "COLLECTOR_METRICS", "DISPATCHER_METRICS")


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to have a file run."""

    name: str
    server: ServerProcess | None
    """What it has to run besides its client; None: nothing."""
    command: Sequence[str]
    """The client's, without input and results."""
    after: Sequence[str] = ()
    """What follows these."""
    repeatable: Sequence[str] = ()
    """What its documents add to have a repeated command do nothing twice; {} stands for a name."""
    environment: Mapping[str, str] = field(default_factory=dict)

    def client(self, source: Path, target: Path, name: str = "") -> list[str]:
        """The client's whole command; `name`: of the work, to be able to repeat it."""
        last = [word.format(name) for word in self.repeatable] if name else []
        between = ["-o"] if self.name == POLYBATCH else []
        return [*self.command, str(source), *between, str(target), *self.after, *last]

    def server_pids(self) -> list[int]:
        """Those of all processes that serve it."""
        return family(self.server.pid) if self.server is not None and self.server.pid else []

    def kill_server(self) -> None:
        """End all of them at once, as a machine that fails does."""
        assert self.server is not None
        pids = self.server_pids()
        for pid in reversed(pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.server.kill()


SDK, LITELLM, POLYBATCH = "script with the SDK", "the same through LiteLLM", "polybatch"


@contextmanager
def running_peers(
    folder: Path, environments: Path, sandbox: str, without: Sequence[str] = ()
) -> Iterator[list[Peer]]:
    """Start the servers of all of them, but for those `without`.

    `environments`: the folder of the virtual environments sdk and litellm. Raises
    MeasurementFailed where one is missing.
    """
    pythons = {name: environments / name / "bin/python" for name in ("sdk", "litellm")}
    for python in pythons.values():
        if not python.exists():
            raise MeasurementFailed(f"{python} is missing: `make bench-peers` makes it")
    everybody = [
        _script(pythons["sdk"], sandbox),
        _litellm(folder, pythons, sandbox),
        _polybatch(folder, sandbox),
    ]
    peers = [peer for peer in everybody if peer.name not in without]
    started: list[ServerProcess] = []
    try:
        for peer in peers:
            if peer.server is not None:
                started.append(peer.server)
                peer.server.start()
        yield peers
    finally:
        for server in reversed(started):
            server.stop()


def _script(python: Path, sandbox: str) -> Peer:
    return Peer(
        SDK,
        None,
        [str(python), str(SCRIPT)],
        [str(POLL_SECONDS)],
        environment={"OPENAI_BASE_URL": f"{sandbox}/v1", "OPENAI_API_KEY": "script"},
    )


def _litellm(folder: Path, pythons: Mapping[str, Path], sandbox: str) -> Peer:
    port, key = free_port(), "sk-of-the-proxy"
    server = ServerProcess(
        "litellm",
        [
            *(str(pythons["litellm"].parent / "litellm"), "--config", str(CONFIG)),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
        "Application startup complete",
        folder / "litellm.log",
        environment={
            "OPENAI_BASE_URL": f"{sandbox}/v1",
            "OPENAI_API_KEY": "litellm",
            "LITELLM_MASTER_KEY": key,
            # Not from the network at each start.
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        },
    )
    return Peer(
        LITELLM,
        server,
        [str(pythons["sdk"]), str(SCRIPT)],
        [str(POLL_SECONDS), MODEL],
        environment={"OPENAI_BASE_URL": f"http://127.0.0.1:{port}", "OPENAI_API_KEY": key},
    )


def _polybatch(folder: Path, sandbox: str) -> Peer:
    data = folder / "polybatch"
    client = {
        "POLYBATCH_DATA_DIR": str(data),
        "POLYBATCH_GATEWAY": f"127.0.0.1:{free_port()}",
        "POLYBATCH_COLLECTOR": f"127.0.0.1:{free_port()}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    server = ServerProcess(
        "polybatch",
        [sys.executable, "-m", "services.supervisor"],
        "polybatch is up",
        folder / "polybatch.log",
        environment={
            **_UNLIMITED,
            **client,
            **{f"POLYBATCH_{name}_LISTEN": "127.0.0.1:0" for name in _LISTENING},
            "POLYBATCH_WEB_METRICS_LISTEN": "127.0.0.1:0",
            "POLYBATCH_GATEWAY_LISTEN": client["POLYBATCH_GATEWAY"],
            "POLYBATCH_COLLECTOR_LISTEN": client["POLYBATCH_COLLECTOR"],
            "POLYBATCH_POLL_MIN_INTERVAL": str(POLL_SECONDS),
            "OPENAI_BASE_URL": f"{sandbox}/v1",
            "OPENAI_API_KEY": "polybatch",
            "ANTHROPIC_BASE_URL": sandbox,
            "ANTHROPIC_API_KEY": "polybatch",
        },
    )
    return Peer(
        POLYBATCH,
        server,
        [str(Path(sys.executable).with_name("polybatch")), "submit"],
        repeatable=["--request-id", "{}"],
        environment=client,
    )
