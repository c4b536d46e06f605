"""What the services answer, as frozen dataclasses with timezone-aware times."""

from polybatch.models.accounts import (
    Account,
    Budget,
    BudgetPeriod,
    CurrentKey,
    Funding,
    Key,
    KeyScope,
    NewKey,
    Posting,
)
from polybatch.models.batches import (
    Batch,
    BatchCost,
    BatchError,
    BatchState,
    CompletionEstimate,
    RequestCounts,
    Shard,
    Usage,
)
from polybatch.models.conversions import ConvertedLines
from polybatch.models.estimates import BatchEstimate, CostRange, ModelEstimate
from polybatch.models.failures import FailureCause, FailureCauses, LineFailure
from polybatch.models.files import File, FileState, ModelCount, UploadStatus
from polybatch.models.manifests import Manifest, ManifestShard
from polybatch.models.prices import Price, PriceBand, PriceOrigin, Processing
from polybatch.models.providers import KeyState, Provider, ProviderLimits, ProviderQueue
from polybatch.models.results import (
    LineError,
    LineResponse,
    ResultFilter,
    ResultLine,
    ResultsExtent,
)
from polybatch.models.steering import BatchPriority, Canary, CanaryState
from polybatch.models.usage import UsageEntry, UsageGroup
from polybatch.models.webhooks import (
    WebhookAttempt,
    WebhookDelivery,
    WebhookDeliveryState,
    WebhookEndpoint,
)
from polybatch.problems import LineProblem

__all__ = [
    "Account",
    "Batch",
    "BatchCost",
    "BatchError",
    "BatchEstimate",
    "BatchPriority",
    "BatchState",
    "Budget",
    "BudgetPeriod",
    "Canary",
    "CanaryState",
    "CompletionEstimate",
    "ConvertedLines",
    "CostRange",
    "CurrentKey",
    "FailureCause",
    "FailureCauses",
    "File",
    "FileState",
    "Funding",
    "Key",
    "KeyScope",
    "KeyState",
    "LineError",
    "LineFailure",
    "LineProblem",
    "LineResponse",
    "Manifest",
    "ManifestShard",
    "ModelCount",
    "ModelEstimate",
    "NewKey",
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
    "Shard",
    "UploadStatus",
    "Usage",
    "UsageEntry",
    "UsageGroup",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookDeliveryState",
    "WebhookEndpoint",
]
