"""What Gemini answers about files and batches, and its codes for what went wrong.

Sources: ai.google.dev/api/batch-api (GenerateContentBatch, BatchStats, BatchState), the
batch guide (JOB_STATE_*, 48 hours), google-genai 3.4 batches.py and _transformers.py
(states under both prefixes), google.rpc.Code.
"""

from __future__ import annotations

from typing import Any

import msgspec

from core.providers.contract import RemoteState
from core.struct_types import prepared

STATES = {
    "PENDING": (RemoteState.RUNNING, ""),
    "QUEUED": (RemoteState.RUNNING, ""),
    "RUNNING": (RemoteState.RUNNING, ""),
    "PAUSED": (RemoteState.RUNNING, ""),
    "UPDATING": (RemoteState.RUNNING, ""),
    "CANCELLING": (RemoteState.STOPPING, ""),
    "SUCCEEDED": (RemoteState.ENDED, "completed"),
    "PARTIALLY_SUCCEEDED": (RemoteState.ENDED, "completed"),
    "CANCELLED": (RemoteState.ENDED, "cancelled"),
    "EXPIRED": (RemoteState.ENDED, "expired"),
    "FAILED": (RemoteState.FAILED, ""),
}
"""State without its prefix to ours and, of an end, its kind."""

CODES = {
    1: ("CANCELLED", 499),
    2: ("UNKNOWN", 500),
    3: ("INVALID_ARGUMENT", 400),
    4: ("DEADLINE_EXCEEDED", 504),
    5: ("NOT_FOUND", 404),
    6: ("ALREADY_EXISTS", 409),
    7: ("PERMISSION_DENIED", 403),
    8: ("RESOURCE_EXHAUSTED", 429),
    9: ("FAILED_PRECONDITION", 400),
    10: ("ABORTED", 409),
    11: ("OUT_OF_RANGE", 400),
    12: ("UNIMPLEMENTED", 501),
    13: ("INTERNAL", 500),
    14: ("UNAVAILABLE", 503),
    15: ("DATA_LOSS", 500),
    16: ("UNAUTHENTICATED", 401),
}
"""google.rpc.Code: name and HTTP status."""
_STATUSES = dict(CODES.values())

TRANSIENT = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL", "UNAVAILABLE"}
)


class RemoteFile(msgspec.Struct):
    """A file of the File API."""

    name: str
    state: str = ""
    displayName: str = ""
    createTime: Any = None


class _Uploaded(msgspec.Struct):
    file: RemoteFile


@prepared
class Stats(msgspec.Struct):
    """BatchStats: 64-bit numbers, which JSON has as texts."""

    requestCount: int = 0
    successfulRequestCount: int = 0
    failedRequestCount: int = 0


class Metadata(msgspec.Struct):
    """A batch as the metadata of its operation."""

    state: str = ""
    displayName: str = ""
    model: str = ""
    createTime: Any = None
    endTime: Any = None
    batchStats: Any = None
    inputConfig: Any = None
    output: Any = None


class Operation(msgspec.Struct):
    """The long-running operation that a batch is."""

    name: str
    metadata: Metadata = msgspec.field(default_factory=Metadata)
    done: bool = False
    error: Any = None
    response: Any = None

    @property
    def state(self) -> str:
        """Without its prefix, BATCH_STATE_ in answers and JOB_STATE_ in the guide."""
        state = self.metadata.state
        return state.removeprefix("BATCH_STATE_").removeprefix("JOB_STATE_")

    @property
    def stats(self) -> Stats:
        """Zeros where it says nothing, or nothing readable."""
        try:
            return msgspec.convert(self.metadata.batchStats or {}, Stats, strict=False)
        except msgspec.ValidationError:
            return Stats()

    @property
    def input_file(self) -> str:
        """The name of the uploaded input; empty if it does not say."""
        match self.metadata.inputConfig:
            case {"fileName": str(name)}:
                return name
        return ""

    @property
    def responses_file(self) -> str:
        """The name of the file with the responses; empty if there is none."""
        for output in (self.metadata.output, self.response):
            match output:
                case {"responsesFile": str(name)}:
                    return name
        return ""


class OperationPage(msgspec.Struct):
    """A page of batches."""

    operations: list[Operation] = []
    nextPageToken: str = ""


class FilePage(msgspec.Struct):
    """A page of files."""

    files: list[RemoteFile] = []
    nextPageToken: str = ""


read_operation = msgspec.json.Decoder(Operation).decode
read_operations = msgspec.json.Decoder(OperationPage).decode
read_files = msgspec.json.Decoder(FilePage).decode
read_file = msgspec.json.Decoder(RemoteFile).decode
_read_uploaded = msgspec.json.Decoder(_Uploaded).decode


def read_uploaded(body: bytes) -> RemoteFile:
    """The file in the answer to an upload. Raises msgspec.DecodeError."""
    return _read_uploaded(body).file


def read_status(error: Any) -> tuple[str, int, str]:
    """Name, HTTP status and message of a google.rpc.Status.

    Its code is a google.rpc.Code or, in answers over HTTP, an HTTP status.
    """
    error = error if isinstance(error, dict) else {}
    code, name, message = error.get("code"), error.get("status"), error.get("message")
    known, status = CODES.get(code, ("", 0)) if isinstance(code, int) else ("", 0)
    if not known and isinstance(code, int) and 400 <= code < 600:
        status = code
        known = next((name for name, number in CODES.values() if number == code), "")
    if isinstance(name, str) and name in _STATUSES:
        known, status = name, status or _STATUSES[name]
    text = message if isinstance(message, str) and message else "The provider gave no reason."
    return known or "UNKNOWN", status or 500, text
