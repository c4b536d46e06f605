"""What the container files name exists: settings, modules, ports, folders, passwords."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml
from pydantic import AliasChoices

from core.settings import ProviderAccess, Settings
from services.sandbox.config import Options

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
PROXY = (ROOT / "deploy/haproxy.cfg").read_text()

COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ("gateway", "dispatcher", "collector", "sandbox", "web")

# What the client and the sandbox's command read, beside the services' settings.
CLIENTS = {"POLYBATCH_GATEWAY", "POLYBATCH_COLLECTOR"}
SANDBOX = {"POLYBATCH_SANDBOX_DATA_DIR", "POLYBATCH_SANDBOX_SPEED"} | {
    f"POLYBATCH_SANDBOX_{name.upper()}" for name in get_type_hints(Options)
}


def port_of(service: str) -> str:
    listen: str = Settings.model_fields[f"{service}_listen"].default
    return listen.rpartition(":")[2]


@pytest.mark.parametrize("text", [DOCKERFILE, COMPOSE_TEXT, EXAMPLE])
def test_settings_that_are_named_exist(text: str) -> None:
    named = set(re.findall(r"\bPOLYBATCH_[A-Z_]+\b", text))
    settings = {f"POLYBATCH_{name.upper()}" for name in Settings.model_fields}
    # In prose.
    named.discard("POLYBATCH_SHUTDOWN_GRACE")
    assert named <= settings | CLIENTS | SANDBOX


def test_variables_of_providers_exist() -> None:
    known = set()
    for name, field in ProviderAccess.model_fields.items():
        alias = field.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias or name.upper()]
        known |= {choice for choice in choices if isinstance(choice, str)}
    named = re.findall(r"\b(?:OPENAI|ANTHROPIC|GEMINI)_[A-Z_]+\b", COMPOSE_TEXT + EXAMPLE)
    assert named
    assert set(named) <= known
    for name in OURS[:3]:
        passed_on = {key for key, value in SERVICES[name]["environment"].items() if value is None}
        assert set(named) == passed_on


@pytest.mark.parametrize("name", OURS)
def test_each_service_runs_a_module_of_ours_at_its_usual_port(name: str) -> None:
    service = SERVICES[name]
    assert service["command"] == ["python", "-m", f"services.{name}"]
    assert importlib.util.find_spec(f"services.{name}.__main__") is not None
    assert f"POLYBATCH_{name.upper()}_LISTEN=0.0.0.0:{port_of(name)}" in DOCKERFILE
    if name != "sandbox":
        port = port_of(f"{name}_metrics")
        assert f"POLYBATCH_{name.upper()}_METRICS_LISTEN=0.0.0.0:{port}" in DOCKERFILE
    check = service["healthcheck"]["test"]
    if name == "sandbox":
        assert f"127.0.0.1:{port_of(name)}/healthz" in check[-1]
        assert f"=http://sandbox:{port_of(name)}" in EXAMPLE
    elif name == "web":
        asked = f"127.0.0.1:{port_of(name)}/healthz"
        assert check == ["CMD", "python", "-m", "services.health", asked]
    else:
        assert check == ["CMD", "python", "-m", "services.health", f"127.0.0.1:{port_of(name)}"]
        assert importlib.util.find_spec("services.health") is not None
    # Four builds of one name would leave some containers on an image that is not the last.
    assert service["image"] == "polybatch"
    assert service.get("build") == ("." if name == "gateway" else None)
    assert service["pull_policy"] == ("missing" if name == "gateway" else "never")


@pytest.mark.parametrize("name", ["gateway", "collector", "web"])
def test_the_proxy_spreads_over_all_replicas(name: str) -> None:
    port = port_of(name)
    section = re.search(rf"^listen {name}\n((?: +.*\n)+)", PROXY, re.MULTILINE)
    assert f"bind :{port}\n" in section[1]
    server = re.search(rf"server-template {name}- (\d+) {name}:{port}\n", section[1])
    assert SERVICES[name]["deploy"]["replicas"] <= int(server[1])
    assert (
        f"${{PUBLISH_ADDRESS:-127.0.0.1}}:${{{name.upper()}_PORT:-{port}}}:{port}"
        in (SERVICES["proxy"]["ports"])
    )


def test_only_the_proxy_is_published() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    for store in ("postgres", "nats", "s3"):
        assert SERVICES[store]["networks"] == ["stores"]
    assert COMPOSE["networks"]["stores"]["internal"] is True


@pytest.mark.parametrize("name", SERVICES)
def test_each_container_is_confined_checked_and_started_again(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"]
    for other, need in service.get("depends_on", {}).items():
        assert need["condition"] == "service_healthy"
        assert "profiles" not in SERVICES[other]


def test_images_are_pinned() -> None:
    images = [service["image"] for name, service in SERVICES.items() if name not in OURS]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    for image in images:
        assert re.search(r":[a-z]?\d+\.?\d*", image), image


def test_the_object_storage_is_the_one_that_the_tests_run_against() -> None:
    version = (ROOT / "tests/support/stores/versitygw.version").read_text().strip()
    assert SERVICES["s3"]["image"] == f"versity/versitygw:{version}"


def test_there_is_time_to_stop() -> None:
    for name in (*OURS[:3], "web"):
        seconds = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
        assert seconds >= 2 * Settings.model_fields["shutdown_grace"].default + 10


def test_the_image_holds_what_it_copies_and_runs_without_privileges() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored
    user = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)[-1]
    assert int(user[0]) >= 1000
    assert f"useradd --uid {user[0]} --gid {user[1]}" in DOCKERFILE
    assert "--require-hashes -r requirements/runtime.lock" in DOCKERFILE
    folders = re.findall(r"/data\S*", re.findall(r"install --directory.*", DOCKERFILE)[0])
    for name in OURS:
        for volume in SERVICES[name].get("volumes", ()):
            assert volume.rpartition(":")[2] in folders


def test_every_password_has_its_line_in_the_example() -> None:
    needed = set(re.findall(r"\$\{([A-Z0-9_]+):\?", COMPOSE_TEXT))
    assert needed
    for name in needed:
        assert re.search(rf"^{name}=$", EXAMPLE, re.MULTILINE)
    for name in set(re.findall(r"\$\{([A-Z0-9_]+):-", COMPOSE_TEXT)) - {"ENV_FILE"}:
        assert re.search(rf"^#{name}=", EXAMPLE, re.MULTILINE)


def _make_env(folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    # Under a make of its own, which these tests run by, it would tell each folder it enters.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "env", *words]
    return subprocess.run(command, cwd=folder, env=plain, capture_output=True)


def test_make_env_writes_passwords_once_for_its_owner_only(tmp_path: Path) -> None:
    for name in ("Makefile", ".env.example"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    assert _make_env(tmp_path, "SANDBOX=1").returncode == 0
    written = (tmp_path / ".env").read_text()
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    values = dict(line.split("=", 1) for line in written.splitlines() if re.match("[A-Z]", line))
    passwords = [value for name, value in values.items() if name.endswith("_PASSWORD")]
    assert len(set(passwords)) == 4
    assert all(re.fullmatch("[0-9a-f]{32}", password) for password in passwords)
    assert values["COMPOSE_PROFILES"] == "sandbox"
    assert values["ANTHROPIC_BASE_URL"] == "http://sandbox:8400"
    assert "PUBLISH_ADDRESS" not in values
    for words in (), ("SANDBOX=1",):
        told = _make_env(tmp_path, *words)
        assert told.returncode == 0
        assert told.stdout == b".env is there already, and stays as it is.\n"
    assert (tmp_path / ".env").read_text() == written
    assert os.listdir(tmp_path).count(".env.unfinished") == 0


def test_make_env_makes_no_sandbox_of_a_file_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    (tmp_path / ".env").write_text("POSTGRES_PASSWORD=x\n")
    told = _make_env(tmp_path, "SANDBOX=1")
    assert told.returncode == 2
    assert told.stdout.startswith(b".env is there already, without the sandbox: ")
    assert (tmp_path / ".env").read_text() == "POSTGRES_PASSWORD=x\n"
