"""Anthropic's requests: their form, and what is checked when a line is run.

The forms are strict: what they accept is right, in one fast decode.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from msgspec import Meta, Raw, Struct

from services.sandbox import answers, images
from services.sandbox.answers import Part
from services.sandbox.anthropic.schemas import Strict, strict_problem, tools_problem

NOTHING = Raw(b"")
"""An optional member that the request does not have."""
FIRST_VERSION = "2023-06-01"
NO_SAMPLING_VERSION = "2026-10-21"
"""From this API version on, sampling settings are refused for every model."""
_NO_SAMPLING_FROM = (4, 7)
"""From this version of a model on, they are refused under any API version."""
SERVED = re.compile(
    r"claude-(?:opus|sonnet|haiku|fable|mythos)-(?!4-0$|4-20250514$)\d{1,2}(?:-\d{1,2})?(?:-\d{8})?"
)
"""Those that are served as of 2026-11, and what their families will still bring: version 4.0 and
those before, whose names have the family behind, are shut down. [anthropic 2.12, DEPRECATED_MODELS]
"""
_MODEL_VERSION = re.compile(r"-(\d{1,2})(?:-(\d{1,2}))?(?:-\d{8})?(?:-[a-z]+)?$")


_IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_MAX_IMAGE = 5 * 1024 * 1024
"""Characters of an image's base64, which is what the API counts."""


class Source(Struct, gc=False):
    """Where an image or a document comes from."""

    type: str
    media_type: str = ""
    data: str | None = None


class Block(Part, gc=False):
    source: Source | None = None
    id: str = ""
    tool_use_id: str = ""

    def __post_init__(self) -> None:
        source = self.source
        if source is None or source.type != "base64":
            return
        if self.type == "image":
            _check_image(source.media_type, source.data or "")
        elif self.type == "document" and not images.is_pdf(images.decode(source.data or "")):
            raise ValueError("source.base64.data: The PDF specified was not valid.")

    @property
    def media_tokens(self) -> int:
        if self.type != "image" or self.source is None:
            return 0
        data = self.source.data
        return images.tokens_of(images.decode(data) if data else None)


def _check_image(media_type: str, data: str) -> None:
    """Raises ValueError with the API's own words."""
    where = "source.base64"
    if media_type not in _IMAGE_TYPES:
        raise ValueError(f"{where}.media_type: Input should be {', '.join(sorted(_IMAGE_TYPES))}")
    if len(data) > _MAX_IMAGE:
        raise ValueError(
            f"{where}: image exceeds 5 MB maximum: {len(data)} bytes > {_MAX_IMAGE} bytes"
        )
    image = images.decode(data)
    found = images.format_of(image)
    if found not in _IMAGE_TYPES:
        raise ValueError("Could not process image")
    if found != media_type:
        raise ValueError(
            f"{where}.data: The image was specified using the {media_type} media type, but the "
            f"image appears to be a {found} image"
        )
    size = images.size_of(image)
    if size is not None and max(size) > images.LARGEST_SIDE:
        raise ValueError(
            f"{where}.data: At least one of the image dimensions exceed max allowed size: "
            f"{images.LARGEST_SIDE} pixels"
        )


class Message(Struct, gc=False):
    role: Literal["user", "assistant"]
    content: Annotated[str, Meta(min_length=1)] | Annotated[list[Block], Meta(min_length=1)]


class Tool(Struct, gc=False):
    name: str
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None


class ToolChoice(Struct, gc=False):
    type: Literal["auto", "any", "tool", "none"]
    name: str = ""


class Format(Struct, gc=False):
    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(Struct, gc=False):
    format: Format | None = None


class Thinking(Struct, gc=False):
    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: Annotated[int, Meta(ge=1024)] | None = None
    display: str | None = None


