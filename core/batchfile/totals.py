"""How much prompt and answer a file asks for, added up while it is checked.

Tokens are not in it: how many bytes a token has is learned, and what it costs changes by day and
account. So it holds sums of what never changes, by what decides the price: the group, the size
of the prompt (as some prices rise with it) and what the request says of its answer.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import msgspec

from core.batchfile.asking import Asked

LINE_OVERHEAD = 128
"""Bytes of our custom id and the provider's envelope, beyond a line as the user wrote it."""

# The lines of a file mostly ask alike, which takes some dozens of sums. From so many sums on,
# limits are rounded up to a number of which only the first four bits are set; from so many more
# on, there is one sum for each group: what a line can cost at the most is then that of the
# costliest.
_EXACT_SUMS = 4_096
_ROUNDED_SUMS = 16_384
_KEPT_BITS = 4
_ANY = Asked(None)

_Key: TypeAlias = tuple[int, int, Asked, bool]


class MediaTokens(NamedTuple):
    """What the images, recordings and files of a request come to, in tokens."""

    tokens: int = 0
    audio: int = 0
    """Of these, recordings'."""
    most: int = 0
    """All of them at the most."""


class LineSum(msgspec.Struct, array_like=True, gc=False):
    """Lines that are priced alike."""

    group: int
    """Position in the file's list of groups."""
    limit: int | None
    """Of one answer, in tokens; None: the request does not say."""
    answers: int
    flags: int
    """As Asked.flags."""
    lenient: bool
    """Whether only a lenient batch takes them."""
    lines: int = 0
    text_bytes: int = 0
    """Of the lines, with LINE_OVERHEAD each and without base64."""
    media_tokens: int = 0
    audio_tokens: int = 0
    media_at_most: int = 0
    longest: int = 0
    """Of one line: bytes of text and tokens of media at the most, together."""


class Totals:
    """Sums over the lines of a file, as they come."""

    def __init__(self) -> None:
        self._sums: dict[_Key, LineSum] = {}

    def add(
        self,
        group: int,
        size: int,
        asked: Asked,
        media: MediaTokens = MediaTokens(),  # noqa: B008 (immutable)
        *,
        lenient: bool = False,
    ) -> None:
        """Count one line. `size`: its bytes without base64."""
        size += LINE_OVERHEAD
        weight = size + media.most
        key = (group, step_of(weight), asked, lenient)
        found = self._sums.get(key)
        if found is None:
            found = self._new(key)
        found.lines += 1
        found.text_bytes += size
        if weight > found.longest:
            found.longest = weight
        if media.most:
            found.media_tokens += media.tokens
            found.audio_tokens += media.audio
            found.media_at_most += media.most

    def sum_of(self, group: int, weight: int, asked: Asked) -> LineSum:
        """The sum of lines without media that every batch takes, to be added to.

        `weight`: of one of them, LINE_OVERHEAD included; see `step_of`.
        """
        key = (group, step_of(weight), asked, False)
        return self._sums.get(key) or self._new(key)

    def sums(self) -> list[LineSum]:
        """What was counted, in one order, whatever came first."""
        return sorted(self._sums.values(), key=_order)

    def _new(self, key: _Key) -> LineSum:
        group, step, asked, lenient = key
        count = len(self._sums)
        if count >= _ROUNDED_SUMS:
            return self._rest(group, asked, lenient=lenient)
        if count >= _EXACT_SUMS and asked.limit is not None:
            asked = asked._replace(limit=_rounded_up(asked.limit))
            key = (group, step, asked, lenient)
            if key in self._sums:
                return self._sums[key]
        found = self._sums[key] = LineSum(group, *asked, lenient)
        return found

    def _rest(self, group: int, asked: Asked, *, lenient: bool) -> LineSum:
        found = self._sums.setdefault((group, -1, _ANY, lenient), LineSum(group, *asked, lenient))
        limits = (found.limit, asked.limit)
        found.limit = None if None in limits else max(each or 0 for each in limits)
        found.answers = max(found.answers, asked.answers)
        found.flags |= asked.flags
        return found


def _order(each: LineSum) -> tuple[int, int, int, int, int, bool]:
    limit = -1 if each.limit is None else each.limit
    return each.group, each.longest, limit, each.answers, each.flags, each.lenient


def step_of(weight: int) -> int:
    """Lines of one step are added up together: there are four for each power of two."""
    bits = weight.bit_length()
    return bits << 2 | weight >> bits - 3 & 3


def end_of_step(weight: int) -> int:
    """The least weight that is of a later step than this one."""
    shift = weight.bit_length() - 3
    return (weight >> shift) + 1 << shift


def _rounded_up(limit: int) -> int:
    shift = max(limit.bit_length() - _KEPT_BITS, 0)
    return -(-limit >> shift) << shift


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[LineSum])


def encode_totals(sums: list[LineSum]) -> bytes:
    """JSON, the same bytes for the same file."""
    return _encoder.encode(sums)


def decode_totals(raw: bytes) -> list[LineSum]:
    """What encode_totals wrote. Raises msgspec.DecodeError."""
    return _decoder.decode(raw)
