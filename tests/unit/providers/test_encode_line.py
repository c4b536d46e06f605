"""What becomes of a request's bytes on their way to a provider."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import completion_create_params
from openai.types.embedding_create_params import EmbeddingCreateParams

from core.providers.anthropic.adapter import AnthropicProvider
from core.providers.contract import LineRejected, parse_custom_id
from core.providers.direct.beside_batches import dialect_calls
from core.providers.direct.contract import CallLimits
from core.providers.http.client import ProviderHttp
from core.providers.openai.adapter import OPENAI as DIALECT
from core.providers.openai.adapter import OpenAIProvider
from core.providers.openai.nulls import CHAT as CHAT_SHAPE
from core.providers.openai.nulls import EMBEDDINGS as EMBEDDINGS_SHAPE
from core.providers.openai.requests import check_request
from tests.fuzz.budget import examples
from tests.support.providers.fake_provider import make_intent

CHAT = "/v1/chat/completions"

QUICK = settings(deadline=None, max_examples=examples(60))

HTTP = ProviderHttp("http://127.0.0.1:9", {}, secret="", timeout=1)
OPENAI = OpenAIProvider(HTTP, settle=timedelta(0))
ANTHROPIC = AnthropicProvider(HTTP, settle=timedelta(0))

# Everything that JSON can say, numbers as text so that nothing is rounded on the way here.
numbers = st.one_of(
    st.integers(-(10**30), 10**30).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["1.0", "1", "-0", "-0.0", "1E5", "1e-7", "0.1000", "9007199254740993"]),
)
texts = st.text(st.characters(exclude_categories=["Cs"]))


class Number(str):
    """A number as it is written."""


values = st.recursive(
    st.none() | st.booleans() | texts | numbers.map(Number),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def write(value: Any, ascii_only: bool) -> str:
    """JSON, with numbers as they are written and texts escaped or not."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        items = (f"{write(k, ascii_only)} : {write(v, ascii_only)}" for k, v in value.items())
        return "{" + " , ".join(items) + "}"
    if isinstance(value, list):
        return "[" + ",  ".join(write(item, ascii_only) for item in value) + "]"
    return json.dumps(value, ensure_ascii=ascii_only)


def read(raw: bytes | str) -> Any:
    """JSON, with numbers as they are written."""
    return json.loads(raw, parse_float=Number, parse_int=Number)


@QUICK
@given(st.dictionaries(texts, values), st.booleans())
def test_openai_lines_change_nothing_but_the_model(extra: dict[str, Any], ascii_only: bool) -> None:
    body = extra | {"model": "openai/gpt-4.1", "metadata": {"model": "openai/gpt-4.1"}}
    body.pop("stream", None)
    line, _ = OPENAI.encode_line("s-t-1", CHAT, "openai/gpt-4.1", write(body, ascii_only).encode())
    assert b"\n" not in line
    assert read(line) == {
        "custom_id": "s-t-1",
        "method": "POST",
        "url": CHAT,
        "body": read(write(body, ascii_only)) | {"model": "gpt-4.1"},
    }
    # Byte for byte, not only in meaning.
    for key, value in extra.items():
        if key not in ("model", "metadata", "stream"):
            assert write(value, ascii_only).encode() in line


def test_a_model_that_is_spelt_with_escapes_is_replaced_too() -> None:
    body = rb'{"m\u006fdel":"x","user":"\"model\":\"openai/gpt-4.1\""}'
    line, _ = OPENAI.encode_line("s-t-1", CHAT, "openai/gpt-4.1", body)
    assert json.loads(line)["body"] == {"model": "gpt-4.1", "user": '"model":"openai/gpt-4.1"'}


def test_a_body_without_a_model_gets_one() -> None:
    line, _ = OPENAI.encode_line(
        "s-t-1", "/v1/embeddings", "text-embedding-3-small", b'{"input":"x"}'
    )
    assert json.loads(line)["body"] == {"input": "x", "model": "text-embedding-3-small"}


def sent(body: dict[str, Any], url: str = CHAT) -> Any:
    line, dropped = OPENAI.encode_line("s-t-1", url, "gpt-4.1", json.dumps(body).encode())
    assert dropped == ()
    return json.loads(line)["body"]


def test_null_is_absence_where_openai_lets_a_member_be_absent() -> None:
    said = {"role": "user", "content": "null"}
    call = {"role": "assistant", "content": None, "tool_calls": [], "refusal": None}
    picture = {"type": "image_url", "image_url": {"url": "u", "detail": None}}
    function = {"name": "f", "description": None, "parameters": {"default": None}}
    body = {
        "model": "gpt-4.1",
        "temperature": None,
        "stop": None,
        "stream": None,
        "of_tomorrow": None,
        "metadata": {"a": None},
        "messages": [said | {"name": None}, call, {"role": "user", "content": [picture]}],
        "tools": [{"type": "function", "function": function}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": None}},
    }
    assert sent(body) == {
        "model": "gpt-4.1",
        "of_tomorrow": None,
        "metadata": {"a": None},
        "messages": [
            said,
            {"role": "assistant", "content": None, "tool_calls": []},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"default": None}}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n"}},
    }


def test_what_has_to_be_there_is_not_left_out() -> None:
    assert sent({"messages": None}) == {"messages": None, "model": "gpt-4.1"}
    embedding = {"input": None, "dimensions": None, "user": "null"}
    assert sent(embedding, "/v1/embeddings") == {
        "input": None,
        "user": "null",
        "model": "gpt-4.1",
    }


