"""Single calls in a batch's place ask for no tier of their own.

A batch has none, and a rescue is reckoned, reserved and charged at the real-time price: a faster
tier costs a multiple of that (openai 3.54 service_tier, anthropic 2.12 speed, google-genai 3.4
serviceTier), which a max cost would not hold.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from msgspec import Raw

_fields = msgspec.json.Decoder(dict[str, Raw])
_encode = msgspec.json.Encoder().encode


def without(body: bytes, names: Collection[str]) -> bytes:
    """The JSON object without these members; as it came where it has none of them."""
    if not any(b'"%b"' % name.encode() in body for name in names):
        return body
    fields = _fields.decode(body)
    return _encode({name: raw for name, raw in fields.items() if name not in names})
