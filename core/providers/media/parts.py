"""The images, recordings and files of a request, wherever its form has them.

Forms: OpenAI's chat completions (openai 3.54 types/chat/chat_completion_content_part_*.py),
responses (types/responses/response_input_*_param.py) and image edits, with what servers of that
form add (vLLM's multimodal inputs: audio_url, video_url); Anthropic's messages
(anthropic 2.12 types/*_block_param.py); Gemini's contents (google-genai 3.4 types.py Part).
Only the message's own content is looked at: what tools define and are called with is text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

Kind = Literal["image", "audio", "file"]
# Results of tools hold content, and no content holds results of tools.
_DEEPEST = 3
# A link may be anything, and some servers take an image as bare base64: none is so short.
_SHORTEST = 512
# Bytes of what stands around data, such as its type: more are its own, as in "\\/" for "/".
_AROUND = 512
_QUOTE, _LIST, _OBJECT = b'"[{'


@dataclass(frozen=True, slots=True)
class Part:
    """One image, recording or file."""

    field: str
    """Path of the data within the body, such as "messages[0].content[1].image_url.url"."""
    kind: Kind
    data: str | None
    """Base64; None for what the provider fetches or has: a URL, or the id of a file."""
    media_type: str = ""
    """As it is said to be; empty where nothing is said."""
    detail: str = ""
    """How closely an image is to be looked at; the provider's word."""
    size: int = 0
    """Bytes that the data has in the body: more than characters where they are escaped."""


class _Body(Struct, gc=False):
    messages: Raw | UnsetType = UNSET
    input: Raw | UnsetType = UNSET
    contents: Raw | UnsetType = UNSET
    images: Raw | UnsetType = UNSET


class _Item(Struct, gc=False):
    """A message, a content of Gemini's, an item of a response's input."""

    content: Raw | UnsetType = UNSET
    parts: Raw | UnsetType = UNSET
    output: Raw | UnsetType = UNSET


class _Part(Struct, gc=False):
    """A part of any form."""

    image_url: Raw | UnsetType = UNSET
    audio_url: Raw | UnsetType = UNSET
    video_url: Raw | UnsetType = UNSET
    input_audio: Raw | UnsetType = UNSET
    file: Raw | UnsetType = UNSET
    source: Raw | UnsetType = UNSET
    content: Raw | UnsetType = UNSET
    inlineData: Raw | UnsetType = UNSET
    inline_data: Raw | UnsetType = UNSET
    fileData: Raw | UnsetType = UNSET
    file_data: Raw | UnsetType = UNSET
    file_url: Raw | UnsetType = UNSET
    file_id: Raw | UnsetType = UNSET
    document_url: Raw | UnsetType = UNSET
    detail: Raw | UnsetType = UNSET
    type: Raw | UnsetType = UNSET
    mediaResolution: Raw | UnsetType = UNSET
    media_resolution: Raw | UnsetType = UNSET


_body = msgspec.json.Decoder(_Body)
_items = msgspec.json.Decoder(list[_Item])
_parts = msgspec.json.Decoder(list[_Part])
_any: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def parts_of(body: bytes | Raw) -> Iterator[Part]:
    """Find them, in order. What is not of a known form is passed over: others refuse it.

    A part's data is decoded when it is reached, one at a time.
    """
    try:
        found = _body.decode(body)
    except _UNREADABLE:
        return
    for name in ("messages", "input", "contents"):
        yield from _of_items(name, getattr(found, name))
    yield from _of_list("images", found.images, 0)


def _of_items(path: str, raw: Raw | UnsetType) -> Iterator[Part]:
    if raw is UNSET or _first(raw) != _LIST:
        return
    try:
        items = _items.decode(raw)
    except _UNREADABLE:
        return
    for number, item in enumerate(items):
        for name in ("content", "parts", "output"):
            value = getattr(item, name)
            if value is not UNSET:
                yield from _of_list(f"{path}[{number}].{name}", value, 0)


def _of_list(path: str, raw: Raw | UnsetType, depth: int) -> Iterator[Part]:
    if raw is UNSET or depth == _DEEPEST or _first(raw) != _LIST:
        return
    try:
        parts = _parts.decode(raw)
    except _UNREADABLE:
        return
    for number, part in enumerate(parts):
        yield from _of_part(f"{path}[{number}]", part, depth)


