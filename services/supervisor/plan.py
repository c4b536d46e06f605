"""The suite as child processes: which ones, with what settings, at which addresses."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.blobs import check_blobs_url
from core.bus import EmbeddedNats, ServerBinaryMissing
from core.ledger import BadDatabaseUrl, check_database_url
from core.pipeline import find_prices, find_providers
from core.providers import KnownProviders
from core.serving import Identity, StartupError
from core.serving.tls_settings import ProbeTls, probe_tls
from core.settings import ProviderAccess, Settings
from services.supervisor import ports, probes
from services.supervisor.spec import ChildSpec

_SERVICES = ("collector", "dispatcher", "gateway")
# A service may spend its own grace twice, on work and on calls, before it cleans up.
_STOP_MARGIN = 10.0
_WEB = "web"
_METRICS = "_metrics"
PLACEHOLDER_KEY = "sandbox-key"
"""No word that the sandbox says: what a provider says of a refusal is shown without the key."""
_SANDBOX_POLLS = "0.1"
"""What looks at the sandbox wait for at the least: they cost nothing, and people wait."""
_STOOD_IN = ("openai", "anthropic", "gemini")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    sandbox: bool = False
    auto_ports: bool = False
    console_logs: bool = False
    """Children log to be read, unless POLYBATCH_LOG_FORMAT says otherwise."""
    coloured: bool = False
    """And in colours."""
    replicas: Mapping[str, int] = field(default_factory=dict)
    """How many of each service; one of those that are not named."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The children by stage, and where a client finds what."""

    stages: list[list[ChildSpec]]
    addresses: dict[str, str]
    """host:port of each replica, or grpcs://host:port under TLS, by the name of its child."""
    sandbox: str | None
    """http:// URL; None: no sandbox."""
    nats: str
    web: str | None
    """http:// or https:// URL of the HTTP API; None: it is turned off."""
    metrics: dict[str, str]
    """http:// URL of each replica's metrics, by the name of its child; none where they are off."""
    data_dir: Path
    api_key_file: Path
    operator_key_file: Path
    addresses_file: Path
    providers: list[str]
    """Those that can be used: a key is set for them, they need none, or the sandbox stands in."""
    stood_in: list[str]
    """Those of them that the sandbox stands in for."""
    without_key: list[str]
    known: KnownProviders
    """As this process finds them: of those that the sandbox stands in for, not what it runs."""

    @property
    def gateway(self) -> str:
        """Where clients find it: the address of each replica, separated by commas."""
        return self._replicas_of("gateway")

    @property
    def collector(self) -> str:
        """As `gateway`."""
        return self._replicas_of("collector")

    @property
    def dispatcher(self) -> str:
        """As `gateway`."""
        return self._replicas_of("dispatcher")

    def _replicas_of(self, service: str) -> str:
        own = (name for name in self.addresses if name.partition("-")[0] == service)
        return ",".join(self.addresses[name] for name in own)


def make_plan(settings: Settings, access: ProviderAccess, options: Options) -> Plan:
    """Choose addresses and lay out the children: what the others need comes first.

    Raises StartupError when a port is taken, an address cannot be read, or the database, the
    blob store, the providers, their prices or TLS are set up badly.
    """
    _check_stores(settings)
    known = find_providers(access, settings)
    find_prices(settings)
    tls = probe_tls(settings)
    names = Identity.read(tls.server).names if tls is not None else ()
    data_dir = settings.data_dir.absolute()
    wanted = _wanted(settings, options)
    listens = _listens(wanted, options)
    environment = {
        "POLYBATCH_DATA_DIR": str(data_dir),
        **{_listen_setting(name): listens[name] for name in wanted if name in listens},
    }
    if options.console_logs and "log_format" not in settings.model_fields_set:
        environment["POLYBATCH_LOG_FORMAT"] = "console"
        if options.coloured:
            # Their own stderr is a pipe to this process.
            environment["FORCE_COLOR"] = "1"
    first: list[ChildSpec] = []
    nats_url = settings.nats_url
    if not nats_url:
        child, nats_url = _nats(data_dir, settings.nats_port, options, listens)
        environment["POLYBATCH_NATS_URL"] = nats_url
        first.append(child)
    sandbox_url = None
    if options.sandbox:
        child, sandbox_url = _sandbox(listens["sandbox"], data_dir, environment)
        environment |= _sandbox_access(sandbox_url, access)
        if "poll_min_interval" not in settings.model_fields_set:
            environment["POLYBATCH_POLL_MIN_INTERVAL"] = _SANDBOX_POLLS
        first.append(child)
    services = [
        ChildSpec(
            name=name,
            command=(sys.executable, "-m", f"services.{service}"),
            probe=probes.grpc_serving(_reachable(listens[name]), tls),
            environment={
                **environment,
                **{
                    _listen_setting(each): listens[each + name.removeprefix(service)]
                    for each in (service, service + _METRICS)
                    if each in wanted
                },
            },
            stop_grace=2 * settings.shutdown_grace + settings.drain_delay + _STOP_MARGIN,
        )
        for service in _SERVICES
        for name in _replicas(service, options)
    ]
    if _WEB in wanted:
        services.append(_web(listens, services, environment, tls, settings))
    stood_in = list(_STOOD_IN) if options.sandbox else []
    providers = stood_in + [name for name in known.usable if name not in stood_in]
    return Plan(
        stages=[first, services],
        addresses={
            child.name: _address(listens[child.name], names)
            for child in services
            if child.name != _WEB
        },
        sandbox=sandbox_url,
        nats=nats_url,
        web=_web_url(listens[_WEB], names) if _WEB in listens else None,
        metrics={
            name.replace(_METRICS, ""): f"http://{_reachable(listen)}/metrics"
            for name, listen in listens.items()
            if _METRICS in name
        },
        data_dir=data_dir,
        api_key_file=settings.api_key_file,
        operator_key_file=settings.operator_key_file,
        addresses_file=settings.addresses_file,
        providers=providers,
        stood_in=stood_in,
        without_key=[name for name in known.missing_keys if name not in providers],
        known=known,
    )


