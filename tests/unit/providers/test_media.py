"""Images, recordings and files: what they are, their tokens, and what a provider refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.endpoints import CHAT_COMPLETIONS, GENERATE_CONTENT, IMAGE_EDITS, MESSAGES, RESPONSES
from core.providers import Media, Prompt, look, prompt_of
from core.providers.media.encoded import Encoded, NotBase64
from core.providers.media.formats import sniff
from core.providers.media.pages import read_document
from core.providers.media.pixels import size_of
from core.providers.media.seconds import seconds_of
from core.providers.media.tokens import Size, rates_of
from tests.support import media

PNG = media.encoded(media.png(1024, 1024))


def seen(parts: list[Any], provider: str = "openai", model: str = "gpt-4o") -> Media:
    """Of a chat completion with these parts."""
    body = {"model": model, "messages": [{"role": "user", "content": parts}]}
    return look(json.dumps(body).encode(), provider=provider, model=model, url=CHAT_COMPLETIONS)


def image(data: bytes, said: str = "image/png", **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": media.data_url(data, said), **more}}


def file(data: bytes, said: str = "application/pdf") -> dict[str, Any]:
    named = {"filename": "a.pdf", "file_data": media.data_url(data, said)}
    return {"type": "file", "file": named}


def reasons(found: Media) -> list[tuple[str, str]]:
    return [(note.field, note.reason) for note in found.notes]


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (media.png(640, 480), "image/png"),
        (media.gif(640, 480), "image/gif"),
        (media.jpeg(640, 480), "image/jpeg"),
        (media.jpeg(640, 480, profile=300_000), "image/jpeg"),
        (media.webp(640, 480), "image/webp"),
        (media.webp(640, 480, b"VP8L"), "image/webp"),
        (media.webp(640, 480, b"VP8 "), "image/webp"),
        (media.heic(640, 480), "image/heic"),
    ],
)
def test_an_image_says_what_it_is_and_how_large(data: bytes, media_type: str) -> None:
    assert sniff(data[:1024]) == media_type
    assert size_of(Encoded(media.encoded(data)), media_type) == (640, 480)
    for cut in range(0, 30, 7):
        size_of(Encoded(media.encoded(data[:cut])), media_type)


@pytest.mark.parametrize(
    ("data", "media_type", "seconds"),
    [
        (media.wav(2.5), "audio/wav", 2.5),
        (media.mp3(100), "audio/mp3", 2.6),
        (media.mp3(1000, tagged=True), "audio/mp3", 26.1),
        (b"OggS" + bytes(159_996), "audio/ogg", 10.0),
    ],
)
def test_a_recording_says_how_long_it_is(data: bytes, media_type: str, seconds: float) -> None:
    assert sniff(data[:1024]) == media_type
    found = seconds_of(Encoded(media.encoded(data)), media_type)
    assert found == pytest.approx(seconds, abs=0.1)
    for cut in range(0, 60, 7):
        seconds_of(Encoded(media.encoded(data[:cut])), media_type)


@pytest.mark.parametrize("form", ["tree", "linearised", "compressed", "encrypted"])
def test_the_pages_of_a_document_are_counted(form: str) -> None:
    data = Encoded(media.encoded(media.pdf(17, form=form)))
    assert read_document(data) == (17, form == "encrypted")
    assert read_document(Encoded(media.encoded(b"%PDF-1.7 cut off"))) == (None, False)


@pytest.mark.parametrize("text", ["QUJD", "QUI=", "QQ==", "QU\nJD", ""])
def test_base64_is_read_in_any_place(text: str) -> None:
    data = Encoded(text)
    whole = data.all()
    assert data.size == len(whole)
    assert all(data.read(at, 2) == whole[at : at + 2] for at in range(4))


@pytest.mark.parametrize(
    ("text", "loose"),
    [("QUJ", False), ("QUJDR", True), ("Q=JD", True), ("QU-D", False), ("é", True), ("Q===", True)],
)
def test_what_is_no_base64_is_told(text: str, loose: bool) -> None:
    with pytest.raises(NotBase64):
        Encoded(text, loose=loose)


def test_protocol_buffers_take_both_alphabets_and_no_padding() -> None:
    assert Encoded("-_8", loose=True).all() == b"\xfb\xff"


def test_tokens_are_those_of_the_published_examples() -> None:
    """OpenAI's guide, Google's guide, and what others measured (core.providers.media.tokens)."""
    examples = [
        ("gpt-4o", (1024, 1024), "high", 765),
        ("gpt-4o", (2048, 4096), "high", 1105),
        ("gpt-4o", (4096, 8192), "low", 85),
        ("gpt-4o-mini", (1024, 1024), "", 25_501),
        ("gpt-4.1-mini", (1024, 1024), "", 1659),
        ("ft:gpt-4.1-mini-2025-04-14:org::id", (1800, 2400), "", 2353),
        ("gpt-5.5", (4032, 3024), "auto", 11_868),
        ("openai/gpt-6-astra", (4032, 3024), "", 14_364),
        ("gpt-6-astra", (4032, 3024), "high", 2942),
        ("claude-haiku-4-5-20251001", (1024, 1024), "", 1369),
        ("claude-3-5-sonnet-20241022", (1920, 1080), "", 1560),
        ("claude-sonnet-4-20250514", (256, 256), "", 100),
        ("anthropic/claude-opus-5-5", (1920, 1080), "", 2691),
        ("gemini-2.5-flash", (384, 384), "", 258),
        ("models/gemini-2.5-flash", (960, 540), "", 1548),
        ("gemini-3.8-flash", (960, 540), "", 1120),
        ("gemini-3.8-flash", (960, 540), "MEDIA_RESOLUTION_LOW", 280),
    ]
    found = [rates_of(model).image(Size(*size), detail) for model, size, detail, _ in examples]
    assert found == [tokens for *_, tokens in examples]


@pytest.mark.parametrize("model", ["gpt-4o", "o4-mini", "gpt-6-sol", "claude-opus-5", "qwen"])
def test_no_size_breaks_a_rule_and_no_image_is_free(model: str) -> None:
    rule = rates_of(model).image
    for size in ((1, 1), (1, 60_000), (33, 1), (60_000, 60_000)):
        assert rule(Size(*size), "") > 0


FORMS: list[tuple[str, dict[str, Any], str]] = [
    (
        CHAT_COMPLETIONS,
        {"messages": [{"content": [{"image_url": {"url": f"data:image/png;base64,{PNG}"}}]}]},
        "messages[0].content[0].image_url.url",
    ),
    (
        RESPONSES,
        {"input": [{}, {"content": [{"image_url": f"data:image/png;base64,{PNG}"}]}]},
        "input[1].content[0].image_url",
    ),
    (
        RESPONSES,
        {"input": [{"output": [{"image_url": f"data:image/png;base64,{PNG}"}]}]},
        "input[0].output[0].image_url",
    ),
    (
        IMAGE_EDITS,
        {"images": [{"image_url": f"data:image/png;base64,{PNG}"}]},
        "images[0].image_url",
    ),
    (
        MESSAGES,
        {
            "messages": [
                {
                    "content": [
                        {
                            "type": "tool_result",
                            "content": [
                                {
                                    "type": "image",
                                    "source": {
                                        "type": "base64",
                                        "media_type": "image/png",
                                        "data": PNG,
                                    },
                                }
                            ],
                        }
                    ]
                }
            ]
        },
        "messages[0].content[0].content[0].source.data",
    ),
    (
        GENERATE_CONTENT,
        {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": PNG}}]}]},
        "contents[0].parts[0].inlineData.data",
    ),
]


@pytest.mark.parametrize(("url", "body", "field"), FORMS)
def test_an_image_counts_the_same_in_every_form(url: str, body: dict[str, Any], field: str) -> None:
    raw = json.dumps(body).encode()
    prompt = prompt_of(raw, provider="openai", model="gpt-4o", url=url)
    assert prompt == Prompt(len(raw) - len(PNG), 765, media_at_most=2 * 765)
    broken = raw.replace(PNG.encode(), b"!" + PNG.encode())
    found = look(broken, provider="openai", model="gpt-4o", url=url)
    assert reasons(found) == [(field, "invalid_base64")]


def test_text_is_text_and_a_megabyte_of_image_is_none() -> None:
    text = b'{"messages":[{"role":"user","content":"a [1], {\\"image_url\\": 2}"}]}'
    assert prompt_of(text, provider="openai", model="gpt-4o", url=CHAT_COMPLETIONS) == Prompt(
        len(text), 0
    )
    large = seen([{"type": "text", "text": "x"}, image(media.png(1024, 1024, bytes(1_000_000)))])
    assert large.tokens == 765
    assert large.data_bytes > 1_300_000
    assert Prompt(3000, 765).tokens(3.0) == 1765
    assert Prompt(3000, 1000).tokens(4.0, 1.5) == 2250


def test_escaped_data_is_no_text_either() -> None:
    """As PHP writes it: each slash behind a backslash."""
    data = media.encoded(media.png(1024, 1024, bytes(range(256)) * 400))
    line = {"messages": [{"content": [{"image_url": {"url": f"data:image/png;base64,{data}"}}]}]}
    raw = json.dumps(line).replace("/", "\\/").encode()
    assert len(raw) > len(data) + 1500
    prompt = prompt_of(raw, provider="openai", model="gpt-4o", url=CHAT_COMPLETIONS)
    assert prompt.media_tokens == 765
    assert prompt.text_bytes < 700


def test_servers_of_openais_form_may_take_more() -> None:
    """Bare base64, and films: neither is text."""
    bare = {
        "type": "image_url",
        "image_url": {"url": media.encoded(media.png(280, 280, bytes(600)))},
    }
    assert seen([bare], "local", "qwen").tokens == 100
    film = {"type": "video_url", "video_url": {"url": media.data_url(bytes(160_000), "video/mp4")}}
    found = seen([film], "local", "qwen")
    assert (found.tokens, found.data_bytes) == (800, 213_336)


def test_recordings_count_by_seconds_and_documents_by_pages() -> None:
    audio = {"type": "input_audio", "input_audio": {"format": "wav"}}
    audio["input_audio"] |= {"data": media.encoded(media.wav(12))}  # type: ignore[operator]
    assert seen([audio], model="gpt-audio").tokens == 120
    assert seen([audio], "gemini", "gemini-2.5-flash").tokens == 384
    document = file(media.pdf(10))
    assert seen([document], "gemini", "gemini-2.5-flash").tokens == 2580
    assert seen([document], "gemini", "gemini-3.8-flash").tokens == 5600
    assert seen([document], "anthropic", "claude-haiku-4-5").tokens == 23_500
    assert seen([document]).tokens == 12_650


def test_what_is_only_named_counts_as_a_stated_default() -> None:
    link = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    assert seen([link]).tokens == 765
    assert seen([{"type": "file", "file": {"file_id": "file-1"}}], model="gpt-4o").tokens == 12_650
    assert not seen([link]).data_bytes


LINKED = {"type": "file", "file": {"file_data": "https://example.com/a.pdf", "filename": "a.pdf"}}
BY_ADDRESS = {"type": "file", "file": {"file_url": "https://example.com/a.pdf"}}
CLAUDE = ("anthropic", "claude-opus-4-5")
GEMINI = ("gemini", "gemini-2.5-flash")
REFUSED: list[tuple[list[Any], tuple[str, str], str]] = [
    ([image(media.png(9, 9), "image/jpeg")], CLAUDE, "media_type_mismatch"),
    ([image(b"<svg xmlns='http://www.w3.org/2000/svg'/>")], CLAUDE, "unsupported_media_type"),
    ([image(b"BM" + bytes(40))], ("openai", "gpt-4o"), "unsupported_media_type"),
    ([image(media.gif(9, 9), "image/gif")], GEMINI, "unsupported_media_type"),
    ([image(media.png(8001, 10))], CLAUDE, "image_too_large"),
    ([image(media.png(9, 9, bytes(3_940_000)))], CLAUDE, "image_too_large"),
    ([image(media.png(9, 9))] * 20 + [image(media.png(2001, 9))], CLAUDE, "image_too_large"),
    ([image(media.png(9, 9))] * 101, CLAUDE, "too_many_images"),
    ([file(media.pdf(101))], CLAUDE, "too_many_images"),
    ([file(media.pdf(1, form="encrypted"))], CLAUDE, "encrypted_document"),
    ([file(b"no PDF at all")], CLAUDE, "unsupported_media_type"),
    ([file(media.pdf(1001))], GEMINI, "document_too_large"),
    ([file(b"PK\x03\x04 a table", "text/csv")], ("openai", "gpt-4o"), "unsupported_media_type"),
    ([image(b"")], ("local", "llama"), "invalid_base64"),
    ([LINKED], ("openai", "gpt-4o"), "unsupported_url"),
    ([BY_ADDRESS], ("openai", "gpt-4o"), "unsupported_url"),
]


@pytest.mark.parametrize(("parts", "whose", "reason"), REFUSED)
def test_what_a_provider_is_documented_to_refuse_is_told(
    parts: list[Any], whose: tuple[str, str], reason: str
) -> None:
    found = seen(parts, *whose)
    assert [note.reason for note in found.notes] == [reason]
    assert found.notes[0].weight == "refused"
    assert "expected" in found.notes[0].message


@pytest.mark.parametrize(
    ("parts", "whose"),
    [
        ([image(media.png(8000, 10)), image(media.jpeg(9, 9), "image/jpg")], CLAUDE),
        ([image(media.png(2001, 9))] * 20, CLAUDE),
        ([image(media.png(9, 9))] * 101, ("anthropic", "claude-opus-5-5")),
        ([image(media.png(9, 9), "image/jpeg")], ("openai", "gpt-4o")),
        ([image(media.heic(9, 9), "image/heic")], GEMINI),
        ([image(b"any bytes")], ("local", "llama")),
        ([LINKED], ("local", "llama")),
        ([BY_ADDRESS], ("local", "llama")),
        ([{"type": "file", "file": {"file_id": "file-1"}}], ("openai", "gpt-4o")),
    ],
)
def test_what_a_provider_takes_is_left_alone(parts: list[Any], whose: tuple[str, str]) -> None:
    assert seen(parts, *whose).notes == []


WHOLE = [
    media.png(9, 9),
    media.gif(9, 9),
    media.jpeg(9, 9, profile=100),
    media.webp(9, 9),
    media.heic(9, 9),
    media.wav(0.01),
    media.mp3(2),
    media.mp3(9, tagged=True),
    media.pdf(2),
    media.pdf(2, form="compressed"),
    b"fLaC" + bytes(40),
    b"BM" + bytes(40),
]


@given(st.sampled_from(WHOLE), st.data(), st.sampled_from(["image", "audio", "file"]))
def test_damaged_data_breaks_nothing(whole: bytes, data: st.DataObject, kind: str) -> None:
    """Whatever people send: it counts, and a fault is a note."""
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 4)) if damaged else 0):
        at = data.draw(st.integers(0, min(len(damaged) - 1, 200)))
        damaged[at] = data.draw(st.integers(0, 255))
    url = media.data_url(bytes(damaged), "image/png")
    part: dict[str, Any] = {"image_url": {"url": url}}
    if kind == "audio":
        part = {"input_audio": {"data": media.encoded(bytes(damaged)), "format": "wav"}}
    elif kind == "file":
        part = {"file": {"file_data": url}}
    for provider, model in (CLAUDE, GEMINI, ("openai", "gpt-4o")):
        found = seen([part], provider, model)
        assert found.tokens >= 0
        assert found.data_bytes == len(media.encoded(bytes(damaged)))


NAMES = ["image_url", "url", "source", "type", "data", "content", "parts", "file", "file_id"]
NAMES += ["file_data", "inlineData", "input_audio", "fileData", "detail"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(NAMES),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ),
    st.sampled_from(["messages", "input", "contents", "images"]),
)
def test_any_json_has_parts_or_none(value: Any, root: str) -> None:
    raw = json.dumps({root: [value] if root == "images" else [{"content": value}]}).encode()
    prompt = prompt_of(raw, provider="anthropic", model="claude-opus-5", url=MESSAGES)
    assert 0 <= prompt.text_bytes <= len(raw)
