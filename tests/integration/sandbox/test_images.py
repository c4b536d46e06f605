"""Images and documents: what the providers refuse, the sandbox refuses."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from services.sandbox.anthropic.lines import Params
from services.sandbox.gemini.lines import Generate
from services.sandbox.openai.lines import Chat
from tests.support import media


def claude(kind: str, media_type: str, data: str) -> tuple[type[Any], bytes]:
    block = {"type": kind, "source": {"type": "base64", "media_type": media_type, "data": data}}
    params = {"model": "claude-opus-5", "max_tokens": 9}
    params |= {"messages": [{"role": "user", "content": [block]}]}
    return Params, json.dumps(params).encode()


def gpt(part: dict[str, Any]) -> tuple[type[Any], bytes]:
    messages = [{"role": "user", "content": [part]}]
    return Chat, json.dumps({"model": "gpt-4.1", "messages": messages}).encode()


def gemini(media_type: str, data: str) -> tuple[type[Any], bytes]:
    part = {"inlineData": {"mimeType": media_type, "data": data}}
    return Generate, json.dumps({"contents": [{"parts": [part]}]}).encode()


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def file(data: bytes) -> dict[str, Any]:
    return {"type": "file", "file": {"file_data": media.data_url(data, "application/pdf")}}


PNG = media.encoded(media.png(64, 64))


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (claude("image", "image/png", "no base64!"), "base64"),
        (claude("image", "image/jpeg", PNG), "appears to be a image/png image"),
        (claude("image", "image/bmp", PNG), "media_type"),
        (claude("image", "image/png", media.encoded(b"BM")), "Could not process image"),
        (claude("image", "image/png", "QUJD" * 1_310_721), "5242884 bytes > 5242880 bytes"),
        (claude("image", "image/png", media.encoded(media.png(8001, 1))), "8000 pixels"),
        (claude("document", "application/pdf", PNG), "PDF"),
        (gpt(image("data:image/png;base64,no base64!")), "base64"),
        (gpt(image(media.data_url(b"BM", "image/bmp"))), "unsupported image"),
        (gpt(file(b"a,b")), "PDF"),
        (gpt({"type": "file", "file": {"file_url": "https://example.com/a.pdf"}}), "file_url"),
        (gemini("image/png", "QUJD"), "Unable to process input image"),
        (gemini("image/gif", media.encoded(media.gif(9, 9))), "Unable to process input image"),
    ],
)
def test_what_the_providers_refuse_is_refused(
    request_: tuple[type[Any], bytes], words: str
) -> None:
    form, raw = request_
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.json.decode(raw, type=form)


def test_what_they_take_counts_by_its_pixels() -> None:
    for form, raw in (
        claude("image", "image/png", PNG),
        gpt(image("data:image/jpeg;base64," + PNG)),
        gpt(image("https://example.com/a.png")),
        gpt(file(media.pdf(1))),
        gemini("image/png", PNG.replace("+", "-").replace("/", "_").rstrip("=")),
    ):
        msgspec.json.decode(raw, type=form)
    _, raw = gpt(image("data:image/png;base64," + media.encoded(media.png(1024, 1024))))
    prompt, _ = msgspec.json.decode(raw, type=Chat).measure("")
    assert 1024 <= prompt < 1050
