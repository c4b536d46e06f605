"""A second, slower look at a line's JSON, for what the fast decoder cannot tell.

It says where a string holds half of a character, and which keys of an object come twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_HALF = re.compile("[\ud800-\udfff]")
_MAY_HAVE_HALF = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
_LONGEST_PATH = 200
_MOST_KEYS = 10


class _Pairs(list[tuple[str, Any]]):
    """An object with all its keys."""


def lone_surrogate(raw: bytes) -> tuple[str, str, str] | None:
    """The first string with half of a character: its path, the half, and the custom id.

    The path is that of the object where it is a key's. None where there is no such string,
    or the line is not JSON for another reason as well.
    """
    if not _MAY_HAVE_HALF.search(raw):
        return None
    try:
        found = _load(raw, None)
    except (ValueError, RecursionError):
        return None
    custom_id = found.get("custom_id") if isinstance(found, dict) else None
    if not isinstance(custom_id, str) or _HALF.search(custom_id):
        custom_id = ""
    for path, text in _strings(found, ""):
        half = _HALF.search(text)
        if half:
            return _shown(path), f"\\u{ord(half[0]):04x}", custom_id
    return None


def doubled_keys(raw: bytes) -> list[str]:
    """Paths of keys that come twice in one object of a line, such as "body.stop"."""
    try:
        _looking.decode(raw.decode("utf-8", "surrogatepass"))
    except _FoundDoubled:
        # Objects are ended from within: only a second reading knows where each one stands.
        return list(dict.fromkeys(_doubled(_load(raw, _Pairs), "")))[:_MOST_KEYS]
    except (ValueError, RecursionError):
        pass
    return []


class _FoundDoubled(Exception):
    """An object has a key twice."""


def _look(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) > 1 and len(dict(pairs)) < len(pairs):
        raise _FoundDoubled


# Numbers stay text: their value is of no interest here, and may be too long to have one.
_looking = json.JSONDecoder(object_pairs_hook=_look, parse_int=str, parse_float=str)


def _load(raw: bytes, hook: Any) -> Any:
    text = raw.decode("utf-8", "surrogatepass")
    return json.loads(text, object_pairs_hook=hook, parse_int=str, parse_float=str)


def _strings(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield path, key
            yield from _strings(each, _member(path, key))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _strings(each, f"{path}[{number}]")


def _doubled(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, each in value:
            if key in seen:
                yield _shown(_member(path, key))
            seen.add(key)
            yield from _doubled(each, _member(path, key))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _doubled(each, f"{path}[{number}]")


def _member(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _shown(path: str) -> str:
    # A key of the user's own may hold what no message can.
    path = _HALF.sub("\N{REPLACEMENT CHARACTER}", path)
    return path if len(path) <= _LONGEST_PATH else path[:_LONGEST_PATH] + "…"
