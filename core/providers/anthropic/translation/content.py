"""Content parts of a message: texts, images and files to Anthropic's blocks.

Sources: anthropic 2.12.0 types/*_block_param.py and *_source_param.py, openai 3.54.0
types/chat/chat_completion_content_part_*.py. Images by URL: https only (what others met:
litellm's create_anthropic_image_param).
"""

from __future__ import annotations

from typing import Any

from core.providers.contract import LineRejected
from core.providers.translation.chat_fields import file_data, image_url
from core.providers.translation.fields import data_url, known_only, string, text_of
from core.providers.translation.report import Report

IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})

Block = dict[str, Any]


def user_block(path: str, part: Any, report: Report) -> Block:
    """A part of a user's message. Raises LineRejected."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        return {"type": "text", "text": filled(path, text_of(path, part, report))}
    if kind == "image_url":
        known_only(path, part, {"type", "image_url"}, report)
        return _image(f"{path}.image_url", part.get("image_url"), report)
    if kind == "file":
        known_only(path, part, {"type", "file"}, report)
        return _document(f"{path}.file", part.get("file"), report)
    raise LineRejected(
        f"{path}.type",
        "unsupported_content",
        f"{path}.type has to be text, image_url or file; the model takes nothing else.",
    )


def _image(path: str, image: Any, report: Report) -> Block:
    url = image_url(path, image, report)
    if url.startswith("https://"):
        return {"type": "image", "source": {"type": "url", "url": url}}
    media_type, data = data_url(f"{path}.url", url, "an https URL or a base64 data URL")
    if media_type not in IMAGE_TYPES:
        raise LineRejected(
            f"{path}.url", "unsupported_media_type", "Images have to be JPEG, PNG, GIF or WebP."
        )
    return {
        "type": "image",
        "source": {"type": "base64", "media_type": media_type, "data": data},
    }


def _document(path: str, file: Any, report: Report) -> Block:
    media_type, data = file_data(path, file, report)
    if media_type != "application/pdf":
        raise LineRejected(f"{path}.file_data", "unsupported_media_type", "Files have to be PDF.")
    block: Block = {
        "type": "document",
        "source": {"type": "base64", "media_type": media_type, "data": data},
    }
    if file.get("filename"):
        block["title"] = string(f"{path}.filename", file["filename"])
    return block


def blank(text: str) -> bool:
    """Whether a text is empty or white space, which Anthropic refuses as a block."""
    return not text or text.isspace()


def filled(path: str, text: str) -> str:
    """The text, which must not be blank. Raises LineRejected."""
    if blank(text):
        raise LineRejected(path, "empty_content", f"{path} must not be empty.")
    return text
