"""What clients are told when something that a service stands on is away."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from core.blobs import BlobUnavailable
from core.ledger import LedgerUnavailable
from core.serving import ApiError

log = structlog.get_logger()

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def outages() -> Iterator[None]:
    """Translate the failures of the block's ledger and blobs into an ApiError."""
    try:
        yield
    except BlobUnavailable as error:
        raise storage_error(error) from error
    except LedgerUnavailable as error:
        # For the operator only: its text may hold the database's address.
        log.warning("ledger_unavailable", cause=str(error))
        raise ApiError.unavailable("LEDGER_UNAVAILABLE", "the database does not answer") from error
    except OSError as error:
        # Such as the folder of the spooled index.
        raise storage_error(error) from error


def storage_error(error: BlobUnavailable | OSError) -> ApiError:
    """STORAGE_FULL for a full disk or quota, else UNAVAILABLE."""
    cause = error if isinstance(error, OSError) else error.__cause__
    log.warning("storage_failed", cause=str(error))
    if isinstance(cause, OSError) and cause.errno in _FULL:
        return ApiError.resource_exhausted(
            "STORAGE_FULL",
            "the service has no room left for files: repeat later",
            retry_after=60.0,
        )
    return ApiError.unavailable("STORAGE_UNAVAILABLE", "the service's storage does not answer")
