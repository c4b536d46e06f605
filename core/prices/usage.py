"""What a provider counted for one line, in the kinds that are priced apart."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one request. `input` and `output` are the wholes; the rest are parts of them.

    A token may be of two parts: one of `cached_audio_input` is also one of `cached_input` and
    one of `audio_input`.
    """

    input: int = 0
    """The whole prompt: what was read from a cache and written to one is in it. The tier of
    long prompts is chosen by it."""
    cached_input: int = 0
    """Read from a cache."""
    cache_write_5m: int = 0
    """Written to a cache of the short lifetime: 5 minutes at Anthropic, 30 at OpenAI."""
    cache_write_1h: int = 0
    """Written to a cache of the long lifetime: 1 hour at Anthropic, 12 at OpenAI."""
    output: int = 0
    """The whole answer, what the model thought included."""
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0
    image_input: int = 0
    image_output: int = 0
    cached_audio_input: int = 0
    cached_image_input: int = 0
    web_searches: int = 0
    """Searches that the provider ran itself and charges for; no tokens."""
    us_inference: int = 0
    """1 where inference was bound to the US, which some models charge for; no count."""


NO_USAGE = Usage()


def whole(total: int, *parts: int) -> int:
    """A total that is no smaller than its parts.

    Some servers in OpenAI's form leave cached tokens out of the prompt's: what is reported as a
    part was counted, so it is paid.
    """
    least = sum(parts)
    return total if total > least else least
