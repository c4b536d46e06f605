"""Look at the images, recordings and files of one request: their tokens, and what is wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import islice

from msgspec import Raw

from core.endpoints import CHAT_COMPLETIONS
from core.providers.media.encoded import Encoded, NotBase64
from core.providers.media.formats import HEAD, PDF, canonical, sniff
from core.providers.media.limits import (
    NONE,
    Limits,
    Problem,
    document_problem,
    image_problem,
    limits_of,
    most_of,
)
from core.providers.media.pages import read_document
from core.providers.media.parts import Part, parts_of
from core.providers.media.pixels import Size, size_of
from core.providers.media.seconds import seconds_of
from core.providers.media.tokens import (
    BYTES_A_PAGE,
    LARGEST_IMAGE,
    LINKED_IMAGE,
    LINKED_PAGES,
    LINKED_SECONDS,
    Rates,
    rates_of,
)
from core.providers.translation import Note

# More than any provider takes: the rest of them tell nothing new.
_MOST_PARTS = 5000
# Of a text or a table; of an office document, which is compressed, rather too many tokens.
_BYTES_A_TOKEN_OF_FILES = 4
# The rules have exceptions (a page may be full of text), and stand in for models without any.
_MARGIN = 2
# Of a film, which is guessed from its size as a recording with pictures.
_PICTURES = 8


@dataclass(frozen=True, slots=True)
class Prompt:
    """How much prompt a request is."""

    text_bytes: int
    """Of its JSON, without the data of images, recordings and files."""
    media_tokens: int
    """Of these, by the provider's published rule."""
    audio_tokens: int = 0
    """Of these, recordings'."""
    media_at_most: int = 0
    """All of these at the most, where the request tells."""
    unseen: bool = False
    """Whether some are only named, and may be of any length: documents and recordings."""

    def tokens(self, bytes_per_token: float, media_factor: float = 1.0) -> int:
        """The estimate, by what is learned of the model (core.ledger.Budget has both)."""
        return max(1, round(self.text_bytes / bytes_per_token + self.media_tokens * media_factor))


@dataclass(slots=True)
class Media:
    """What the images, recordings and files of a request are."""

    data_bytes: int = 0
    """Of the request that are their base64, and no text."""
    tokens: int = 0
    audio_tokens: int = 0
    """Of these, recordings'."""
    at_most: int = 0
    unseen: bool = False
    """Whether some may be of any length: documents and recordings that are only named."""
    notes: list[Note] = field(default_factory=list)
    """What the provider would refuse; fields are paths within the body."""


def prompt_of(body: bytes | Raw, *, provider: str, model: str, url: str) -> Prompt:
    """How much prompt a request is, before it is sent.

    `body`: of one line, as JSON. `model`: as the line names it. `url`: the line's endpoint.
    Takes a millisecond or two for each megabyte of data; a body that cannot be read is text.
    """
    media = look(body, provider=provider, model=model, url=url)
    size = len(memoryview(body))
    return Prompt(
        size - media.data_bytes, media.tokens, media.audio_tokens, media.at_most, media.unseen
    )


def look(body: bytes | Raw, *, provider: str, model: str, url: str) -> Media:
    """Look at all parts of a request; see prompt_of. One is decoded at a time."""
    looking = _Looking(limits_of(provider), rates_of(model), url)
    for part in islice(parts_of(body), _MOST_PARTS):
        looking.take(part)
    looking.count(most_of(looking.limits, model))
    return looking.media


