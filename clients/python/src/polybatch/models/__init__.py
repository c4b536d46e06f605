"""What the services answer, as frozen dataclasses with timezone-aware times."""

from polybatch.models.batches import (
    Batch,
    BatchError,
    BatchState,
    RequestCounts,
    Shard,
    Usage,
)
from polybatch.models.conversions import ConvertedLines
from polybatch.models.files import File, FileState, ModelCount, UploadStatus
from polybatch.models.prices import Price, PriceBand, PriceOrigin, Processing
from polybatch.models.providers import KeyState, Provider, ProviderLimits, ProviderQueue
from polybatch.models.results import (
    LineError,
    LineFailure,
    LineResponse,
    Manifest,
    ManifestShard,
    ResultFilter,
    ResultLine,
)
from polybatch.models.webhooks import (
    WebhookAttempt,
    WebhookDelivery,
    WebhookDeliveryState,
    WebhookEndpoint,
)
from polybatch.problems import LineProblem

__all__ = [
    "Batch",
    "BatchError",
    "BatchState",
    "ConvertedLines",
    "File",
    "FileState",
    "KeyState",
    "LineError",
    "LineFailure",
    "LineProblem",
    "LineResponse",
    "Manifest",
    "ManifestShard",
    "ModelCount",
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
    "Shard",
    "UploadStatus",
    "Usage",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookDeliveryState",
    "WebhookEndpoint",
]