class Params(Struct, gc=False, forbid_unknown_fields=True):
    """The parameters of a Messages request: every member that the API knows in 2026-11."""

    model: str
    max_tokens: Annotated[int, Meta(ge=1)]
    messages: Annotated[list[Message], Meta(min_length=1)]
    system: str | list[Part] = ""
    stream: Literal[False] | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    stop_sequences: list[Annotated[str, Meta(pattern=r"\S")]] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    output_config: OutputConfig | None = None
    thinking: Thinking | None = None
    cache_control: Raw = NOTHING
    container: Raw = NOTHING
    diagnostics: Raw = NOTHING
    inference_geo: str | None = None
    metadata: Raw = NOTHING
    service_tier: str | None = None
    speed: str | None = None
    user_profile_id: str | None = None
    workspace_id: str | None = None

    @property
    def question(self) -> str:
        """The text of the last message from the user."""
        return answers.last_question(self.messages)

    def measure(self, question: str) -> tuple[int, int]:
        """(input tokens, output tokens) as the answer's usage will have them."""
        prompt = 3 + answers.text_tokens(self.system)
        for message in self.messages:
            prompt += 3 + answers.text_tokens(message.content)
        if self.tools and self.forced_tool():
            return prompt, answers.TOOL_TOKENS
        return prompt, answers.output_tokens(question, self.max_tokens)

    def forced_tool(self) -> Tool | None:
        """The tool that tool_choice makes the model use, if it does."""
        tools = self.tools or ()
        match self.tool_choice:
            case ToolChoice(type="any"):
                return tools[0] if tools else None
            case ToolChoice(type="tool", name=name):
                return next((tool for tool in tools if tool.name == name), None)
        return None

    def problem(self, version: str) -> tuple[str, str] | None:
        """(error type, message) of what the form does not show; None if all is well."""
        if self.messages[0].role != "user":
            return "invalid_request_error", 'messages: first message must use the "user" role'
        budget = self.thinking.budget_tokens if self.thinking else None
        if self.thinking and self.thinking.type == "enabled" and budget is None:
            return "invalid_request_error", "thinking.enabled.budget_tokens: Field required"
        if budget is not None and budget >= self.max_tokens:
            return (
                "invalid_request_error",
                "`max_tokens` must be greater than `thinking.budget_tokens`.",
            )
        if not SERVED.fullmatch(self.model):
            return "not_found_error", f"model: {self.model}"
        if (
            (self.temperature is not None and self.temperature != 1.0)
            or (self.top_p is not None and self.top_p != 1.0)
            or self.top_k
        ) and (version >= NO_SAMPLING_VERSION or _model_version(self.model) >= _NO_SAMPLING_FROM):
            return (
                "invalid_request_error",
                "temperature, top_p and top_k are not supported with this model.",
            )
        wrong = self._wrong_calls() or self._wrong_tools() or self._wrong_schemas()
        return ("invalid_request_error", wrong) if wrong else None

    def _wrong_calls(self) -> str:
        """Turns are what counts: messages of one role that follow each other are one."""
        calls: set[str] = set()
        speaker = ""
        for number, message in enumerate(self.messages):
            blocks = () if isinstance(message.content, str) else message.content
            if message.role == "assistant":
                if calls and speaker == "user":
                    break
                calls.update(block.id for block in blocks if block.type == "tool_use")
            for block in blocks:
                if block.type != "tool_result":
                    continue
                if message.role != "user" or block.tool_use_id not in calls:
                    return (
                        f"messages.{number}.content: unexpected `tool_use_id` found in "
                        f"`tool_result` blocks: {block.tool_use_id}. Each `tool_result` block "
                        "must have a corresponding `tool_use` block in the previous message."
                    )
                calls.remove(block.tool_use_id)
            speaker = message.role
        if calls:
            return (
                "messages: `tool_use` ids were found without `tool_result` blocks immediately "
                f"after: {', '.join(sorted(calls))}."
            )
        return ""

    def _wrong_tools(self) -> str:
        chosen = self.tool_choice.name if self.tool_choice else ""
        if not self.tools and not chosen:
            return ""
        return tools_problem(((tool.name, tool.input_schema) for tool in self.tools or ()), chosen)

    def _wrong_schemas(self) -> str:
        strict = [
            Strict(f"tools.{number}.custom.input_schema", tool.input_schema or {})
            for number, tool in enumerate(self.tools or ())
            if tool.strict
        ]
        tools = len(strict)
        if self.output_config and self.output_config.format:
            strict.append(Strict("output_config.format.schema", self.output_config.format.schema))
        return strict_problem(strict, tools) if strict else ""


class Line(Struct, gc=False, forbid_unknown_fields=True):
    custom_id: str
    params: Raw


def _model_version(model: str) -> tuple[int, int]:
    found = _MODEL_VERSION.search(model)
    return (int(found.group(1)), int(found.group(2) or 0)) if found else (0, 0)
