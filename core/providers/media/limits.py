"""What providers are documented to refuse of images and documents.

Sources, as of November 2026:

- Anthropic: Vision, "General limits" (platform.claude.com/docs/en/build-with-claude/vision): JPEG,
  PNG, GIF, WebP; 8000 pixels a side, 2000 with more than 20 images; 600 images and pages, 100 for
  models of 200,000 tokens. PDF support: 32 MB, no password. Its API counts the 5 MB of an image
  in base64 ("image exceeds 5 MB maximum: 5272940 bytes > 5242880 bytes") and compares the media
  type with the data ("specified using the image/jpeg media type, but appears to be image/png").
- OpenAI: Images and vision, "Image input requirements"; File inputs (developers.openai.com/api/
  docs/guides/images-vision, /file-inputs): PNG, JPEG, WebP, GIF; 1500 images; files of 50 MB, of
  chat completions only PDF, and no link in the place of its data.
- Google: Image understanding, Document understanding, File input methods (ai.google.dev/
  gemini-api/docs): PNG, JPEG, WebP, HEIC, HEIF; PDF of 50 MB and 1000 pages. Its JSON is that of
  protocol buffers, which takes base64 of both alphabets, padded or not.

Of other providers nothing is refused but what is no base64.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from core.providers.media.formats import PDF
from core.providers.media.pixels import Size

_WEB_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one provider takes. None: nothing is documented."""

    image_types: frozenset[str] | None = None
    exact_types: bool = False
    """Whether an image's media type has to be that of its data."""
    loose_base64: bool = False
    image_characters: int | None = None
    """Of an image's base64."""
    side: int | None = None
    """Pixels of an image's longer side."""
    crowd: tuple[int, int] | None = None
    """With more images than the first, none may have a side of more pixels than the second."""
    count: int | None = None
    """Images and pages of documents together."""
    small_count: int | None = None
    """The same for `small_models`."""
    file_bytes: int | None = None
    """Of a PDF."""
    pages: int | None = None
    """Of a PDF."""
    encrypted: bool = True
    """Whether a PDF may be encrypted."""
    files_by_chat: frozenset[str] | None = None
    """Types of the files of chat completions."""
    links_in_chat: bool = True
    """Whether a file of a chat completion may be a link."""


NONE = Limits()
_LIMITS = {
    "anthropic": Limits(
        image_types=_WEB_IMAGES,
        exact_types=True,
        image_characters=5 * _MB,
        side=8000,
        crowd=(20, 2000),
        count=600,
        small_count=100,
        file_bytes=32 * _MB,
        encrypted=False,
    ),
    "openai": Limits(
        image_types=_WEB_IMAGES,
        count=1500,
        file_bytes=50 * _MB,
        files_by_chat=frozenset({PDF}),
        links_in_chat=False,
    ),
    "gemini": Limits(
        image_types=_WEB_IMAGES - {"image/gif"} | {"image/heic", "image/heif"},
        loose_base64=True,
        file_bytes=50 * _MB,
        pages=1000,
    ),
}
# Those with a context window of 200,000 tokens.
_SMALL = re.compile(r"claude-(3|.*haiku-4|.*(opus|sonnet)-4(-[0-5])?(-\d{8})?$|4([.-][015])?-)")


def limits_of(provider: str) -> Limits:
    """The limits of a provider, by its slug."""
    return _LIMITS.get(provider, NONE)


def most_of(limits: Limits, model: str) -> int | None:
    """How many images and pages a request to a model may have."""
    if limits.small_count is not None and _SMALL.match(model.rpartition("/")[2].lower()):
        return limits.small_count
    return limits.count


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a part is refused."""

    reason: str
    message: str


def image_problem(
    limits: Limits, found: str, declared: str, size: Size | None, characters: int
) -> Problem | None:
    """What is wrong with an image. `found`: its type by its bytes; `declared`: by its sender."""
    if limits.image_types is None:
        return None
    allowed = ", ".join(sorted(limits.image_types))
    if found not in limits.image_types:
        what = f"is {found}" if found else "is no image of a known format, or cut off"
        text = f"the data {what}; expected one of {allowed}: convert the image"
        return Problem("unsupported_media_type", text)
    if limits.exact_types and declared and found != declared:
        text = (
            f"the data is {found}, but is said to be {declared}; expected {found} as its media type"
        )
        return Problem("media_type_mismatch", text)
    if limits.image_characters is not None and characters > limits.image_characters:
        text = (
            f"the image has {characters:,} bytes in base64; expected at most "
            f"{limits.image_characters:,}: make it smaller, or compress it"
        )
        return Problem("image_too_large", text)
    if limits.side is not None and size is not None and max(size) > limits.side:
        text = (
            f"the image has {size.width} x {size.height} pixels; expected at most "
            f"{limits.side} a side: scale it down"
        )
        return Problem("image_too_large", text)
    return None


def document_problem(
    limits: Limits, size: int, pages: int | None, *, encrypted: bool
) -> Problem | None:
    """What is wrong with a PDF of so many bytes."""
    if encrypted and not limits.encrypted:
        text = "the PDF is encrypted; expected one without a password: save it without"
        return Problem("encrypted_document", text)
    if limits.file_bytes is not None and size > limits.file_bytes:
        text = f"the file has {size:,} bytes; expected at most {limits.file_bytes:,}: split it"
        return Problem("document_too_large", text)
    if limits.pages is not None and pages is not None and pages > limits.pages:
        text = f"the PDF has {pages:,} pages; expected at most {limits.pages:,}: split it"
        return Problem("document_too_large", text)
    return None
