"""Webhook endpoints and deliveries. Fields are those of protos/polybatch/v1/webhooks.proto."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from polybatch.models.messages import from_message
from polybatch.v1 import webhooks_pb2 as pb


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """Where the events of the account's batches are delivered to."""

    id: str
    url: str
    """Empty for the endpoint that signs what goes to the urls of single batches."""
    event_types: tuple[str, ...]
    """Such as "batch.completed"; empty: all."""
    description: str
    disabled: bool
    disabled_reason: str
    secret_hint: str
    """The end of the secret, to tell one from another."""
    previous_secret_expires_at: datetime | None
    """Until when the secret before is valid too."""
    created_at: datetime | None
    updated_at: datetime | None
    secret: str | None = field(default=None, repr=False)
    """Only where it was just made: by `create` and `rotate_secret`."""

    @classmethod
    def from_proto(cls, message: Any, secret: str | None = None) -> WebhookEndpoint:
        """Builds it from polybatch.v1.WebhookEndpoint."""
        return from_message(cls, message, secret=secret)


class WebhookDeliveryState(StrEnum):
    """Where a delivery stands."""

    UNKNOWN = "unknown"
    """One that this release does not know."""
    WAITING = "waiting"
    """For its first attempt, or for the next one."""
    DELIVERED = "delivered"
    FAILED = "failed"
    """Given up."""

    def to_proto(self) -> int:
        """Returns the value of polybatch.v1.WebhookDeliveryState."""
        return {state: number for number, state in _STATES.items()}.get(self, 0)


_STATES: dict[int, WebhookDeliveryState] = {
    pb.WEBHOOK_DELIVERY_STATE_WAITING: WebhookDeliveryState.WAITING,
    pb.WEBHOOK_DELIVERY_STATE_DELIVERED: WebhookDeliveryState.DELIVERED,
    pb.WEBHOOK_DELIVERY_STATE_FAILED: WebhookDeliveryState.FAILED,
}


@dataclass(frozen=True, slots=True)
class WebhookAttempt:
    """One call of the receiver."""

    number: int
    """From 1 on."""
    started_at: datetime | None
    duration: timedelta | None
    """None while it runs, and where the service died meanwhile."""
    status: int
    """The HTTP status of the answer; 0 where there was none."""
    error: str
    """Why it failed, human-readable; empty where it did not."""


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """One event for one endpoint, with its attempts."""

    id: str
    endpoint_id: str
    event_id: str
    """The `id` of the event and the header `webhook-id`."""
    event_type: str
    batch_id: str
    url: str
    state: WebhookDeliveryState
    attempt_count: int
    attempts: tuple[WebhookAttempt, ...]
    """The newest 30, newest first."""
    created_at: datetime | None
    next_attempt_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def from_proto(cls, message: Any) -> WebhookDelivery:
        """Builds it from polybatch.v1.WebhookDelivery."""
        return from_message(
            cls,
            message,
            state=_STATES.get(message.state, WebhookDeliveryState.UNKNOWN),
            attempts=tuple(from_message(WebhookAttempt, each) for each in message.attempts),
        )
