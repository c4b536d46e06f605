"""`make demo`: the main job on the sandbox, from nothing to printed results.

Starts NATS, the sandbox and the three services as processes of their own on free
ports, submits both example files with the command line, prints each line's answer,
and stops everything again. Nothing is spent and no key is needed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from polybatch import Client, ResultLine

EXAMPLES = Path(__file__).parent
FILES = ("chat-mixed.jsonl", "embeddings.jsonl")
FOLDER = Path(".polybatch/demo")
START_TIMEOUT = 90.0
STOP_TIMEOUT = 30.0
# So that there is a progress bar to look at.
BATCH_SECONDS = "3"


def main() -> int:
    """Run the demo; returns the exit code."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    print("Starting NATS, the sandbox, gateway, dispatcher and collector ...", flush=True)
    with suite(FOLDER / "data") as environment:
        for name in FILES:
            exit_code = run_file(EXAMPLES / name, environment)
            if exit_code:
                print(f"The batch of {name} ended with exit code {exit_code}.", file=sys.stderr)
                return exit_code
        spent, real_time = costs(environment)
    print("\nEverything is stopped. Results:")
    for name in FILES:
        print(f"  {results_path(name)}")
    print(f"\nWith real keys it would have cost {spent:.6f} USD, and in real time {real_time:.6f}.")
    print("\nNext: `make up SANDBOX=1` to try your own file, or set your keys and `make up`.")
    return 0


def results_path(name: str) -> Path:
    """Where the results of an example lie."""
    return FOLDER / name.replace(".jsonl", ".results.jsonl")


def run_file(path: Path, environment: dict[str, str]) -> int:
    """Submit one file and print its answers."""
    results = results_path(path.name)
    shown = ["polybatch", "submit", os.path.relpath(path), "-o", str(results)]
    print(f"\n$ {' '.join(shown)}", flush=True)
    command = [sys.executable, "-m", *shown]
    finished = subprocess.run(command, env=environment, check=False)
    if finished.returncode:
        return finished.returncode
    print()
    for raw in results.read_bytes().splitlines():
        line = ResultLine.parse(raw)
        print(f"  {line.custom_id}  {describe(line)}")
    return 0


def costs(environment: dict[str, str]) -> tuple[Decimal, Decimal]:
    """USD of the batches by their providers' prices, and of the same lines in real time."""
    spent = real_time = Decimal(0)
    key = Path(environment["POLYBATCH_DATA_DIR"]) / "api-key"
    services = {name: environment[f"POLYBATCH_{name.upper()}"] for name in ("gateway", "collector")}
    with Client(api_key_file=key, **services) as client:
        for batch in client.list_batches():
            total = client.estimate(batch.input_file_id).total
            if batch.cost is None or not total.expected or total.real_time_expected is None:
                raise SystemExit(f"The cost of {batch.id} is not known.")
            spent += batch.cost.so_far
            real_time += batch.cost.so_far * total.real_time_expected / total.expected
    return spent, real_time


def describe(line: ResultLine) -> str:
    """One line's answer in a few words."""
    if line.response is None or not line.ok:
        return f"failed: {line.error_message}"
    model = line.response.body.get("model")
    if line.embedding is not None:
        first = ", ".join(f"{number:.4f}" for number in line.embedding[:3])
        return f"[{model}] {len(line.embedding)} numbers: {first}, ..."
    return f"[{model}] {' '.join((line.text or '').split())}"


@contextmanager
def suite(data_dir: Path) -> Iterator[dict[str, str]]:
    """Run the whole suite for the length of the block; yields the clients' environment."""
    ready_file = data_dir.parent / "ready.json"
    log_dir = data_dir.parent / "logs"
    environment = os.environ | {
        "POLYBATCH_DATA_DIR": str(data_dir),
        "POLYBATCH_SANDBOX_BATCH_SECONDS": BATCH_SECONDS,
        # Real keys stay out of this, should there be any.
        "OPENAI_API_KEY": "sandbox-key",
        "ANTHROPIC_API_KEY": "sandbox-key",
    }
    command = [sys.executable, "-m", "services.supervisor", "--sandbox", "--ports", "auto"]
    command += ["--ready-file", str(ready_file), "--log-dir", str(log_dir)]
    log_dir.mkdir(parents=True)
    with (log_dir / "supervisor.log").open("wb") as log:
        # A session of its own: Ctrl-C reaches the demo, and the demo stops the suite.
        supervisor = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        ready = wait_ready(supervisor, ready_file, log_dir)
        yield environment | {
            "POLYBATCH_GATEWAY": ready["gateway"],
            "POLYBATCH_COLLECTOR": ready["collector"],
        }
    finally:
        supervisor.send_signal(signal.SIGTERM)
        supervisor.wait(STOP_TIMEOUT)


def wait_ready(
    supervisor: subprocess.Popen[bytes], ready_file: Path, log_dir: Path
) -> dict[str, Any]:
    """Wait until every service is healthy."""
    deadline = time.monotonic() + START_TIMEOUT
    while not ready_file.exists():
        if supervisor.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"The services did not start; see the logs in {log_dir}.")
        time.sleep(0.05)
    ready: dict[str, Any] = json.loads(ready_file.read_text())
    return ready


if __name__ == "__main__":
    sys.exit(main())
