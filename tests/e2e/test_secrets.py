"""No secret leaves: not by a log, an error, an event, a metric, whatever goes wrong.

A suite whose every secret is recognisable goes through success and failure; then all that it
wrote and sent is searched for them.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import nats
import openai
import pytest

from core.bus import Bus, BusUnavailable, EmbeddedNats
from tests.support.e2e.inputs import chat, write
from tests.support.e2e.suite import ROOT, Suite, running_suite
from tests.support.stores.process import free_port

pytestmark = pytest.mark.long

SECRETS = {
    "the key of OpenAI": "sk-openai-SECRET-7f3a",
    "the key of Anthropic": "sk-ant-SECRET-91bc",
    "the key of a provider without batches": "SECRET-echo-direct-55d0",
    "the key of a provider with batches": "SECRET-echo-batch-c2e4",
    "the password of NATS": "nats-SECRET-08aa",
    "the password of the database": "pg-SECRET-e19d",
    "the secret of the object storage": "s3-SECRET-4b6f",
    "a made-up API key": "pb_SECRETmadeupSECRETmadeupSECRETmadeup0123",
}
BODY = "BODY-SECRET-a97c"

PROVIDERS = """
[echo-direct]
kind = "openai-direct"
base_url = "{url}/v1"
api_key_env = "ECHO_DIRECT_ACCESS"

[echo-batch]
kind = "openai-compatible"
base_url = "{url}/v1"
api_key_env = "ECHO_BATCH_ACCESS"
endpoints = ["/v1/chat/completions"]
"""


class Echo(BaseHTTPRequestHandler):
    """A provider that refuses everybody, and says with which key they came."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        said = self.headers["authorization"]
        body = json.dumps({"error": {"message": f"{said} may not do it", "code": "forbidden"}})
        self.send_response(403)
        self.send_header("content-type", "application/json")
        self.send_header("x-request-id", f"for {said}")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    do_GET = do_DELETE = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the test's own output is searched as well."""


@contextmanager
def echo_provider() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def nats_with_password(folder: Path) -> Iterator[str]:
    server = EmbeddedNats(folder, free_port())
    command = server.command()
    config = Path(command[-1])
    password = SECRETS["the password of NATS"]
    options = json.loads(config.read_text())
    options["authorization"] = {"user": "polybatch", "password": password}
    config.write_text(json.dumps(options))
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    assert process.stderr is not None
    try:
        assert any(b"Server is ready" in line for line in process.stderr)
        yield f"nats://polybatch:{password}@127.0.0.1:{server.port}"
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def suite_of_secrets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    folder = tmp_path_factory.mktemp("secrets")
    with echo_provider() as url, nats_with_password(folder) as nats_url:
        providers = folder / "providers.toml"
        providers.write_text(PROVIDERS.format(url=url))
        with running_suite(
            folder,
            POLYBATCH_LOG_LEVEL="debug",
            POLYBATCH_NATS_URL=nats_url,
            POLYBATCH_PROVIDERS_FILE=str(providers),
            POLYBATCH_RETRY_LIMIT="1",
            POLYBATCH_WEB_LISTEN="127.0.0.1:0",
            OPENAI_API_KEY=SECRETS["the key of OpenAI"],
            ANTHROPIC_API_KEY=SECRETS["the key of Anthropic"],
            ECHO_DIRECT_ACCESS=SECRETS["the key of a provider without batches"],
            ECHO_BATCH_ACCESS=SECRETS["the key of a provider with batches"],
        ) as suite:
            suite.reset_sandbox()
            yield suite


