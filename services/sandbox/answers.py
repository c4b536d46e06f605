"""What the sandbox says: a short text that follows from the request alone.

The text carries a fingerprint of the model and the question, and the beginning of the
question, so that an answer that came back to the wrong line is noticed. Easy sums and
series are really answered.
"""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Sequence
from typing import Any, Protocol
from zlib import crc32

from msgspec import Struct

ECHO_CHARS = 60
"""How much of the question an answer repeats."""
TOOL_TOKENS = 16
"""Output tokens of a tool call."""
_FRAME_TOKENS = 12
CHARS_PER_TOKEN = 4
_NEWLINE = b"\n"

_MAX_SCHEMA_DEPTH = 16

_SUM = re.compile(
    r"what(?:'s| is) (-?\d{1,15}(?:\.\d{1,9})?) ?([-+*/x×]) ?(-?\d{1,15}(?:\.\d{1,9})?)",
    re.IGNORECASE,
)
_SERIES = re.compile(r"series:? ((?:-?\d{1,15} ?, ?){2,40}(?:-?\d{1,15})?)", re.IGNORECASE)
_OPERATORS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "x": operator.mul,
    "×": operator.mul,
    "/": operator.truediv,
}


class Part(Struct, gc=False):
    """A part of a message's content; of those that are not text only the type matters."""

    type: str
    text: str = ""

    @property
    def media_tokens(self) -> int:
        """Of what is no text."""
        return 0


def text_of(content: str | Sequence[Part] | None) -> str:
    """The text in a message's content."""
    if isinstance(content, str):
        return content
    return " ".join(part.text for part in content or () if part.text)


def text_tokens(content: str | Sequence[Part] | None) -> int:
    """A plausible number of tokens for a message's content."""
    if isinstance(content, str):
        return len(content) // CHARS_PER_TOKEN + 1
    media = sum(part.media_tokens for part in content or ())
    return len(text_of(content)) // CHARS_PER_TOKEN + 1 + media


def fingerprint(model: str, question: str) -> str:
    """Eight hexadecimal digits: CRC-32 of the model, a newline and the question, in UTF-8."""
    return f"{crc32(question.encode(), crc32(model.encode() + _NEWLINE)):08x}"


class _Message(Protocol):
    role: Any
    content: Any


def last_question(messages: Sequence[_Message]) -> str:
    """The text of the last message from the user."""
    for message in reversed(messages):
        if message.role == "user":
            content = message.content
            return content if type(content) is str else text_of(content)
    return ""


def output_tokens(question: str, limit: int | None) -> int:
    """Tokens of the answer to a question, known without making the answer."""
    length = len(question)
    tokens = _FRAME_TOKENS + (length if length < ECHO_CHARS else ECHO_CHARS) // CHARS_PER_TOKEN
    return tokens if limit is None or limit > tokens else limit


def compose(print_: str, question: str, limit: int | None) -> tuple[str, bool]:
    """The answer to a question, and whether `limit` tokens cut it short.

    `print_` is the fingerprint of model and question.
    """
    text = f"sandbox answer {print_} to: {question[:ECHO_CHARS]}"
    solution = solve(question)
    if solution:
        text = f"{text}\n\n{solution}"
    if limit is not None and limit < output_tokens(question, None):
        return text[: limit * CHARS_PER_TOKEN], True
    return text, False


def solve(question: str) -> str:
    """The result of a sum or the next number of a series in the question, if there is one."""
    if "hat" in question and (found := _SUM.search(question)):
        return _calculate(*found.groups())
    if "eries" in question and (found := _SERIES.search(question)):
        return _continue_series([int(number) for number in re.findall(r"-?\d+", found.group(1))])
    return ""


def _calculate(left: str, sign: str, right: str) -> str:
    if sign == "/" and not float(right):
        return "undefined"
    number = float if "." in left + right else int
    result = _OPERATORS[sign](number(left), number(right))
    return f"{result:.12g}" if isinstance(result, float) else str(result)


def _continue_series(numbers: list[int]) -> str:
    if len(numbers) < 2:
        return ""
    step = numbers[1] - numbers[0]
    if all(b - a == step for a, b in itertools.pairwise(numbers)):
        return str(numbers[-1] + step)
    if numbers[0] and numbers[1] % numbers[0] == 0:
        factor = numbers[1] // numbers[0]
        if all(b == a * factor for a, b in itertools.pairwise(numbers)):
            return str(numbers[-1] * factor)
    return ""


def example_object(schema: Any, question: str) -> dict[str, Any]:
    """Arguments that fit a tool's schema; its strings are the beginning of the question."""
    example = example_of(schema, question[:ECHO_CHARS])
    return example if isinstance(example, dict) else {}


def example_of(schema: Any, text: str, depth: int = 0) -> Any:
    """A value that fits a simple JSON schema; its strings are `text`.

    Follows const, enum, the first of anyOf or oneOf, type, properties and items.
    """
    if depth > _MAX_SCHEMA_DEPTH:
        return text
    match schema:
        case {"const": value}:
            return value
        case {"enum": [first, *_]}:
            return first
        case {"anyOf": [first, *_]} | {"oneOf": [first, *_]}:
            return example_of(first, text, depth + 1)
        case {"type": [first, *_]}:
            return example_of({**schema, "type": first}, text, depth + 1)
        case {"properties": {**wanted}}:
            return {name: example_of(inner, text, depth + 1) for name, inner in wanted.items()}
        case {"type": "object"}:
            return {}
        case {"type": "array"}:
            return [example_of(schema.get("items"), text, depth + 1)]
        case {"type": "integer" | "number"}:
            return schema.get("minimum", 1)
        case {"type": "boolean"}:
            return True
        case {"type": "null"}:
            return None
    return text
