"""What an answer in OpenAI's form holds, as far as it decides whether to believe it.

Servers and gateways with OpenAI's form answer with status 200 and an error, with an empty
object, with no choices, or with a choice that broke off. Only the fields that tell are read;
the body itself is passed on as it came.

Sources: openai 3.54.0 types/chat/chat_completion.py, types/completion.py, types/
create_embedding_response.py, types/images_response.py, types/moderation_create_response.py,
types/responses/response.py; OpenRouter's documentation of errors (an error in a choice).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from core.prices.usage import NO_USAGE, Usage
from core.providers.finish_reasons import BROKEN, OPENAI, OPENAI_INCOMPLETE, OPENAI_RESPONSES
from core.providers.line_errors import EMPTY_ANSWER, NO_REASON, code_of
from core.providers.openai.usage import OpenAIUsage, usage_of
from core.providers.provider_errors import ErrorAnswer, error_in, is_transient

Raw = msgspec.Raw
Scalar = str | int | float | bool | None
Loose = Scalar | list[Any]
"""Anything but an object: a field in an odd form must not cost the line."""
Odd = Scalar | dict[str, Any]
"""Anything but a list."""

NULL = Raw(b"null")
_NO_LIST = Raw(b"[]")
_GIVEN = Raw(b"")

_BELIEVED = frozenset(reason for reason, meaning in OPENAI.items() if meaning != BROKEN)
_MAY_BE_EMPTY = frozenset({"length", "content_filter"})


class Message(msgspec.Struct, gc=False):
    """Of a chat completion: each of its ways to say something."""

    content: Raw = NULL
    tool_calls: Raw = NULL
    refusal: Raw = NULL
    function_call: Raw = NULL
    audio: Raw = NULL
    images: Raw = NULL

    @property
    def says_something(self) -> bool:
        return any(
            raw not in (NULL, _NO_LIST)
            for raw in (
                self.content,
                self.tool_calls,
                self.refusal,
                self.function_call,
                self.audio,
                self.images,
            )
        )


class Choice(msgspec.Struct, gc=False):
    """Of a chat completion, or with `text` of a completion."""

    message: Message | Loose = None
    finish_reason: Any = None
    text: Raw = NULL
    error: Any = None


class Item(msgspec.Struct, gc=False):
    """Of a list of embeddings, images or verdicts, or of the output of a response."""

    embedding: Raw = _GIVEN
    type: Any = None
    action: Any = None
    status: Any = None

    @property
    def is_search(self) -> bool:
        """Whether it is a web search; pages that are opened or looked through are none."""
        if self.type != "web_search_call" or self.status == "failed":
            return False
        # The first of these tools told no action: all that they did was to search.
        return not isinstance(self.action, dict) or self.action.get("type") == "search"


class Body(msgspec.Struct, gc=False):
    """Of a response of any endpoint."""

    usage: OpenAIUsage | Loose = None
    error: Any = None
    choices: list[Choice | Loose] | Odd = None
    data: list[Item | Loose] | Odd = None
    results: list[Item | Loose] | Odd = None
    output: list[Item | Loose] | Odd = None
    status: Any = None
    incomplete_details: Any = None


class _Any(msgspec.Struct):
    body: Any = None


class Fault(NamedTuple):
    """Why an answer is none."""

    code: str
    message: str
    transient: bool = False
    """Whether the same request may fare better later."""
    stated: bool = True
    """False: nothing in the answer says so; it is only empty."""


_EMPTY = Fault(EMPTY_ANSWER, "The provider answered without an answer in it.", stated=False)
_body_of = msgspec.json.Decoder(_Any).decode


def is_plain(body: Body) -> bool:
    """Whether it is an answer of the common kinds, to be believed: a short way, for most lines."""
    if body.error is not None:
        return False
    choices = body.choices
    if type(choices) is not list or not choices:
        return _has_items(body.data)
    for choice in choices:
        if type(choice) is not Choice or choice.error is not None:
            return False
        message, reason = choice.message, choice.finish_reason
        if type(message) is not Message or type(reason) is not str or reason not in _BELIEVED:
            return False
        content = message.content
        if content == NULL:
            content = message.tool_calls
        if content in (NULL, _NO_LIST):
            return False
    return True


def find_fault(body: Body | Loose, response: bytes | Raw) -> Fault | None:
    """Why a body that came with a good status is no answer; None: it is one.

    `response`: the JSON that it stands in as "body", for what an error says.
    """
    if not isinstance(body, Body):
        return _EMPTY
    if body.error:
        return _stated(error_in({"error": body.error}))
    if isinstance(body.choices, list):
        return _fault_of_choices(body.choices)
    if body.output is not None or isinstance(body.status, str):
        return _fault_of_response(body)
    if _has_items(body.data) or _has_items(body.results):
        return None
    found = error_beside(response)
    return _stated(found) if found.message else _EMPTY


def _fault_of_choices(choices: list[Choice | Loose]) -> Fault | None:
    if not choices:
        return _EMPTY
    for choice in choices:
        if not isinstance(choice, Choice):
            return _EMPTY
        if choice.error:
            return _stated(error_in({"error": choice.error}))
        reason = choice.finish_reason if isinstance(choice.finish_reason, str) else ""
        meaning = OPENAI.get(reason)
        if meaning == BROKEN:
            return Fault(reason, f"The provider ended the answer with finish_reason {reason!r}.")
        message = choice.message
        has_content = isinstance(message, Message) and message.says_something
        if not has_content and choice.text == NULL and meaning not in _MAY_BE_EMPTY:
            ended = f" with finish_reason {reason!r}" if reason else ""
            return _EMPTY._replace(
                message=f"The provider ended its answer{ended} and said nothing in it."
            )
    return None


def _fault_of_response(body: Body) -> Fault | None:
    """Of /v1/responses."""
    status = body.status if isinstance(body.status, str) else ""
    if OPENAI_RESPONSES.get(status) == BROKEN:
        return Fault(status, f"The provider answered with a response that is {status}.")
    if isinstance(body.output, list) and body.output:
        return None
    match body.incomplete_details:
        case {"reason": str(reason)} if status == "incomplete" and reason in OPENAI_INCOMPLETE:
            return None
    return _EMPTY


def _has_items(items: list[Item | Loose] | Odd) -> bool:
    if type(items) is not list or not items:
        return False
    for item in items:
        if type(item) is not Item or item.embedding == NULL or item.embedding == _NO_LIST:
            return False
    return True


def _stated(found: ErrorAnswer) -> Fault:
    return Fault(code_of(found), found.message or NO_REASON, is_transient(found.status, found.code))


def error_beside(response: bytes | Raw) -> ErrorAnswer:
    """What the body of a response says went wrong, where it has no "error"."""
    try:
        return error_in(_body_of(response).body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ErrorAnswer()


def tokens_of(body: Body | Loose) -> Usage:
    """What an answer cost, well or ill; zeros where it does not say.

    Web searches are billed by the call, and no usage of OpenAI's tells them: its output does.
    """
    if not isinstance(body, Body):
        return NO_USAGE
    usage = usage_of(body.usage) if isinstance(body.usage, OpenAIUsage) else NO_USAGE
    if type(body.output) is not list:
        return usage
    searches = sum(type(item) is Item and item.is_search for item in body.output)
    return msgspec.structs.replace(usage, web_searches=searches) if searches else usage
