"""What the images, recordings and files of a file's lines weigh, as its lines come in."""

from __future__ import annotations

from core.batchfile.asking import OPEN, Asked
from core.batchfile.index import MEDIA
from core.batchfile.media_hint import may_hold_media
from core.batchfile.problems import Problem
from core.batchfile.rules import NO_MEDIA, Media, MediaCheck
from core.batchfile.schema import NAMES, Kind, decode_request
from core.batchfile.totals import MediaTokens, Totals
from core.endpoints import IMAGE_EDITS


class MediaScan:
    """Asks for it where a line may have any, and keeps a record of each line that has."""

    def __init__(self, check: MediaCheck | None, totals: Totals) -> None:
        self._check = check
        self._totals = totals
        self._records = bytearray()

    def take_records(self) -> bytes:
        """Those of the lines since it was last called."""
        records, self._records = bytes(self._records), bytearray()
        return records

    def may_be_in(self, raw: bytes, url: str) -> bool:
        """Whether a line has to be weighed. Far cheaper than that."""
        if self._check is None:
            return False
        # Most lines have but one list, the messages.
        has_lists = url == IMAGE_EDITS or raw.find(b"[", raw.find(b"[") + 1) >= 0
        return has_lists and may_hold_media(raw)

    def weigh(
        self,
        raw: bytes,
        line: int,
        named: tuple[str, str],
        custom_id: str,
        url: str,
        kind: Kind,
        problems: list[Problem],
    ) -> Media | None:
        """Note what a line's images, recordings and files weigh; None where one is refused.

        `named`: provider and model.
        """
        if self._check is None:
            return NO_MEDIA
        provider, model = named
        media = self._check(provider, url, model, decode_request(raw).body)
        refused = False
        for finding in media.findings:
            path = f"{NAMES[kind].body}.{finding.field}"
            problems.append(Problem(line, custom_id, path, *finding[1:]))
            refused = True
        if refused:
            return None
        if media.data_bytes or media.tokens:
            self._records += MEDIA.pack(line, media.data_bytes, media.tokens)
        return media

    def add_up(self, media: Media, group: int, size: int, asked: Asked, *, lenient: bool) -> None:
        """Count a line in the totals. `size`: bytes of the line."""
        if media.unseen:
            asked = asked._replace(flags=asked.flags | OPEN)
        tokens = MediaTokens(media.tokens, media.audio_tokens, media.at_most)
        self._totals.add(group, size - media.data_bytes, asked, tokens, lenient=lenient)
