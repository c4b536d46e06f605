"""The body of a request to OpenAI's /v1/responses, and what is refused of it.

Sources: openai 3.54 types/responses/response_create_params.py and what it refers to; the
messages are those that users report of the API.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Raw, Struct

from services.sandbox import answers, images

NOTHING = Raw(b"")
"""An optional member that the line does not have."""

LEAST_OUTPUT = 16
"""max_output_tokens."""

MOVED = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
}
"""Parameters of chat completions that have another place here."""


_IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


class InputPart(Struct, gc=False):
    """A part of an item's content."""

    type: Literal[
        "input_text",
        "input_image",
        "input_file",
        "output_text",
        "refusal",
        "reasoning_text",
        "summary_text",
    ]
    text: str = ""
    refusal: str = ""
    image_url: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    file_id: str | None = None

    def __post_init__(self) -> None:
        if (image := _data(self.image_url)) is not None and (
            images.format_of(images.decode(image)) not in _IMAGE_TYPES
        ):
            raise ValueError(
                "You uploaded an unsupported image. Please make sure your image has of one the "
                "following formats: ['png', 'jpeg', 'gif', 'webp']."
            )
        if self.file_data and not images.is_pdf(images.decode(_data(self.file_data) or "")):
            raise ValueError("Invalid file data: only PDF files are supported.")

    @property
    def media_tokens(self) -> int:
        if self.type != "input_image":
            return 0
        data = _data(self.image_url)
        return images.tokens_of(images.decode(data) if data else None)


def _data(url: str | None) -> str | None:
    """The base64 of a data URL; None for a link."""
    head, _, data = (url or "").partition(";base64,")
    return data if head.startswith("data:") else None


_SAID = frozenset({"output_text", "refusal"})
_GIVEN = frozenset({"input_text", "input_image", "input_file"})
_UNKNOWN = re.compile(r"unknown field `(\w+)`")
_CODES = {
    "Missing required": "missing_required_parameter",
    "Previous response": "previous_response_not_found",
    "Conversation": "conversation_not_found",
    "Invalid value": "invalid_value",
    "Invalid file data": "invalid_value",
    "Invalid base64": "invalid_base64_image",
    "You uploaded": "invalid_image_format",
    "No tool": "invalid_value",
}
"""Of refusals, by how they begin."""
_ITEM_NEEDS = {
    "message": ("role", "content"),
    "function_call": ("call_id", "name", "arguments"),
    "function_call_output": ("call_id", "output"),
}


class Item(Struct, gc=False):
    """An item of the input; of those of built-in tools only the type matters."""

    type: str = "message"
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | list[InputPart] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[InputPart] | None = None

    @property
    def text(self) -> str:
        """What it says."""
        if isinstance(self.content, str):
            return self.content
        return " ".join(part.text for part in self.content or () if part.text)

    @property
    def tokens(self) -> int:
        """Of its text and its media."""
        media = 0
        if isinstance(self.content, list):
            media = sum(part.media_tokens for part in self.content)
        return answers.text_tokens(self.text) + media


class Tool(Struct, gc=False):
    """A tool; only those of type "function" have a name and parameters."""

    type: Literal[
        "function",
        "custom",
        "apply_patch",
        "code_interpreter",
        "computer",
        "computer_use_preview",
        "file_search",
        "image_generation",
        "local_shell",
        "mcp",
        "namespace",
        "programmatic_tool_calling",
        "shell",
        "tool_search",
        "web_search",
        "web_search_2025_08_26",
        "web_search_preview",
        "web_search_preview_2025_03_11",
    ]
    name: str | None = None
    parameters: dict[str, Any] | None = None


class ToolChoice(Struct, gc=False):
    type: str
    name: str | None = None


class Format(Struct, gc=False):
    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema: dict[str, Any] | None = None


class Text(Struct, gc=False, forbid_unknown_fields=True):
    format: Format | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class Reasoning(Struct, gc=False, forbid_unknown_fields=True):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    context: Literal["auto", "current_turn", "all_turns"] | None = None
    mode: str | None = None


