"""Client of polybatch: one JSONL file in, any mix of LLM providers, one result file out.

from polybatch import Client

with Client() as client:
    batch = client.submit("requests.jsonl")
    client.wait(batch.id)
    for line in client.results(batch.id):
        print(line.custom_id, line.text if line.ok else line.error)
"""

from polybatch.async_client import AsyncClient, AsyncFiles
from polybatch.client import Client, Files
from polybatch.connection import Connection
from polybatch.errors import (
    ConfigurationError,
    Conflict,
    DataError,
    InternalError,
    InvalidLines,
    InvalidRequest,
    LimitExceeded,
    NotFound,
    PolybatchError,
    Unauthenticated,
    Unavailable,
    UploadInterrupted,
    WaitTimeout,
)
from polybatch.models import (
    Batch,
    BatchError,
    BatchState,
    File,
    FileState,
    LineError,
    LineFailure,
    LineProblem,
    LineResponse,
    Manifest,
    ManifestShard,
    ModelCount,
    RequestCounts,
    ResultFilter,
    ResultLine,
    Shard,
    UploadStatus,
    Usage,
)
from polybatch.retry import RetryPolicy

__all__ = [
    "AsyncClient",
    "AsyncFiles",
    "Batch",
    "BatchError",
    "BatchState",
    "Client",
    "ConfigurationError",
    "Conflict",
    "Connection",
    "DataError",
    "File",
    "FileState",
    "Files",
    "InternalError",
    "InvalidLines",
    "InvalidRequest",
    "LimitExceeded",
    "LineError",
    "LineFailure",
    "LineProblem",
    "LineResponse",
    "Manifest",
    "ManifestShard",
    "ModelCount",
    "NotFound",
    "PolybatchError",
    "RequestCounts",
    "ResultFilter",
    "ResultLine",
    "RetryPolicy",
    "Shard",
    "Unauthenticated",
    "Unavailable",
    "UploadInterrupted",
    "UploadStatus",
    "Usage",
    "WaitTimeout",
]
