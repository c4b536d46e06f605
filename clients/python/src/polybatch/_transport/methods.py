"""The RPCs that the client calls, each with its server and its message types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from polybatch.v1 import (
    batches_pb2,
    conversion_pb2,
    files_pb2,
    prices_pb2,
    providers_pb2,
    results_pb2,
    status_pb2,
    webhooks_pb2,
)


class Server(StrEnum):
    """The services that clients speak to."""

    GATEWAY = "gateway"
    COLLECTOR = "collector"


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC. Upload requests are serialized by the caller: `serialize` is None."""

    server: Server
    path: str
    serialize: Callable[[Any], bytes] | None
    parse: Callable[[bytes], Any]


def method(server: Server, path: str, request: Any, response: Any) -> Method:
    """An RPC of the package polybatch.v1."""
    serialize = None if request is None else request.SerializeToString
    return Method(server, f"/polybatch.v1.{path}", serialize, response.FromString)


UPLOAD_FILE = method(Server.GATEWAY, "FileService/UploadFile", None, files_pb2.UploadFileResponse)
GET_UPLOAD_STATUS = method(
    Server.GATEWAY,
    "FileService/GetUploadStatus",
    files_pb2.GetUploadStatusRequest,
    files_pb2.UploadStatus,
)
BEGIN_UPLOAD = method(
    Server.GATEWAY,
    "FileService/BeginUpload",
    files_pb2.BeginUploadRequest,
    files_pb2.UploadStatus,
)
DELETE_UPLOAD = method(
    Server.GATEWAY,
    "FileService/DeleteUpload",
    files_pb2.DeleteUploadRequest,
    files_pb2.DeleteUploadResponse,
)
DOWNLOAD_FILE = method(
    Server.GATEWAY,
    "FileService/DownloadFile",
    files_pb2.DownloadFileRequest,
    files_pb2.DownloadFileResponse,
)
GET_FILE = method(Server.GATEWAY, "FileService/GetFile", files_pb2.GetFileRequest, files_pb2.File)
LIST_FILES = method(
    Server.GATEWAY,
    "FileService/ListFiles",
    files_pb2.ListFilesRequest,
    files_pb2.ListFilesResponse,
)
DELETE_FILE = method(
    Server.GATEWAY,
    "FileService/DeleteFile",
    files_pb2.DeleteFileRequest,
    files_pb2.DeleteFileResponse,
)
CONVERT_LINES = method(
    Server.GATEWAY, "ConversionService/ConvertLines", None, conversion_pb2.ConvertLinesResponse
)
CREATE_BATCH = method(
    Server.GATEWAY,
    "BatchService/CreateBatch",
    batches_pb2.CreateBatchRequest,
    batches_pb2.Batch,
)
SUBMIT_BATCH = method(Server.GATEWAY, "BatchService/SubmitBatch", None, batches_pb2.Batch)
ESTIMATE_BATCH = method(
    Server.GATEWAY,
    "BatchService/EstimateBatch",
    batches_pb2.EstimateBatchRequest,
    batches_pb2.BatchEstimate,
)
GET_BATCH = method(
    Server.GATEWAY, "BatchService/GetBatch", batches_pb2.GetBatchRequest, batches_pb2.Batch
)
LIST_BATCHES = method(
    Server.GATEWAY,
    "BatchService/ListBatches",
    batches_pb2.ListBatchesRequest,
    batches_pb2.ListBatchesResponse,
)
CANCEL_BATCH = method(
    Server.GATEWAY,
    "BatchService/CancelBatch",
    batches_pb2.CancelBatchRequest,
    batches_pb2.Batch,
)
PAUSE_BATCH = method(
    Server.GATEWAY, "BatchService/PauseBatch", batches_pb2.PauseBatchRequest, batches_pb2.Batch
)
RESUME_BATCH = method(
    Server.GATEWAY, "BatchService/ResumeBatch", batches_pb2.ResumeBatchRequest, batches_pb2.Batch
)
RETRY_BATCH = method(
    Server.GATEWAY, "BatchService/RetryBatch", batches_pb2.RetryBatchRequest, batches_pb2.Batch
)
DELETE_BATCH = method(
    Server.GATEWAY,
    "BatchService/DeleteBatch",
    batches_pb2.DeleteBatchRequest,
    batches_pb2.DeleteBatchResponse,
)
PAUSE_PROVIDER = method(
    Server.GATEWAY,
    "ProviderService/PauseProvider",
    providers_pb2.PauseProviderRequest,
    providers_pb2.Provider,
)
RESUME_PROVIDER = method(
    Server.GATEWAY,
    "ProviderService/ResumeProvider",
    providers_pb2.ResumeProviderRequest,
    providers_pb2.Provider,
)
DELETE_RESULTS = method(
    Server.GATEWAY,
    "BatchService/DeleteResults",
    batches_pb2.DeleteResultsRequest,
    batches_pb2.Batch,
)
LIST_PROVIDERS = method(
    Server.GATEWAY,
    "ProviderService/ListProviders",
    providers_pb2.ListProvidersRequest,
    providers_pb2.ListProvidersResponse,
)
LIST_PRICES = method(
    Server.GATEWAY,
    "PriceService/ListPrices",
    prices_pb2.ListPricesRequest,
    prices_pb2.ListPricesResponse,
)
CREATE_WEBHOOK_ENDPOINT = method(
    Server.GATEWAY,
    "WebhookService/CreateWebhookEndpoint",
    webhooks_pb2.CreateWebhookEndpointRequest,
    webhooks_pb2.CreateWebhookEndpointResponse,
)
GET_WEBHOOK_ENDPOINT = method(
    Server.GATEWAY,
    "WebhookService/GetWebhookEndpoint",
    webhooks_pb2.GetWebhookEndpointRequest,
    webhooks_pb2.WebhookEndpoint,
)
LIST_WEBHOOK_ENDPOINTS = method(
    Server.GATEWAY,
    "WebhookService/ListWebhookEndpoints",
    webhooks_pb2.ListWebhookEndpointsRequest,
    webhooks_pb2.ListWebhookEndpointsResponse,
)
UPDATE_WEBHOOK_ENDPOINT = method(
    Server.GATEWAY,
    "WebhookService/UpdateWebhookEndpoint",
    webhooks_pb2.UpdateWebhookEndpointRequest,
    webhooks_pb2.WebhookEndpoint,
)
DELETE_WEBHOOK_ENDPOINT = method(
    Server.GATEWAY,
    "WebhookService/DeleteWebhookEndpoint",
    webhooks_pb2.DeleteWebhookEndpointRequest,
    webhooks_pb2.DeleteWebhookEndpointResponse,
)
ROTATE_WEBHOOK_SECRET = method(
    Server.GATEWAY,
    "WebhookService/RotateWebhookSecret",
    webhooks_pb2.RotateWebhookSecretRequest,
    webhooks_pb2.RotateWebhookSecretResponse,
)
TEST_WEBHOOK_ENDPOINT = method(
    Server.GATEWAY,
    "WebhookService/TestWebhookEndpoint",
    webhooks_pb2.TestWebhookEndpointRequest,
    webhooks_pb2.WebhookDelivery,
)
LIST_WEBHOOK_DELIVERIES = method(
    Server.GATEWAY,
    "WebhookService/ListWebhookDeliveries",
    webhooks_pb2.ListWebhookDeliveriesRequest,
    webhooks_pb2.ListWebhookDeliveriesResponse,
)
RESEND_WEBHOOK_DELIVERY = method(
    Server.GATEWAY,
    "WebhookService/ResendWebhookDelivery",
    webhooks_pb2.ResendWebhookDeliveryRequest,
    webhooks_pb2.WebhookDelivery,
)
WATCH_BATCH = method(
    Server.COLLECTOR,
    "StatusService/WatchBatch",
    status_pb2.WatchBatchRequest,
    status_pb2.WatchBatchResponse,
)
WATCH_BATCHES = method(
    Server.COLLECTOR,
    "StatusService/WatchBatches",
    status_pb2.WatchBatchesRequest,
    status_pb2.WatchBatchesResponse,
)
DOWNLOAD_RESULTS = method(
    Server.COLLECTOR,
    "ResultService/DownloadResults",
    results_pb2.DownloadResultsRequest,
    results_pb2.DownloadResultsResponse,
)
LIST_FAILURES = method(
    Server.COLLECTOR,
    "ResultService/ListFailures",
    results_pb2.ListFailuresRequest,
    results_pb2.ListFailuresResponse,
)
LIST_FAILURE_CAUSES = method(
    Server.COLLECTOR,
    "ResultService/ListFailureCauses",
    results_pb2.ListFailureCausesRequest,
    results_pb2.ListFailureCausesResponse,
)
