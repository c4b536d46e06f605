"""Single calls: what an adapter for them offers.

The dispatcher runs the lines of a provider without a batch API itself, one call each; and those
of other providers that are to be rescued before the completion window closes. An adapter makes
one call and says what came of it; how many are made at a time, what is made again and
what is kept is the dispatcher's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from core.prices.usage import Usage
from core.providers.contract import Outcome, OutcomeUnknown, ProviderLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """What the operator lets one process ask of a provider."""

    max_concurrency: int
    """Calls under way at a time, at most."""
    requests_per_minute: float | None = None
    rerun_lost: bool = False
    """Whether a line whose answer was lost is run again: it may have been paid for."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The provider answered, well or ill."""

    outcome: Outcome
    """SUCCEEDED; FAILED for good; RETRYABLE, for a transient reason that is the line's own."""
    response: bytes
    """JSON, as ResultLine.response."""
    usage: Usage
    """Of an answer that failed as well: it was paid for."""
    pause: float = 0.0
    """Seconds for which the provider wants no further call."""
    error: bytes | None = None
    """JSON, as ResultLine.error; None of a success."""


@dataclass(frozen=True, slots=True)
class Throttled:
    """The call was surely not run, for a reason that is not the line's: rate, quota,
    overload, a refused key, nobody there."""

    reason: str
    """Human-readable; without the key."""
    retry_after: float | None = None
    """Seconds, as the provider asked."""
    reachable: bool = True
    """False: no connection came about."""
    key_refused: str = ""
    """The provider's code where it refuses the key; empty for every other reason."""


CallOutcome = Answered | Throttled | OutcomeUnknown


class DirectProvider(Protocol):
    """One provider with one credential or none. Safe for concurrent use by many tasks."""

    name: str
    limits: ProviderLimits
    """`max_lines`: lines whose results are kept together; several such shards of a file
    run side by side."""
    call_limits: CallLimits

    def remote_model(self, model: str) -> str:
        """The provider's id of the user's model ("local/llama3.2" -> "llama3.2")."""
        ...

    def encode_body(self, url: str, model: str, body: bytes, *, lenient: bool = False) -> bytes:
        """What `call` takes for one request. Raises LineRejected.

        `url`: our endpoint; `model` as named in the file; `body`: the request's, raw JSON;
        `lenient`: leave out what the provider lacks, instead of rejecting the line.
        """
        ...

    async def call(self, call_id: str, url: str, body: bytes) -> CallOutcome:
        """Make one call, once. Takes no longer than the provider timeout.

        `body`: what `encode_body` gave for this `url`.
        `call_id`: at most 64 characters of [A-Za-z0-9_-], for the provider's logs.
        """
        ...

    async def check(self) -> None:
        """Make a call that costs nothing and needs the key; asked only where there is one.

        Raises ProviderUnavailable, ProviderRejected.
        """
        ...

    async def close(self) -> None: ...


DirectRegistry = Mapping[str, DirectProvider]
"""Provider slug to its adapter."""
