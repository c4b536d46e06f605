"""JSON of any kind as bytes, and real answers with something in them exchanged."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

# What a decoder, a database, an encoder or a sum may stumble over; not all of it is JSON.
AWKWARD = [
    b"1e999",
    b"-1e999",
    b"NaN",
    b"-Infinity",
    b"1" * 30,
    b"9" * 5000,
    b"18446744073709551615",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"-1",
    b"0.5",
    b"1e-400",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'""',
    b'"\\ud800"',
    b'"\\u0000"',
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b'{"a":1,"a":2}',
    b'"' + b"x" * 100_000 + b'"',
    b"[" * 600 + b"]" * 600,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 400 + b"1" + b"}" * 400,
    b'"0001-01-01T00:00:00"',
    b'"0001-01-01T00:00:00+14:00"',
    b'"9999-12-31T23:59:59-14:00"',
    b'"2026-11-24T00:00:00"',
    b'"Limit: ,,,, enqueued tokens."',
    b'"Limit: ' + b"9" * 5000 + b' enqueued tokens."',
    b'"https://evil.example/x"',
    b'"../../x#y?z"',
    b"",
]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=10,
)
_PLACE = "place-of-the-awkward-value"


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(value, dict):
        for key, inner in value.items():
            found += _places(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            found += _places(inner, (*path, number))
    return found


def _exchanged(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _exchanged(copy[path[0]], path[1:], new)
    return copy


@st.composite
def changed(draw: st.DrawFn, template: Any) -> bytes:
    """A JSON text like the template, one or two places of it something else; or cut off."""
    value = template
    for _ in range(draw(st.integers(0, 1))):
        value = _exchanged(value, draw(st.sampled_from(_places(value))), draw(anything))
    path = draw(st.sampled_from(_places(value)))
    if draw(st.booleans()):
        value = _exchanged(value, path, _PLACE)
    text = json.dumps(value).encode()
    text = text.replace(json.dumps(_PLACE).encode(), draw(st.sampled_from(AWKWARD)), 1)
    if draw(st.integers(0, 9)) == 0:
        text = text[: draw(st.integers(0, len(text)))]
    return text
