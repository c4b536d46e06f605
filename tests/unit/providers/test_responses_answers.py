"""Chat completions as Responses: the vendor's own type accepts what comes out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response

from core.providers.anthropic.translation import read_line
from core.providers.contract import Outcome, ResultLine
from core.providers.translation.report import Report
from core.providers.translation.responses import from_chat, marked, restored, to_chat
from tests.fuzz.budget import examples
from tests.support.providers.grammar import Grammar

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def chat(finish: str | None = "stop", usage: Any = None, **message: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1790000000,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": None, "refusal": None} | message,
                "logprobs": None,
                "finish_reason": finish,
            }
        ],
        "usage": usage,
    }


def response_of(body: dict[str, Any]) -> dict[str, Any]:
    """The Response, which the SDK's type accepts."""
    made = from_chat(json.dumps(body).encode(), "s-t-1")
    assert made is not None
    read = json.loads(made)
    parsed = Response.model_validate(read)
    assert set(parsed.model_extra or ()) <= {"native"}
    return read  # type: ignore[no-any-return]


def test_a_whole_answer() -> None:
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 5,
        "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    body = chat("tool_calls", usage, content="Hi", reasoning_content="Hm", tool_calls=[CALL])
    found = response_of(body | {"native": {"stop_reason": "tool_use"}, "service_tier": "default"})
    assert found["output"] == [
        {
            "id": "rs_1",
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "Hm"}],
        },
        {
            "id": "msg_1",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []}],
        },
        {
            "id": "fc_1_0",
            "type": "function_call",
            "status": "completed",
            "call_id": "call_1",
            "name": "f",
            "arguments": '{"a":1}',
        },
    ]
    assert found["usage"] == {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 14,
    }
    assert (found["id"], found["object"], found["created_at"]) == ("resp_1", "response", 1790000000)
    assert (found["status"], found["model"], found["service_tier"]) == ("completed", "m", "default")
    assert found["native"] == {"stop_reason": "tool_use"}


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        (None, "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("model_length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
def test_how_an_answer_ended(finish: str | None, status: str, reason: str | None) -> None:
    found = response_of(chat(finish, content="x", tool_calls=[CALL]))
    assert found["status"] == status
    assert found["incomplete_details"] == ({"reason": reason} if reason else None)
    assert [item["status"] for item in found["output"]] == [status, status]


def parts(body: dict[str, Any]) -> list[tuple[str, str]]:
    """Kind and text of what an answer says."""
    return [
        (part["type"], part.get("text", part.get("refusal")))
        for item in response_of(body)["output"]
        for part in item.get("content", item.get("summary", ()))
    ]


def test_refusals() -> None:
    assert parts(chat(refusal="No.")) == [("refusal", "No.")]
    assert parts(chat(content="No.", refusal="No.")) == [("refusal", "No.")]
    both = chat("content_filter", content="Well", refusal="No.")
    assert parts(both) == [("output_text", "Well"), ("refusal", "No.")]


def test_answers_without_a_word() -> None:
    assert parts(chat(content="")) == [("output_text", "")]
    assert response_of(chat("length", content=None))["output"] == []
    assert [
        item["type"] for item in response_of(chat(content="", tool_calls=[CALL]))["output"]
    ] == ["function_call"]


def test_what_servers_say_in_their_own_ways() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}
    mistral = chat(content=[thinking, {"type": "text", "text": "Hi"}])
    assert parts(mistral) == [("summary_text", "Hm"), ("output_text", "Hi")]
    assert parts(chat(content="Hi", reasoning="Hm")) == [
        ("summary_text", "Hm"),
        ("output_text", "Hi"),
    ]
    odd = {"type": "reference", "reference_ids": [1]}
    (item,) = response_of(chat(content=[{"type": "text", "text": "Hi"}, odd]))["output"]
    assert item["other_content"] == [odd]
    (call,) = response_of(chat(tool_calls=[{"function": {"name": "f", "arguments": {"a": 1}}}]))[
        "output"
    ]
    assert (call["arguments"], call["call_id"]) == ('{"a":1}', "call_fc_1_0")
    (old,) = response_of(chat(function_call={"name": "f", "arguments": "{}"}))["output"]
    assert (old["type"], old["name"]) == ("function_call", "f")
    nameless = {key: value for key, value in chat(content="Hi").items() if key == "choices"}
    assert response_of(nameless)["id"] == "resp_s-t-1"


