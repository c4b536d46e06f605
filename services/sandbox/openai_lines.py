"""OpenAI's input lines: their form, the check of a new batch, and the answers.

The forms are strict: what they accept is right, in one fast decode. Only a line that
they refuse is looked at slowly, to say what is wrong with it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from . import answers
from .answers import Part

NOTHING = Raw(b"")
"""An optional member that the line does not have."""


class Message(Struct, gc=False):
    role: Literal["user", "system", "assistant", "developer", "tool", "function"]
    content: str | list[Part] | None = None


class Chat(Struct, gc=False, forbid_unknown_fields=True):
    """The body of a chat completion: every member that the API knows in 2026-11."""

    model: str
    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    stream: Literal[False] | None = None
    tools: Raw = NOTHING
    tool_choice: Raw = NOTHING
    response_format: Raw = NOTHING
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = (
        None
    )
    seed: int | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    parallel_tool_calls: bool | None = None
    store: bool | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    audio: Raw = NOTHING
    function_call: Raw = NOTHING
    functions: Raw = NOTHING
    logit_bias: Raw = NOTHING
    modalities: Raw = NOTHING
    moderation: Raw = NOTHING
    prediction: Raw = NOTHING
    prompt_cache_key: Raw = NOTHING
    prompt_cache_options: Raw = NOTHING
    prompt_cache_retention: Raw = NOTHING
    safety_identifier: Raw = NOTHING
    service_tier: Raw = NOTHING
    stop: Raw = NOTHING
    stream_options: Raw = NOTHING
    verbosity: Raw = NOTHING
    web_search_options: Raw = NOTHING

    @property
    def limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def question(self) -> str:
        """The text of the last message from the user."""
        for message in reversed(self.messages):
            if message.role == "user":
                return answers.text_of(message.content)
        return ""

    def measure(self) -> tuple[int, int]:
        """(prompt tokens, completion tokens) as the answer's usage will have them."""
        prompt = 3
        for message in self.messages:
            prompt += 3 + answers.text_tokens(answers.text_of(message.content))
        if self.tools is not NOTHING and forced_tool(self):
            return prompt, answers.TOOL_TOKENS * (self.n or 1)
        return prompt, answers.output_tokens(self.question, self.limit) * (self.n or 1)


class Embedding(Struct, gc=False, forbid_unknown_fields=True):
    """The body of an embeddings request."""

    model: str
    input: (
        Annotated[str, Meta(min_length=1)]
        | Annotated[list[str | int | list[int]], Meta(min_length=1, max_length=2048)]
    )
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    user: str | None = None

    @property
    def texts(self) -> list[str | list[int]]:
        """The inputs: texts, or texts given as tokens."""
        if type(self.input) is str:
            return [self.input]
        if type(self.input[0]) is int:
            return [self.input]  # type: ignore[list-item]
        return self.input  # type: ignore[return-value]

    def measure(self) -> tuple[int, int]:
        return sum(answers.text_tokens(t) if type(t) is str else len(t) for t in self.texts), 0


class Line(Struct, gc=False):
    custom_id: str
    method: Literal["POST"]
    url: str
    body: Raw


Body = Chat | Embedding

DIMENSIONS = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}


def forced_tool(chat: Chat) -> dict[str, Any] | None:
    """The function that tool_choice makes the model call, if it does."""
    if chat.tool_choice is NOTHING or chat.tools is NOTHING:
        return None
    choice = msgspec.json.decode(chat.tool_choice)
    functions = [
        tool["function"]
        for tool in msgspec.json.decode(chat.tools, type=list[dict[str, Any]])
        if isinstance(tool.get("function"), dict)
    ]
    if choice == "required":
        return functions[0] if functions else None
    if isinstance(choice, dict) and isinstance(choice.get("function"), dict):
        name = choice["function"].get("name")
        return next((f for f in functions if f.get("name") == name), None)
    return None
