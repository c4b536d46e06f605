"""What the first message of an upload asks for, checked before a byte is taken."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration
from polybatch.v1 import files_pb2

from core.batchfile import MAX_MODEL
from services.gateway.batch_args import is_retention, span_of
from services.gateway.framing import malformed

_UPLOAD_ID = re.compile(r"[A-Za-z0-9_-]{8,64}", re.ASCII)
_MAX_FILENAME_BYTES = 255


@dataclass(frozen=True, slots=True)
class Spec:
    """What the first message of a stream says, checked."""

    upload_id: str
    filename: str
    write_offset: int
    default_provider: str = ""
    default_model: str = ""
    discard_unfinished: bool = False
    expected_bytes: int = 0
    expected_md5: str = ""
    expires_seconds: float | None = None
    """How long after it was made the file is kept; None: for ever."""

    @classmethod
    def parse(cls, spec: files_pb2.UploadSpec) -> Spec:
        """Check the fields; without an upload id a new one is made. Raises MALFORMED_STREAM."""
        if len(spec.filename.encode()) > _MAX_FILENAME_BYTES:
            raise malformed(f"the filename has more than {_MAX_FILENAME_BYTES} bytes")
        if spec.upload_id:
            check_upload_id(spec.upload_id)
        if spec.write_offset < 0:
            raise malformed("write_offset is negative")
        if len(spec.default_model) > MAX_MODEL:
            raise malformed(f"the default_model has more than {MAX_MODEL} characters")
        return cls(
            upload_id=spec.upload_id or secrets.token_hex(16),
            filename=spec.filename,
            write_offset=spec.write_offset,
            default_provider=spec.default_provider,
            default_model=spec.default_model,
            discard_unfinished=spec.discard_unfinished,
            expected_bytes=spec.expected_bytes,
            expected_md5=spec.expected_md5.lower(),
            expires_seconds=parse_expiry(spec.expires_after)
            if spec.HasField("expires_after")
            else None,
        )


def parse_expiry(span: Duration) -> float:
    """Seconds. Raises MALFORMED_STREAM."""
    seconds = span_of(span)
    if not is_retention(seconds):
        raise malformed("expires_after has to be from 1 hour to 30 days")
    return seconds


def check_upload_id(upload_id: str) -> None:
    """Raises MALFORMED_STREAM."""
    if not _UPLOAD_ID.fullmatch(upload_id):
        raise malformed("the upload_id has to be 8 to 64 characters of [A-Za-z0-9_-]")
