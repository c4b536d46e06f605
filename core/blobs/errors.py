"""What can go wrong with blobs.

BlobError
├── BlobMissing       no blob under the key, or the range is past its end
├── BlobExists        a create_only put found a blob under the key
├── SegmentConflict   another writer wrote a segment of the same stored file
└── BlobUnavailable   the store did not do it: disk full, network, permissions
"""

from __future__ import annotations


class BlobError(Exception):
    """Root of the errors of core.blobs. The message names the key, never contents."""

    def __init__(self, message: str, *, key: str) -> None:
        super().__init__(message)
        self.key = key


class BlobMissing(BlobError):
    """There is no blob under the key, or a range reaches past its end."""


class BlobExists(BlobError):
    """A create_only put found a blob under the key; that blob is untouched."""


class SegmentConflict(BlobError):
    """Another writer committed a segment at this writer's offset."""


class BlobUnavailable(BlobError):
    """The store could not do it; the same call may succeed later."""
