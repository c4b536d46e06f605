"""Gemini's requests: their form, and what is checked when a line is run.

The forms are strict: what they accept is right, in one fast decode. Names are in lower
camel case, as the SDKs have them; those of Google's batch examples (`generation_config`) are read
with a second decode, as the JSON of protocol buffers takes both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from services.sandbox import answers, images
from services.sandbox.gemini.functions import names_problem, references_problem

NOTHING = Raw(b"")
"""An optional member that the request does not have."""
THOUGHT_TOKENS = 8
"""Output tokens of the thinking before an answer."""
EMBEDDING_DIMENSIONS = 3072
_BOTH_ALPHABETS = str.maketrans("-_", "+/")
"""The JSON of protocol buffers takes both, padded or not."""
_VERSION = re.compile(r"(?:gemini|gemma)-(\d+)(?:\.(\d+))?")


_IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "image/heic"})


class Blob(Struct, gc=False, forbid_unknown_fields=True):
    mimeType: str
    data: str

    def __post_init__(self) -> None:
        data = images.decode(self.data.translate(_BOTH_ALPHABETS) + "=" * (-len(self.data) % 4))
        if self.mimeType.startswith("image/") and images.format_of(data) not in _IMAGE_TYPES:
            raise ValueError("Unable to process input image. Please retry or report.")


class FileData(Struct, gc=False, forbid_unknown_fields=True):
    fileUri: str
    mimeType: str = ""


class FunctionCall(Struct, gc=False, forbid_unknown_fields=True):
    name: str
    args: dict[str, Any] | None = None
    id: str = ""


class FunctionResponse(Struct, gc=False, forbid_unknown_fields=True):
    name: str
    response: dict[str, Any]
    id: str = ""


class Part(Struct, gc=False, forbid_unknown_fields=True):
    text: str | None = None
    inlineData: Blob | None = None
    fileData: FileData | None = None
    functionCall: FunctionCall | None = None
    functionResponse: FunctionResponse | None = None
    thought: bool = False
    thoughtSignature: str = ""
    mediaResolution: Raw = NOTHING
    videoMetadata: Raw = NOTHING

    def __post_init__(self) -> None:
        data = (self.text, self.inlineData, self.fileData, self.functionCall, self.functionResponse)
        if sum(each is not None for each in data) != 1:
            raise ValueError("data: required oneof field 'data' must have one initialized field")


class Content(Struct, gc=False, forbid_unknown_fields=True):
    parts: Annotated[list[Part], Meta(min_length=1)]
    role: Literal["user", "model"] = "user"


class ThinkingConfig(Struct, gc=False, forbid_unknown_fields=True):
    includeThoughts: bool = False
    thinkingBudget: int | None = None
    thinkingLevel: Literal["MINIMAL", "LOW", "MEDIUM", "HIGH"] | None = None

    def __post_init__(self) -> None:
        if self.thinkingBudget is not None and self.thinkingLevel is not None:
            raise ValueError("You can only set one of thinking budget and thinking level.")


class GenerationConfig(Struct, gc=False, frozen=True, forbid_unknown_fields=True):
    candidateCount: Annotated[int, Meta(ge=1, le=8)] = 1
    maxOutputTokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    topP: Annotated[float, Meta(ge=0, le=1)] | None = None
    topK: Annotated[int, Meta(ge=1)] | None = None
    seed: Annotated[int, Meta(ge=-(2**31), lt=2**31)] | None = None
    presencePenalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequencyPenalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    stopSequences: Annotated[list[str], Meta(max_length=5)] = []
    responseMimeType: Literal["text/plain", "application/json", "text/x.enum"] = "text/plain"
    responseJsonSchema: dict[str, Any] | None = None
    responseSchema: dict[str, Any] | None = None
    responseModalities: list[str] = []
    thinkingConfig: ThinkingConfig | None = None
    mediaResolution: str = ""
    responseLogprobs: bool = False
    logprobs: int | None = None
    speechConfig: Raw = NOTHING
    enableEnhancedCivicAnswers: bool = False

    def __post_init__(self) -> None:
        schema = self.responseJsonSchema or self.responseSchema
        if schema is not None and self.responseMimeType == "text/plain":
            raise ValueError(
                "Function calling config or response schema needs the response mime type "
                "'application/json'."
            )


class FunctionDeclaration(Struct, gc=False, forbid_unknown_fields=True):
    name: str
    description: str = ""
    parameters: dict[str, Any] | None = None
    parametersJsonSchema: dict[str, Any] | None = None
    response: Raw = NOTHING
    responseJsonSchema: Raw = NOTHING
    behavior: str = ""

    @property
    def schema(self) -> dict[str, Any] | None:
        return self.parametersJsonSchema or self.parameters


class Tool(Struct, gc=False, forbid_unknown_fields=True):
    functionDeclarations: list[FunctionDeclaration] = []
    codeExecution: Raw = NOTHING
    googleSearch: Raw = NOTHING
    googleSearchRetrieval: Raw = NOTHING
    urlContext: Raw = NOTHING


class FunctionCallingConfig(Struct, gc=False, forbid_unknown_fields=True):
    mode: Literal["AUTO", "ANY", "NONE", "VALIDATED"] = "AUTO"
    allowedFunctionNames: list[str] = []

    def __post_init__(self) -> None:
        if self.allowedFunctionNames and self.mode not in ("ANY", "VALIDATED"):
            raise ValueError("allowed_function_names needs the mode ANY or VALIDATED.")


class ToolConfig(Struct, gc=False, forbid_unknown_fields=True):
    functionCallingConfig: FunctionCallingConfig | None = None
    retrievalConfig: Raw = NOTHING


class Generate(Struct, gc=False, forbid_unknown_fields=True):
    """A GenerateContentRequest."""

    contents: Annotated[list[Content], Meta(min_length=1)]
    model: str = ""
    systemInstruction: Content | None = None
    generationConfig: GenerationConfig = GenerationConfig()
    tools: list[Tool] = []
    toolConfig: ToolConfig | None = None
    safetySettings: Raw = NOTHING
    cachedContent: str = ""
    serviceTier: str = ""
    store: bool = False

    @property
    def question(self) -> str:
        """The text of the last message from the user."""
        for content in reversed(self.contents):
            if content.role == "user" and (text := _text(content.parts)):
                return text
        return ""

    def measure(self, model: str, question: str) -> tuple[int, int]:
        """(prompt tokens, output tokens with thoughts) as the usage metadata will have them."""
        prompt = 3
        if self.systemInstruction is not None:
            prompt += answers.text_tokens(_text(self.systemInstruction.parts))
        for content in self.contents:
            prompt += 3 + answers.text_tokens(_text(content.parts))
        return prompt, self.answer_tokens(question) + self.thought_tokens(model)

    def answer_tokens(self, question: str) -> int:
        """Tokens of all candidates."""
        config = self.generationConfig
        if self.tools and self.forced_function() is not None:
            return answers.TOOL_TOKENS * config.candidateCount
        return answers.output_tokens(question, config.maxOutputTokens) * config.candidateCount

    def thought_tokens(self, model: str) -> int:
        """Tokens of the thinking before the answer."""
        thinking = self.generationConfig.thinkingConfig
        silent = thinking is not None and thinking.thinkingBudget == 0
        return 0 if silent or version_of(model) < (2, 5) else THOUGHT_TOKENS

    def forced_function(self) -> FunctionDeclaration | None:
        """The function that the tool config makes the model call, if it does."""
        config = self.toolConfig.functionCallingConfig if self.toolConfig else None
        if config is None or config.mode != "ANY":
            return None
        declared = [each for tool in self.tools for each in tool.functionDeclarations]
        names = config.allowedFunctionNames or [each.name for each in declared]
        return next((each for each in declared if each.name in names), None)

    def problem(self, model: str) -> str:
        """What is wrong that the form does not show; empty if all is well."""
        if self.contents[-1].role != "user":
            return "Please ensure that multiturn requests end with a user role."
        thinking = self.generationConfig.thinkingConfig
        version = version_of(model)
        if thinking is not None and thinking.thinkingLevel and version < (3, 0):
            return "Thinking level is not supported for this model."
        if thinking is not None and thinking.thinkingBudget == 0 and "-pro" in model:
            return "Budget 0 is invalid. This model only works in thinking mode."
        return _turn_problem(self.contents, signed=version >= (3, 0)) or self._wrong_functions()

    def _wrong_functions(self) -> str:
        declared = [each for tool in self.tools for each in tool.functionDeclarations]
        config = self.toolConfig.functionCallingConfig if self.toolConfig else None
        allowed = config.allowedFunctionNames if config else []
        schemas = [each.parametersJsonSchema for each in declared]
        schemas.append(self.generationConfig.responseJsonSchema)
        wrong = [references_problem(schema) for schema in schemas if schema]
        return names_problem([each.name for each in declared], allowed) or next(
            filter(None, wrong), ""
        )


class EmbedConfig(Struct, gc=False):
    """Of newer requests; its members repeat those of the request."""

    outputDimensionality: int | None = None


class Embed(Struct, gc=False, forbid_unknown_fields=True):
    """An EmbedContentRequest."""

    content: Content
    model: str = ""
    taskType: str = ""
    title: str = ""
    outputDimensionality: Annotated[int, Meta(ge=1, le=EMBEDDING_DIMENSIONS)] | None = None
    embedContentConfig: EmbedConfig | None = None

    @property
    def text(self) -> str:
        return _text(self.content.parts)

    @property
    def tokens(self) -> int:
        """As the answer will tell them."""
        return answers.text_tokens(self.text)

    def problem(self, model: str) -> str:
        """What is wrong that the form does not show; empty if all is well."""
        return "" if self.text else "content contains an empty Part."


class Line(Struct, gc=False):
    key: str
    request: Raw


Request = Generate | Embed

_FREE = frozenset(
    {
        "args",
        "parameters",
        "parametersJsonSchema",
        "response",
        "responseJsonSchema",
        "responseSchema",
    }
)
"""Members whose values have names of the caller's own."""


