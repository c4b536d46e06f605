"""Pages of lists, as requests ask for them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from core.ledger import Batch, File
from core.serving import ApiError
from core.wire import PageTokenInvalid, decode_page_token, encode_page_token

Row = TypeVar("Row", File, Batch)


def parse_page_token(token: str) -> tuple[datetime, str] | None:
    """What the page comes behind. Raises PAGE_TOKEN_INVALID."""
    try:
        return decode_page_token(token)
    except PageTokenInvalid as error:
        raise ApiError.invalid_argument(
            "PAGE_TOKEN_INVALID", f"{error}: start again without a token"
        ) from error


def cut_page(rows: Sequence[Row], size: int) -> tuple[Sequence[Row], str]:
    """The rows of a page, and the next page's token, from one row more than it takes."""
    if len(rows) <= size:
        return rows, ""
    last = rows[size - 1]
    return rows[:size], encode_page_token(last.created_at, last.id)
