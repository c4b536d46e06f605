"""What clients are told when something that a service stands on is away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from core.blobs import BlobUnavailable, is_full
from core.ledger import LedgerFull, LedgerUnavailable
from core.serving import ApiError

log = structlog.get_logger()


@contextmanager
def outages() -> Iterator[None]:
    """Translate the failures of the block's ledger and blobs into an ApiError."""
    try:
        yield
    except BlobUnavailable as error:
        raise storage_error(error) from error
    except LedgerFull as error:
        log.warning("ledger_full", cause=str(error))
        raise _full() from error
    except LedgerUnavailable as error:
        # For the operator only: its text may hold the database's address.
        log.warning("ledger_unavailable", cause=str(error))
        raise ApiError.unavailable("LEDGER_UNAVAILABLE", "the database does not answer") from error
    except OSError as error:
        # Such as the folder of the spooled index.
        raise storage_error(error) from error


def storage_error(error: BlobUnavailable | OSError) -> ApiError:
    """STORAGE_FULL for a full disk or quota, else UNAVAILABLE."""
    log.warning("storage_failed", cause=str(error))
    if is_full(error):
        return _full()
    return ApiError.unavailable("STORAGE_UNAVAILABLE", "the service's storage does not answer")


def _full() -> ApiError:
    return ApiError.resource_exhausted(
        "STORAGE_FULL",
        "the service has no room left on its disk: repeat later, or ask its operator to make room",
        retry_after=60.0,
    )
