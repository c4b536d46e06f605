"""Anthropic's result lines, made lines of OpenAI's form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types.messages import MessageBatchIndividualResponse
from openai.types.chat import ChatCompletion

from core.prices.usage import Usage
from core.providers.anthropic.translation import read_line
from core.providers.contract import Outcome, ResultLine

CREATED = 1790000000


def message(*content: Any, **fields: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": list(content),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    } | fields


def text(said: str = "hello") -> dict[str, Any]:
    return {"type": "text", "text": said, "citations": None}


def read_result(result: Any, *, documented: bool = True) -> ResultLine:
    row = {"custom_id": "s-t-1", "result": result}
    if documented:
        MessageBatchIndividualResponse.model_validate(row)
    return read_line(json.dumps(row).encode(), CREATED)


def read_message(sent: dict[str, Any], *, documented: bool = True) -> tuple[ResultLine, Any]:
    """The line, and the chat completion in it, which the SDK's type has to accept."""
    line = read_result({"type": "succeeded", "message": sent}, documented=documented)
    assert (line.outcome, line.error, line.custom_id) == (Outcome.SUCCEEDED, None, "s-t-1")
    assert line.response is not None
    response = json.loads(line.response)
    assert response.keys() == {"status_code", "request_id", "body"}
    assert response["status_code"] == 200
    ChatCompletion.model_validate(response["body"], strict=True)
    return line, response["body"]


def test_a_message() -> None:
    line, body = read_message(message(text("hello "), text("world")))
    assert body == {
        "id": "msg_1",
        "object": "chat.completion",
        "created": CREATED,
        "model": "claude-sonnet-4-5-20250929",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hello world", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
        "native": {
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 10, "output_tokens": 5},
        },
    }
    assert line.usage == Usage(input=10, output=5)


@pytest.mark.parametrize(
    "said",
    [
        r'"Gr\u00fc\u00dfe, \ud83d\ude00 \"so\" \/ \\ \n"',
        '"Grüße, 😀"',
        r'"\"content\":\"\",\"refusal\""',
        '""',
    ],
)
def test_a_text_means_the_same_however_it_is_written(said: str) -> None:
    sent = json.dumps(message(text("SAID"))).replace('"SAID"', said)
    row = f'{{"custom_id": "s-t-1", "result": {{"type": "succeeded", "message": {sent}}}}}'
    line = read_line(row.encode(), CREATED)
    assert line.outcome is Outcome.SUCCEEDED
    assert line.response is not None
    body = json.loads(line.response)["body"]
    ChatCompletion.model_validate(body, strict=True)
    assert body["choices"][0]["message"]["content"] == json.loads(said)


def test_one_text_is_read_as_many_are() -> None:
    plain, one = read_message(message(text("hello"), stop_reason="max_tokens"))
    examined, two = read_message(message(text("hel"), text("lo"), stop_reason="max_tokens"))
    assert (one, plain.usage) == (two, examined.usage)


@pytest.mark.parametrize("odd", [None, 5, ["hello"], {"said": "hello"}])
def test_a_text_that_is_none_stays_under_its_own_name(odd: Any) -> None:
    _, body = read_message(message({"type": "text", "text": odd}), documented=False)
    assert body["choices"][0]["message"]["content"] == ""
    assert body["native"]["content"] == [{"type": "text", "text": odd}]


@pytest.mark.parametrize(
    ("native", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
    ],
)
def test_finish_reasons(native: str, finish: str) -> None:
    _, body = read_message(message(text(), stop_reason=native))
    assert body["choices"][0]["finish_reason"] == finish
    assert body["native"]["stop_reason"] == native


@pytest.mark.parametrize("native", ["end_turn", "stop_sequence", "max_tokens"])
def test_a_complete_message_may_say_nothing(native: str) -> None:
    line, body = read_message(message(stop_reason=native))
    assert body["choices"][0]["message"]["content"] == ""
    assert line.usage == Usage(input=10, output=5)


@pytest.mark.parametrize("native", ["tool_use", "pause_turn", "compaction", "bored", None, 5])
def test_an_empty_message_is_no_answer(native: Any) -> None:
    code, line = failed(message(stop_reason=native))
    assert (code, line.outcome) == ("empty_answer", Outcome.FAILED)
    assert line.usage == Usage(input=10, output=5)


@pytest.mark.parametrize("native", ["bored", None, 5])
def test_an_unknown_stop_reason_is_kept(native: Any) -> None:
    _, body = read_message(message(text(), stop_reason=native), documented=False)
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["native"]["stop_reason"] == native