@pytest.mark.parametrize(
    ("tier", "dropped"), [("priority", ["body.service_tier"]), ("auto", []), (None, [])]
)
@pytest.mark.parametrize("url", [CHAT, "/v1/responses"])
def test_a_tier_of_service_means_nothing_in_a_batch(
    tier: str | None, dropped: list[str], url: str
) -> None:
    body = json.dumps({"model": "gpt-4.1", "service_tier": tier, "user": "u"}).encode()
    line, left_out = OPENAI.encode_line("s-t-1", url, "gpt-4.1", body, lenient=True)
    assert json.loads(line)["body"] == {"model": "gpt-4.1", "user": "u"}
    assert list(left_out) == dropped
    assert OPENAI.encode_line("s-t-1", url, "gpt-4.1", body) == (line, ())
    assert [note.field for note in check_request(url, "gpt-4.1", body)] == dropped


def test_a_rescued_line_asks_for_no_tier_of_service() -> None:
    """It is reckoned at the standard price."""
    calls = dialect_calls(HTTP, DIALECT, CallLimits(max_concurrency=1))
    body = b'{"model":"gpt-4.1","service_tier":"priority"}'
    assert json.loads(calls.encode_body(CHAT, "gpt-4.1", body)) == {"model": "gpt-4.1"}


def test_a_request_without_nulls_to_leave_out_keeps_its_bytes() -> None:
    messages = b'[ {"role":"user", "content":"\\u00e9 null"}, {"content" :null} ]'
    line, _ = OPENAI.encode_line("s-t-1", CHAT, "gpt-4.1", b'{"messages":%b}' % messages)
    assert messages in line


def test_optional_members_are_those_of_openais_own_package() -> None:
    """A new version of it may have more, or make one required."""
    for shape, params in (
        (CHAT_SHAPE, completion_create_params.CompletionCreateParamsNonStreaming),
        (EMBEDDINGS_SHAPE, EmbeddingCreateParams),
    ):
        # Its annotations are texts, so that typing takes Required for optional.
        optional = set(params.__optional_keys__) - {"model", "messages", "input"}
        assert shape.optional == optional


spoken = texts.filter(lambda text: bool(text) and not text.isspace())
# What Anthropic takes at the top of a tool's parameters, as it is.
members = texts.filter(lambda key: key not in ("type", "oneOf", "anyOf", "allOf"))


@QUICK
@given(spoken, spoken, st.dictionaries(members, values), numbers, st.booleans())
def test_anthropic_lines_keep_texts_schemas_and_arguments(
    said: str, system: str, extra: dict[str, Any], number: str, ascii_only: bool
) -> None:
    schema = extra | {"type": "object"}
    arguments = write({"n": Number(number), "t": said}, ascii_only)
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    body = {
        "model": "anthropic/claude-4.5-sonnet",
        "max_tokens": Number("100"),
        "messages": [
            {"role": "system", "content": system},
            {"role": "user", "content": said},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": said},
        ],
        "tools": [
            {
                "type": "function",
                "function": {"name": "f", "parameters": {"type": "object"} | extra},
            }
        ],
    }
    line, _ = ANTHROPIC.encode_line(
        "s-t-1", CHAT, "anthropic/claude-4.5-sonnet", write(body, ascii_only).encode()
    )
    assert b"\n" not in line
    params = read(line)["params"]
    assert params["system"] == system
    assert params["messages"][0] == {"role": "user", "content": said}
    (use,) = params["messages"][1]["content"]
    assert use["input"] == read(arguments)
    assert params["messages"][2]["content"][0]["content"] == said
    assert params["tools"][0]["input_schema"] == read(write(schema, ascii_only))


@pytest.mark.parametrize("number", ["0.7", "0.70", "7e-1", "0", "0.0", "0.1234567890123456789"])
def test_settings_keep_their_spelling(number: str) -> None:
    body = (
        f'{{"messages":[{{"role":"user","content":"x"}}],"max_tokens":5,"temperature":{number}}}'
    ).encode()
    line, _ = ANTHROPIC.encode_line("s-t-1", CHAT, "claude-sonnet-4-5", body)
    assert f'"temperature":{number}}}'.encode() in line


def test_a_streaming_line_is_refused() -> None:
    with pytest.raises(LineRejected) as caught:
        OPENAI.encode_line("s-t-1", CHAT, "gpt-4.1", b'{"messages":[],"stream": true}')
    assert caught.value.field == "body.stream"
    OPENAI.encode_line("s-t-1", CHAT, "gpt-4.1", b'{"messages":[],"stream":false}')


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"a":' + b"[" * 100_000, b'{"a":\xff}'])
def test_unreadable_bodies_are_refused(body: bytes) -> None:
    for provider in (OPENAI, ANTHROPIC):
        with pytest.raises(LineRejected) as caught:
            provider.encode_line("s-t-1", CHAT, "m", body)
        assert caught.value.field == "body"


def test_endpoints_that_a_provider_lacks_are_refused() -> None:
    for provider, url in ((OPENAI, "/v1/audio"), (ANTHROPIC, "/v1/embeddings")):
        with pytest.raises(LineRejected) as caught:
            provider.encode_line("s-t-1", url, "m", b"{}")
        assert (caught.value.field, caught.value.reason) == ("url", "unsupported_endpoint")


@QUICK
@given(st.integers(1, 5_000_000))
def test_our_ids_fit_and_come_back(line: int) -> None:
    # The longest that a shard id (core/ledger/ids.py) and a token get.
    intent = make_intent(shard_id="shard_" + "z" * 20, token="t" * 20)
    custom_id = intent.custom_id(line)
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", custom_id)
    assert parse_custom_id(custom_id) == (intent.shard_id, intent.token, line)


@pytest.mark.parametrize(
    "other", ["", "x", "a-b", "a-b-", "a-b-x", "a--1", "-b-1", "a-b-１", "a-b-1-2"]
)
def test_other_ids_are_not_ours(other: str) -> None:
    assert parse_custom_id(other) is None