class Listener:
    """Hears all that goes over the bus."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.heard: list[bytes] = []

    async def __aenter__(self) -> Listener:
        self._connection = await nats.connect(self._url)

        async def note(message: Any) -> None:
            self.heard += [message.subject.encode(), repr(message.headers).encode(), message.data]

        await self._connection.subscribe("polybatch.>", cb=note)
        await self._connection.flush()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.drain()


def ask(number: int, provider: str) -> dict[str, Any]:
    line = chat(number, BODY)
    line["provider"] = provider
    line["body"]["model"] = f"{provider}/gpt-4.1"
    return line


def broken_row(suite: Suite) -> str:
    """The id of a file whose row no program can read."""
    made = json.loads(suite.cli("files", "list", "--limit", "1", "--json").stdout)
    with sqlite3.connect(suite.data_dir / "ledger.sqlite3") as database:
        database.execute("UPDATE files SET groups = ? WHERE id = ?", (f'["{BODY}', made["id"]))
    database.close()
    return str(made["id"])


def own_keys(suite: Suite) -> dict[str, str]:
    files = {"the API key": "api_key_file", "the operator's key": "operator_key_file"}
    return {name: Path(suite.ready[file]).read_text().strip() for name, file in files.items()}


@pytest.mark.skipif(
    bool(os.environ.get("POLYBATCH_TEST_FLEET")),
    reason="reads and breaks the files of one machine",
)
async def test_no_secret_leaves(suite_of_secrets: Suite, tmp_path: Path) -> None:
    suite = suite_of_secrets
    said: dict[str, str] = {}
    """What people and programs were told, by what they did."""
    of_users: dict[str, str] = {}
    """The same where the users' own requests are quoted to them."""

    async def cli(*arguments: str, code: int, key: str | None = None, quotes: bool = False) -> str:
        environment = {} if key is None else {"POLYBATCH_API_KEY": key}
        done = await asyncio.to_thread(suite.cli, *arguments, environment=environment)
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        (of_users if quotes else said)[" ".join(arguments)] = done.stdout + done.stderr
        return done.stdout + done.stderr

    async with Listener(suite.environment["POLYBATCH_NATS_URL"]) as listener:
        # Nobody takes webhooks there, so that attempts and their failures are logged and listed.
        url = f"{suite.ready['sandbox']}/nowhere"
        made = await asyncio.to_thread(suite.cli, "webhooks", "create", url, "--json")
        signing = json.loads(made.stdout)["secret"]
        good = write(tmp_path / "good.jsonl", [chat(n, BODY) for n in range(4)])
        await cli("submit", str(good), "-o", str(tmp_path / "results.jsonl"), code=0)
        await cli("list", code=1, key=SECRETS["a made-up API key"])
        await cli("admin", "grant", "default", "5", "--note", "a gift", code=0)
        await cli("admin", "accounts", "list", code=1, key=SECRETS["a made-up API key"])
        bad = write(
            tmp_path / "bad.jsonl",
            [f'{{"custom_id": "a", "body": "{BODY}', {"custom_id": BODY, "url": BODY}, "[" * 5000],
        )
        await cli("submit", str(bad), code=2, quotes=True)
        for provider in ("echo-direct", "echo-batch"):
            path = write(tmp_path / f"{provider}.jsonl", [ask(n, provider) for n in range(2)])
            out = tmp_path / f"{provider}.out"
            await cli("submit", str(path), "-o", str(out), "--fail-fast", code=3)
            answered = out.read_text()
            assert "may not do it" in answered, "the provider's own words come through"
            said[f"results of {provider}"] = answered
        await cli("webhooks", "list", "--json", code=0)
        await cli("webhooks", "deliveries", "--json", code=0)
        file_id = await asyncio.to_thread(broken_row, suite)
        assert "internal error, reference" in await cli("files", "get", file_id, code=1)
        said |= await asyncio.to_thread(over_http, suite, good, file_id)
    async with httpx2.AsyncClient(timeout=20) as http:
        for url in suite.ready["metrics"].values():
            said[url] = (await http.get(url)).raise_for_status().text
    logs = {path.name: path.read_text() for path in suite.log_dir.iterdir()}
    ready = suite.ready_file.read_text()

    # It is known that what is searched has in it what it should have.
    assert "rpc_failed" in logs["gateway.log"]
    assert "Traceback" in logs["gateway.log"]
    assert "forbidden" in logs["dispatcher.log"] or "may not do it" in logs["dispatcher.log"]
    assert any(b"polybatch.events." in each for each in listener.heard)
    assert any(b"polybatch.work." in each for each in listener.heard)

    assert "webhook_attempted" in logs["collector.log"]
    secrets = SECRETS | {"the secret of a webhook": signing}
    secrets |= await asyncio.to_thread(own_keys, suite)
    heard = {"the bus": b"\n".join(listener.heard).decode(errors="replace")}
    places = {**logs, **said, **heard, "the ready file": ready}
    for place, text in (places | of_users).items():
        for name, secret in secrets.items():
            assert secret not in text, f"{name} stands in {place}"
    for place, text in places.items():
        assert BODY not in text, f"a request's body stands in {place}"


