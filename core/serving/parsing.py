"""Makes a request's bytes a message, and refuses what is none.

grpc.aio answers UNKNOWN where a deserializer raises, and runs it outside of all
interceptors: an unreadable request would be a server's fault, unlogged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from core.serving.api_error import ApiError
from core.serving.interceptor import Call, Context

_REASON = "MALFORMED_MESSAGE"


def parsed(call: Call, parse: Callable[[bytes], Any], method: str) -> Call:
    """The call, given bytes. Within the interceptors, so that a bad request has a typed error."""

    def run(request: bytes, context: Context) -> Awaitable[Any]:
        try:
            message = parse(request)
        except DecodeError:
            raise ApiError.invalid_argument(
                _REASON,
                f"the request is not the message that {method} takes: "
                "generate the client's stubs from this service's protos",
            ) from None
        refuse_nul(message)
        return call(message, context)

    return run


def refuse_nul(message: Message) -> None:
    """Raise MALFORMED_MESSAGE for a text that holds U+0000, which PostgreSQL cannot keep."""
    for path, text in _texts(message):
        if "\0" in text:
            raise ApiError.invalid_argument(
                _REASON,
                f"{path} holds the character U+0000: leave it out",
                violations=[(path, "text without U+0000")],
            )


def _texts(message: Message, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(path, text) of all strings of a message, keys of maps included."""
    for field, value in message.ListFields():
        path = prefix + field.name
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key, each in value.items():
                yield from ((path, text) for text in (key, each) if isinstance(text, str))
        elif field.type == FieldDescriptor.TYPE_STRING:
            yield from ((path, text) for text in ([value] if isinstance(value, str) else value))
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for each in [value] if isinstance(value, Message) else value:
                yield from _texts(each, f"{path}.")
