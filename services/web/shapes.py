"""What answers look like, in JSON Schema: the objects of OpenAI's and Anthropic's SDKs, and ours.

Sources: openai 3.54.0 types/ (file_object, upload, batch, model, webhooks); anthropic 2.12.0
types/messages/message_batch.py. Each object may hold more than is named here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polybatch.models import BatchPriority

Schema = Mapping[str, Any]

_WHOLE: Schema = {"type": "integer"}
_NUMBER: Schema = {"type": "number"}
_TEXT: Schema = {"type": "string"}
_YES: Schema = {"type": "boolean"}
_ANY_OBJECT: Schema = {"type": "object"}
_TIME: Schema = {"type": "string", "format": "date-time"}
_TEXTS: Schema = {"type": "object", "additionalProperties": _TEXT}


def _object(**members: Schema) -> Schema:
    return {"type": "object", "required": list(members), "properties": members}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def _null_or(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _one_of(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}


def ref(name: str) -> Schema:
    """A schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def _page(of: str) -> Schema:
    return _object(
        object=_one_of("list"),
        data=_list(ref(of)),
        first_id=_null_or(_TEXT),
        last_id=_null_or(_TEXT),
        has_more=_YES,
    )


_COUNTS = ("succeeded", "failed", "queued", "submitted", "processed", "retrying")
_MOMENTS = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling")
_STATUSES = (*_MOMENTS, "validating", "cancelled")
_COSTS = ("so_far", "expected", "at_most", "reserved", "max_cost")

_SHARD = _object(
    id=_TEXT,
    provider=_TEXT,
    model=_TEXT,
    line_count=_WHOLE,
    state=_TEXT,
    provider_batch_id=_null_or(_TEXT),
    waiting_reason=_null_or(_TEXT),
    cost=_null_or(_NUMBER),
)

_BATCH_EXTRAS = _object(
    revision=_WHOLE,
    display_state=_one_of("In Progress", "Completed", "Failed"),
    progress_percent={"type": "number", "minimum": 0, "maximum": 100},
    waiting_reason=_null_or(_TEXT),
    request_counts=_object(**dict.fromkeys(("total", *_COUNTS, "cancelled", "expired"), _WHOLE)),
    results_revision=_WHOLE,
    late_line_count=_WHOLE,
    awaited_line_count=_WHOLE,
    common_cause=_null_or(_object(code=_TEXT, message=_TEXT)),
    output_file_id=_TEXT,
    error_file_id=_TEXT,
    cost=_object(**{name: _null_or(_NUMBER) for name in _COSTS}, unpriced_line_count=_WHOLE),
    key_id=_null_or(_TEXT),
    webhook_url=_null_or(_TEXT),
    name=_null_or(_TEXT),
    priority=_one_of(*BatchPriority),
    parent_batch_id=_null_or(_TEXT),
    child_batch_ids=_list(_TEXT),
    paused_at=_null_or(_WHOLE),
    rescued_line_count=_WHOLE,
    reused_line_count=_WHOLE,
    skip_invalid_lines=_YES,
    lenient_translation=_YES,
    fail_fast=_YES,
    shard_count=_WHOLE,
    shards=_list(_SHARD),
)

_FILE_EXTRAS = {
    "type": "object",
    "properties": {
        "valid": _YES,
        "sha256": _TEXT,
        "line_count": _WHOLE,
        "invalid_line_count": _WHOLE,
        "endpoint": _TEXT,
        "models": _list(_object(provider=_TEXT, model=_TEXT, line_count=_WHOLE)),
        "problems": _list(
            _object(line=_WHOLE, custom_id=_TEXT, field=_TEXT, reason=_TEXT, message=_TEXT)
        ),
    },
}

_FILE_MEMBERS = _object(
    id=_TEXT,
    object=_one_of("file"),
    bytes=_WHOLE,
    created_at=_WHOLE,
    expires_at=_null_or(_WHOLE),
    filename=_TEXT,
    purpose=_one_of("batch", "batch_output"),
    status=_one_of("uploaded", "processed", "error"),
    status_details=_null_or(_TEXT),
)
# Results have no extras.
_FILE = {**_FILE_MEMBERS, "properties": {**_FILE_MEMBERS["properties"], "polybatch": _FILE_EXTRAS}}

_ENDPOINT = _object(
    id=_TEXT,
    object=_one_of("webhook_endpoint"),
    name=_TEXT,
    url=_TEXT,
    event_types=_list(_TEXT),
    created_at=_WHOLE,
    updated_at=_WHOLE,
    signing_secret_hint=_TEXT,
    polybatch=_object(
        for_batch_urls=_YES,
        disabled=_YES,
        disabled_reason=_null_or(_TEXT),
        previous_secret_expires_at=_null_or(_WHOLE),
    ),
)

