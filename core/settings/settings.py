"""Every setting of the services, with its default and its meaning.

All are environment variables. Those of polybatch carry the prefix POLYBATCH_;
provider access uses the variables of the vendors' own SDKs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.settings.provider_access import ProviderAccess
from core.settings.token_limits import parse_token_limits

_MOVED_PORTS = (
    "gateway",
    "collector",
    "dispatcher",
    "sandbox",
    "gateway_metrics",
    "collector_metrics",
    "dispatcher_metrics",
)
"""In the order of their ports from port_base on; the NATS server's follows."""
_LATER_PORTS = ("web", "web_metrics")
"""Behind that of the NATS server."""
_NATS_PORT = 4222


class Settings(BaseSettings):
    """Settings of polybatch itself. Sizes in bytes, times in seconds."""

    # An empty variable, as compose files leave them, is one that is not set.
    model_config = SettingsConfigDict(
        env_prefix="POLYBATCH_", env_ignore_empty=True, extra="ignore", frozen=True
    )

    data_dir: Path = Path(".polybatch")
    """SQLite, blobs, NATS store and key of the embedded mode."""
    database_url: str = ""
    """postgresql://user:password@host:5432/database; empty: SQLite in the data folder."""
    database_pool_size: int = Field(default=10, ge=2)
    """Connections to PostgreSQL that one process holds at the most."""
    blobs_url: str = ""
    """file://, s3://, gs:// or az:// URL; empty: a folder in the data folder."""
    nats_url: str = ""
    """nats:// or tls:// URL, or several separated by commas: the nodes of one cluster; empty:
    the embedded server that the supervisor starts."""
    nats_replicas: int | None = Field(default=None, ge=1, le=5)
    """Nodes that store the work queue. Unset: as it is; for a new queue 3 if the URL names as
    many nodes, else 1."""

    providers_file: Path | None = None
    """TOML file of further providers (docs/providers.md); unset: providers.toml in the data
    folder, if there is one."""

    prices_file: Path | None = None
    """TOML file of own prices and mark-ups (docs/prices.md); unset: prices.toml in the data
    folder, if there is one."""

    port_base: int | None = Field(default=None, ge=1, le=65_535 - 9)
    """Moves all ports: ten of 127.0.0.1 from this one on, for gateway, collector, dispatcher,
    sandbox, the metrics of the first three, the embedded NATS server, the HTTP API and its
    metrics. What one of the settings below names stays there. Clients of this machine take it
    too."""
    gateway_listen: str = "127.0.0.1:50051"
    collector_listen: str = "127.0.0.1:50052"
    dispatcher_listen: str = "127.0.0.1:50053"
    sandbox_listen: str = "127.0.0.1:8400"
    web_listen: str = "127.0.0.1:8080"
    """host:port of the HTTP API, of OpenAI's and Anthropic's kind; "off": the supervisor starts
    none."""
    web_session_secret: SecretStr | None = None
    """What the dashboard's sessions are encrypted with, at least 32 characters; the same for all
    replicas. Unset: a random one for each process, so that a session ends with it."""

    tls_cert: Path | None = None
    """PEM file of the services' certificate, followed by its intermediates; unset: no TLS.
    Read again when it changes."""
    tls_key: Path | None = None
    """PEM file of its private key."""
    tls_client_ca: Path | None = None
    """PEM file of authorities: clients have to bring a certificate of one of them."""
    tls_client_cert: Path | None = None
    """PEM file of the certificate that the supervisor brings when it asks the services for
    their health; needed where tls_client_ca is set. The variables are the client's own."""
    tls_client_key: Path | None = None
    """PEM file of its private key."""

    gateway_metrics_listen: str = "127.0.0.1:9551"
    """host:port that Prometheus reads the gateway's metrics from, over plain HTTP and without
    a key; "off": nowhere."""
    collector_metrics_listen: str = "127.0.0.1:9552"
    dispatcher_metrics_listen: str = "127.0.0.1:9553"
    web_metrics_listen: str = "127.0.0.1:9554"

    log_level: str = "info"
    log_format: str = "json"
    """"json" or "console"."""

    @model_validator(mode="before")
    @classmethod
    def _move_ports(cls, values: Any) -> Any:
        base = str(values.get("port_base") or "")
        if not base.isdecimal():
            return values
        moved = {
            f"{name}_listen": f"127.0.0.1:{int(base) + offset}"
            for offset, name in (
                *enumerate(_MOVED_PORTS),
                *enumerate(_LATER_PORTS, len(_MOVED_PORTS) + 1),
            )
        }
        return moved | values

    @field_validator(
        "gateway_metrics_listen",
        "collector_metrics_listen",
        "dispatcher_metrics_listen",
        "web_metrics_listen",
        "web_listen",
    )
    @classmethod
    def _turn_off(cls, listen: str) -> str:
        return "" if listen == "off" else listen

    @field_validator("enqueued_token_limits")
    @classmethod
    def _check_token_limits(cls, text: str) -> str:
        parse_token_limits(text)
        return text

    max_line_bytes: int = Field(default=16 * 1024 * 1024, ge=1024)
    max_file_bytes: int = Field(default=64 * 1024**3, ge=1)
    max_lines: int = Field(default=5_000_000, ge=1)
    max_json_depth: int = Field(default=500, ge=10, le=500)
    """Levels of lists and objects that a line may be nested."""
    disk_reserve: int = Field(default=256 * 1024 * 1024, ge=0)
    """Bytes of a local disk that are left free, so that the ledger on it can go on. Below it
    uploads are refused; running batches, which have to end, wait below the half of it. 0: none."""
    segment_bytes: int = Field(default=8 * 1024 * 1024, ge=64 * 1024)
    """Size at which a segment of an uploaded file is committed."""
    upload_idle_timeout: float = Field(default=60.0, gt=0)
    """An upload stream that is silent for so long is ended; it can be resumed."""
    upload_min_rate: float = Field(default=64.0, ge=0)
    """Bytes a second that an upload has to bring, over each upload_idle_timeout of waiting for
    it: one that trickles is ended, and can be resumed. 0: any."""
    upload_retention: float = Field(default=86_400.0, gt=0)
    """An unfinished upload that nobody has gone on with for so long is deleted."""

    results_retention: float = Field(default=0.0, ge=0)
    """Results and input of a batch are deleted so long after its end, where neither the batch nor
    its account says how long; 0: they are kept. Of batches that are made from then on."""

    max_connections: int = Field(default=10_000, ge=1)
    """Connections that one service takes at a time; further ones are closed at once."""
    max_streams_per_connection: int = Field(default=5_000, ge=1)
    """Calls open on one connection at a time; further ones wait in the client."""
    max_uploads: int = Field(default=500, ge=1)
    """Uploads open at one gateway at a time, of all accounts. Each may hold a line of
    max_line_bytes and about 8 MiB beside it."""
    max_downloads: int = Field(default=500, ge=1)
    """Downloads open at one gateway or collector at a time. Each holds 1 to 2 MiB."""
    max_watches: int = Field(default=20_000, ge=1)
    """Watches open at one collector at a time. Each holds some tens of KiB."""
    max_account_watches: int = Field(default=10_000, ge=1)
    """Watches of one account open at one collector at a time."""
    max_calls: int = Field(default=5_000, ge=1)
    """All other calls running at one service at a time."""

    account_open_uploads: int = Field(default=100, ge=0)
    """Uploads that one account may have open at a time, over all gateways; 0: any number."""
    account_batches: int = Field(default=5_000, ge=0)
    """Batches of one account that have not ended, at a time; 0: any number."""
    account_bytes: int = Field(default=1024**4, ge=0)
    """Bytes of input files that one account may keep, unfinished uploads included; 0: any."""
    account_webhooks: int = Field(default=20, ge=0)
    """Webhook endpoints of one account; 0: any number."""
    account_requests_per_second: float = Field(default=500.0, ge=0)
    """Calls that one account may begin at each gateway and each collector; ten seconds' worth
    of them at once. 0: any number."""

    submit_concurrency: int = Field(default=4, ge=1)
    """Shards that one dispatcher sends at a time, and as many more of accounts that would have
    none under way."""
    fetch_concurrency: int = Field(default=4, ge=1)
    """Shards whose results one collector fetches at a time."""
    poll_min_interval: float = Field(default=5.0, gt=0)
    """Between two looks at one batch at a provider, at the least. Where many run there, one call
    in three such intervals goes to looking at all of them, through its list (docs/adr/0023)."""
    poll_max_interval: float = Field(default=60.0, gt=0)
    """Between two looks at a batch at the most, where there are few."""
    sweep_interval: float = Field(default=15.0, gt=0)
    """How often rows that have waited too long are put on the bus again."""
    submit_lease: float = Field(default=30.0, gt=0)
    """How long after its last sign a dispatcher that submits a shard is taken for dead."""
    run_concurrency: int = Field(default=64, ge=1)
    """Shards of providers without batches that one dispatcher runs at a time."""
    run_lease: float = Field(default=30.0, gt=0)
    """How long after its last sign a dispatcher that runs a shard is taken for dead."""
    rescue_concurrency: int = Field(default=16, ge=1)
    """Calls at a time that one dispatcher makes at the most to a provider with batches, for lines
    that are to be rescued before their completion window closes."""
    fetch_lease: float = Field(default=30.0, gt=0)
    """The same of a collector that fetches a shard's results or assembles a batch."""
    reconcile_settle: float = Field(default=120.0, ge=0)
    """How long after an unclear create its absence at the provider is believed."""
    unsure_submission: Literal["wait", "resend"] = "wait"
    """What to do while a provider cannot tell whether it has the batch of an unclear create
    (docs/adr/0013): wait, and never pay twice; or, after unsure_patience, send again."""
    unsure_patience: float = Field(default=3600.0, ge=0)
    """With unsure_submission=resend: how long after a create it is sent again at the earliest."""
    enqueued_token_limits: str = ""
    """Prompt tokens that a provider lets be enqueued at a time, by model:
    "openai/gpt-4.1=2000000,openai/*=900000". What is not named is learned from refusals."""
    retry_limit: int = Field(default=3, ge=0)
    """How often a line that failed for a transient reason is sent again."""
    retry_delay: float = Field(default=5.0, ge=0)
    """Pause before the first such repetition; doubled with each further one."""
    refused_pause: float = Field(default=15.0, gt=0)
    """Pause after a provider has refused a shard for a transient reason and did not say for how
    long; doubled with each further refusal, up to forty times it."""
    unreachable_pause: float = Field(default=5.0, gt=0)
    """Pause after a provider gave no clear answer; for results that cannot be fetched it is
    doubled each time, up to sixty times it."""
    stop_grace: float = Field(default=900.0, ge=0)
    """How long to wait for a provider to stop after a cancel or the window's end."""
    default_provider: str = ""
    """Provider of lines that name none and whose model tells none, or several of which this is
    one; an upload may say another."""
    assumed_output_tokens: int = Field(default=500, ge=1)
    """Tokens of an answer in an estimate, of a model of which too few lines have been answered."""
    reserve_factor: float = Field(default=1.25, ge=1, le=100)
    """A batch reserves so many times what it is expected to cost, where credits or a budget limit
    what it may spend."""
    check_keys: bool = True
    """Try each provider's key with one call that costs nothing when the dispatcher starts."""
    provider_timeout: float = Field(default=600.0, gt=0)
    """For one HTTP exchange with a provider, or for the upload and create of one shard."""
    webhook_allow_private: bool = False
    """Deliver webhooks to this machine and to private networks, and over plain http://. For
    tests, and where every caller may reach what the collector reaches."""
    webhook_timeout: float = Field(default=15.0, gt=0, le=120)
    """For one delivery, from the look-up of the name to the answer."""
    watch_heartbeat: float = Field(default=15.0, gt=0)
    key_recheck: float = Field(default=2.0, gt=0)
    """How often it is looked whether the keys of open calls were revoked, which ends them."""
    shutdown_grace: float = Field(default=10.0, ge=0)
    """How long a service that is told to stop waits for what is under way."""
    drain_delay: float = Field(default=0.0, ge=0)
    """How long before that it goes on taking calls, though its health says NOT_SERVING:
    for load balancers that look at the health now and then."""

    @property
    def nats_port(self) -> int:
        """Where the embedded NATS server listens if the port is free."""
        return _NATS_PORT if self.port_base is None else self.port_base + len(_MOVED_PORTS)

    @cached_property
    def effective_database_url(self) -> str:
        """The database's URL with its default filled in."""
        if self.database_url:
            return self.database_url
        return f"sqlite:///{self.data_dir.absolute() / 'ledger.sqlite3'}"

    @cached_property
    def effective_blobs_url(self) -> str:
        """The blob store's URL with its default filled in."""
        if self.blobs_url:
            return self.blobs_url
        return (self.data_dir.absolute() / "blobs").as_uri()

    def enqueued_token_limit(self, provider: str, model: str) -> int | None:
        """The limit set for a provider's model; None if none is set."""
        limits = self.token_limits
        return limits.get(f"{provider}/{model}", limits.get(f"{provider}/*"))

    @cached_property
    def token_limits(self) -> Mapping[str, int]:
        """What enqueued_token_limits says, by "provider/model" or "provider/*"."""
        return parse_token_limits(self.enqueued_token_limits)

    @cached_property
    def effective_providers_file(self) -> Path:
        """The providers file with its default filled in."""
        return self.providers_file or self.data_dir.absolute() / "providers.toml"

    @cached_property
    def effective_prices_file(self) -> Path:
        """The prices file with its default filled in."""
        return self.prices_file or self.data_dir.absolute() / "prices.toml"

    @cached_property
    def work_reserve(self) -> int:
        """The part of disk_reserve that running batches leave as well."""
        return self.disk_reserve // 2

    @cached_property
    def spool_dir(self) -> Path:
        """Where a service keeps temporary files; what a crash left there goes at the next start."""
        return self.data_dir.absolute() / "spool"

    @cached_property
    def addresses_file(self) -> Path:
        """Where the supervisor leaves the addresses of gateway and collector for clients."""
        return self.data_dir.absolute() / "addresses.json"

    @cached_property
    def api_key_file(self) -> Path:
        """Where the embedded mode keeps the first key, readable by its owner only."""
        return self.data_dir.absolute() / "api-key"

    @cached_property
    def operator_key_file(self) -> Path:
        """Where the first key of the scope "operator" lies, beside it and as private."""
        return self.data_dir.absolute() / "operator-key"

    @cached_property
    def submit_lease_span(self) -> timedelta:
        """submit_lease as a span."""
        return timedelta(seconds=self.submit_lease)

    @cached_property
    def unsure_patience_span(self) -> timedelta | None:
        """How long to look for the batch of an unclear create; None: as long as it takes."""
        if self.unsure_submission == "wait":
            return None
        return timedelta(seconds=self.unsure_patience)


def read_settings() -> tuple[Settings, ProviderAccess]:
    """Read the environment.

    Raises SystemExit with the settings that cannot be used, a line each: whoever starts a
    program is to read that, and no traceback.
    """
    try:
        return Settings(), ProviderAccess()
    except ValidationError as error:
        # Without the values: one of them may be a secret.
        lines = [
            f"{'_'.join(['POLYBATCH', *map(str, each['loc'])]).upper()}: {each['msg']}"
            for each in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise SystemExit("\n".join(["unusable settings:", *lines])) from None
