"""What the clients do, written once for both: each operation is a coroutine over a Transport."""

from polybatch._operations.calls import (
    BackObserver,
    Caller,
    RetryObserver,
    log_back,
    log_retry,
)
from polybatch._operations.conversions import Conversions, Form
from polybatch._operations.downloads import Downloads
from polybatch._operations.requests import Requests, batch_request, retry_request
from polybatch._operations.settled_downloads import ExtentObserver, SettledDownloads
from polybatch._operations.sources import Progress, UploadInput
from polybatch._operations.uploads import EstimateObserver, Naming, Uploads
from polybatch._operations.watches import BatchProgress, Watches

__all__ = [
    "BackObserver",
    "BatchProgress",
    "Caller",
    "Conversions",
    "Downloads",
    "EstimateObserver",
    "ExtentObserver",
    "Form",
    "Naming",
    "Progress",
    "Requests",
    "RetryObserver",
    "SettledDownloads",
    "UploadInput",
    "Uploads",
    "Watches",
    "batch_request",
    "log_back",
    "log_retry",
    "retry_request",
]