def test_citations() -> None:
    cited = {"start_index": 0, "end_index": 2, "url": "https://example.org", "title": "T"}
    annotations = [{"type": "url_citation", "url_citation": cited}]
    (item,) = response_of(chat(content="Hi", annotations=annotations))["output"]
    assert item["content"][0]["annotations"] == [{"type": "url_citation", **cited}]


def test_generated_answers() -> None:
    """What Anthropic says comes out as a Response of the SDK's type, nothing of it lost."""
    grammar = Grammar(20261128)
    for _ in range(500):
        sent = grammar.answer()
        row = {"custom_id": marked("s-t-1"), "result": {"type": "succeeded", "message": sent}}
        line = restored(read_line(json.dumps(row).encode(), 1790000000))
        assert (line.custom_id, line.outcome) == ("s-t-1", Outcome.SUCCEEDED)
        assert line.response is not None
        body = json.loads(line.response)["body"]
        found = Response.model_validate(body)
        calls = [block for block in sent["content"] if block["type"] == "tool_use"]
        assert [item.type for item in found.output].count("function_call") == len(calls)
        said = "".join(b["text"] for b in sent["content"] if b["type"] == "text")
        assert said == found.output_text or sent["stop_reason"] == "refusal"
        assert found.usage is not None
        usage = (found.usage.input_tokens, found.usage.output_tokens)
        assert usage == (line.usage.input, line.usage.output)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**13) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ("type", "text", "id", "function", "name", "arguments", "thinking", "url_citation")
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
_MESSAGES = st.dictionaries(
    st.sampled_from(
        (
            "content",
            "refusal",
            "tool_calls",
            "function_call",
            "annotations",
            "reasoning_content",
            "reasoning",
        )
    ),
    _JSON,
)
_CHATS = st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({"message": _MESSAGES, "finish_reason": _JSON}))},
    optional=dict.fromkeys(
        ("id", "created", "model", "usage", "service_tier", "native", "error", "tools"), _JSON
    ),
)


@given(_CHATS)
@settings(max_examples=examples(60))
def test_any_answer_is_a_response_or_stays_as_it_came(body: dict[str, Any]) -> None:
    made = from_chat(json.dumps(body).encode(), "s-t-1")
    if made is not None:
        Response.model_validate(json.loads(made))


@pytest.mark.parametrize(
    "body", [b"{}", b'{"choices":[]}', b'{"error":{}}', b"[]", b"null", b'{"choices":[{}]}']
)
def test_what_is_no_answer_stays(body: bytes) -> None:
    assert from_chat(body, "x") is None
    response = b'{"status_code":200,"request_id":"r","body":%b}' % body
    line = ResultLine(marked("s-t-1"), Outcome.SUCCEEDED, response, None)
    assert restored(line).response == response


def test_errors_and_other_lines_stay() -> None:
    response = json.dumps({"status_code": 200, "body": chat(content="x")}).encode()
    failed = ResultLine(marked("s-t-1"), Outcome.FAILED, response, None)
    assert (restored(failed).response, failed.custom_id) == (response, "s-t-1")
    other = ResultLine("s-t-1", Outcome.SUCCEEDED, response, None)
    assert restored(other).response == response


def test_an_answer_can_be_sent_back() -> None:
    """What was answered is the beginning of the next request, Gemini's signatures with it."""
    signed = CALL | {"extra_content": {"google": {"thought_signature": "s"}}}
    answered = response_of(chat("tool_calls", content="Hi", reasoning="Hm", tool_calls=[signed]))
    again = {"type": "function_call_output", "call_id": "call_1", "output": "2"}
    turns = [{"role": "user", "content": "?"}, *answered["output"], again]
    report = Report()
    sent = json.loads(to_chat(json.dumps({"model": "m", "input": turns}).encode(), report).body)
    assert sent["messages"][1:] == [
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "Hi"}],
            "tool_calls": [signed],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "2"},
    ]
    assert [(note.field, note.reason) for note in report.notes] == [("body.input[1]", "ignored")]