def test_usage_with_a_cache() -> None:
    native = {
        "input_tokens": 1,
        "cache_creation_input_tokens": 20,
        "cache_read_input_tokens": 300,
        "output_tokens": 4000,
        "output_tokens_details": {"thinking_tokens": 50},
        "service_tier": "batch",
        "of_tomorrow": 1.0,
    }
    line, body = read_message(message(text(), usage=native))
    assert line.usage == Usage(
        input=321, cached_input=300, cache_write_5m=20, output=4000, reasoning=50
    )
    assert body["usage"] == {
        "prompt_tokens": 321,
        "completion_tokens": 4000,
        "total_tokens": 4321,
        "prompt_tokens_details": {"cached_tokens": 300, "cache_write_tokens": 20},
        "completion_tokens_details": {"reasoning_tokens": 50},
    }
    assert body["native"]["usage"] == native


def test_tool_calls_keep_their_numbers() -> None:
    sent = (
        b'{"custom_id":"s-t-1","result":{"type":"succeeded","message":{"id":"m","type":"message",'
        b'"role":"assistant","model":"c","stop_reason":"tool_use","stop_sequence":null,'
        b'"usage":{"input_tokens":1,"output_tokens":1},"content":[{"type":"tool_use","id":"t1",'
        b'"name":"f","input":{"a": 1.0,"b":12345678901234567890,"c":"\\u00e9\xc3\xa9"}}]}}}'
    )
    line = read_line(sent, CREATED)
    assert line.response is not None
    choice = json.loads(line.response)["body"]["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    (call,) = choice["message"]["tool_calls"]
    assert (call["id"], call["type"], call["function"]["name"]) == ("t1", "function", "f")
    arguments = '{"a": 1.0,"b":12345678901234567890,"c":"\\u00e9é"}'
    assert call["function"]["arguments"] == arguments


def test_thinking_stays_out_of_the_content() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    hidden = {"type": "redacted_thinking", "data": "xx"}
    _, body = read_message(message(thought, hidden, text("yes")))
    answer = body["choices"][0]["message"]
    assert (answer["content"], answer["reasoning_content"]) == ("yes", "hm")
    assert body["native"]["content"] == [thought, hidden, text("yes")]


def test_refusals() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "Too dangerous."}
    _, body = read_message(message(stop_reason="refusal", stop_details=details))
    answer = body["choices"][0]["message"]
    assert (answer["content"], answer["refusal"]) == (None, "Too dangerous.")
    assert body["native"]["stop_details"] == details
    _, body = read_message(message(text("I can't."), stop_reason="refusal"))
    assert body["choices"][0]["message"]["refusal"] == "I can't."


CITED = {
    "type": "text",
    "text": "yes",
    "citations": [
        {
            "type": "char_location",
            "cited_text": "y",
            "document_index": 0,
            "document_title": None,
            "start_char_index": 0,
            "end_char_index": 1,
            "file_id": None,
        }
    ],
}
SEARCH = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "q"}}


@pytest.mark.parametrize("block", [CITED, SEARCH, {"type": "of_tomorrow", "deep": [1.50]}])
def test_content_without_a_field_is_kept_whole(block: dict[str, Any]) -> None:
    _, body = read_message(message(text(), block), documented=block["type"] != "of_tomorrow")
    assert body["native"]["content"] == [text(), block]


def test_members_without_a_field_are_kept() -> None:
    container = {"id": "c", "expires_at": "2026-11-28T00:00:00Z", "skills": None}
    _, body = read_message(message(text(), container=container, diagnostics=None))
    assert body["native"]["container"] == container
    assert body["native"].keys() == {"stop_reason", "stop_sequence", "usage", "container"}
    _, body = read_message(message(text(), of_tomorrow={"a": [1]}), documented=False)
    assert body["native"]["of_tomorrow"] == {"a": [1]}
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": {"type": "direct"}}
    _, body = read_message(message(call, stop_reason="tool_use"))
    assert "content" not in body["native"]


@pytest.mark.parametrize(
    "fields",
    [
        {"usage": None},
        {"usage": "lots"},
        {"usage": {"input_tokens": None, "output_tokens": "5", "output_tokens_details": 3}},
        {"usage": {"input_tokens": -5, "output_tokens": True}},
        {"content": [{"type": "of_tomorrow", "text": {"a": 1}}, {}, {"type": "text", "text": 5}]},
        {"content": [{"type": "tool_use"}]},
        {"stop_details": "odd", "stop_reason": "refusal"},
        {"extra": {"deep": [1, 2.5, None]}},
    ],
)
def test_odd_fields_do_not_cost_the_line(fields: dict[str, Any]) -> None:
    line, _ = read_message(message(**fields), documented=False)
    assert line.usage.output in (0, 5)


