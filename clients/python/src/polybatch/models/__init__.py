"""What the services answer, as frozen dataclasses with timezone-aware times."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    from polybatch.models.result_filter import ResultFilter
    from polybatch.models.results import (
        LineError,
        LineResponse,
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

_HOMES = {
    "polybatch.models.accounts": (
        "Account",
        "Budget",
        "BudgetPeriod",
        "CurrentKey",
        "Funding",
        "Key",
        "KeyScope",
        "NewKey",
        "Posting",
    ),
    "polybatch.models.batches": (
        "Batch",
        "BatchCost",
        "BatchError",
        "BatchState",
        "CompletionEstimate",
        "RequestCounts",
        "Shard",
        "Usage",
    ),
    "polybatch.models.conversions": ("ConvertedLines",),
    "polybatch.models.estimates": (
        "BatchEstimate",
        "CostRange",
        "ModelEstimate",
    ),
    "polybatch.models.failures": (
        "FailureCause",
        "FailureCauses",
        "LineFailure",
    ),
    "polybatch.models.files": (
        "File",
        "FileState",
        "ModelCount",
        "UploadStatus",
    ),
    "polybatch.models.manifests": (
        "Manifest",
        "ManifestShard",
    ),
    "polybatch.models.prices": (
        "Price",
        "PriceBand",
        "PriceOrigin",
        "Processing",
    ),
    "polybatch.models.providers": (
        "KeyState",
        "Provider",
        "ProviderLimits",
        "ProviderQueue",
    ),
    "polybatch.models.result_filter": ("ResultFilter",),
    "polybatch.models.results": (
        "LineError",
        "LineResponse",
        "ResultLine",
        "ResultsExtent",
    ),
    "polybatch.models.steering": (
        "BatchPriority",
        "Canary",
        "CanaryState",
    ),
    "polybatch.models.usage": (
        "UsageEntry",
        "UsageGroup",
    ),
    "polybatch.models.webhooks": (
        "WebhookAttempt",
        "WebhookDelivery",
        "WebhookDeliveryState",
        "WebhookEndpoint",
    ),
    "polybatch.problems": ("LineProblem",),
}


def __getattr__(name: str) -> object:
    """Imports what is asked for at its first use.

    To make a dataclass takes most of a millisecond, and there are sixty; a command needs a few.
    """
    for home, names in _HOMES.items():
        if name in names:
            globals()[name] = getattr(import_module(home), name)
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The names that are imported at their first use too."""
    return sorted({*globals(), *__all__})