class Responses(Struct, gc=False, forbid_unknown_fields=True):
    """The body: every member that the API knows in 2026-11."""

    model: str
    input: str | list[Item] = ""
    instructions: str | None = None
    max_output_tokens: Annotated[int, Meta(ge=LEAST_OUTPUT)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: int | None = None
    text: Text | None = None
    reasoning: Reasoning | None = None
    stream: Literal[False] | None = None
    background: Literal[False] | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    previous_response_id: str | None = None
    conversation: str | dict[str, Any] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    access_programs: Raw = NOTHING
    background_options: Raw = NOTHING
    context_management: Raw = NOTHING
    image: Raw = NOTHING
    include: Raw = NOTHING
    moderation: Raw = NOTHING
    prompt: Raw = NOTHING
    prompt_cache_options: Raw = NOTHING
    prompt_cache_retention: Raw = NOTHING
    service_tier: Raw = NOTHING
    stream_options: Raw = NOTHING

    def __post_init__(self) -> None:
        if self.previous_response_id is not None:
            # Nothing is stored here.
            found_not = f"Previous response with id '{self.previous_response_id}' not found."
            raise _wrong(found_not, "previous_response_id")
        if self.conversation is not None:
            raise _wrong("Conversation not found.", "conversation")
        _check_items(self.items)
        for index, tool in enumerate(self.tools or ()):
            if tool.type in ("function", "custom") and not tool.name:
                raise _missing(f"tools[{index}].name")
        format_ = self.text.format if self.text else None
        if format_ and format_.type == "json_schema":
            for name in ("name", "schema"):
                if getattr(format_, name) is None:
                    raise _missing(f"text.format.{name}")

    @property
    def items(self) -> Sequence[Item]:
        """The input, item by item."""
        if isinstance(self.input, str):
            return (Item(role="user", content=self.input),)
        return self.input

    @property
    def question(self) -> str:
        """The text of the last message from the user."""
        return next((item.text for item in reversed(self.items) if item.role == "user"), "")

    def measure(self, question: str) -> tuple[int, int]:
        """(input tokens, output tokens) as the answer's usage will have them."""
        prompt = 3 + answers.text_tokens(self.instructions)
        for item in self.items:
            prompt += 3 + item.tokens
        if self.tools and self.forced_tool():
            return prompt, answers.TOOL_TOKENS
        return prompt, answers.output_tokens(question, self.max_output_tokens)

    def forced_tool(self) -> Tool | None:
        """The function that tool_choice makes the model call, if it does."""
        functions = [tool for tool in self.tools or () if tool.type == "function"]
        match self.tool_choice:
            case "required":
                return functions[0] if functions else None
            case ToolChoice(type="function", name=str(name)):
                return next((each for each in functions if each.name == name), None)
        return None


def _check_items(items: Sequence[Item]) -> None:
    """Refuse items that lack something, parts of another role, calls and outputs without
    each other. Raises ValueError."""
    calls: set[str | None] = set()
    answered: set[str | None] = set()
    for index, item in enumerate(items):
        for name in _ITEM_NEEDS.get(item.type, ()):
            if getattr(item, name) is None:
                raise _missing(f"input[{index}].{name}")
        if item.type == "message" and isinstance(item.content, list):
            for number, part in enumerate(item.content):
                if (part.type in _SAID) != (item.role == "assistant"):
                    expected = _SAID if item.role == "assistant" else _GIVEN
                    raise _wrong(
                        f"Invalid value: '{part.type}'. Supported values are: "
                        + ", ".join(f"'{kind}'" for kind in sorted(expected))
                        + ".",
                        f"input[{index}].content[{number}]",
                    )
        elif item.type == "function_call":
            calls.add(item.call_id)
        elif item.type == "function_call_output":
            if item.call_id not in calls:
                text = f"No tool call found for function call output with call_id {item.call_id}."
                raise _wrong(text, "input")
            answered.add(item.call_id)
    for call_id in calls - answered:
        raise _wrong(f"No tool output found for function call {call_id}.", "input")


def _missing(param: str) -> ValueError:
    return _wrong(f"Missing required parameter: '{param}'.", param)


def _wrong(message: str, param: str) -> ValueError:
    """What is wrong, with its place as msgspec writes it behind what it finds itself."""
    return ValueError(f"{message} - at `$.{param}`")


def refusal_of(what: str, param: str | None) -> tuple[str, str | None, str]:
    """Message, param and code of a refusal, from what is wrong with a body and its place."""
    if unknown := _UNKNOWN.search(what):
        name = unknown[1]
        if not param and name in MOVED:
            message = (
                f"Unsupported parameter: '{name}'. In the Responses API, this parameter has "
                f"moved to '{MOVED[name]}'. Try again with the new parameter."
            )
            return message, name, "unsupported_parameter"
        where = f"{param}.{name}" if param else name
        return f"Unknown parameter: '{where}'.", where, "unknown_parameter"
    for begin, code in _CODES.items():
        if what.startswith(begin):
            return what, param, code
    code = "integer_below_min_value" if param == "max_output_tokens" else "invalid_value"
    return f"Invalid '{param}': {what}.", param, code