class _Looking:
    """The parts of one request so far."""

    def __init__(self, limits: Limits, rates: Rates, url: str) -> None:
        self.limits = limits
        self.media = Media()
        self._rates = rates
        self._url = url
        self._images: list[tuple[str, Size]] = []
        self._number = 0
        self._last = ""

    def take(self, part: Part) -> None:
        self._last = part.field
        if part.data is None:
            self._take_linked(part)
            return
        self.media.data_bytes += part.size
        try:
            data = Encoded(part.data, loose=self.limits.loose_base64)
            if not data.size:
                raise NotBase64("it is empty")
        except NotBase64 as error:
            text = f"the data is no base64: {error}; expected standard base64 with its padding"
            self._refuse(part, Problem("invalid_base64", text))
            return
        found = sniff(data.read(0, HEAD))
        if part.kind == "image":
            self._take_image(part, data, found)
        elif part.kind == "audio":
            self._add(math.ceil(seconds_of(data, found) * self._rates.second), audio=True)
        elif found == PDF:
            self._take_document(part, data)
        else:
            self._take_file(part, data, found)

    def count(self, most: int | None) -> None:
        """Look at all of them together."""
        if most is not None and self._number > most:
            text = (
                f"the request has {self._number:,} images and pages of documents; expected at "
                f"most {most:,}: spread them over several lines"
            )
            self.media.notes.append(Note(self._last, "too_many_images", text, "refused"))
        if self.limits.crowd is None or len(self._images) <= self.limits.crowd[0]:
            return
        crowd, side = self.limits.crowd
        for path, size in self._images:
            if max(size) > side:
                text = (
                    f"the image has {size.width} x {size.height} pixels, and the request "
                    f"{len(self._images)} images; expected at most {side} pixels a side with "
                    f"more than {crowd} images: scale it down"
                )
                self.media.notes.append(Note(path, "image_too_large", text, "refused"))

    def _take_image(self, part: Part, data: Encoded, found: str) -> None:
        declared = canonical(part.media_type) if part.media_type else ""
        size = size_of(data, found)
        self._number += 1
        self._images.append((part.field, size or LINKED_IMAGE))
        problem = image_problem(self.limits, found, declared, size, data.characters)
        if problem is not None:
            self._refuse(part, problem)
        self._add_image(size, part.detail)

    def _take_document(self, part: Part, data: Encoded) -> None:
        document = read_document(data)
        pages = document.pages or max(1, data.size // BYTES_A_PAGE)
        self._number += pages
        problem = document_problem(
            self.limits, data.size, document.pages, encrypted=document.encrypted
        )
        if problem is not None:
            self._refuse(part, problem)
        self._add(pages * self._rates.page)
        # Of one whose pages cannot be counted nothing is sure.
        self.media.unseen |= not document.pages

    def _take_file(self, part: Part, data: Encoded, found: str) -> None:
        """A file that is no PDF: text, a table, an office document; or a film."""
        declared = canonical(part.media_type) if part.media_type else ""
        if declared.startswith("video/") or found.startswith("video/"):
            self._add(math.ceil(seconds_of(data, "") * self._rates.second * _PICTURES))
            self.media.unseen = True
            return
        allowed = self.limits.files_by_chat
        if self._url == CHAT_COMPLETIONS and allowed is not None:
            text = (
                f"the file is {found or declared or 'of no known format'}; expected application/pdf"
            )
            self._refuse(part, Problem("unsupported_media_type", text))
        elif declared == PDF and self.limits is not NONE:
            text = "the data does not begin as a PDF, or is cut off; expected a whole PDF"
            self._refuse(part, Problem("unsupported_media_type", text))
        self._add(max(1, data.size // _BYTES_A_TOKEN_OF_FILES), most=data.size)
        # What is compressed may hold any length of text.
        self.media.unseen |= not declared.startswith("text/")

    def _take_linked(self, part: Part) -> None:
        if part.kind == "image":
            self._number += 1
            self._add_image(None, part.detail)
            return
        self.media.unseen = True
        linked = part.kind == "file" and part.field.endswith((".file_data", ".file.file_url"))
        if linked and self._url == CHAT_COMPLETIONS and not self.limits.links_in_chat:
            text = (
                "file_data holds no data; expected the file in base64 behind "
                "data:application/pdf;base64, and not a link to it"
            )
            self._refuse(part, Problem("unsupported_url", text))
        if part.kind == "audio":
            self._add(math.ceil(LINKED_SECONDS * self._rates.second), audio=True)
        else:
            self._add(LINKED_PAGES * self._rates.page)

    def _add_image(self, size: Size | None, detail: str) -> None:
        most = self._rates.image(size or LARGEST_IMAGE, detail)
        self._add(self._rates.image(size or LINKED_IMAGE, detail), most=_MARGIN * most)

    def _add(self, tokens: int, *, most: int | None = None, audio: bool = False) -> None:
        self.media.tokens += tokens
        self.media.audio_tokens += tokens if audio else 0
        self.media.at_most += _MARGIN * tokens if most is None else most

    def _refuse(self, part: Part, problem: Problem) -> None:
        note = Note(part.field, problem.reason, problem.message, "refused")
        self.media.notes.append(note)
