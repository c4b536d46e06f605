"""What the service knows of a provider. Fields are those of protos/polybatch/v1/providers.proto."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from polybatch.models.messages import from_message
from polybatch.v1 import providers_pb2 as pb


class KeyState(StrEnum):
    """Whether a provider takes the key that is set for it."""

    UNKNOWN = "unknown"
    """Not tried yet, or the provider was not reached."""
    ACCEPTED = "accepted"
    REFUSED = "refused"
    MISSING = "missing"
    """No key is set."""
    NOT_NEEDED = "not_needed"


_KEY_STATES: dict[int, KeyState] = {
    pb.KEY_STATE_UNSPECIFIED: KeyState.UNKNOWN,
    pb.KEY_STATE_ACCEPTED: KeyState.ACCEPTED,
    pb.KEY_STATE_REFUSED: KeyState.REFUSED,
    pb.KEY_STATE_MISSING: KeyState.MISSING,
    pb.KEY_STATE_NOT_NEEDED: KeyState.NOT_NEEDED,
}


@dataclass(frozen=True, slots=True)
class ProviderLimits:
    """What is sent to a provider at a time."""

    line_by_line: bool
    """It has no batches: its lines are run one by one."""
    max_lines: int
    """Of one batch at the provider; line by line, of what is kept together."""
    max_bytes: int
    max_concurrency: int
    """Calls at a time, line by line; else 0."""
    requests_per_minute: float
    """0: any number."""
    token_limits: Mapping[str, int]
    """Enqueued prompt tokens by model, as they are set or were learned."""


@dataclass(frozen=True, slots=True)
class ProviderQueue:
    """Lines of the account that wait for a provider, for one reason."""

    reason: str
    line_count: int
    shard_count: int


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider, with a key or without."""

    name: str
    configured: bool
    """Whether lines for it are taken: its key is set, or it needs none."""
    key_state: KeyState
    key_variable: str
    """The environment variable that holds the key; empty where none is needed."""
    key_error: str
    """The provider's code where it refused the key."""
    key_checked_at: datetime | None
    endpoints: tuple[str, ...]
    models: tuple[str, ...]
    """Those of the catalogue; others may be used too."""
    limits: ProviderLimits | None
    """None where it is not configured."""
    waiting: tuple[ProviderQueue, ...]
    held_until: datetime | None
    """Until when it wants no call (Retry-After)."""

    @classmethod
    def from_proto(cls, message: Any) -> Provider:
        """Builds it from polybatch.v1.Provider."""
        limits = message.limits
        return from_message(
            cls,
            message,
            key_state=_KEY_STATES.get(message.key_state, KeyState.UNKNOWN),
            limits=from_message(
                ProviderLimits,
                limits,
                token_limits={each.model: each.enqueued_tokens for each in limits.token_limits},
            )
            if message.HasField("limits")
            else None,
            waiting=tuple(from_message(ProviderQueue, each) for each in message.waiting),
        )
