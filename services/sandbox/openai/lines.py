"""OpenAI's input lines: their form, the check of a new batch, and the answers.

The forms are strict: what they accept is right, in one fast decode. Only a line that
they refuse is looked at slowly, to say what is wrong with it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Raw, Struct

from services.sandbox import answers, images
from services.sandbox.answers import Part
from services.sandbox.openai.reasoning import reasons, refusal
from services.sandbox.openai.responses import NOTHING, Responses
from services.sandbox.openai.texts_and_images import TextsAndImages

_FIXED = "text-embedding-ada-002"
DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, _FIXED: 1536}
_MAX_INPUT_TOKENS = 8192
_MAX_TOKENS = 300_000


_OPENAI_MODELS = ("gpt-", "chatgpt-", "o1", "o3", "o4", "ft:")
"""Beginnings of their names; servers in OpenAI's form have other parts and tools."""
_PARTS = ("text", "image_url", "input_audio", "file", "refusal")
_TOOLS = ("function", "custom")
_CHOICES = ("none", "auto", "required")
_NAMED_CHOICES = ("function", "allowed_tools", "custom")
Tier = Literal["auto", "default", "flex", "scale", "priority", "fast"]
_IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


class ImageUrl(Struct, gc=False):
    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None

    @property
    def data(self) -> str | None:
        """The base64 of a data URL; None for a link."""
        head, _, data = self.url.partition(";base64,")
        return data if head.startswith("data:") else None


class InputFile(Struct, gc=False, forbid_unknown_fields=True):
    """A remote address is none of its members: such a part is refused."""

    file_data: str = ""
    file_id: str | None = None
    filename: str | None = None

    def __post_init__(self) -> None:
        data = self.file_data.partition(";base64,")[2]
        if self.file_data and not images.is_pdf(images.decode(data)):
            raise ValueError("Invalid file data: only PDF files are supported.")


class ContentPart(Part, gc=False):
    image_url: ImageUrl | str | None = None
    file: InputFile | None = None

    def __post_init__(self) -> None:
        if isinstance(self.image_url, str):
            self.image_url = ImageUrl(self.image_url)
        data = self.image_url.data if self.image_url else None
        if data is not None and images.format_of(images.decode(data)) not in _IMAGE_TYPES:
            raise ValueError(
                "You uploaded an unsupported image. Please make sure your image has of one the "
                "following formats: ['png', 'jpeg', 'gif', 'webp']."
            )

    @property
    def media_tokens(self) -> int:
        if not isinstance(self.image_url, ImageUrl):
            return 0
        data = self.image_url.data
        return images.tokens_of(images.decode(data) if data else None)


class Message(Struct, gc=False):
    role: Literal["user", "system", "assistant", "developer", "tool", "function"]
    content: str | list[ContentPart] | None = None


class Function(Struct, gc=False):
    """A function that the model may call."""

    name: str
    parameters: dict[str, Any] | None = None


class Tool(Struct, gc=False):
    """A tool; only those of type "function" have one."""

    type: str
    function: Function | None = None


class ToolChoice(Struct, gc=False):
    """A choice that names a function, or another kind of choice."""

    type: str
    function: Function | None = None


class JsonSchema(Struct, gc=False):
    name: str
    schema: dict[str, Any] | None = None


class ResponseFormat(Struct, gc=False):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


def _check_kind(kind: str, known: tuple[str, ...], param: str) -> None:
    if kind not in known:
        expected = ", ".join(f"'{each}'" for each in known)
        # With its place as msgspec writes it behind what it finds itself.
        raise ValueError(
            f"Invalid value: '{kind}'. Supported values are: {expected}. - at `$.{param}`"
        )


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
    tools: list[Tool] | None = None
    tool_choice: str | ToolChoice | None = None
    response_format: ResponseFormat | None = None
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
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    safety_identifier: Raw = NOTHING
    service_tier: Tier | None = None
    stop: Raw = NOTHING
    stream_options: Raw = NOTHING
    verbosity: Literal["low", "medium", "high"] | None = None
    web_search_options: Raw = NOTHING

    def __post_init__(self) -> None:
        if self.model.startswith(_OPENAI_MODELS):
            self._check_kinds()
        if reasons(self.model) and (refused := refusal(self)):
            raise ValueError(refused)

    def _check_kinds(self) -> None:
        """Refuse kinds of parts, tools and choices that OpenAI has not. Raises ValueError."""
        for number, message in enumerate(self.messages):
            if isinstance(message.content, list):
                for index, part in enumerate(message.content):
                    _check_kind(part.type, _PARTS, f"messages[{number}].content[{index}].type")
        for index, tool in enumerate(self.tools or ()):
            _check_kind(tool.type, _TOOLS, f"tools[{index}].type")
        if isinstance(self.tool_choice, ToolChoice):
            _check_kind(self.tool_choice.type, _NAMED_CHOICES, "tool_choice.type")
        elif self.tool_choice is not None:
            _check_kind(self.tool_choice, _CHOICES, "tool_choice")

    @property
    def limit(self) -> int | None:
        """The most tokens that the answer may have."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def question(self) -> str:
        """The text of the last message from the user."""
        return answers.last_question(self.messages)

    def measure(self, question: str) -> tuple[int, int]:
        """(prompt tokens, completion tokens) as the answer's usage will have them."""
        prompt = 3
        for message in self.messages:
            prompt += 3 + answers.text_tokens(message.content)
        choices = self.n or 1
        if self.tools and self.forced_tool():
            return prompt, answers.TOOL_TOKENS * choices
        return prompt, answers.output_tokens(question, self.limit) * choices

    def forced_tool(self) -> Function | None:
        """The function that tool_choice makes the model call, if it does."""
        functions = [tool.function for tool in self.tools or () if tool.function]
        match self.tool_choice:
            case "required":
                return functions[0] if functions else None
            case ToolChoice(function=Function(name=name)):
                return next((f for f in functions if f.name == name), None)
        return None


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

    def __post_init__(self) -> None:
        most = DIMENSIONS.get(self.model, self.dimensions or 0)
        if self.dimensions is not None and (self.model == _FIXED or self.dimensions > most):
            raise ValueError(f"dimensions must be at most {most}, and cannot be set for {_FIXED}")
        counts = [answers.text_tokens(t) if isinstance(t, str) else len(t) for t in self.texts]
        if max(counts) > _MAX_INPUT_TOKENS or sum(counts) > _MAX_TOKENS:
            raise ValueError(
                f"input: at most {_MAX_INPUT_TOKENS} tokens an item and {_MAX_TOKENS} in all"
            )

    @property
    def texts(self) -> list[str | list[int]]:
        """The inputs: texts, or texts given as tokens."""
        if isinstance(self.input, str):
            return [self.input]
        if isinstance(self.input[0], int):
            return [self.input]  # type: ignore[list-item]
        return self.input  # type: ignore[return-value]

    @property
    def tokens(self) -> int:
        """Prompt tokens as the answer's usage will have them."""
        return sum(answers.text_tokens(t) if isinstance(t, str) else len(t) for t in self.texts)


class Line(Struct, gc=False):
    custom_id: str
    method: Literal["POST"]
    url: str
    body: Raw


Body = Chat | Embedding | Responses | TextsAndImages
