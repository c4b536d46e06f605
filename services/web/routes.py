"""Every address of the API: OpenAI's and Anthropic's. The dashboard's are its own."""

from __future__ import annotations

from services.web.anthropic import batches as messages
from services.web.errors import ANTHROPIC_PREFIX
from services.web.openai import batches, files, models, uploads, webhooks
from services.web.operations import FormBody, Operation, StreamedBody
from services.web.shapes import EXPIRES_AFTER, MESSAGE_REQUESTS

_MESSAGES = f"{ANTHROPIC_PREFIX}/v1/messages/batches"
_MESSAGE_BATCH = f"{_MESSAGES}/{{batch_id}}"
_WEBHOOKS = "/v1/webhook_endpoints"
_WEBHOOK = f"{_WEBHOOKS}/{{endpoint_id}}"

_FILE = FormBody(
    "file",
    {"purpose": {"type": "string", "enum": ["batch"]}, **EXPIRES_AFTER},
    required=("file", "purpose"),
)
_PART = FormBody("data", required=("data",))

ROUTES: tuple[Operation, ...] = (
    Operation(
        "POST",
        "/v1/files",
        files.create,
        "upload a file (multipart, `purpose=batch`); it goes through while it comes",
        "File",
        body=_FILE,
        refusals=(408, 409, 413, 415),
    ),
    Operation(
        "GET",
        "/v1/files",
        files.list_all,
        "list files",
        "FileList",
        query=(files.AFTER, files.LIMIT, files.ORDER, files.PURPOSE),
        refusals=(404,),
    ),
    Operation("GET", "/v1/files/{file_id}", files.retrieve, "a file", "File", refusals=(404, 409)),
    Operation(
        "DELETE",
        "/v1/files/{file_id}",
        files.delete,
        "delete an input file",
        "DeletedFile",
        refusals=(404, 409),
    ),
    Operation(
        "GET",
        "/v1/files/{file_id}/content",
        files.content,
        "its bytes; of the results of a batch that runs, what there is so far",
        "RequestLine",
        query=(files.SETTLED_AFTER,),
        refusals=(404, 409),
        lines=True,
    ),
    Operation(
        "POST",
        "/v1/uploads",
        uploads.create,
        "begin an upload in parts",
        "Upload",
        body=uploads.CreateUpload,
        refusals=(409, 413, 415),
    ),
    Operation(
        "POST",
        "/v1/uploads/{upload_id}/parts",
        uploads.add_part,
        "add a part (multipart, `data`, to 64 MiB), in any order",
        "UploadPart",
        body=_PART,
        refusals=(404, 408, 409, 413, 415),
    ),
    Operation(
        "POST",
        "/v1/uploads/{upload_id}/complete",
        uploads.complete,
        "make the file of its parts, in this order",
        "Upload",
        body=uploads.CompleteUpload,
        refusals=(404, 409, 413, 415),
    ),
    Operation(
        "POST",
        "/v1/uploads/{upload_id}/cancel",
        uploads.cancel,
        "give it up",
        "Upload",
        refusals=(404, 409),
    ),
    Operation(
        "POST",
        "/v1/batches",
        batches.create,
        "make a batch",
        "Batch",
        body=batches.CreateBatch,
        refusals=(403, 404, 409, 413, 415),
    ),
    Operation(
        "GET",
        "/v1/batches",
        batches.list_all,
        "list batches, newest first",
        "BatchList",
        query=(batches.AFTER, batches.LIMIT),
        refusals=(404,),
    ),
    Operation(
        "GET", "/v1/batches/{batch_id}", batches.retrieve, "a batch", "Batch", refusals=(404,)
    ),
    Operation(
        "POST",
        "/v1/batches/{batch_id}/cancel",
        batches.cancel,
        "cancel it",
        "Batch",
        refusals=(404, 409),
    ),
    Operation(
        "GET",
        "/v1/models",
        models.list_all,
        "models of the providers that can be used, as `provider/model`",
        "ModelList",
    ),
    Operation(
        "GET",
        "/v1/models/{model:path}",
        models.retrieve,
        "one of them",
        "Model",
        refusals=(404,),
    ),
    Operation(
        "POST",
        _WEBHOOKS,
        webhooks.create,
        "make a [webhook](webhooks.md) endpoint; its secret is in this answer and nowhere else",
        "WebhookEndpointWithSecret",
        body=webhooks.CreateEndpoint,
        refusals=(403, 409, 413, 415),
    ),
    Operation(
        "GET",
        _WEBHOOKS,
        webhooks.list_all,
        "list endpoints, oldest first",
        "WebhookEndpointList",
        query=(webhooks.AFTER, webhooks.LIMIT),
        refusals=(403, 404),
    ),
    Operation(
        "GET", _WEBHOOK, webhooks.retrieve, "an endpoint", "WebhookEndpoint", refusals=(403, 404)
    ),
    Operation(
        "POST",
        _WEBHOOK,
        webhooks.update,
        "change it",
        "WebhookEndpoint",
        body=webhooks.UpdateEndpoint,
        optional_body=True,
        refusals=(403, 404, 409, 413, 415),
    ),
    Operation(
        "DELETE",
        _WEBHOOK,
        webhooks.delete,
        "delete it",
        "DeletedWebhookEndpoint",
        refusals=(403, 404),
    ),
    Operation(
        "POST",
        f"{_WEBHOOK}/rotate_secret",
        webhooks.rotate_secret,
        "give it a new secret, the old one being valid for a day if that is asked for",
        "WebhookEndpointWithSecret",
        body=webhooks.RotateSecret,
        optional_body=True,
        refusals=(403, 404, 413, 415),
    ),
    Operation(
        "POST",
        f"{_WEBHOOK}/test",
        webhooks.test,
        "deliver a sample event, and say what it answered",
        "WebhookEndpointTest",
        body=webhooks.TestEndpoint,
        refusals=(403, 404, 409, 413, 415),
    ),
    Operation(
        "GET",
        "/v1/webhook_event_types",
        webhooks.event_types,
        "the types of events",
        "WebhookEventTypes",
    ),
    Operation(
        "POST",
        _MESSAGES,
        messages.create,
        "make a batch of `requests`, which go through while they come",
        "MessageBatch",
        body=StreamedBody(MESSAGE_REQUESTS),
        refusals=(402, 403, 408, 409, 413, 415),
    ),
    Operation(
        "GET",
        _MESSAGES,
        messages.list_all,
        "list those of this form",
        "MessageBatchList",
        query=(messages.AFTER, messages.BEFORE, messages.LIMIT),
        refusals=(404,),
    ),
    Operation("GET", _MESSAGE_BATCH, messages.retrieve, "a batch", "MessageBatch", refusals=(404,)),
    Operation(
        "POST",
        f"{_MESSAGE_BATCH}/cancel",
        messages.cancel,
        "cancel it",
        "MessageBatch",
        refusals=(404, 409),
    ),
    Operation(
        "GET",
        f"{_MESSAGE_BATCH}/results",
        messages.results,
        "its results, in the order of the requests",
        "MessageResult",
        refusals=(404, 409),
        lines=True,
    ),
    Operation(
        "DELETE",
        _MESSAGE_BATCH,
        messages.delete,
        "delete it with its results and requests, once it has ended",
        "DeletedMessageBatch",
        refusals=(404,),
    ),
)
"""In the order of the documentation."""
