"""The whole suite as real processes, for end-to-end tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polybatch import BatchState, Client, RetryPolicy

from tests.support.e2e.inputs import check_answers
from tests.support.forked.python import python
from tests.support.stores.process import tied

ROOT = Path(__file__).parents[3]
START_TIMEOUT = 60.0
STOP_TIMEOUT = 30.0

QUICK = {
    "POLYBATCH_SWEEP_INTERVAL": "1",
    "POLYBATCH_POLL_MIN_INTERVAL": "0.1",
    "POLYBATCH_RETRY_DELAY": "0.2",
    "POLYBATCH_REFUSED_PAUSE": "0.5",
    "POLYBATCH_UNREACHABLE_PAUSE": "0.5",
    "POLYBATCH_SUBMIT_LEASE": "8",
    "POLYBATCH_PROVIDER_TIMEOUT": "5",
    "POLYBATCH_RECONCILE_SETTLE": "1",
    "POLYBATCH_STOP_GRACE": "20",
    "POLYBATCH_SHUTDOWN_GRACE": "2",
    "POLYBATCH_WEBHOOK_ALLOW_PRIVATE": "1",
}


INSTANT = {
    "batch_seconds": 0,
    "unknown_result_lines": 0,
    "counts_skew": 0,
    "enqueued_token_limit": 0,
    "faults": [],
}


@dataclass
class Suite:
    """A running suite. Addresses are those of the ready file."""

    supervisor: subprocess.Popen[bytes]
    ready_file: Path
    environment: dict[str, str]
    log_dir: Path

    @property
    def ready(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.ready_file.read_text())
        return content

    @property
    def data_dir(self) -> Path:
        return Path(self.environment["POLYBATCH_DATA_DIR"])

    def client(self, key: str | None = None, *, patient: bool = True) -> Client:
        """Not `patient`: it never tries again."""
        ready = self.ready
        return Client(
            gateway=ready["gateway"],
            collector=ready["collector"],
            api_key=key,
            api_key_file=None if key else ready["api_key_file"],
            retry=None if patient else RetryPolicy(give_up_after=0),
        )

    def logged(self, service: str, text: str) -> int:
        """How many lines of a service's log have a text."""
        return (self.log_dir / f"{service}.log").read_text().count(text)

    def check_complete(self, client: Client, lines: int, *batch_ids: str) -> None:
        """Wait for batches of so many lines, which are all that was billed, and each once."""
        for batch_id in batch_ids:
            assert client.wait(batch_id, timeout=100).state == BatchState.COMPLETED
            answered = check_answers(client.results(batch_id), range(lines))
            assert sum(line.ok for line in answered) == lines
        assert self.sandbox("/sandbox/bill")["lines_billed"] == len(batch_ids) * lines

    def new_key(self, account: str, scope: str = "batch") -> str:
        """Make a key for another account, as an operator does."""
        words = ("-m", "services.gateway", "keys", "create", "--account", account)
        made = self.run(*words, "--scope", scope)
        return next(word for word in made.stdout.split() if word.startswith("pb_"))

    def cli(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "polybatch", *arguments, **options)

    def run(
        self, *arguments: str, environment: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a Python program as in the suite; `environment` is set on top of its own."""
        ready = self.ready
        variables = {
            **self.environment,
            "POLYBATCH_GATEWAY": ready["gateway"],
            "POLYBATCH_COLLECTOR": ready["collector"],
            **(environment or {}),
        }
        return subprocess.run(
            python(*arguments),
            env=variables,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            **options,
        )

    def kill(self, name: str) -> None:
        """SIGKILL one process and wait until the supervisor has started it again."""
        before = self.ready["pids"][name]
        os.kill(before, signal.SIGKILL)
        wait_for(lambda: self.ready["pids"].get(name) != before, f"a new {name}")

    def sandbox(self, path: str, content: Any = None) -> Any:
        """Call the sandbox's own interface."""
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(
            f"{self.ready['sandbox']}{path}",
            data=body,
            headers={"content-type": "application/json"},
            method="GET" if content is None else "POST",
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.loads(response.read())

    def billed_lines(self) -> list[dict[str, Any]]:
        """What each line on the sandbox's bill has used."""
        url = f"{self.ready['sandbox']}/sandbox/bill/lines"
        with urllib.request.urlopen(url, timeout=10) as response:
            return [json.loads(line) for line in response]

    def reset_sandbox(self, **config: Any) -> None:
        self.sandbox("/sandbox/reset", {})
        self.sandbox("/sandbox/config", INSTANT | config)


def wait_for(condition: Callable[[], bool], what: str, timeout: float = 60.0) -> None:
    """Look at other processes until something has come true there."""
    pause = threading.Event()
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s for {what}")
        pause.wait(0.02)


def launch(folder: Path, *arguments: str, quick: bool = True, **settings: str) -> Suite:
    """Start a supervisor on free ports, with a data folder of its own; `stopped_after` waits.

    `quick`: with times that suit tests, instead of the defaults.
    """
    ready_file = folder / "ready.json"
    log_dir = folder / "logs"
    log_dir.mkdir(parents=True)
    environment = (
        os.environ
        | (QUICK if quick else {})
        | {
            "POLYBATCH_DATA_DIR": str(folder / "data"),
            "OPENAI_API_KEY": "sandbox-openai",
            "ANTHROPIC_API_KEY": "sandbox-anthropic",
            # Who tests it asks for it: one process less to start, to kill and to wait for.
            "POLYBATCH_WEB_LISTEN": "off",
        }
        | settings
    )
    command = [sys.executable, "-m", "services.supervisor", "--ports", "auto", *arguments]
    command += ["--ready-file", str(ready_file), "--log-dir", str(log_dir)]
    with (log_dir / "supervisor.log").open("wb") as log:
        supervisor = subprocess.Popen(
            tied(command),
            env=environment,
            cwd=ROOT,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return Suite(supervisor, ready_file, environment, log_dir)


@contextmanager
def stopped_after(suite: Suite) -> Iterator[None]:
    """Wait until a suite is ready; stop it after the block and see that it went well."""
    supervisor, log = suite.supervisor, suite.log_dir / "supervisor.log"
    try:
        wait_for(
            lambda: suite.ready_file.exists() or supervisor.poll() is not None,
            "the suite",
            START_TIMEOUT,
        )
        assert supervisor.poll() is None, log.read_text()
        pids = suite.ready["pids"]
        yield
        pids = suite.ready["pids"]
    finally:
        supervisor.send_signal(signal.SIGTERM)
        try:
            code = supervisor.wait(STOP_TIMEOUT)
        finally:
            supervisor.kill()
    assert code == 0, log.read_text()[-2000:]
    for name, pid in pids.items():
        assert not Path(f"/proc/{pid}").exists(), f"{name} outlived the supervisor"


@contextmanager
def running_suite(folder: Path, *, quick: bool = True, **settings: str) -> Iterator[Suite]:
    """Start everything on free ports; stop it and see that it went well.

    On one machine, or past it where POLYBATCH_TEST_FLEET is set: see fleet.py.
    `quick`: see `launch`.
    """
    if os.environ.get("POLYBATCH_TEST_FLEET"):
        from tests.support.e2e.fleet import running_fleet

        with running_fleet(folder, quick=quick, **settings) as fleet:
            yield fleet
        return
    suite = launch(folder, "--sandbox", quick=quick, **settings)
    with stopped_after(suite):
        yield suite
