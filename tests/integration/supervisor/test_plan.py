"""What the suite is made of: addresses, settings of the children, and clear refusals."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from polybatch import ConfigurationError, Connection
from pydantic import SecretStr, ValidationError

from core.ledger import ProviderKey
from core.serving import StartupError
from core.serving.data_folder import data_folder_lock
from core.settings import ProviderAccess, Settings, read_settings
from services.sandbox.anthropic.errors import fault_response
from services.supervisor import report
from services.supervisor.plan import Options, Plan, make_plan
from services.supervisor.ports import free_ports, split
from services.supervisor.spec import ChildSpec
from services.supervisor.written import Written
from tests.support.forked.python import python
from tests.support.stores.files import files_below


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "GEMINI_API_KEY",
        "GOOGLE_API_KEY",
        "POLYBATCH_NATS_URL",
    ):
        monkeypatch.delenv(name, raising=False)


def settings(tmp_path: Path, **values: Any) -> Settings:
    return Settings(data_dir=tmp_path / "data", **values)


def plan(tmp_path: Path, *, options: Options | None = None, **values: Any) -> Plan:
    auto = Options(auto_ports=True)
    return make_plan(settings(tmp_path, **values), ProviderAccess(), options or auto)


def children(plan: Plan) -> dict[str, ChildSpec]:
    return {child.name: child for stage in plan.stages for child in stage}


def test_the_suite_without_a_sandbox(tmp_path: Path) -> None:
    made = plan(tmp_path)
    assert [[child.name for child in stage] for stage in made.stages] == [
        ["nats"],
        ["collector", "dispatcher", "gateway", "web"],
    ]
    environment = children(made)["gateway"].environment
    assert environment["POLYBATCH_NATS_URL"] == made.nats
    assert environment["POLYBATCH_GATEWAY_LISTEN"] == made.gateway
    assert environment["POLYBATCH_DATA_DIR"] == str(tmp_path / "data")
    assert "OPENAI_BASE_URL" not in environment
    assert len({made.gateway, made.collector, made.dispatcher}) == 3


def test_the_sandbox_is_looked_at_often(tmp_path: Path) -> None:
    sandbox = Options(sandbox=True, auto_ports=True)
    name = "POLYBATCH_POLL_MIN_INTERVAL"
    assert name not in children(plan(tmp_path))["collector"].environment
    often = children(plan(tmp_path, options=sandbox))
    for service in ("collector", "dispatcher"):
        assert float(often[service].environment[name]) < 1
    told = children(plan(tmp_path, options=sandbox, poll_min_interval=2.0))
    assert name not in told["collector"].environment, "what was set outside is passed on"


def test_replicas_listen_beside_each_other(tmp_path: Path) -> None:
    counts = {"gateway": 2, "dispatcher": 3, "collector": 1}
    made = plan(
        tmp_path,
        options=Options(replicas=counts),
        gateway_listen="127.0.0.1:0",
        dispatcher_listen="127.0.0.1:0",
        collector_listen="127.0.0.1:0",
        gateway_metrics_listen="127.0.0.1:0",
        dispatcher_metrics_listen="127.0.0.1:0",
        collector_metrics_listen="127.0.0.1:0",
        web_listen="127.0.0.1:0",
        web_metrics_listen="",
    )
    assert [child.name for child in made.stages[1]] == [
        "collector",
        "dispatcher",
        "dispatcher-2",
        "dispatcher-3",
        "gateway",
        "gateway-2",
        "web",
    ]
    first, second = made.gateway.split(",")
    assert len({*made.addresses.values()}) == 6
    assert len(made.dispatcher.split(",")) == 3
    gateways = [children(made)[name] for name in ("gateway", "gateway-2")]
    assert [each.environment["POLYBATCH_GATEWAY_LISTEN"] for each in gateways] == [first, second]
    assert [each.command[-1] for each in gateways] == ["services.gateway"] * 2
    assert f"{first},{second}" in report.ready_block(made)
    web = children(made)["web"].environment
    assert web["POLYBATCH_GATEWAY"] == made.gateway
    assert web["POLYBATCH_COLLECTOR"] == made.collector
    assert made.web == f"http://{web['POLYBATCH_WEB_LISTEN']}"
    assert made.web in report.ready_block(made)
    assert made.metrics.keys() == made.addresses.keys()
    assert not {url.split("/")[2] for url in made.metrics.values()} & {*made.addresses.values()}
    for name in made.metrics:
        listen = children(made)[name].environment[
            f"POLYBATCH_{name.partition('-')[0].upper()}_METRICS_LISTEN"
        ]
        assert made.metrics[name] == f"http://{listen}/metrics"


def test_without_a_dispatcher_nothing_can_be_sent(tmp_path: Path) -> None:
    made = plan(tmp_path, options=Options(auto_ports=True, replicas={"dispatcher": 0}))
    assert [child.name for child in made.stages[1]] == ["collector", "gateway", "web"]
    assert made.dispatcher == ""
    assert sorted(made.metrics) == ["collector", "gateway", "web"]
    assert "polybatch is up" in report.ready_block(made)


def test_each_service_has_a_metrics_address_of_its_own(tmp_path: Path) -> None:
    made = plan(tmp_path)
    assert sorted(made.metrics) == ["collector", "dispatcher", "gateway", "web"]
    listen = children(made)["collector"].environment["POLYBATCH_COLLECTOR_METRICS_LISTEN"]
    assert made.metrics["collector"] == f"http://{listen}/metrics"
    assert len(set(made.metrics.values())) == 4
    assert made.metrics["gateway"] in report.ready_block(made)


def test_metrics_can_be_turned_off(tmp_path: Path) -> None:
    made = plan(
        tmp_path,
        gateway_metrics_listen="",
        dispatcher_metrics_listen="",
        web_metrics_listen="",
    )
    assert list(made.metrics) == ["collector"]
    assert "POLYBATCH_GATEWAY_METRICS_LISTEN" not in children(made)["gateway"].environment


def test_the_http_api_can_be_left_out(tmp_path: Path) -> None:
    made = plan(tmp_path, web_listen="off")
    assert made.web is None
    assert "web" not in children(made)
    assert "web" not in made.metrics
    assert "HTTP API" not in report.ready_block(made)


def test_a_given_nats_is_not_started(tmp_path: Path) -> None:
    made = plan(tmp_path, nats_url="nats://queue.internal:4222")
    assert "nats" not in children(made)
    assert made.nats == "nats://queue.internal:4222"
    assert "POLYBATCH_NATS_URL" not in children(made)["gateway"].environment


def test_the_sandbox_stands_in_for_every_provider(tmp_path: Path) -> None:
    made = plan(tmp_path, options=Options(sandbox=True, auto_ports=True))
    environment = children(made)["dispatcher"].environment
    assert environment["OPENAI_BASE_URL"] == f"{made.sandbox}/v1"
    assert environment["ANTHROPIC_BASE_URL"] == environment["GEMINI_BASE_URL"] == made.sandbox
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        assert environment[name]
        # As the key it would be taken out of what is shown of the sandbox's errors.
        assert environment[name] not in fault_response(429).body.decode()
    assert made.stages[0][-1].name == "sandbox"
    block = report.ready_block(made)
    assert "Answers are made up" in block
    assert "No provider key" not in block


def test_a_given_key_is_kept_with_the_sandbox(tmp_path: Path) -> None:
    made = make_plan(
        settings(tmp_path),
        ProviderAccess(openai_api_key=SecretStr("sk-given")),
        Options(sandbox=True, auto_ports=True),
    )
    environment = children(made)["dispatcher"].environment
    assert "OPENAI_API_KEY" not in environment
    assert environment["ANTHROPIC_API_KEY"]


def test_a_provider_of_the_file_stays_real_beside_the_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "providers.toml"
    file.write_text("[groq]\n")
    auto = Options(sandbox=True, auto_ports=True)
    with_key = {"providers_file": file}
    assert "REAL" not in report.ready_block(plan(tmp_path, options=auto, **with_key))
    monkeypatch.setenv("GROQ_API_KEY", "gsk-1")
    assert "REAL: groq" in report.ready_block(plan(tmp_path, options=auto, **with_key))


def test_a_bad_providers_file_is_said_at_once(tmp_path: Path) -> None:
    file = tmp_path / "providers.toml"
    file.write_text('[acme]\nkind = "openai-compatible"\n')
    with pytest.raises(StartupError, match=r"providers\.toml, \[acme\]: .*base_url"):
        plan(tmp_path, providers_file=file)


def test_a_bad_prices_file_is_said_at_once(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text('[[price]]\nprovider = "openai"\ninput = -1\n')
    with pytest.raises(StartupError, match=r"prices\.toml, line 3, price\.input: -1 is no price"):
        plan(tmp_path, prices_file=file)


@pytest.mark.parametrize(
    ("setting", "url", "said"),
    [
        ("database_url", "mysql://u:secret@h/db", "POLYBATCH_DATABASE_URL: .* is 'mysql'"),
        ("database_url", "postgresql://u:secret@h:x/db", "POLYBATCH_DATABASE_URL: .* be read"),
        ("blobs_url", "ftp://h/x", "POLYBATCH_BLOBS_URL: .* expected file:///"),
    ],
)
def test_a_store_that_no_service_can_use_is_said_at_once(
    tmp_path: Path, setting: str, url: str, said: str
) -> None:
    with pytest.raises(StartupError, match=said) as caught:
        plan(tmp_path, **{setting: url})
    assert "secret" not in str(caught.value)


def test_without_a_key_it_says_so_and_offers_the_sandbox(tmp_path: Path) -> None:
    block = report.ready_block(plan(tmp_path))
    for words in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "make up SANDBOX=1"):
        assert words in block
    assert "submit" not in block, "nothing could come of it"


def test_the_block_names_what_a_first_user_needs(tmp_path: Path) -> None:
    made = plan(tmp_path, options=Options(sandbox=True, auto_ports=True))
    block = report.ready_block(made)
    for words in (
        made.gateway,
        made.collector,
        str(tmp_path / "data" / "api-key"),
        str(tmp_path / "data" / "operator-key"),
        f"export POLYBATCH_DATA_DIR={tmp_path / 'data'}",
        "submit examples/chat-mixed.jsonl",
    ):
        assert words in block


def test_the_commands_of_the_block_can_be_pasted(tmp_path: Path) -> None:
    made = plan(tmp_path / "my data", options=Options(sandbox=True, auto_ports=True))
    assert f"export POLYBATCH_DATA_DIR='{made.data_dir}'" in report.ready_block(made)


def test_a_taken_port_is_named_with_its_setting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            StartupError, match=f"port {port} is taken .*POLYBATCH_COLLECTOR_LISTEN"
        ):
            make_plan(
                settings(
                    tmp_path,
                    gateway_listen="127.0.0.1:0",
                    collector_listen=f"127.0.0.1:{port}",
                    dispatcher_listen="127.0.0.1:0",
                ),
                ProviderAccess(),
                Options(),
            )


@pytest.mark.parametrize(
    "listen", ["50051", "localhost", "localhost:", "localhost:http", "h:70000"]
)
def test_an_unreadable_address_is_named_with_its_setting(tmp_path: Path, listen: str) -> None:
    with pytest.raises(StartupError, match=r"POLYBATCH_GATEWAY_LISTEN is .*host:port was expected"):
        make_plan(settings(tmp_path, gateway_listen=listen), ProviderAccess(), Options())


def test_a_foreign_address_is_named_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="POLYBATCH_GATEWAY_LISTEN"):
        make_plan(
            settings(tmp_path, gateway_listen="203.0.113.1:50051"), ProviderAccess(), Options()
        )


def test_addresses_for_everybody_are_reached_over_loopback(tmp_path: Path) -> None:
    made = plan(tmp_path, gateway_listen="0.0.0.0:0", collector_listen="[::]:0")
    assert made.gateway.startswith("127.0.0.1:")
    assert made.collector.startswith("[::1]:")
    assert split(made.collector, "x")[0] == "::1"


def test_nats_takes_no_port_that_a_service_will_listen_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The kernel gives a port again that nobody listens on yet.
    monkeypatch.setattr(
        "services.supervisor.ports.free_ports", lambda count: [50_001 + n for n in range(count)]
    )
    made = plan(tmp_path, options=Options(sandbox=True, auto_ports=True))
    listening = [
        address
        for child in children(made).values()
        for name, address in child.environment.items()
        if name.endswith("_LISTEN")
    ]
    assert listening
    assert made.nats.removeprefix("nats://") not in listening


def test_free_ports_are_all_different() -> None:
    assert len(set(free_ports(20))) == 20


HOLD = """
import os, sys
from pathlib import Path
from core.serving.data_folder import data_folder_lock
with data_folder_lock(Path(sys.argv[1])):
    print(os.getpid(), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other_supervisor(tmp_path: Path) -> Iterator[int]:
    with subprocess.Popen(
        python("-c", HOLD, str(tmp_path / "data"), imported=("core.serving.data_folder",)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.communicate()


def test_two_supervisors_do_not_share_a_data_folder(tmp_path: Path, other_supervisor: int) -> None:
    with (
        pytest.raises(
            StartupError, match=rf"in use by another supervisor \(process {other_supervisor}"
        ),
        data_folder_lock(tmp_path / "data"),
    ):
        pass


@pytest.mark.parametrize("below", ["file", "file/data"])
def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StartupError, match=rf"data folder {tmp_path / below} cannot be used: .*: "),
        data_folder_lock(tmp_path / below),
    ):
        pass


def test_a_data_folder_without_room_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_of: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with (
        pytest.raises(StartupError, match=r"No space left on device; make room on its disk, or"),
        data_folder_lock(tmp_path / "data"),
    ):
        pass


def test_the_lock_is_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with data_folder_lock(tmp_path / "data"):
            pass


def test_the_ready_file_holds_addresses_and_pids(tmp_path: Path) -> None:
    made = plan(tmp_path)
    path = tmp_path / "ready.json"
    report.write_ready_file(path, made, {"gateway": 17})
    content = json.loads(path.read_text())
    assert content["gateway"] == made.gateway
    assert content["sandbox"] is None
    assert content["api_key_file"] == str(tmp_path / "data" / "api-key")
    assert content["operator_key_file"] == str(tmp_path / "data" / "operator-key")
    assert content["pids"]["gateway"] == 17
    assert [entry.name for entry in tmp_path.glob("ready*")] == ["ready.json"]


async def test_the_suite_does_without_these_files_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, path = plan(tmp_path), tmp_path / "ready.json"
    made.data_dir.mkdir(exist_ok=True)
    refused, there = asyncio.Event(), asyncio.Event()
    write_text = Path.write_text

    def full(self: Path, _text: str) -> int:
        write_text(self, "{")
        refused.set()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("services.supervisor.written._PAUSE", 0.01)
    monkeypatch.setattr(Path, "write_text", full)
    written = Written(made, path)
    written.tell({"gateway": 17})
    refused.clear()
    await asyncio.wait_for(refused.wait(), 20)
    assert not [each for each in files_below(tmp_path) if ".json" in each.name]

    def roomy(of: Plan) -> None:
        report.write_addresses(of)
        there.set()

    monkeypatch.setattr(Path, "write_text", write_text)
    monkeypatch.setattr("services.supervisor.written.write_addresses", roomy)
    await asyncio.wait_for(there.wait(), 20)
    assert json.loads(path.read_text())["pids"]["gateway"] == 17
    assert json.loads(made.addresses_file.read_text())["gateway"] == made.gateway
    written.close()


async def test_clients_find_the_suite_though_its_ready_file_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, told = plan(tmp_path), []
    made.data_dir.mkdir(exist_ok=True)
    monkeypatch.setattr(
        "services.supervisor.written.log.warning", lambda _, **fields: told.append(fields)
    )
    path = tmp_path / "none" / "ready.json"
    written = Written(made, path)
    written.tell({"gateway": 17})
    written.close()
    assert json.loads(made.addresses_file.read_text())["gateway"] == made.gateway
    assert str(path) in told[0]["next_step"]


def test_no_ready_file_before_and_after(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    path.write_text("stale")
    with report.removed_around(path):
        assert not path.exists()
        path.write_text("{}")
    assert not path.exists()
    with report.removed_around(None):
        pass


def test_tls_is_checked_before_anything_starts(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    with pytest.raises(StartupError, match="POLYBATCH_TLS_CERT"):
        plan(tmp_path, tls_cert=cert, tls_key=key)
    issued = trustme.CA().issue_cert("polybatch.test")
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    made = plan(tmp_path, tls_cert=cert, tls_key=key)
    assert made.gateway.startswith("grpcs://polybatch.test:")
    assert made.web is not None
    assert made.web.startswith("https://polybatch.test:")
    made = replace(made, providers=["openai"])
    assert "POLYBATCH_TLS_CA" in report.ready_block(made)
    with pytest.raises(StartupError, match="POLYBATCH_TLS_CLIENT_CERT is not set"):
        plan(tmp_path, tls_cert=cert, tls_key=key, tls_client_ca=cert)


def test_under_tls_an_address_is_shown_by_a_name_of_the_certificate(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    for names, shown in (
        (("a.test", "localhost"), "localhost"),
        (("a.test", "localhost", "127.0.0.1"), "127.0.0.1"),
    ):
        issued = trustme.CA().issue_cert(*names)
        issued.cert_chain_pems[0].write_to_path(cert)
        issued.private_key_pem.write_to_path(key)
        made = plan(tmp_path, tls_cert=cert, tls_key=key)
        assert made.collector.startswith(f"grpcs://{shown}:")


def test_one_setting_moves_all_ports(tmp_path: Path) -> None:
    base = 23_456
    moved = settings(tmp_path, port_base=base, collector_listen="127.0.0.1:9")
    assert moved.gateway_listen == f"127.0.0.1:{base}"
    assert moved.collector_listen == "127.0.0.1:9", "what is named stays there"
    listens = (
        moved.dispatcher_listen,
        moved.sandbox_listen,
        moved.gateway_metrics_listen,
        moved.collector_metrics_listen,
        moved.dispatcher_metrics_listen,
    )
    assert [split(each, "")[1] for each in listens] == [base + n for n in range(2, 7)]
    assert moved.nats_port == base + 7
    assert moved.web_listen == f"127.0.0.1:{base + 8}"
    assert moved.web_metrics_listen == f"127.0.0.1:{base + 9}"
    with pytest.raises(ValidationError):
        settings(tmp_path, port_base=65_530)


def test_settings_that_cannot_be_used_are_told_without_their_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POLYBATCH_PORT_BASE", "secret")
    with pytest.raises(SystemExit, match="POLYBATCH_PORT_BASE: Input should be") as caught:
        read_settings()
    assert "secret" not in str(caught.value)


def test_clients_find_the_addresses_in_the_data_folder(tmp_path: Path) -> None:
    made = plan(tmp_path)
    made.data_dir.mkdir(exist_ok=True)
    report.write_addresses(made)
    environ = {"POLYBATCH_API_KEY": "k", "POLYBATCH_DATA_DIR": str(made.data_dir)}
    found = Connection.resolve(environ=environ)
    assert (found.gateway, found.collector) == (made.gateway, made.collector)
    named = Connection.resolve(environ=environ | {"POLYBATCH_GATEWAY": "localhost:7"})
    assert (named.gateway, named.collector) == ("localhost:7", made.collector)
    made.addresses_file.unlink()
    base = Connection.resolve(environ=environ | {"POLYBATCH_PORT_BASE": "6000"})
    assert (base.gateway, base.collector) == ("localhost:6000", "localhost:6001")
    made.addresses_file.write_text("{")
    with pytest.raises(ConfigurationError, match="addresses"):
        Connection.resolve(environ=environ)


def test_the_banner_says_which_keys_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = ProviderAccess(openai_api_key=SecretStr("sk-a"), anthropic_api_key=SecretStr("sk-b"))
    made = make_plan(settings(tmp_path), access, Options(auto_ports=True))
    tried = {
        "openai": ProviderKey(provider="openai", credential="c", accepted=True),
        "anthropic": ProviderKey(
            provider="anthropic", credential="c", accepted=False, code="authentication_error"
        ),
    }
    assert report.keys_are_told(made)
    block = report.ready_block(made, tried)
    assert "openai (key accepted), anthropic (KEY REFUSED: authentication_error)" in block
    assert "set ANTHROPIC_API_KEY to one that works" in block
    assert "openai, anthropic (no key for gemini" in report.ready_block(made)
    sandbox = make_plan(settings(tmp_path), access, Options(auto_ports=True, sandbox=True))
    assert not report.keys_are_told(sandbox)
    assert "openai (key not tried" in report.ready_block(made, {})
