"""Data in base64, of which only as much is decoded as somebody reads."""

from __future__ import annotations

import binascii

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_WHITE_SPACE = b" \t\r\n"
_PADDINGS = frozenset({b"", b"=", b"=="})
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")


class NotBase64(Exception):
    """The text is no base64; the message says why, without any of it."""


class Encoded:
    """Bytes as base64 has them, to be read in any place."""

    __slots__ = ("_text", "characters", "size")

    def __init__(self, text: str, *, loose: bool = False) -> None:
        """Check all of a text; a megabyte takes about a millisecond.

        White space is overlooked. `loose`: the URL-safe alphabet and a missing padding are
        right, too, as in the JSON of protocol buffers. Raises NotBase64.
        """
        self.characters = len(text)
        """Of the text as it was given."""
        try:
            raw = text.encode("ascii")
        except UnicodeEncodeError:
            raise NotBase64("it has a character that is not ASCII") from None
        rest = raw.translate(None, _ALPHABET)
        if rest not in _PADDINGS:
            raw = raw.translate(None, _WHITE_SPACE)
            if loose:
                raw = raw.translate(_TO_STANDARD)
            rest = raw.translate(None, _ALPHABET)
            if rest not in _PADDINGS:
                what = "padding in its middle" if not rest.strip(b"=") else "other characters"
                raise NotBase64(f"it has {what}")
        if not raw.endswith(rest):
            raise NotBase64("it has padding in its middle")
        if len(raw) % 4 and loose and not rest:
            raw += b"=" * (-len(raw) % 4)
        if len(raw) % 4 or raw.endswith(b"==="):
            raise NotBase64(f"it has {len(raw)} characters, which is no multiple of 4")
        self._text = raw
        self.size = len(raw) // 4 * 3 - (len(raw) - len(raw.rstrip(b"=")))
        """Of what it stands for, in bytes."""

    def read(self, start: int, count: int) -> bytes:
        """At most `count` bytes from `start` on; none past the end."""
        first, last = start // 3 * 4, -(-(start + count) // 3) * 4
        return binascii.a2b_base64(self._text[first:last])[start % 3 :][:count]

    def all(self) -> bytes:
        """All bytes: a copy."""
        return binascii.a2b_base64(self._text)
