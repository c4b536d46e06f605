"""Pages of lists, as requests ask for them; opaque tokens over the order (created_at, id)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from core.serving.api_error import ApiError

DEFAULT_PAGE = 100
MAX_PAGE = 1000


class _Listed(Protocol):
    id: str
    created_at: datetime


Row = TypeVar("Row", bound=_Listed)


def page_size(asked: int) -> int:
    """The number of rows to give for a page_size: 0 stands for the default."""
    if asked <= 0:
        return DEFAULT_PAGE
    return min(asked, MAX_PAGE)


def cut_page(rows: Sequence[Row], size: int) -> tuple[Sequence[Row], str]:
    """The rows of a page, and the next page's token, from one row more than it takes."""
    if len(rows) <= size:
        return rows, ""
    last = rows[size - 1]
    return rows[:size], page_token(last.created_at, last.id)


def page_token(created_at: datetime, row_id: str) -> str:
    """The token of the page behind a row."""
    text = f"{created_at.isoformat()}|{row_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def parse_page_token(token: str) -> tuple[datetime, str] | None:
    """(created_at, id) of the last row seen; None for an empty token.

    Raises PAGE_TOKEN_INVALID.
    """
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
        if not row_id or "\0" in row_id:
            raise ValueError("no row")
    except (ValueError, OverflowError, binascii.Error) as error:
        raise ApiError.invalid_argument(
            "PAGE_TOKEN_INVALID",
            "the page token was not made by this service: start again without a token",
        ) from error
    return created_at, row_id
