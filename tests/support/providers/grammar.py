"""Made-up requests and answers over the whole grammar of both vendors, from a seed."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from tests.support.providers.chat_requests import PDF, PNG

MODELS = (
    "claude-sonnet-4-5",
    "claude-opus-4-6",
    "claude-opus-4-7",
    "claude-sonnet-5",
    "claude-fable-5",
    "claude-opus-5-5",
    "claude-sonnet-5-5",
)

TEXTS = (
    "hi",
    "What is 13 + 25?",
    "Grüße, 世界 👋🏽",
    'quotes " and \\ and \t tabs',
    "two\nlines",
    " spaces around ",
    "a" * 500,
    "\u2028\u0000",
)
NAMES = ("weather", "get_time", "f-1", "Search_2")
ARGUMENTS = ("{}", '{"place":"Oslo"}', '{ "n": 1.0, "m": [1e3, null] }', '{"a":{"b":"\\u00e9"}}')
STOPS = ("END", "\n\nHuman:", "</a>")

SCHEMAS: tuple[dict[str, Any], ...] = (
    {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False},
    {
        "type": "object",
        "properties": {
            "kind": {"enum": ["x", "y"]},
            "many": {"type": "array", "items": {"$ref": "#/$defs/item"}, "minItems": 1},
            "maybe": {"anyOf": [{"type": "number"}, {"type": "null"}], "description": "or not"},
        },
        "required": ["kind"],
        "additionalProperties": False,
        "$defs": {
            "item": {
                "type": "object",
                "properties": {"on": {"type": "string", "format": "date"}},
                "additionalProperties": False,
            }
        },
    },
    {"type": "object", "properties": {"a": {"type": "string", "title": "A"}}},
    {
        "type": "object",
        "properties": {
            "n": {"type": "integer", "minimum": 1, "maximum": 10},
            "s": {"type": "string", "minLength": 2, "format": "phone"},
            "u": {"oneOf": [{"type": "string"}, {"type": "boolean"}]},
            "l": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        },
        "additionalProperties": False,
    },
    {"type": "object", "additionalProperties": {"type": "string"}},
)

HARMLESS: dict[str, Any] = {
    "metadata": {"a": "b"},
    "prompt_cache_key": "k",
    "safety_identifier": "s",
    "seed": 7,
    "service_tier": "flex",
    "store": True,
    "n": 1,
    "logprobs": False,
    "frequency_penalty": 0,
    "presence_penalty": 0.0,
    "logit_bias": {},
    "modalities": ["text"],
    "stream": False,
}
LOSSY: dict[str, Any] = {
    "n": 3,
    "logprobs": True,
    "top_logprobs": 2,
    "logit_bias": {"50256": -100},
    "frequency_penalty": 0.5,
    "presence_penalty": -1,
    "modalities": ["text", "audio"],
    "audio": {"voice": "alloy", "format": "mp3"},
    "prediction": {"type": "content", "content": "x"},
    "functions": [{"name": "f", "parameters": {"type": "object"}}],
    "function_call": "auto",
    "web_search_options": {"search_context_size": "low"},
    "verbosity": "low",
    "moderation": {"model": "omni-moderation-latest"},
}


class Grammar:
    """Makes requests that OpenAI's types accept, and answers that Anthropic's do."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def often(self, chance: float) -> bool:
        """True in this share of the cases."""
        return self._random.random() < chance

    def one(self, values: Any) -> Any:
        """Any of the values."""
        return self._random.choice(list(values))

    def some(self, least: int, most: int) -> range:
        """A range of least to most numbers."""
        return range(self._random.randint(least, most))

    # Requests

    def request(self) -> tuple[str, dict[str, Any]]:
        """A model's name, and the body of a chat completion for it."""
        model = self.one(MODELS)
        body: dict[str, Any] = {"model": f"anthropic/{model}", "messages": self._messages()}
        if self.often(0.9):
            name = self.one(("max_tokens", "max_completion_tokens"))
            body[name] = self.one((1, 500, 1025, 4096, 20_000, 100_000))
            if self.often(0.1):
                body |= {"max_tokens": 300, "max_completion_tokens": 3000}
        if self.often(0.4):
            self._add_tools(body)
        elif self.often(0.04):
            body["tool_choice"] = self.one(("auto", "none", "required"))
            body["parallel_tool_calls"] = self.often(0.5)
        if self.often(0.2):
            body["response_format"] = self._format()
        self._add_settings(body)
        for name in self._sample(HARMLESS, 0.06):
            body[name] = HARMLESS[name]
        if self.often(0.15):
            name = self.one(LOSSY)
            body[name] = LOSSY[name]
        return model, body

    def _sample(self, names: Any, chance: float) -> list[str]:
        return [name for name in names if self.often(chance)]

    def _messages(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        for _ in self.some(0, 2):
            messages.append(self._instruction())
        if self.often(0.98):
            messages.append(self._user())
        for turn in self.some(0, 3):
            messages += self._assistant_turn(turn)
            if self.often(0.1):
                messages.append(self._instruction())
            for _ in self.some(1, 2):
                messages.append(self._user())
        if self.often(0.15):
            messages += self._assistant_turn(9)
        elif self.often(0.03):
            said = [{"type": "text", "text": "It is "}, {"type": "text", "text": "now \n"}]
            messages.append({"role": "assistant", "content": said})
        return messages

    def _instruction(self) -> dict[str, Any]:
        content: Any = self.one((*TEXTS, "")) if self.often(0.7) else [self._text(), self._text()]
        return {"role": self.one(("system", "developer")), "content": content}

    def _user(self) -> dict[str, Any]:
        if self.often(0.6):
            message = {"role": "user", "content": self.one((*TEXTS, "")) or self.one(TEXTS)}
        else:
            parts = [self._part() for _ in self.some(1, 3)]
            message = {"role": "user", "content": parts}
        if self.often(0.01):
            message["content"] = self.one(("", " \n"))
        if self.often(0.02):
            message["name"] = "Ann"
        return message

    def _text(self) -> dict[str, Any]:
        return {"type": "text", "text": self.one(TEXTS)}

    def _part(self) -> dict[str, Any]:
        if self.often(0.5):
            return self._text()
        if self.often(0.6):
            url = self.one((PNG, "data:image/jpeg;base64,/9j/", "https://example.org/a.png"))
            if self.often(0.03):
                url = "http://example.org/a.png"
            image = {"url": url}
            if self.often(0.3):
                image["detail"] = self.one(("auto", "low", "high"))
            return {"type": "image_url", "image_url": image}
        if self.often(0.06):
            audio = {"data": "AAAA", "format": "wav"}
            return {"type": "input_audio", "input_audio": audio}
        if self.often(0.06):
            return {"type": "file", "file": {"file_id": "file-1"}}
        file = {"file_data": PDF}
        if self.often(0.5):
            file["filename"] = "a.pdf"
        return {"type": "file", "file": file}

    def _assistant_turn(self, turn: int) -> list[dict[str, Any]]:
        if self.often(0.4):
            return self._tool_turn(turn)
        message: dict[str, Any] = {"role": "assistant", "content": self.one(TEXTS)}
        if self.often(0.2):
            message["content"] = [self._text(), self._text()]
        elif self.often(0.1):
            message |= {"content": None, "refusal": "I will not."}
        elif self.often(0.05):
            message["content"] = [{"type": "refusal", "refusal": "No."}]
        return [message]

    def _tool_turn(self, turn: int) -> list[dict[str, Any]]:
        odd = self.one(("", "functions.f:")) if self.often(0.1) else ""
        ids = [f"{odd}call_{turn}_{number}" for number in self.some(1, 3)]
        if self.often(0.02):
            ids = ids[:1]
        calls = [
            {
                "id": call_id,
                "type": "function",
                "function": {"name": self.one(NAMES), "arguments": self.one(ARGUMENTS)},
            }
            for call_id in ids
        ]
        if not calls:
            return [{"role": "assistant", "content": "nothing to call"}]
        content = self.one((None, "", "let me see"))
        turns = [{"role": "assistant", "content": content, "tool_calls": calls}]
        if self.often(0.03):
            calls[0]["function"]["arguments"] = self.one(("", "not json", "[1]"))
        answered = ids if self.often(0.97) else ids[1:]
        for call_id in self._random.sample(answered, len(answered)):
            results = ("cold", "", [self._text()], [{"type": "text", "text": ""}])
            turns.append({"role": "tool", "tool_call_id": call_id, "content": self.one(results)})
        return turns

    def _add_tools(self, body: dict[str, Any]) -> None:
        names = self._random.sample(NAMES, self._random.randint(1, 3))
        body["tools"] = [{"type": "function", "function": self._function(name)} for name in names]
        if self.often(0.03):
            body["tools"].append({"type": "custom", "custom": {"name": "c"}})
        choices: tuple[Any, ...] = ("auto", "none", "required", "named", None, None)
        choice = self.one(choices)
        if choice == "named":
            choice = {"type": "function", "function": {"name": names[0]}}
        if choice is not None:
            body["tool_choice"] = choice
        if self.often(0.3):
            body["parallel_tool_calls"] = self.often(0.5)

    def _function(self, name: str) -> dict[str, Any]:
        function: dict[str, Any] = {"name": name}
        if self.often(0.7):
            function["description"] = self.one(TEXTS)
        if self.often(0.8):
            function["parameters"] = self.one(SCHEMAS)
        if self.often(0.2):
            function["strict"] = self.often(0.5)
        return function

    def _format(self) -> dict[str, Any]:
        if self.often(0.15):
            return {"type": "text"}
        if self.often(0.1):
            return {"type": "json_object"}
        described: dict[str, Any] = {"name": "answer", "schema": self.one(SCHEMAS)}
        if self.often(0.5):
            described["strict"] = self.often(0.7)
        if self.often(0.2):
            described["description"] = "What was asked for."
        return {"type": "json_schema", "json_schema": described}

    def _add_settings(self, body: dict[str, Any]) -> None:
        if self.often(0.3):
            body["temperature"] = self.one((0, 0.0, 0.3, 0.7, 1, 1.0, 1.7))
        if self.often(0.1):
            body["top_p"] = self.one((0.1, 0.97, 1))
        if self.often(0.2):
            body["stop"] = self.one((STOPS[0], list(STOPS), [], list(STOPS[:1])))
            if self.often(0.05):
                body["stop"] = ["\n"]
        if self.often(0.25):
            efforts = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
            body["reasoning_effort"] = self.one(efforts)
        if self.often(0.2):
            body["user"] = self.one(("u-1", "7f3a9c", "ann@example.org"))

    # Answers

    def answer(self) -> dict[str, Any]:
        """An Anthropic message."""
        stop = self.one(
            (
                "end_turn",
                "stop_sequence",
                "pause_turn",
                "max_tokens",
                "model_context_window_exceeded",
                "tool_use",
                "refusal",
            )
        )
        # Without content a message with one of these is no answer.
        least = 1 if stop in ("tool_use", "pause_turn") else 0
        content = [self._block() for _ in self.some(least, 4)]
        message: dict[str, Any] = {
            "id": "msg_01",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5-20250929",
            "content": content,
            "stop_reason": stop,
            "stop_sequence": "END" if stop == "stop_sequence" else None,
            "usage": self._usage(),
        }
        if stop == "refusal" and self.often(0.5):
            message["stop_details"] = {
                "type": "refusal",
                "category": None,
                "explanation": self.one(("Too dangerous.", None)),
            }
        return message

    def _block(self) -> dict[str, Any]:
        kind = self.one(("text", "text", "thinking", "redacted_thinking", "tool_use"))
        if kind == "text":
            return {"type": "text", "text": self.one((*TEXTS, "")), "citations": None}
        if kind == "thinking":
            return {"type": "thinking", "thinking": self.one((*TEXTS, "")), "signature": "s"}
        if kind == "redacted_thinking":
            return {"type": "redacted_thinking", "data": "xx"}
        return {
            "type": "tool_use",
            "id": f"toolu_{self._random.randint(1, 99)}",
            "name": self.one(NAMES),
            "input": json.loads(self.one(ARGUMENTS)),
        }

    def _usage(self) -> dict[str, Any]:
        usage: dict[str, Any] = {
            "input_tokens": self._random.randint(0, 5000),
            "output_tokens": self._random.randint(500, 5000),
        }
        if self.often(0.5):
            usage["cache_read_input_tokens"] = self.one((0, 300, None))
            usage["cache_creation_input_tokens"] = self.one((0, 20, None))
        if self.often(0.3):
            thought = self._random.randint(0, usage["output_tokens"])
            usage["output_tokens_details"] = {"thinking_tokens": thought}
        return usage
