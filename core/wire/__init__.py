"""How the ledger's rows appear on the wire: messages of polybatch.v1 and page tokens."""

from core.wire.messages import (
    STATES,
    batch_message,
    file_message,
    manifest_message,
    shown_batch,
    shown_batches,
)
from core.wire.paging import PageTokenInvalid, decode_page_token, encode_page_token, page_size

__all__ = [
    "STATES",
    "PageTokenInvalid",
    "batch_message",
    "decode_page_token",
    "encode_page_token",
    "file_message",
    "manifest_message",
    "page_size",
    "shown_batch",
    "shown_batches",
]
