"""Content parts of a message: texts, images, audio and files to Gemini's parts.

Sources: google-genai 3.4 types.py (Part, Blob, FileData), ai.google.dev: file input
methods (external URLs, batches included), image, audio and document understanding; openai
3.54 types/chat/chat_completion_content_part_*.py.
"""

from __future__ import annotations

import mimetypes
from typing import Any
from urllib.parse import urlsplit

from core.providers.contract import LineRejected
from core.providers.translation.chat_fields import file_data, image_url
from core.providers.translation.fields import data_url, known_only, string, text_of
from core.providers.translation.report import IGNORED, Report, wrong_type

IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"})
AUDIO_TYPES = {"wav": "audio/wav", "mp3": "audio/mp3"}

Part = dict[str, Any]


def user_part(path: str, part: Any, report: Report) -> Part:
    """A part of a user's message. Raises LineRejected."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        return {"text": not_empty(path, text_of(path, part, report))}
    if kind == "image_url":
        known_only(path, part, {"type", "image_url"}, report)
        return _image(f"{path}.image_url", part.get("image_url"), report)
    if kind == "input_audio":
        known_only(path, part, {"type", "input_audio"}, report)
        return _audio(f"{path}.input_audio", part.get("input_audio"), report)
    if kind == "file":
        known_only(path, part, {"type", "file"}, report)
        return _document(f"{path}.file", part.get("file"), report)
    raise LineRejected(
        f"{path}.type",
        "unsupported_content",
        f"{path}.type has to be text, image_url, input_audio or file.",
    )


def _image(path: str, image: Any, report: Report) -> Part:
    url = image_url(path, image, report)
    if url.startswith("https://"):
        return _linked(f"{path}.url", url)
    media_type, data = data_url(f"{path}.url", url, "an https URL or a base64 data URL")
    if media_type not in IMAGE_TYPES:
        raise LineRejected(
            f"{path}.url",
            "unsupported_media_type",
            "Images have to be PNG, JPEG, WebP, HEIC or HEIF.",
        )
    return _inline(media_type, data)


def _audio(path: str, audio: Any, report: Report) -> Part:
    if not isinstance(audio, dict):
        raise wrong_type(path, "an object with data and format")
    known_only(path, audio, {"data", "format"}, report)
    media_type = AUDIO_TYPES.get(string(f"{path}.format", audio.get("format")))
    if media_type is None:
        raise LineRejected(
            f"{path}.format", "unsupported_media_type", "Audio has to be wav or mp3."
        )
    data = string(f"{path}.data", audio.get("data"))
    return _inline(media_type, not_empty(f"{path}.data", data))


def _document(path: str, file: Any, report: Report) -> Part:
    media_type, data = file_data(path, file, report)
    if file.get("filename"):
        report.note(f"{path}.filename", IGNORED, "Gemini has no name for a file.")
    if media_type != "application/pdf" and not media_type.startswith("text/"):
        raise LineRejected(
            f"{path}.file_data", "unsupported_media_type", "Files have to be PDF or text."
        )
    return _inline(media_type, data)


def not_empty(path: str, text: str) -> str:
    """The text, which must not be empty: Gemini refuses such a part. Raises LineRejected."""
    if not text:
        raise LineRejected(path, "empty_content", f"{path} must not be empty.")
    return text


def _inline(media_type: str, data: str) -> Part:
    return {"inlineData": {"mimeType": media_type, "data": data}}


def _linked(path: str, url: str) -> Part:
    """An image that Gemini fetches itself; it wants to be told of what type it is."""
    media_type, _ = mimetypes.guess_type(urlsplit(url).path)
    if media_type not in IMAGE_TYPES:
        raise LineRejected(
            path,
            "unsupported_url",
            f"{path} has to end in .png, .jpg, .webp, .heic or .heif, for Gemini has to be told "
            "the type; or be a base64 data URL.",
        )
    return {"fileData": {"mimeType": media_type, "fileUri": url}}
