"""An event as it is sent: OpenAI's body under the headers of Standard Webhooks."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from standardwebhooks import Webhook

_PREFIX = "whsec_"
_KEY_BYTES = 32
"""The scheme asks for 24 to 64."""
_HINT = 4


def new_secret() -> str:
    """A secret to sign with, in the form that receivers are given it."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def secret_hint(secret: str) -> str:
    """What tells a secret from another without telling it."""
    return f"{_PREFIX}...{secret.rstrip('=')[-_HINT:]}"


@dataclass(frozen=True, slots=True)
class Message:
    """The event that a batch has ended, as openai.types.webhooks.BatchCompletedWebhookEvent."""

    event_id: str
    event_type: str
    created_at: datetime
    batch_id: str

    def body(self) -> str:
        """The event in JSON: the same text however often it is sent."""
        event: dict[str, Any] = {
            "id": self.event_id,
            "object": "event",
            "created_at": int(self.created_at.timestamp()),
            "type": self.event_type,
            "data": {"id": self.batch_id},
        }
        return msgspec.json.encode(event).decode()

    def headers(self, keys: Sequence[str], at: datetime) -> dict[str, str]:
        """The headers of a call at a moment, signed with each of the secrets."""
        body, moment = self.body(), at.astimezone(UTC)
        return {
            "content-type": "application/json",
            "user-agent": "polybatch-webhooks",
            "webhook-id": self.event_id,
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": " ".join(
                Webhook(key).sign(self.event_id, moment, body) for key in keys
            ),
        }
