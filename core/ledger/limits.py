"""What one account may have at a time, whichever replica it asks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Limit(StrEnum):
    """The kinds."""

    OPEN_UPLOADS = "open_uploads"
    STORED_BYTES = "stored_bytes"
    BATCHES = "batches"
    WEBHOOKS = "webhooks"


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """For every account the same. 0: no limit."""

    open_uploads: int = 0
    """Uploads whose stream goes on."""
    stored_bytes: int = 0
    """Of input files, those of unfinished uploads included."""
    batches: int = 0
    """Batches that have not ended."""


NO_LIMITS = AccountLimits()


@dataclass(frozen=True, slots=True)
class OverLimit:
    """What was asked for would be more than the account may have; nothing was done."""

    kind: Limit
    limit: int
    used: int
    """What the account has."""
