"""Why an answer ended: every reason that the vendors' types know, and what it means here.

A table gives OpenAI's finish_reason for each reason, or BROKEN: such an answer is no answer,
and its line fails. A reason that is in no table is believed where the answer has a content (if
an empty one), a call or a refusal, and not where it has none of them.

Sources: openai 3.54.0 types/chat/chat_completion.py, types/completion_choice.py,
types/responses/response.py and response_status.py; anthropic 2.12.0 types/stop_reason.py and
types/beta/beta_stop_reason.py; google-genai 3.4.0 types.py (FinishReason).
tests/unit/providers/test_finish_reasons.py fails where a vendor has a new one.
"""

from __future__ import annotations

BROKEN = "broken"

OPENAI = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "function_call",
    "content_filter": "content_filter",
    # Of servers with OpenAI's form, which pass it on as it is. Mistral and others:
    "model_length": "length",
    # Mistral, OpenRouter, vLLM:
    "error": BROKEN,
    # vLLM and SGLang, of a request that was given up:
    "abort": BROKEN,
    # DeepSeek, of an answer that it had no more room for:
    "insufficient_system_resource": BROKEN,
    # Together and other servers of open models:
    "eos": "stop",
}

OPENAI_RESPONSES = {
    "completed": "stop",
    "incomplete": "length",
    "failed": BROKEN,
    "cancelled": BROKEN,
    "queued": BROKEN,
    "in_progress": BROKEN,
}
"""By the `status` of a response; an incomplete one says why in `incomplete_details`."""

OPENAI_INCOMPLETE = {
    "max_output_tokens": "length",
    "max_messages": "length",
    "content_filter": "content_filter",
    "steered": "length",
}

ANTHROPIC = {
    # Documented to come with no content at all, too: Claude had nothing to add.
    "end_turn": "stop",
    "stop_sequence": "stop",
    # May be continued; a batch has nobody to do it.
    "pause_turn": "stop",
    "compaction": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}

# FINISH_REASON_UNSPECIFIED is as none, and not here: nobody knows whether the answer is whole. A
# prompt that was blocked (BlockedReason) has no candidate and no finish reason: "content_filter".
GEMINI = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    # Held back, with the reason in message.refusal.
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "ESCALATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "PUP_LIMITED_DISABLED": "content_filter",
    # What the model began cannot be used, or it never came to an answer.
    "MALFORMED_FUNCTION_CALL": BROKEN,
    "MALFORMED_RESPONSE": BROKEN,
    "UNEXPECTED_TOOL_CALL": BROKEN,
    "TOO_MANY_TOOL_CALLS": BROKEN,
    "MISSING_THOUGHT_SIGNATURE": BROKEN,
    "NO_IMAGE": BROKEN,
    "IMAGE_OTHER": BROKEN,
    "OTHER": BROKEN,
}
