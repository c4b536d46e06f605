"""How batches are sent, looked after and brought home, and how a service behaves meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from core.settings.group import SettingsGroup
from core.settings.token_limits import parse_token_limits
from core.settings.units import Seconds


class ProviderSettings(SettingsGroup):
    """Providers"""

    providers_file: Path | None = None
    """TOML file of further providers (docs/providers.md); unset: providers.toml in the data
    folder, if there is one."""
    default_provider: str = ""
    """Provider of lines that name none and whose model tells none, or several of which this is
    one; an upload may say another."""
    check_keys: bool = True
    """Try each provider's key with one call that costs nothing when the dispatcher starts."""
    provider_timeout: Seconds = Field(default=600.0, gt=0)
    """For one HTTP exchange with a provider, or for the upload and create of one shard."""
    enqueued_token_limits: str = ""
    """Prompt tokens that a provider lets be enqueued at a time, by model, never exceeded:
    openai/gpt-4.1=2000000,openai/*=900000. What is not named is learned from refusals and
    probes."""
    retry_limit: int = Field(default=3, ge=0)
    """How often a line that failed for a transient reason is sent again."""
    retry_delay: Seconds = Field(default=5.0, ge=0)
    """Pause before the first such repetition; doubled with each further one."""
    refused_pause: Seconds = Field(default=15.0, gt=0)
    """Pause after a provider has refused a shard for a transient reason and did not say for how
    long; doubled with each further refusal, up to forty times it."""
    unreachable_pause: Seconds = Field(default=5.0, gt=0)
    """Pause after a provider gave no clear answer; for results that cannot be fetched it is
    doubled each time, up to sixty times it."""
    reconcile_settle: Seconds = Field(default=120.0, ge=0)
    """How long after an unclear create its absence at the provider is believed."""
    unsure_submission: Literal["wait", "resend"] = "wait"
    """What to do while a provider cannot tell whether it has the batch of an unclear create
    (docs/adr/0013-let-go-in-the-ledger.md): wait, and never pay twice; or, after unsure_patience,
    send again."""
    unsure_patience: Seconds = Field(default=3600.0, ge=0)
    """With unsure_submission=resend: how long after a create it is sent again at the earliest."""
    stop_grace: Seconds = Field(default=900.0, ge=0)
    """How long to wait for a provider to stop after a cancel or the window's end."""

    @field_validator("enqueued_token_limits")
    @classmethod
    def _check_token_limits(cls, text: str) -> str:
        parse_token_limits(text)
        return text

    @cached_property
    def token_limits(self) -> Mapping[str, int]:
        """What enqueued_token_limits says, by "provider/model" or "provider/*"."""
        return parse_token_limits(self.enqueued_token_limits)

    def enqueued_token_limit(self, provider: str, model: str) -> int | None:
        """The limit set for a provider's model; None if none is set."""
        limits = self.token_limits
        return limits.get(f"{provider}/{model}", limits.get(f"{provider}/*"))

    @cached_property
    def unsure_patience_span(self) -> timedelta | None:
        """How long to look for the batch of an unclear create; None: as long as it takes."""
        if self.unsure_submission == "wait":
            return None
        return timedelta(seconds=self.unsure_patience)


class MoneySettings(SettingsGroup):
    """Prices, estimates and budgets"""

    prices_file: Path | None = None
    """TOML file of own and negotiated prices and of mark-ups (docs/prices.md); unset: prices.toml
    in the data folder, if there is one."""
    assumed_output_tokens: int = Field(default=500, ge=1)
    """Tokens of an answer in an estimate (docs/money.md#estimate), of a model of which fewer than
    20 lines have been answered."""
    reserve_factor: float = Field(default=1.25, ge=1, le=100)
    """A batch reserves so many times what it is expected to cost, where credits or a budget limit
    what it may spend (docs/money.md#credits)."""


class WorkSettings(SettingsGroup):
    """Batches under way"""

    submit_concurrency: int = Field(default=4, ge=1)
    """Shards that one dispatcher sends at a time, and as many more of accounts that would have
    none under way."""
    run_concurrency: int = Field(default=64, ge=1)
    """Shards of providers without batches that one dispatcher runs at a time."""
    rescue_concurrency: int = Field(default=16, ge=1)
    """Calls at a time that one dispatcher makes at the most to a provider with batches, for lines
    that are to be rescued before their completion window closes."""
    fetch_concurrency: int = Field(default=4, ge=1)
    """Shards whose results one collector fetches at a time."""
    poll_min_interval: Seconds = Field(default=5.0, gt=0)
    """Between two looks at one batch at a provider, at the least. Where many run there, one call
    in three such intervals goes to looking at all of them, through its list
    (docs/adr/0023-polling-in-rounds.md)."""
    poll_max_interval: Seconds = Field(default=60.0, gt=0)
    """Between two looks at a batch at the most, where there are few."""
    sweep_interval: Seconds = Field(default=15.0, gt=0)
    """How often rows that have waited too long are put on the bus again."""
    submit_lease: Seconds = Field(default=30.0, gt=0)
    """How long after its last sign a dispatcher that submits a shard is taken for dead."""
    run_lease: Seconds = Field(default=30.0, gt=0)
    """How long after its last sign a dispatcher that runs a shard is taken for dead."""
    fetch_lease: Seconds = Field(default=30.0, gt=0)
    """The same of a collector that fetches a shard's results or assembles a batch."""

    @cached_property
    def submit_lease_span(self) -> timedelta:
        """submit_lease as a span."""
        return timedelta(seconds=self.submit_lease)


class WebhookSettings(SettingsGroup):
    """Webhooks"""

    webhook_allow_private: bool = False
    """Deliver webhooks (docs/webhooks.md) to this machine and to private networks, and over plain
    http://. For tests, and where every caller may reach what the collector reaches."""
    webhook_timeout: Seconds = Field(default=15.0, gt=0, le=120)
    """For one delivery, from the look-up of the name to the answer."""


class ServiceSettings(SettingsGroup):
    """Logs, open calls and stopping"""

    log_level: str = "info"
    """debug, info, warning or error; debug shows each call."""
    log_format: str = "json"
    """json: one object a line. console: for people; what `make up` sets."""
    watch_heartbeat: Seconds = Field(default=15.0, gt=0)
    """How often a watch of a batch that does not change gives a sign of life."""
    key_recheck: Seconds = Field(default=2.0, gt=0)
    """How often it is looked whether the keys of open calls were revoked, which ends them."""
    shutdown_grace: Seconds = Field(default=10.0, ge=0)
    """How long a service that is told to stop waits for what is under way."""
    drain_delay: Seconds = Field(default=0.0, ge=0)
    """How long before that it goes on taking calls, though its health says NOT_SERVING:
    for load balancers that look at the health now and then."""
