"""Client of polybatch: one JSONL file in, any mix of LLM providers, one result file out.

from polybatch import Client

with Client() as client:
    batch = client.submit("requests.jsonl")
    client.wait(batch.id)
    for line in client.results(batch.id):
        print(line.custom_id, line.text if line.ok else line.error_message)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polybatch.administration import Accounts, Keys, UsageReport
    from polybatch.async_administration import AsyncAccounts, AsyncKeys, AsyncUsageReport
    from polybatch.async_client import AsyncBatches, AsyncClient
    from polybatch.async_files import AsyncFiles
    from polybatch.async_webhooks import AsyncWebhooks
    from polybatch.client import Batches, Client
    from polybatch.connection import Connection
    from polybatch.errors import (
        ConfigurationError,
        Conflict,
        DataError,
        InternalError,
        InvalidLines,
        InvalidRequest,
        LimitExceeded,
        LineFailed,
        NotFound,
        PermissionDenied,
        PolybatchError,
        Unauthenticated,
        Unavailable,
        UploadInterrupted,
        WaitTimeout,
    )
    from polybatch.files import Files
    from polybatch.models import (
        Account,
        Batch,
        BatchCost,
        BatchError,
        BatchEstimate,
        BatchPriority,
        BatchState,
        Budget,
        BudgetPeriod,
        Canary,
        CanaryState,
        CompletionEstimate,
        ConvertedLines,
        CostRange,
        CurrentKey,
        FailureCause,
        FailureCauses,
        File,
        FileState,
        Funding,
        Key,
        KeyScope,
        KeyState,
        LineError,
        LineFailure,
        LineProblem,
        LineResponse,
        Manifest,
        ManifestShard,
        ModelCount,
        ModelEstimate,
        NewKey,
        Posting,
        Price,
        PriceBand,
        PriceOrigin,
        Processing,
        Provider,
        ProviderLimits,
        ProviderQueue,
        RequestCounts,
        ResultFilter,
        ResultLine,
        ResultsExtent,
        Shard,
        UploadStatus,
        Usage,
        UsageEntry,
        UsageGroup,
        WebhookAttempt,
        WebhookDelivery,
        WebhookDeliveryState,
        WebhookEndpoint,
    )
    from polybatch.retry import RetryPolicy
    from polybatch.webhooks import Webhooks

__all__ = [
    "Account",
    "Accounts",
    "AsyncAccounts",
    "AsyncBatches",
    "AsyncClient",
    "AsyncFiles",
    "AsyncKeys",
    "AsyncUsageReport",
    "AsyncWebhooks",
    "Batch",
    "BatchCost",
    "BatchError",
    "BatchEstimate",
    "BatchPriority",
    "BatchState",
    "Batches",
    "Budget",
    "BudgetPeriod",
    "Canary",
    "CanaryState",
    "Client",
    "CompletionEstimate",
    "ConfigurationError",
    "Conflict",
    "Connection",
    "ConvertedLines",
    "CostRange",
    "CurrentKey",
    "DataError",
    "FailureCause",
    "FailureCauses",
    "File",
    "FileState",
    "Files",
    "Funding",
    "InternalError",
    "InvalidLines",
    "InvalidRequest",
    "Key",
    "KeyScope",
    "KeyState",
    "Keys",
    "LimitExceeded",
    "LineError",
    "LineFailed",
    "LineFailure",
    "LineProblem",
    "LineResponse",
    "Manifest",
    "ManifestShard",
    "ModelCount",
    "ModelEstimate",
    "NewKey",
    "NotFound",
    "PermissionDenied",
    "PolybatchError",
    "Posting",
    "Price",
    "PriceBand",
    "PriceOrigin",
    "Processing",
    "Provider",
    "ProviderLimits",
    "ProviderQueue",
    "RequestCounts",
    "ResultFilter",
    "ResultLine",
    "ResultsExtent",
    "RetryPolicy",
    "Shard",
    "Unauthenticated",
    "Unavailable",
    "UploadInterrupted",
    "UploadStatus",
    "Usage",
    "UsageEntry",
    "UsageGroup",
    "UsageReport",
    "WaitTimeout",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookDeliveryState",
    "WebhookEndpoint",
    "Webhooks",
]

_HOMES = (
    *("errors", "models", "retry", "connection", "client", "async_client", "files", "async_files"),
    *("administration", "async_administration"),
    *("webhooks", "async_webhooks"),
)


def __getattr__(name: str) -> object:
    """Imports what is asked for at its first use.

    Importing gRPC takes a tenth of a second, and fixes for good how much it logs, which
    the command line has to settle first.
    """
    if name in __all__:
        for home in _HOMES:
            module = import_module(f"polybatch.{home}")
            if name in module.__all__:
                globals()[name] = getattr(module, name)
                return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The names that are imported at their first use too: completion asks for these."""
    return sorted({*globals(), *__all__})
