"""Answers of the providers, as they are when all is well."""

from __future__ import annotations

from typing import Any

OPENAI_ROW: dict[str, Any] = {
    "id": "batch_req_1",
    "custom_id": "shard_1-tok-1",
    "response": {
        "status_code": 200,
        "request_id": "req_1",
        "body": {
            "object": "chat.completion",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}}],
            "usage": {
                "prompt_tokens": 1,
                "completion_tokens": 2,
                "prompt_tokens_details": {"cached_tokens": 1},
                "completion_tokens_details": {"reasoning_tokens": 1},
            },
        },
    },
    "error": {"code": "batch_expired", "message": "Too late."},
}
ANTHROPIC_LINE: dict[str, Any] = {
    "custom_id": "shard_1-tok-1",
    "result": {
        "type": "succeeded",
        "message": {
            "id": "msg_1",
            "model": "claude",
            "content": [
                {"type": "text", "text": "Hi"},
                {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
                {"type": "thinking", "thinking": "Hm"},
            ],
            "stop_reason": "refusal",
            "stop_sequence": None,
            "stop_details": {"explanation": "No."},
            "usage": {
                "input_tokens": 1,
                "cache_creation_input_tokens": 1,
                "cache_read_input_tokens": 1,
                "output_tokens": 1,
                "output_tokens_details": {"thinking_tokens": 1},
            },
        },
        "error": {"type": "error", "error": {"type": "api_error", "message": "x"}},
    },
}
GEMINI_LINE: dict[str, Any] = {
    "key": "shard_1-tok-1",
    "response": {
        "candidates": [
            {
                "content": {
                    "parts": [
                        {"text": "Hi"},
                        {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "s"},
                        {"inlineData": {"data": "x"}},
                    ]
                },
                "finishReason": "STOP",
                "index": 0,
            }
        ],
        "promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "No."},
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2},
        "modelVersion": "gemini",
        "responseId": "r1",
    },
    "error": {"code": 8, "message": "Later."},
}
GEMINI_EMBEDDING: dict[str, Any] = {
    "key": "shard_1-tok-1:base64",
    "response": {"tokenCount": "1", "embedding": {"values": [0.5, 1.0]}},
}
OPENAI_JOB: dict[str, Any] = {
    "id": "batch_1",
    "status": "failed",
    "created_at": 1764000000,
    "input_file_id": "file-1",
    "output_file_id": "file-2",
    "error_file_id": None,
    "completed_at": 1764000100,
    "request_counts": {"total": 2, "completed": 1, "failed": 1},
    "errors": {
        "data": [
            {
                "code": "token_limit_exceeded",
                "message": "Limit: 90,000 enqueued tokens.",
                "param": None,
                "line": 1,
            }
        ]
    },
    "metadata": {"polybatch_shard": "shard_0001", "polybatch_token": "tok9"},
}
ANTHROPIC_BATCH: dict[str, Any] = {
    "id": "msgbatch_1",
    "processing_status": "ended",
    "created_at": "2026-11-23T11:59:58Z",
    "ended_at": "2026-11-23T12:00:00Z",
    "archived_at": None,
    "request_counts": {"processing": 0, "succeeded": 2, "errored": 0, "canceled": 0, "expired": 0},
    "results_url": "https://api.anthropic.com/v1/messages/batches/msgbatch_1/results",
}
GEMINI_OPERATION: dict[str, Any] = {
    "name": "batches/1",
    "metadata": {
        "state": "BATCH_STATE_SUCCEEDED",
        "displayName": "pb-shard_0001-tok9",
        "model": "models/gemini",
        "createTime": "2026-11-23T11:59:58Z",
        "endTime": "2026-11-23T12:00:00Z",
        "batchStats": {
            "requestCount": "2",
            "successfulRequestCount": "2",
            "failedRequestCount": "0",
        },
        "output": {"responsesFile": "files/1"},
    },
    "done": True,
    "error": {"code": 8, "message": "Later."},
}
ERROR: dict[str, Any] = {
    "error": {
        "code": 429,
        "status": "RESOURCE_EXHAUSTED",
        "type": "rate_limit_error",
        "message": "Later.",
        "param": "model",
        "details": [{"retryDelay": "3s"}],
    }
}