def _check_stores(settings: Settings) -> None:
    """Raises StartupError for a URL of which each service would complain at each of its starts."""
    try:
        check_database_url(settings.effective_database_url)
    except BadDatabaseUrl as error:
        raise StartupError(f"POLYBATCH_DATABASE_URL: {error}") from error
    try:
        check_blobs_url(settings.effective_blobs_url)
    except ValueError as error:
        raise StartupError(f"POLYBATCH_BLOBS_URL: {error}") from error


def _replicas(service: str, options: Options) -> list[str]:
    """Names of a service's children: "gateway", "gateway-2" and so on."""
    count = options.replicas.get(service.removesuffix(_METRICS), 1)
    return [service, *(f"{service}-{number}" for number in range(2, count + 1))][:count]


def _listen_setting(service: str) -> str:
    return f"POLYBATCH_{service.upper()}_LISTEN"


def _wanted(settings: Settings, options: Options) -> dict[str, str]:
    """What the settings say of where to listen, by service; metrics under a name of their own."""
    wanted = {
        "gateway": settings.gateway_listen,
        "dispatcher": settings.dispatcher_listen,
        "collector": settings.collector_listen,
    }
    if options.sandbox:
        wanted["sandbox"] = settings.sandbox_listen
    if settings.web_listen:
        wanted[_WEB] = settings.web_listen
    metrics = {
        "gateway": settings.gateway_metrics_listen,
        "dispatcher": settings.dispatcher_metrics_listen,
        "collector": settings.collector_metrics_listen,
        _WEB: settings.web_metrics_listen if settings.web_listen else "",
    }
    return wanted | {name + _METRICS: listen for name, listen in metrics.items() if listen}


def _listens(wanted: Mapping[str, str], options: Options) -> dict[str, str]:
    """host:port by name, each port settled and free.

    A service's first replica listens where the settings say, the others beside it.
    """
    names = {service: _replicas(service, options) for service in wanted}
    settled = {service: ports.split(wanted[service], _listen_setting(service)) for service in names}
    taken = {port for _, port in settled.values()}
    count = sum(map(len, names.values())) + len(taken)
    spare = (port for port in ports.free_ports(count) if port not in taken)
    listens: dict[str, str] = {}
    for service, replicas in names.items():
        setting = _listen_setting(service)
        host, port = settled[service]
        for name in replicas:
            if options.auto_ports or port == 0 or name != service:
                listens[name] = ports.join(host, next(spare))
            else:
                ports.require_free(host, port, setting)
                listens[name] = ports.join(host, port)
    return listens


def _nats(
    data_dir: Path, port: int, options: Options, listens: Mapping[str, str]
) -> tuple[ChildSpec, str]:
    """The embedded server: at its port when that is free, else at any.

    `listens`: where the others will listen, who do not do so yet.
    """
    if options.auto_ports or not ports.is_free("127.0.0.1", port):
        taken = {ports.split(listen, name)[1] for name, listen in listens.items()}
        port = next(each for each in ports.free_ports(len(taken) + 1) if each not in taken)
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
        probe=probes.http_ok(host, port),
        environment=dict(environment),
        stop_grace=10.0,
    )
    return child, f"http://{ports.join(host, port)}"


def _web(
    listens: Mapping[str, str],
    services: Sequence[ChildSpec],
    environment: Mapping[str, str],
    tls: ProbeTls | None,
    settings: Settings,
) -> ChildSpec:
    """The HTTP API, in front of all replicas of gateway and collector."""

    def reached(service: str) -> str:
        own = (each.name for each in services if each.name.partition("-")[0] == service)
        return ",".join(_reachable(listens[name]) for name in own)

    host, port = ports.split(listens[_WEB], _listen_setting(_WEB))
    return ChildSpec(
        name=_WEB,
        command=(sys.executable, "-m", "services.web"),
        probe=probes.http_ok(ports.local(host), port, tls),
        environment={
            **environment,
            "POLYBATCH_GATEWAY": reached("gateway"),
            "POLYBATCH_COLLECTOR": reached("collector"),
            **{
                _listen_setting(each): listens[each]
                for each in (_WEB, _WEB + _METRICS)
                if each in listens
            },
        },
        stop_grace=2 * settings.shutdown_grace + settings.drain_delay + _STOP_MARGIN,
    )


def _web_url(listen: str, names: Sequence[str]) -> str:
    address = _address(listen, names)
    return f"http{'s' if names else ''}://{address.removeprefix('grpcs://')}"


def _sandbox_access(url: str, access: ProviderAccess) -> dict[str, str]:
    """Provider settings that lead to the sandbox; base URLs in the vendors' own form."""
    environment = {
        "OPENAI_BASE_URL": f"{url}/v1",
        "ANTHROPIC_BASE_URL": url,
        "GEMINI_BASE_URL": url,
    }
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        if not access.secret(variable):
            environment[variable] = PLACEHOLDER_KEY
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