def _of_part(path: str, part: _Part, depth: int) -> Iterator[Part]:
    detail = _text(part.detail)
    if part.image_url is not UNSET:
        yield from _url(f"{path}.image_url", "image", part.image_url, detail)
    elif part.audio_url is not UNSET:
        yield from _url(f"{path}.audio_url", "audio", part.audio_url, detail)
    elif part.video_url is not UNSET:
        yield from _url(f"{path}.video_url", "file", part.video_url, detail)
    elif part.input_audio is not UNSET:
        audio = _object(part.input_audio)
        declared = str(audio.get("format", ""))
        path = f"{path}.input_audio.data"
        yield from _data(path, "audio", audio.get("data"), part.input_audio, f"audio/{declared}")
    elif part.file is not UNSET:
        file = _object(part.file)
        if isinstance(file.get("file_data"), str):
            yield _maybe_url(f"{path}.file.file_data", "file", file["file_data"], part.file)
        else:
            for name in ("file_url", "file_id"):
                if file.get(name):
                    yield Part(f"{path}.file.{name}", "file", None)
    elif part.source is not UNSET:
        kind: Kind = "image" if _text(part.type) == "image" else "file"
        yield from _source(f"{path}.source", kind, part.source, depth)
    elif (inline := part.inlineData if part.inlineData is not UNSET else part.inline_data) is (
        UNSET
    ):
        yield from _other(path, part, detail)
    else:
        name = "inlineData" if part.inlineData is not UNSET else "inline_data"
        blob = _object(inline)
        declared = str(blob.get("mimeType", blob.get("mime_type", "")))
        level = _level(part.mediaResolution, part.media_resolution)
        path = f"{path}.{name}.data"
        yield from _data(path, _kind(declared), blob.get("data"), inline, declared, level)
    if part.content is not UNSET:
        yield from _of_list(f"{path}.content", part.content, depth + 1)


def _other(path: str, part: _Part, detail: str) -> Iterator[Part]:
    """What is sent by its name, and the files of responses."""
    if part.file_data is not UNSET and _first(part.file_data) == _QUOTE:
        yield _maybe_url(f"{path}.file_data", "file", _text(part.file_data), part.file_data, detail)
        return
    name = "fileData" if part.fileData is not UNSET else "file_data"
    linked = getattr(part, name)
    if linked is not UNSET:
        file = _object(linked)
        declared = str(file.get("mimeType", file.get("mime_type", "")))
        yield Part(f"{path}.{name}", _kind(declared), None, declared)
        return
    for name in ("file_url", "document_url", "file_id"):
        value = getattr(part, name)
        if value is not UNSET and _first(value) in (_QUOTE, _OBJECT):
            kind: Kind = "image" if _text(part.type) == "input_image" else "file"
            yield Part(f"{path}.{name}", kind, None, detail=detail)
            return


def _url(path: str, kind: Kind, raw: Raw, detail: str) -> Iterator[Part]:
    if _first(raw) == _QUOTE:
        yield _maybe_url(path, kind, _text(raw), raw, detail)
        return
    given = _object(raw)
    if isinstance(given.get("url"), str):
        detail = str(given.get("detail") or "")
        yield _maybe_url(f"{path}.url", kind, given["url"], raw, detail)


def _source(path: str, kind: Kind, raw: Raw, depth: int) -> Iterator[Part]:
    source = _object(raw)
    if source.get("type") == "base64":
        declared = str(source.get("media_type", ""))
        yield from _data(f"{path}.data", kind, source.get("data"), raw, declared)
    elif source.get("type") in ("url", "file"):
        yield Part(f"{path}.{'url' if source['type'] == 'url' else 'file_id'}", kind, None)
    elif source.get("type") == "content" and isinstance(source.get("content"), list):
        yield from _of_list(f"{path}.content", Raw(msgspec.json.encode(source["content"])), depth)


def _data(
    field: str, kind: Kind, data: object, raw: Raw, media_type: str, detail: str = ""
) -> Iterator[Part]:
    """`raw`: what holds the data."""
    if isinstance(data, str):
        yield Part(field, kind, data, media_type, detail, _size(data, raw))


def _size(data: str, raw: Raw) -> int:
    return max(len(data), len(memoryview(raw)) - _AROUND)


def _maybe_url(field: str, kind: Kind, text: str, raw: Raw, detail: str = "") -> Part:
    """A data URL, a link, or (a file's data) bare base64."""
    if text.startswith("data:"):
        head, comma, data = text.partition(",")
        head, base64, _ = head.removeprefix("data:").partition(";base64")
        if comma and base64:
            return Part(field, kind, data, head, detail, _size(data, raw))
        # Percent-encoded, which no provider documents: it counts as what it is, text.
        return Part(field, kind, None, head, detail)
    if "://" in text[:16] or (kind == "image" and len(text) < _SHORTEST):
        return Part(field, kind, None, detail=detail)
    return Part(field, kind, text, "", detail, _size(text, raw))


def _kind(media_type: str) -> Kind:
    family = media_type.partition("/")[0].lower()
    return "image" if family == "image" else "audio" if family == "audio" else "file"


def _level(*given: Raw | UnsetType) -> str:
    for raw in given:
        if raw is not UNSET:
            return str(_object(raw).get("level", "")) if _first(raw) == _OBJECT else _text(raw)
    return ""


def _first(raw: Raw) -> int:
    return memoryview(raw)[0]


def _text(raw: Raw | UnsetType) -> str:
    found = "" if raw is UNSET else _any.decode(raw)
    return found if isinstance(found, str) else ""


def _object(raw: Raw) -> dict[str, Any]:
    found = _any.decode(raw)
    return found if isinstance(found, dict) else {}
