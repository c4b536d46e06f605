"""How deep JSON may be nested, and whether it is deeper.

Decoders stop at Python's recursion limit, which depends on the version of Python and on
how deep the stack happens to be: what one step accepts could be unreadable to the next.
So there is one limit, far from it, asked wherever JSON comes in.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

MAX_DEPTH = 500
"""Levels of lists and objects."""
_STACK_MARGIN = 100

T = TypeVar("T")

# A string without an end is one, too: each byte is looked at once, whatever comes.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_OPENING = ord("[")
# What is wide and flat, which most is, is gone after a few rounds of removing inner pairs.
_ROUNDS = 4
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

# Of brackets of a kind that are looked for one by one, in what is so long.
_FEW = 8
_LONG = 2048


def deeper_than(raw: bytes, levels: int = MAX_DEPTH) -> bool:
    """Whether JSON is nested deeper than so many levels.

    Of what is not JSON it may say either; it raises nothing. Nearly free for lines of
    the common kind; linear for all.
    """
    # Each level takes two brackets.
    if len(raw) <= 2 * levels or _has_few_brackets(raw, levels):
        return False
    left = _STRING.sub(b"", raw).translate(_ONE_KIND, _NO_BRACKETS)
    rounds = min(levels, _ROUNDS)
    for _ in range(rounds):
        left = left.replace(b"[]", b"")
    depth = rounds
    for bracket in left:
        depth += 1 if bracket == _OPENING else -1
        if depth > levels:
            return True
    return False


def with_stack_margin(call: Callable[[], T], levels: int = _STACK_MARGIN) -> T:
    """Make a call further down the stack.

    JSON that is nested deeper than what Python 3.11's recursion limit leaves cannot be
    decoded. What passes the check down here can be decoded wherever it is read later,
    so no line is accepted that would stop a service for ever.
    """
    return call() if levels == 0 else with_stack_margin(call, levels - 1)


def _has_few_brackets(raw: bytes, levels: int) -> bool:
    """Whether so few open that it cannot be deep.

    Where they are rare, as in long texts, `find` is five times as fast as `count`.
    """
    if len(raw) > _LONG and levels >= 2 * _FEW and _has_few(raw, b"{") and _has_few(raw, b"["):
        return True
    return raw.count(b"{") + raw.count(b"[") <= levels


def _has_few(raw: bytes, bracket: bytes) -> bool:
    at = raw.find(bracket)
    for _ in range(_FEW):
        if at < 0:
            return True
        at = raw.find(bracket, at + 1)
    return at < 0
