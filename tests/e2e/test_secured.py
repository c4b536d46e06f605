"""The suite under mutual TLS."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import openai
import pytest
import trustme

from tests.support.e2e.suite import ROOT, Suite, running_suite

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    folder = tmp_path_factory.mktemp("secured")
    services, clients = trustme.CA(), trustme.CA()
    paths = {
        name: folder / f"{name}.pem"
        for name in ("cert", "key", "ca", "client-ca", "mine", "my-key")
    }
    issued, mine = services.issue_cert("localhost"), clients.issue_cert("me")
    issued.cert_chain_pems[0].write_to_path(paths["cert"])
    issued.private_key_pem.write_to_path(paths["key"])
    services.cert_pem.write_to_path(paths["ca"])
    clients.cert_pem.write_to_path(paths["client-ca"])
    mine.cert_chain_pems[0].write_to_path(paths["mine"])
    mine.private_key_pem.write_to_path(paths["my-key"])
    with running_suite(
        folder,
        POLYBATCH_TLS_CERT=str(paths["cert"]),
        POLYBATCH_TLS_KEY=str(paths["key"]),
        POLYBATCH_TLS_CLIENT_CA=str(paths["client-ca"]),
        # The client's.
        POLYBATCH_TLS_CA=str(paths["ca"]),
        POLYBATCH_TLS_CLIENT_CERT=str(paths["mine"]),
        POLYBATCH_TLS_CLIENT_KEY=str(paths["my-key"]),
        POLYBATCH_WEB_LISTEN="127.0.0.1:0",
    ) as suite:
        suite.reset_sandbox()
        yield suite


def test_the_main_job_under_mutual_tls(secured: Suite, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    assert secured.ready["gateway"].startswith("grpcs://localhost:")
    done = secured.cli("submit", "examples/chat-mixed.jsonl", "-o", str(out))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["error"] for line in lines] == [None] * 4


def test_the_http_api_under_mutual_tls(secured: Suite) -> None:
    assert secured.ready["web"].startswith("https://localhost:")
    key = Path(secured.ready["api_key_file"]).read_text().strip()
    known = ssl.create_default_context(cafile=secured.environment["POLYBATCH_TLS_CA"])
    for bring in (False, True):
        if bring:
            known.load_cert_chain(
                secured.environment["POLYBATCH_TLS_CLIENT_CERT"],
                secured.environment["POLYBATCH_TLS_CLIENT_KEY"],
            )
        with openai.OpenAI(
            base_url=f"{secured.ready['web']}/v1",
            api_key=key,
            max_retries=0,
            http_client=openai.DefaultHttpxClient(verify=known),
        ) as client:
            if bring:
                assert client.models.list().data
            else:
                with pytest.raises(openai.APIConnectionError):
                    client.models.list()


def test_the_command_line_takes_it_as_options_too(secured: Suite) -> None:
    names = ("CA", "CLIENT_CERT", "CLIENT_KEY")
    files = {name: secured.environment[f"POLYBATCH_TLS_{name}"] for name in names}
    bare = {f"POLYBATCH_TLS_{name}": "" for name in names}
    options = [
        *("--tls-ca", files["CA"]),
        *("--tls-client-cert", files["CLIENT_CERT"]),
        *("--tls-client-key", files["CLIENT_KEY"]),
    ]
    done = secured.cli("list", *options, environment=bare)
    assert done.returncode == 0, done.stderr
    missing = secured.cli("list", *options[:4], environment=bare)
    assert missing.returncode == 1
    assert "POLYBATCH_TLS_CLIENT_KEY is not set" in missing.stderr
    contradicting = secured.cli("list", "--no-tls", environment=bare)
    assert contradicting.returncode == 1
    assert "asks for it" in contradicting.stderr


def test_who_brings_no_certificate_or_no_tls_gets_nowhere(secured: Suite) -> None:
    for name in ("gateway", "collector", "dispatcher"):
        target = secured.ready[name].removeprefix("grpcs://")
        authority = Path(secured.environment["POLYBATCH_TLS_CA"]).read_bytes()
        for channel in (
            grpc.insecure_channel(target),
            grpc.secure_channel(target, grpc.ssl_channel_credentials(authority)),
        ):
            with channel, pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=20)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE, name


def test_a_watch_ends_when_its_key_is_revoked(secured: Suite) -> None:
    secured.reset_sandbox(batch_seconds=600)
    made = secured.run("-m", "services.gateway", "keys", "create", "--account", "team").stdout
    key_id, secret = made.split()[1], next(w for w in made.split() if w.startswith("pb_"))
    environment = {
        **secured.environment,
        "POLYBATCH_API_KEY": secret,
        "POLYBATCH_GATEWAY": secured.ready["gateway"],
        "POLYBATCH_COLLECTOR": secured.ready["collector"],
    }
    watching = subprocess.Popen(
        [sys.executable, "-m", "polybatch", "submit", "examples/chat-mixed.jsonl"],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watching.stderr is not None
    with watching:
        assert any("In Progress" in line for line in watching.stderr)
        revoked = secured.run("-m", "services.gateway", "keys", "revoke", key_id)
        assert "revoked" in revoked.stdout, revoked.stderr
        said = watching.stderr.read()
        assert watching.wait(60) == 1
    assert "the API key was revoked (API_KEY_REVOKED); get a new key" in said
    secured.reset_sandbox()