def failed(sent: Any) -> tuple[str, ResultLine]:
    """Code and line of a "success" that is none; its message is kept as it came."""
    line = read_result({"type": "succeeded", "message": sent}, documented=False)
    assert line.outcome is not Outcome.SUCCEEDED
    assert json.loads(line.response or b"") == {"status_code": 200, "request_id": "", "body": sent}
    told = json.loads(line.error or b"")
    assert told["message"]
    return told["code"], line


@pytest.mark.parametrize("sent", ["text", [], {"content": "hi"}, {"content": [5]}, {"id": 7}])
def test_a_message_in_another_form_is_kept_as_a_failure(sent: Any) -> None:
    code, line = failed(sent)
    assert (code, line.outcome) == ("unreadable_answer", Outcome.FAILED)


@pytest.mark.parametrize("sent", [{}, {"content": None}, {"id": "m", "type": "message"}])
def test_a_message_without_content_is_no_answer(sent: Any) -> None:
    usage = {"input_tokens": 10, "output_tokens": 5}
    code, line = failed(sent | {"usage": usage})
    assert (code, line.outcome, line.usage) == (
        "empty_answer",
        Outcome.FAILED,
        Usage(input=10, output=5),
    )


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [("overloaded_error", Outcome.RETRYABLE), ("invalid_request_error", Outcome.FAILED)],
)
def test_an_error_in_the_place_of_a_message(kind: str, outcome: Outcome) -> None:
    code, line = failed({"type": "error", "error": {"type": kind, "message": "because"}})
    assert (code, line.outcome) == (kind, outcome)
    assert json.loads(line.error or b"")["message"] == "because"


@pytest.mark.parametrize(
    ("kind", "status", "outcome"),
    [
        ("invalid_request_error", 400, Outcome.FAILED),
        ("authentication_error", 401, Outcome.FAILED),
        ("billing_error", 402, Outcome.FAILED),
        ("permission_error", 403, Outcome.FAILED),
        ("not_found_error", 404, Outcome.FAILED),
        ("rate_limit_error", 429, Outcome.RETRYABLE),
        ("api_error", 500, Outcome.RETRYABLE),
        ("timeout_error", 504, Outcome.RETRYABLE),
        ("overloaded_error", 529, Outcome.RETRYABLE),
    ],
)
def test_errors(kind: str, status: int, outcome: Outcome) -> None:
    inner = {"type": kind, "message": "because"}
    sent = {"type": "error", "error": inner, "request_id": "req_1"}
    line = read_result({"type": "errored", "error": sent})
    assert line.outcome is outcome
    assert json.loads(line.error or b"") == {"code": kind, "message": "because"}
    assert line.response is not None
    assert json.loads(line.response) == {
        "status_code": status,
        "request_id": "req_1",
        "body": {"error": {"message": "because", "type": kind, "param": None, "code": kind}},
    }


@pytest.mark.parametrize(
    ("sent", "status", "outcome"),
    [
        (None, 500, Outcome.RETRYABLE),
        ({}, 500, Outcome.RETRYABLE),
        ({"error": {"type": "of_tomorrow", "message": 5}}, 500, Outcome.FAILED),
        ({"type": "request_too_large", "message": "x"}, 413, Outcome.FAILED),
    ],
)
def test_errors_in_another_form(sent: Any, status: int, outcome: Outcome) -> None:
    line = read_result({"type": "errored", "error": sent}, documented=False)
    assert line.outcome is outcome
    assert line.response is not None
    assert json.loads(line.response)["status_code"] == status


@pytest.mark.parametrize(
    ("kind", "outcome", "code"),
    [
        ("expired", Outcome.EXPIRED, "batch_expired"),
        ("canceled", Outcome.CANCELLED, "batch_cancelled"),
        ("of_tomorrow", Outcome.FAILED, "unknown_result"),
    ],
)
def test_lines_that_were_not_run(kind: str, outcome: Outcome, code: str) -> None:
    line = read_result({"type": kind}, documented=kind != "of_tomorrow")
    assert (line.outcome, line.response) == (outcome, None)
    assert line.error is not None
    assert json.loads(line.error)["code"] == code


def test_a_result_of_an_unknown_type_keeps_its_message() -> None:
    line = read_result({"type": "of_tomorrow", "message": message(text())}, documented=False)
    assert (line.outcome, line.usage) == (Outcome.FAILED, Usage(input=10, output=5))
    assert json.loads(line.error or b"")["code"] == "unknown_result"
    assert json.loads(line.response or b"")["body"] == message(text())
