"""`ListBatchesRequest.filter`: a plain subset of https://google.aip.dev/160, taken apart.

    filter     = comparison {"AND" comparison}
    comparison = field operator value
    field      = "state" | "name" | "model" | "key" | "parent" | "create_time" | "metadata." key
    value, key = a word, or a text in quotes ("..." or '...', with \\ before a quote)

In: the text. Out: the ledger's conditions. What can go wrong: INVALID_FIELD, with the place in the
text and what was expected there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from core.ledger import BatchState
from core.ledger.batch_search import (
    Condition,
    Created,
    HasTerm,
    InState,
    IsRetry,
    Kind,
    NameContains,
)
from core.serving import ApiError

_MOST_CHARS = 4096
_MOST_COMPARISONS = 20
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<operator><=|>=|!=|<|>|=|:)
      | (?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<time>\d{4}-\d\d-\d\d[Tt][\d:.]+(?:[Zz]|[+-]\d\d:\d\d)(?=\s|\Z))
      | (?P<word>[^\s"'<>=!:()]+)
      | (?P<other>\S)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_FIELDS = "state, name, model, key, parent, create_time or metadata.KEY"
_STATES = ", ".join(state.name for state in BatchState)
_STATE_PREFIX = "BATCH_STATE_"
_EQUALS = ("=", "!=")
_ORDERS = ("<", "<=", ">", ">=")


class _Token(NamedTuple):
    kind: str
    text: str
    """Of a quoted text, what is in the quotes."""
    at: int
    """The character that it begins at, from 1 on."""
    end: int


class _Wrong(Exception):
    """What is wrong at a place of the filter, and what was expected there."""


def parse_filter(text: str) -> Sequence[Condition]:
    """The conditions that a batch has to meet, all of them. Raises INVALID_FIELD."""
    try:
        if "\0" in text:
            raise _Wrong("expected no U+0000")
        if len(text) > _MOST_CHARS:
            raise _Wrong(f"expected at most {_MOST_CHARS} characters")
        return _conditions(text)
    except _Wrong as error:
        raise _invalid(str(error)) from None


def _conditions(text: str) -> list[Condition]:
    tokens = _Tokens(text)
    found: list[Condition] = []
    while tokens.left:
        if found:
            tokens.joined()
        if len(found) == _MOST_COMPARISONS:
            raise _Wrong(f"expected at most {_MOST_COMPARISONS} comparisons")
        found.append(_comparison(tokens))
    return found


class _Tokens:
    """The tokens of a filter, one after another."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_split(text.rstrip()))
        self._next = 0
        self._end = len(text.rstrip()) + 1

    @property
    def left(self) -> bool:
        return self._next < len(self._tokens)

    def take(self, expected: str, *kinds: str) -> _Token:
        """The next token, of one of these kinds."""
        if not self.left:
            raise _Wrong(f"expected {expected} at the end, at character {self._end}")
        token = self._tokens[self._next]
        if token.kind not in kinds:
            raise _Wrong(f"expected {expected} at character {token.at}, not {token.text[:40]!r}")
        self._next += 1
        return token

    def joined(self) -> None:
        """An AND."""
        token = self.take("AND", "word")
        if token.text == "AND":
            return
        hint = " (OR and NOT are not supported)" if token.text in ("OR", "NOT") else ""
        raise _Wrong(f"expected AND at character {token.at}, not {token.text[:40]!r}{hint}")

    def glued(self, before: _Token) -> bool:
        """Whether a quoted text follows at once."""
        if not self.left:
            return False
        token = self._tokens[self._next]
        return token.kind == "quoted" and token.at == before.end


def _split(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text) and (match := _TOKEN.match(text, at)):
        kind = match.lastgroup or ""
        start, at = match.start(kind) + 1, match.end()
        found = match[kind]
        if kind == "quoted":
            found = _ESCAPED.sub(r"\1", found[1:-1])
        if kind == "other" and found in "\"'":
            raise _Wrong(f"the text that begins at character {start} has no closing {found}")
        yield _Token("word" if kind == "time" else kind, found, start, at + 1)


def _comparison(tokens: _Tokens) -> Condition:
    field = tokens.take(_FIELDS, "word")
    name, dot, key = field.text.partition(".")
    if name == "metadata":
        if dot and not key and tokens.glued(field):
            key = tokens.take("a key", "quoted").text
        if not key:
            raise _Wrong(f"expected a key behind metadata, as in metadata.team, {_at(field)}")
        operator = _operator(tokens, field, _EQUALS)
        return HasTerm(Kind.METADATA, key, _value(tokens).text, negated=operator == "!=")
    read = _READERS.get(field.text)
    if read is None:
        hint = " (NOT is not supported: use !=)" if field.text in ("NOT", "-") else ""
        raise _Wrong(f"expected {_FIELDS} at character {field.at}, not {field.text[:40]!r}{hint}")
    operators, make = read
    operator = _operator(tokens, field, operators)
    return make(operator, _value(tokens))


def _operator(tokens: _Tokens, field: _Token, allowed: Sequence[str]) -> str:
    token = tokens.take(f"{' or '.join(allowed)} behind {field.text[:40]}", "operator")
    if token.text not in allowed:
        raise _Wrong(
            f"expected {' or '.join(allowed)} behind {field.text[:40]} at character {token.at}, "
            f"not {token.text!r}"
        )
    return token.text


def _value(tokens: _Tokens) -> _Token:
    return tokens.take("a value (in quotes if it has spaces or signs)", "word", "quoted")


def _state(operator: str, value: _Token) -> Condition:
    try:
        state = BatchState[value.text.upper().removeprefix(_STATE_PREFIX)]
    except KeyError:
        raise _Wrong(f"expected one of {_STATES} {_at(value)}") from None
    return InState(state, negated=operator == "!=")


def _term(kind: Kind) -> Callable[[str, _Token], Condition]:
    return lambda operator, value: HasTerm(kind, value.text, negated=operator == "!=")


def _name(operator: str, value: _Token) -> Condition:
    if operator == ":":
        return NameContains(value.text)
    return _term(Kind.NAME)(operator, value)


def _parent(operator: str, value: _Token) -> Condition:
    if not value.text:
        return IsRetry(operator == "!=")
    return _term(Kind.PARENT)(operator, value)


def _created(operator: str, value: _Token) -> Condition:
    try:
        moment = datetime.fromisoformat(value.text)
        if moment.tzinfo is None:
            raise ValueError("a time without a zone")
        return Created(operator, moment.astimezone(UTC))
    except (ValueError, OverflowError):
        raise _Wrong(
            f'expected a time with its zone, such as "2026-11-28T12:00:00Z", {_at(value)}'
        ) from None


_READERS: dict[str, tuple[Sequence[str], Callable[[str, _Token], Condition]]] = {
    "state": (_EQUALS, _state),
    "name": ((*_EQUALS, ":"), _name),
    "model": (_EQUALS, _term(Kind.MODEL)),
    "key": (_EQUALS, _term(Kind.KEY)),
    "parent": (_EQUALS, _parent),
    "create_time": (_ORDERS, _created),
}


def _at(token: _Token) -> str:
    return f"at character {token.at}, not {token.text[:40]!r}"


def _invalid(wrong: str) -> ApiError:
    # It says itself what was expected, and where.
    return ApiError.invalid_argument(
        "INVALID_FIELD", f"filter: {wrong}", violations=[("filter", wrong)]
    )
