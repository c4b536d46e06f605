"""Pages of lists, as requests ask for them; opaque tokens over the order (created_at, id)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
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


def cut_page(rows: Sequence[Row], size: int, filter: str = "") -> tuple[Sequence[Row], str]:
    """The rows of a page, and the next page's token, from one row more than it takes.

    `filter`: of the list; the token is good for no other.
    """
    if len(rows) <= size:
        return rows, ""
    last = rows[size - 1]
    return rows[:size], page_token(last.created_at, last.id, filter)


def page_token(created_at: datetime, row_id: str, filter: str = "") -> str:
    """The token of the page behind a row."""
    return _encode(f"{created_at.isoformat()}|{row_id}{_mark(filter)}")


def parse_page_token(token: str, filter: str = "") -> tuple[datetime, str] | None:
    """(created_at, id) of the last row seen; None for an empty token.

    Raises PAGE_TOKEN_INVALID, also for a token of a list with another filter.
    """
    if not token:
        return None
    try:
        text = _decode(token)
        if not text.endswith(_mark(filter)):
            raise ValueError("a token of another filter")
        moment, _, row_id = text.removesuffix(_mark(filter)).partition("|")
        created_at = datetime.fromisoformat(moment)
        if created_at.tzinfo is None:
            raise ValueError("a time without a zone")
        # In UTC already where it was made here; any other may have no time there.
        created_at = created_at.astimezone(UTC)
        if not row_id or "\0" in row_id or "|" in row_id:
            raise ValueError("no row")
    except (ValueError, OverflowError) as error:
        raise bad_page_token() from error
    return created_at, row_id


def _mark(filter: str) -> str:
    return f"|{hashlib.sha256(filter.encode()).hexdigest()[:16]}" if filter else ""


def values_token(values: Sequence[str]) -> str:
    """The token of what comes behind these values, in lists that are ordered by several."""
    return _encode(json.dumps(values))


def parse_values_token(token: str, count: int) -> Sequence[str] | None:
    """The values of such a token, so many; None for an empty one. Raises PAGE_TOKEN_INVALID."""
    if not token:
        return None
    try:
        values = json.loads(_decode(token))
        if not isinstance(values, list) or len(values) != count:
            raise ValueError("not so many values")
        for each in values:
            # Half of a character is text to JSON, and to no database.
            if not isinstance(each, str) or b"\0" in each.encode():
                raise ValueError("no text")
    except (ValueError, RecursionError) as error:
        raise bad_page_token() from error
    return values


def bad_page_token() -> ApiError:
    """PAGE_TOKEN_INVALID."""
    return ApiError.invalid_argument(
        "PAGE_TOKEN_INVALID",
        "the page token was not made by this service: start again without a token",
    )


def _encode(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(token: str) -> str:
    """Raises ValueError."""
    padded = token + "=" * (-len(token) % 4)
    try:
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except binascii.Error as error:
        raise ValueError("no base64") from error