SHAPES: Mapping[str, Schema] = {
    "File": _FILE,
    "FileList": _page("File"),
    "DeletedFile": _object(id=_TEXT, object=_one_of("file"), deleted=_YES),
    "Upload": _object(
        id=_TEXT,
        object=_one_of("upload"),
        bytes=_WHOLE,
        created_at=_WHOLE,
        expires_at=_WHOLE,
        filename=_TEXT,
        purpose=_one_of("batch"),
        status=_one_of("pending", "completed", "cancelled", "expired"),
        file=_null_or(ref("File")),
    ),
    "UploadPart": _object(
        id=_TEXT, object=_one_of("upload.part"), created_at=_WHOLE, upload_id=_TEXT
    ),
    "Batch": _object(
        id=_TEXT,
        object=_one_of("batch"),
        endpoint=_TEXT,
        model=_null_or(_TEXT),
        errors=_null_or(
            _object(
                object=_one_of("list"),
                data=_list(
                    _object(
                        code=_TEXT,
                        message=_TEXT,
                        line=_null_or(_WHOLE),
                        param=_null_or(_TEXT),
                    )
                ),
            )
        ),
        input_file_id=_TEXT,
        completion_window=_TEXT,
        status=_one_of(*_STATUSES),
        output_file_id=_null_or(_TEXT),
        error_file_id=_null_or(_TEXT),
        created_at=_WHOLE,
        expires_at=_WHOLE,
        **{f"{name}_at": _null_or(_WHOLE) for name in (*_MOMENTS, "cancelled")},
        request_counts=_object(total=_WHOLE, completed=_WHOLE, failed=_WHOLE),
        usage=_object(
            input_tokens=_WHOLE,
            input_tokens_details=_object(cached_tokens=_WHOLE),
            output_tokens=_WHOLE,
            output_tokens_details=_object(reasoning_tokens=_WHOLE),
            total_tokens=_WHOLE,
        ),
        metadata=_TEXTS,
        polybatch=_BATCH_EXTRAS,
    ),
    "BatchList": _page("Batch"),
    "Model": _object(id=_TEXT, object=_one_of("model"), created=_WHOLE, owned_by=_TEXT),
    "ModelList": _object(object=_one_of("list"), data=_list(ref("Model"))),
    "WebhookEndpoint": _ENDPOINT,
    "WebhookEndpointWithSecret": {"allOf": [ref("WebhookEndpoint"), _object(signing_secret=_TEXT)]},
    "WebhookEndpointList": _page("WebhookEndpoint"),
    "DeletedWebhookEndpoint": _object(
        id=_TEXT, object=_one_of("webhook_endpoint.deleted"), deleted=_YES
    ),
    "WebhookEndpointTest": _object(
        object=_one_of("webhook_endpoint.test"),
        webhook_endpoint_id=_TEXT,
        event_type=_TEXT,
        status_code=_WHOLE,
        success=_YES,
    ),
    "WebhookEventTypes": _object(object=_one_of("list"), data=_list(_TEXT)),
    "RequestLine": {
        "description": "A line of the file, as it was uploaded, or a result: docs/results.md."
    },
    "MessageBatch": _object(
        id=_TEXT,
        type=_one_of("message_batch"),
        processing_status=_one_of("in_progress", "canceling", "ended"),
        request_counts=_object(
            processing=_WHOLE,
            succeeded=_WHOLE,
            errored=_WHOLE,
            canceled=_WHOLE,
            expired=_WHOLE,
        ),
        created_at=_TIME,
        expires_at=_TIME,
        ended_at=_null_or(_TIME),
        cancel_initiated_at=_null_or(_TIME),
        archived_at=_null_or(_TIME),
        results_url=_null_or(_TEXT),
    ),
    "MessageBatchList": _object(
        data=_list(ref("MessageBatch")),
        first_id=_null_or(_TEXT),
        last_id=_null_or(_TEXT),
        has_more=_YES,
    ),
    "DeletedMessageBatch": _object(id=_TEXT, type=_one_of("message_batch_deleted")),
    "MessageResult": _object(custom_id=_TEXT, result=_object(type=_TEXT)),
    "OpenAIError": _object(
        error=_object(message=_TEXT, type=_TEXT, param=_null_or(_TEXT), code=_null_or(_TEXT))
    ),
    "AnthropicError": _object(
        type=_one_of("error"), error=_object(type=_TEXT, message=_TEXT), request_id=_TEXT
    ),
}
"""By name."""

MESSAGE_REQUESTS: Schema = {
    "type": "object",
    "required": ["requests"],
    "additionalProperties": False,
    "properties": {
        "requests": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["custom_id", "params"],
                "properties": {
                    "custom_id": {"type": "string", "minLength": 1, "maxLength": 64},
                    "params": {
                        "type": "object",
                        "required": ["model", "max_tokens", "messages"],
                        "properties": {
                            "model": _TEXT,
                            "max_tokens": {"type": "integer", "minimum": 1},
                            "messages": _list(_ANY_OBJECT),
                        },
                    },
                },
            },
        }
    },
}
"""The body of a create of Anthropic's API."""

EXPIRES_AFTER: Mapping[str, Schema] = {
    "expires_after[anchor]": _one_of("created_at"),
    "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2_592_000},
}
"""Fields of a form."""
