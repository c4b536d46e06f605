"""Webhook endpoints, and the deliveries of the events of batches to them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlmodel import Field

from core.ledger.tables.columns import Table, moment, partial_index


class DeliveryState(StrEnum):
    """States of a delivery; names as in polybatch.v1.WebhookDeliveryState."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


class WebhookEndpoint(Table, table=True):
    """Where the events of an account's batches go.

    The secrets are kept as they are: what signs has to be there, and who can read this table can
    read the batches as well.
    """

    __tablename__ = "webhook_endpoints"
    __table_args__ = (sa.UniqueConstraint("account_id", "url"),)
    id: str = Field(primary_key=True)
    account_id: str
    url: str
    """Empty for the one that signs what goes to the urls of single batches."""
    event_types: list[str] = Field(default_factory=list, sa_type=sa.JSON)
    """Empty: all."""
    description: str = ""
    secret: str
    """"whsec_" and base64 of the key."""
    previous_secret: str = ""
    previous_secret_expires_at: datetime | None = moment(nullable=True)
    """Until then deliveries are signed with `previous_secret` too."""
    disabled_at: datetime | None = moment(nullable=True)
    disabled_reason: str = ""
    """Human-readable."""
    created_at: datetime = moment()
    updated_at: datetime = moment()

    @property
    def for_batch_urls(self) -> bool:
        """True for the one that has no url of its own."""
        return not self.url

    def takes(self, event_type: str) -> bool:
        """Whether events of a type are delivered to it."""
        return self.disabled_at is None and (not self.event_types or event_type in self.event_types)

    def secrets(self, at: datetime) -> list[str]:
        """What is valid at a moment, the newest first."""
        until = self.previous_secret_expires_at
        return [self.secret, *([self.previous_secret] if until and at < until else [])]


class WebhookDelivery(Table, table=True):
    """One event for one endpoint, made by the transition that the event is about."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        sa.UniqueConstraint("endpoint_id", "event_id"),
        sa.Index("ix_webhook_deliveries_account_created", "account_id", "created_at"),
        sa.Index("ix_webhook_deliveries_endpoint_created", "endpoint_id", "created_at"),
        partial_index(
            "ix_webhook_deliveries_due",
            "due_at",
            where="state = 'waiting'",
        ),
    )
    id: str = Field(primary_key=True)
    account_id: str
    endpoint_id: str
    event_id: str
    """The same for all endpoints, and in every attempt."""
    event_type: str
    batch_id: str = Field(index=True)
    url: str = ""
    """The batch's own; empty: the endpoint's, as it is when it is called."""
    state: DeliveryState = Field(default=DeliveryState.WAITING, sa_type=sa.String)
    holder: str = ""
    """Token of whoever makes the latest attempt, which alone may say what came of it."""
    attempts: int = 0
    failures: int = 0
    """Attempts in a row that failed: the pauses follow from it."""
    created_at: datetime = moment()
    """When the event happened."""
    give_up_at: datetime = moment()
    due_at: datetime = moment()
    """When the next attempt is due; while one is made, when it is taken for lost."""
    ended_at: datetime | None = moment(nullable=True)


class WebhookAttempt(Table, table=True):
    """One call of a receiver, recorded before it is made."""

    __tablename__ = "webhook_attempts"
    delivery_id: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    """From 1 on."""
    started_at: datetime = moment()
    seconds: float | None = None
    """How long it took; None while nothing is known of its end."""
    status: int = 0
    """Of the answer; 0 where there was none."""
    error: str = ""
    """Human-readable; nothing of the answer but its status."""
