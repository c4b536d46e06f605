"""Where file contents lie: a local folder or object storage, by URL."""

from core.blobs.disk_headroom import is_full, require_headroom, write_whole
from core.blobs.errors import BlobError, BlobExists, BlobMissing, BlobUnavailable, SegmentConflict
from core.blobs.segments import SegmentWriter, StoredFile
from core.blobs.store import BlobStore, check_blobs_url
