"""Opaque page tokens over the order (created_at, id)."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime

DEFAULT_PAGE = 100
MAX_PAGE = 1000


class PageTokenInvalid(ValueError):
    """The token was not made here."""


def page_size(asked: int) -> int:
    """The number of rows to give for a page_size: 0 stands for the default."""
    if asked <= 0:
        return DEFAULT_PAGE
    return min(asked, MAX_PAGE)


def encode_page_token(created_at: datetime, row_id: str) -> str:
    """The token of the page behind this row."""
    text = f"{created_at.isoformat()}|{row_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_page_token(token: str) -> tuple[datetime, str] | None:
    """(created_at, id) of the last row seen; None for an empty token. Raises PageTokenInvalid."""
    if not token:
        return None
    try:
        padded = token + "=" * (-len(token) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
        moment, _, row_id = text.partition("|")
        created_at = datetime.fromisoformat(moment)
        if created_at.tzinfo is None:
            raise ValueError("a time without a zone")
        # In UTC already where it was made here; any other may have no time there.
        created_at = created_at.astimezone(UTC)
    except (ValueError, OverflowError, binascii.Error) as error:
        raise PageTokenInvalid("the page token was not made by this service") from error
    if not row_id or "\0" in row_id:
        raise PageTokenInvalid("the page token was not made by this service")
    return created_at, row_id
