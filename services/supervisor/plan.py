"""The suite as child processes: which ones, with what settings, at which addresses."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.bus import EmbeddedNats, ServerBinaryMissing
from core.flow import find_providers, tls_files
from core.serving import Identity, StartupError
from core.settings import ProviderAccess, Settings
from services.supervisor import ports, probes
from services.supervisor.spec import ChildSpec

_NATS_PORT = 4222
_SERVICES = ("collector", "dispatcher", "gateway")
# A service may spend its own grace twice, on work and on calls, before it cleans up.
_STOP_MARGIN = 10.0
_PLACEHOLDER_KEY = "sandbox"
_STOOD_IN = ("openai", "anthropic", "gemini")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    sandbox: bool = False
    auto_ports: bool = False
    console_logs: bool = False
    """Children log for people, unless POLYBATCH_LOG_FORMAT says otherwise."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The children by stage, and where a client finds what."""

    stages: list[list[ChildSpec]]
    gateway: str
    """host:port, or grpcs://host:port under TLS; so are the next two."""
    collector: str
    dispatcher: str
    sandbox: str | None
    """http:// URL; None: no sandbox."""
    nats: str
    data_dir: Path
    api_key_file: Path
    providers: list[str]
    """Those that can be used: a key is set for them, they need none, or the sandbox stands in."""
    stood_in: list[str]
    """Those of them that the sandbox stands in for."""
    without_key: list[str]


def make_plan(settings: Settings, access: ProviderAccess, options: Options) -> Plan:
    """Choose addresses and lay out the children: what the others need comes first.

    Raises StartupError when a port is taken, an address cannot be read, or the providers
    or TLS are set up badly.
    """
    known = find_providers(access, settings)
    tls = _probe_tls(settings)
    names = Identity.read(tls.server).names if tls is not None else ()
    data_dir = settings.data_dir.absolute()
    listens = _listens(settings, options)
    environment = {
        "POLYBATCH_DATA_DIR": str(data_dir),
        **{f"POLYBATCH_{name.upper()}_LISTEN": listen for name, listen in listens.items()},
    }
    if options.console_logs and "log_format" not in settings.model_fields_set:
        environment["POLYBATCH_LOG_FORMAT"] = "console"
    first: list[ChildSpec] = []
    nats_url = settings.nats_url
    if not nats_url:
        child, nats_url = _nats(data_dir, options)
        environment["POLYBATCH_NATS_URL"] = nats_url
        first.append(child)
    sandbox_url = None
    if options.sandbox:
        child, sandbox_url = _sandbox(listens["sandbox"], data_dir, environment)
        environment |= _sandbox_access(sandbox_url, access)
        first.append(child)
    services = [
        ChildSpec(
            name=name,
            command=(sys.executable, "-m", f"services.{name}"),
            probe=probes.grpc_serving(_reachable(listens[name]), tls),
            environment=environment,
            stop_grace=2 * settings.shutdown_grace + _STOP_MARGIN,
        )
        for name in _SERVICES
    ]
    stood_in = list(_STOOD_IN) if options.sandbox else []
    providers = stood_in + [name for name in known.usable if name not in stood_in]
    return Plan(
        stages=[first, services],
        gateway=_address(listens["gateway"], names),
        collector=_address(listens["collector"], names),
        dispatcher=_address(listens["dispatcher"], names),
        sandbox=sandbox_url,
        nats=nats_url,
        data_dir=data_dir,
        api_key_file=settings.api_key_file,
        providers=providers,
        stood_in=stood_in,
        without_key=[name for name in known.missing_keys if name not in providers],
    )


def _listens(settings: Settings, options: Options) -> dict[str, str]:
    """host:port by name, each port settled and free."""
    wanted = {
        "gateway": settings.gateway_listen,
        "collector": settings.collector_listen,
        "dispatcher": settings.dispatcher_listen,
    }
    if options.sandbox:
        wanted["sandbox"] = settings.sandbox_listen
    spare = iter(ports.free_ports(len(wanted)))
    listens: dict[str, str] = {}
    for name, listen in wanted.items():
        setting = f"POLYBATCH_{name.upper()}_LISTEN"
        host, port = ports.split(listen, setting)
        if options.auto_ports or port == 0:
            port = next(spare)
        else:
            ports.require_free(host, port, setting)
        listens[name] = ports.join(host, port)
    return listens


def _nats(data_dir: Path, options: Options) -> tuple[ChildSpec, str]:
    """The embedded server: at NATS's usual port when that is free, else at any."""
    usual = not options.auto_ports and ports.is_free("127.0.0.1", _NATS_PORT)
    port = _NATS_PORT if usual else ports.free_ports(1)[0]
    server = EmbeddedNats(data_dir, port)
    try:
        command = server.command(log_to_file=True)
    except ServerBinaryMissing as error:
        raise StartupError(str(error)) from error
    child = ChildSpec(
        name="nats",
        command=tuple(command),
        probe=probes.nats_greets("127.0.0.1", port),
        stop_grace=10.0,
        log_hint=f"see {server.log_file}",
    )
    return child, server.url


def _sandbox(listen: str, data_dir: Path, environment: dict[str, str]) -> tuple[ChildSpec, str]:
    host, port = ports.split(listen, "POLYBATCH_SANDBOX_LISTEN")
    host = ports.local(host)
    child = ChildSpec(
        name="sandbox",
        # Its own temporary folder would stay behind when it is killed.
        command=(
            sys.executable,
            "-m",
            "services.sandbox",
            "--data-dir",
            str(data_dir / "sandbox"),
        ),
        probe=probes.http_ok(host, port, "/healthz"),
        environment=dict(environment),
        stop_grace=10.0,
    )
    return child, f"http://{ports.join(host, port)}"


def _sandbox_access(url: str, access: ProviderAccess) -> dict[str, str]:
    """Provider settings that lead to the sandbox; base URLs in the vendors' own form."""
    environment = {
        "OPENAI_BASE_URL": f"{url}/v1",
        "ANTHROPIC_BASE_URL": url,
        "GEMINI_BASE_URL": url,
    }
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        if not access.secret(variable):
            environment[variable] = _PLACEHOLDER_KEY
    return environment


def _reachable(listen: str) -> str:
    host, port = ports.split(listen, "listen")
    return ports.join(ports.local(host), port)


def _address(listen: str, names: Sequence[str]) -> str:
    """Where clients of this machine connect. names: those of the certificate; none: no TLS."""
    host, port = ports.split(listen, "listen")
    host = ports.local(host)
    if not names:
        return ports.join(host, port)
    fitting = [name for name in (host, "localhost") if name in names]
    return f"grpcs://{ports.join([*fitting, names[0]][0], port)}"


def _probe_tls(settings: Settings) -> probes.ProbeTls | None:
    files = tls_files(settings)
    if files is None:
        return None
    cert, key = settings.tls_client_cert, settings.tls_client_key
    if files.client_ca is None:
        return probes.ProbeTls(files)
    for setting, path in (
        ("POLYBATCH_TLS_CLIENT_CERT", cert),
        ("POLYBATCH_TLS_CLIENT_KEY", key),
    ):
        if path is None:
            raise StartupError(
                f"{setting} is not set: with POLYBATCH_TLS_CLIENT_CA every client brings a "
                "certificate, and so must the supervisor, which asks the services for their health"
            )
        if not path.is_file():
            raise StartupError(f"{setting} ({path}) is not a file")
    return probes.ProbeTls(files, cert, key)