def reader_of(form: type[Request]) -> Callable[[bytes | Raw], Request]:
    """Returns what reads a request of this form; it raises what msgspec does for a wrong one."""
    decode = msgspec.json.Decoder(form).decode

    def read(raw: bytes | Raw) -> Request:
        try:
            return decode(raw)
        except msgspec.ValidationError:
            return decode(msgspec.json.encode(_in_camel_case(msgspec.json.decode(raw))))

    return read


def _in_camel_case(value: Any) -> Any:
    if isinstance(value, list):
        return [_in_camel_case(each) for each in value]
    if not isinstance(value, dict):
        return value
    named = ((_camel(name), each) for name, each in value.items())
    return {name: each if name in _FREE else _in_camel_case(each) for name, each in named}


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def version_of(model: str) -> tuple[int, int]:
    """The version in a model's name; of one without, a new one."""
    found = _VERSION.match(model)
    return (int(found[1]), int(found[2] or 0)) if found else (3, 0)


def _text(parts: Sequence[Part]) -> str:
    return " ".join(part.text for part in parts if part.text)


def _turn_problem(contents: Sequence[Content], *, signed: bool) -> str:
    """What is wrong with the function calls among the turns."""
    called: list[str] = []
    for content in contents:
        answered = [p.functionResponse.name for p in content.parts if p.functionResponse]
        if len(answered) != len(called):
            return (
                "Please ensure that the number of function response parts is equal to the "
                "number of function call parts of the function call turn."
            )
        calls = [part for part in content.parts if part.functionCall]
        if calls and signed and not calls[0].thoughtSignature:
            return "Function call is missing a thought_signature in functionCall parts."
        ids = [part.functionCall.id for part in calls if part.functionCall and part.functionCall.id]
        if len(ids) != len(set(ids)):
            return "Please ensure that function calls have ids of their own."
        called = [part.functionCall.name for part in calls if part.functionCall]
        if any(part.text == "" for part in content.parts):
            return "contents.parts must not be empty."
    return ""
