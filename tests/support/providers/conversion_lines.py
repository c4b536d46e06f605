"""Lines in each API's form, for the tests of conversions."""

from __future__ import annotations

import json
from typing import Any


def chat_line(body: dict[str, Any], **more: Any) -> bytes:
    """A line in OpenAI's form; `more` replaces its fields."""
    fields = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(fields | more).encode()


CLAUDE = {
    "custom_id": "a",
    "params": {
        "model": "claude-sonnet-4-5",
        "max_tokens": 100,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "t1", "name": "weather", "input": {"n": 1.0}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "cold"},
                    {"type": "text", "text": "And now?"},
                ],
            },
        ],
        "tools": [{"name": "weather", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "stop_sequences": ["END"],
    },
}
GOOGLE = {
    "key": "a",
    "request": {
        "contents": [
            {"parts": [{"text": "Weather?"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {"n": 1}}}]},
            {
                "role": "user",
                "parts": [
                    {"function_response": {"name": "weather", "response": {"output": "cold"}}}
                ],
            },
        ],
        "system_instruction": {"parts": [{"text": "Be brief."}]},
        "tools": [
            {
                "function_declarations": [
                    {
                        "name": "weather",
                        "parameters": {
                            "type": "OBJECT",
                            "properties": {"n": {"type": "INTEGER", "nullable": True}},
                        },
                    }
                ]
            }
        ],
        "generation_config": {"max_output_tokens": 100, "response_mime_type": "application/json"},
    },
}