def over_http(suite: Suite, good: Path, broken: str) -> dict[str, str]:
    """What OpenAI's SDK is told of success and failure, by what it did."""
    said = {}
    key = own_keys(suite)["the API key"]
    for name, brought in (("http", key), ("http, wrong key", SECRETS["a made-up API key"])):
        with openai.OpenAI(
            base_url=f"{suite.ready['web']}/v1", api_key=brought, max_retries=0
        ) as client:
            calls: dict[str, Callable[[], object]] = {
                "upload": lambda: client.files.create(file=good, purpose="batch"),
                "broken": lambda: client.files.retrieve(broken.replace("_", "-")),
                "wrong": lambda: client.batches.create(
                    input_file_id="file-none",
                    endpoint="/v1/chat/completions",
                    completion_window="24h",
                    extra_body={"metadata": BODY},
                ),
            }
            for what, call in calls.items():
                try:
                    said[f"{name}: {what}"] = repr(call())
                except openai.APIStatusError as error:
                    said[f"{name}: {what}"] = error.response.text
    assert "nternal error, reference" in said["http: broken"]
    return said


FAILING_STARTS = {
    "the database is away": {
        "POLYBATCH_DATABASE_URL": "postgresql://u:{the password of the database}@127.0.0.1:1/db"
    },
    "the database's URL is none": {
        "POLYBATCH_DATABASE_URL": "postgres:/u:{the password of the database}@127.0.0.1:1/db"
    },
    "the object storage is away": {
        "POLYBATCH_BLOBS_URL": "s3://bucket/prefix",
        "AWS_ENDPOINT": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "user",
        "AWS_SECRET_ACCESS_KEY": "{the secret of the object storage}",
    },
}

SIGNS = ("not_ready", "startup_failed", "process_failed")


@pytest.mark.parametrize("what", FAILING_STARTS)
def test_no_secret_leaves_by_a_start_that_fails(
    suite_of_secrets: Suite, tmp_path: Path, what: str
) -> None:
    changes = {name: value.format_map(SECRETS) for name, value in FAILING_STARTS[what].items()}
    environment = suite_of_secrets.environment | {
        "POLYBATCH_DATA_DIR": str(tmp_path),
        "POLYBATCH_GATEWAY_LISTEN": f"127.0.0.1:{free_port()}",
        "POLYBATCH_GATEWAY_METRICS_LISTEN": "off",
        **changes,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "services.gateway"],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process:
        said = []
        for line in process.stderr:
            said.append(line)
            if any(sign in line for sign in SIGNS):
                break
        # It would try for half a minute more.
        process.kill()
        said += process.stderr.readlines()
    text = "".join(said)
    assert any(sign in text for sign in SIGNS), text
    for name, secret in SECRETS.items():
        assert secret not in text, f"{name} stands in the log of a start where {what}"


async def test_no_secret_leaves_by_a_bus_that_is_away() -> None:
    password = SECRETS["the password of NATS"]
    with pytest.raises(BusUnavailable) as caught:
        await Bus.connect(f"nats://u:{password}@127.0.0.1:1", name="test", connect_timeout=0.5)
    assert "127.0.0.1:1" in str(caught.value)
    assert password not in str(caught.value)
