"""The compose file for real: `make compose-test`, on a machine with Docker Compose.

Not part of `make test`: it builds the image and pulls those of the servers. It runs beside
whatever else runs there: under a project name, on ports and with volumes of its own.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from polybatch import Batch, BatchState, Client

from services.supervisor.ports import free_ports

ROOT = Path(__file__).parents[3]
UP_TIMEOUT = 900
LINES = 300


@dataclass(frozen=True)
class Stack:
    project: str
    env_file: Path
    gateway: str
    collector: str
    web: str

    def compose(self, *arguments: str, timeout: float = 180) -> str:
        command = ["docker", "compose", "-p", self.project, "--env-file", str(self.env_file)]
        # What the caller's shell has set would win over the file.
        kept = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT")
        done = subprocess.run(
            [*command, *arguments],
            cwd=ROOT,
            env={name: os.environ[name] for name in kept if name in os.environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def client(self) -> Client:
        return Client(gateway=self.gateway, collector=self.collector, api_key=self.key())

    def key(self) -> str:
        return self.compose("exec", "-T", "gateway", "cat", "/data/api-key").strip()

    def bill(self) -> dict[str, Any]:
        ask = "import urllib.request as r; print(r.urlopen('{}').read().decode())"
        url = "http://127.0.0.1:8400/sandbox/bill"
        printed = self.compose("exec", "-T", "sandbox", "python", "-c", ask.format(url))
        bill: dict[str, Any] = json.loads(printed)
        return bill

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "--all", "--quiet", service).split()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    gateway, collector, web = free_ports(3)
    lines = []
    for line in (ROOT / ".env.example").read_text().splitlines():
        is_password = line.endswith("_PASSWORD=")
        lines.append(line + secrets.token_hex(16) if is_password else line)
    text = "\n".join(lines)
    start = text.index("#COMPOSE_PROFILES")
    end = text.index("\n\n", start)
    text = text[:start] + text[start:end].replace("#", "") + text[end:]
    env_file = tmp_path_factory.mktemp("compose") / "env"
    env_file.write_text(
        f"{text}\nENV_FILE={env_file}\nGATEWAY_PORT={gateway}\nCOLLECTOR_PORT={collector}\n"
        f"WEB_PORT={web}\n"
        "POLYBATCH_SANDBOX_BATCH_SECONDS=5\nPOLYBATCH_SWEEP_INTERVAL=2\n"
    )
    project = f"polybatch-test-{secrets.token_hex(4)}"
    stack = Stack(
        project,
        env_file,
        f"127.0.0.1:{gateway}",
        f"127.0.0.1:{collector}",
        f"http://127.0.0.1:{web}",
    )
    try:
        stack.compose("up", "--detach", "--build", "--wait", timeout=UP_TIMEOUT)
        yield stack
    finally:
        stack.compose("down", "--volumes", "--remove-orphans")


def submit(client: Client, folder: Path) -> Batch:
    """A batch of two providers; returned while lines of it are at one at least."""
    path = folder / "requests.jsonl"
    mark = secrets.token_hex(4)
    with path.open("w") as out:
        for number in range(LINES):
            model = ("openai/gpt-4.1", "anthropic/claude-4.6-sonnet")[number % 2]
            body = {"model": model, "messages": [{"role": "user", "content": f"{mark} {number}"}]}
            line = {"custom_id": f"c-{number}", "method": "POST", "url": "/v1/chat/completions"}
            out.write(json.dumps(line | {"body": body | {"max_tokens": 50}}) + "\n")
    batch = client.submit(path)
    return next(each for each in client.watch(batch.id) if each.request_counts.submitted)


def assert_complete(client: Client, batch_id: str) -> None:
    ended = client.wait(batch_id, timeout=120)
    assert ended.state is BatchState.COMPLETED
    results = list(client.results(batch_id))
    assert [result.custom_id for result in results] == [f"c-{number}" for number in range(LINES)]
    assert all(result.ok for result in results)


@pytest.mark.timeout(UP_TIMEOUT)
def test_the_main_job_through_the_published_ports(stack: Stack, tmp_path: Path) -> None:
    with stack.client() as client:
        batch = client.submit(ROOT / "examples/chat-mixed.jsonl")
        assert client.wait(batch.id, timeout=120).state is BatchState.COMPLETED
        results = list(client.results(batch.id))
    assert [result.custom_id for result in results] == [f"request-{n}" for n in range(1, 5)]
    assert all(result.ok for result in results)
    with openai.OpenAI(base_url=f"{stack.web}/v1", api_key=stack.key()) as sdk:
        assert sdk.batches.retrieve(batch.id).status == "completed"
    # The same from within, with nothing installed here.
    shown = stack.compose("exec", "-T", "gateway", "polybatch", "--json", "get", batch.id)
    assert json.loads(shown)["state"] == "completed"


@pytest.mark.timeout(UP_TIMEOUT)
@pytest.mark.parametrize("victims", [("gateway", "dispatcher", "collector"), ("nats", "postgres")])
def test_a_batch_outlives_killed_containers(
    stack: Stack, tmp_path: Path, victims: tuple[str, ...]
) -> None:
    before = stack.bill()["lines_billed"]
    with stack.client() as client:
        batch = submit(client, tmp_path)
        killed = [stack.containers(victim)[0] for victim in victims]
        subprocess.run(["docker", "kill", *killed], check=True, capture_output=True)
        if "gateway" in victims:
            # The other replicas do it.
            assert_complete(client, batch.id)
        stack.compose("up", "--detach", "--wait")
        assert_complete(client, batch.id)
        bill = stack.bill()
    assert bill["lines_billed"] == before + LINES
    assert bill["extra_billings"] == 0


@pytest.mark.timeout(UP_TIMEOUT)
def test_services_stop_by_themselves(stack: Stack) -> None:
    services = ("gateway", "dispatcher", "collector", "web")
    ours = [each for service in services for each in stack.containers(service)]
    assert len(ours) == 9
    stack.compose("stop", *services)
    asked = ["docker", "inspect", "--format", "{{.State.ExitCode}}", *ours]
    codes = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split()
    assert codes == ["0"] * len(ours)
