"""Lines of Gemini's result files to result lines of OpenAI's form; embeddings both ways."""

from __future__ import annotations

import json
from array import array
from base64 import b64decode
from typing import Any

import pytest
from google.genai import types
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion

from core.prices.usage import Usage
from core.providers.contract import LineRejected, Outcome, ResultLine
from core.providers.finish_reasons import GEMINI
from core.providers.gemini.embeddings import check_embedding, translate_embedding
from core.providers.gemini.response import read_line
from core.providers.result_lines import UnreadableLine

CREATED = 1_790_000_000
COUNTS = {"promptTokenCount": 7, "candidatesTokenCount": 5, "totalTokenCount": 12}


def candidate(*parts: Any, reason: str = "STOP", **more: Any) -> dict[str, Any]:
    content = {"role": "model", "parts": list(parts)}
    return {"content": content, "finishReason": reason, "index": 0, **more}


def response(*candidates: Any, **more: Any) -> dict[str, Any]:
    return {
        "candidates": list(candidates) or [candidate({"text": "hi"})],
        "usageMetadata": COUNTS,
        "modelVersion": "gemini-3.8-flash",
        "responseId": "r-1",
        **more,
    }


def read(row: dict[str, Any]) -> ResultLine:
    return read_line(json.dumps(row).encode(), CREATED, "asked-model")


def completion(sent: dict[str, Any]) -> tuple[ChatCompletion, dict[str, Any], Usage]:
    """The chat completion of a response that both SDKs understand, its JSON, the usage."""
    types.GenerateContentResponse.model_validate(sent)
    line = read({"key": "s-t-1", "response": sent})
    assert (line.custom_id, line.outcome, line.error) == ("s-t-1", Outcome.SUCCEEDED, None)
    assert line.response is not None
    envelope = json.loads(line.response)
    assert (envelope["status_code"], envelope["request_id"]) == (200, "")
    return (
        ChatCompletion.model_validate(envelope["body"], strict=True),
        envelope["body"],
        line.usage,
    )


def test_an_answer() -> None:
    found, body, usage = completion(response())
    assert (found.id, found.object, found.created) == ("r-1", "chat.completion", CREATED)
    assert found.model == "gemini-3.8-flash"
    (choice,) = found.choices
    assert (choice.message.content, choice.message.refusal) == ("hi", None)
    assert (choice.finish_reason, choice.index) == ("stop", 0)
    assert usage == Usage(input=7, output=5)
    assert body["native"] == {"finish_reasons": ["STOP"], "usage": COUNTS}


def test_tokens() -> None:
    counts = {
        "promptTokenCount": 100,
        "toolUsePromptTokenCount": 3,
        "cachedContentTokenCount": 40,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 9,
        "totalTokenCount": 132,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 100}],
    }
    found, body, usage = completion(response(usageMetadata=counts))
    assert usage == Usage(input=103, cached_input=40, output=29, reasoning=9)
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (103, 29)
    assert found.usage.total_tokens == 132
    assert found.usage.prompt_tokens_details is not None
    assert found.usage.prompt_tokens_details.cached_tokens == 40
    assert found.usage.completion_tokens_details is not None
    assert found.usage.completion_tokens_details.reasoning_tokens == 9
    assert body["native"]["usage"] == counts


def test_thoughts_and_calls() -> None:
    parts = [
        {"text": "Let me see. ", "thought": True},
        {"text": "I "},
        {"text": "look."},
        {
            "functionCall": {"name": "look", "args": {"n": 12345678901234567890, "x": 1.10}},
            "thoughtSignature": "c2ln",
        },
        {"functionCall": {"id": "own", "name": "wait"}},
    ]
    found, body, _ = completion(response(candidate(*parts)))
    message = found.choices[0].message
    assert message.content == "I look."
    assert body["choices"][0]["message"]["reasoning_content"] == "Let me see. "
    assert found.choices[0].finish_reason == "tool_calls"
    first, second = body["choices"][0]["message"]["tool_calls"]
    assert first == {
        "id": "call_r-1_0",
        "type": "function",
        "function": {"name": "look", "arguments": '{"n": 12345678901234567890, "x": 1.1}'},
        "extra_content": {"google": {"thought_signature": "c2ln"}},
    }
    assert second["id"] == "own"
    assert second["function"] == {"name": "wait", "arguments": "{}"}


def test_several_candidates() -> None:
    both = response(candidate({"text": "a"}), candidate({"text": "b"}, index=1))
    found, _, _ = completion(both)
    assert [(c.index, c.message.content) for c in found.choices] == [(0, "a"), (1, "b")]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("FINISH_REASON_UNSPECIFIED", "stop"),
        ("A_REASON_OF_TOMORROW", "stop"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
    ],
)
@pytest.mark.filterwarnings("ignore:A_REASON_OF_TOMORROW is not a valid")
def test_reasons_of_an_end(reason: str, finish: str) -> None:
    found, body, _ = completion(response(candidate({"text": "a"}, reason=reason)))
    assert found.choices[0].finish_reason == finish
    assert body["native"]["finish_reasons"] == [reason]
    assert (found.choices[0].message.refusal is not None) == (finish == "content_filter")


def failed(sent: Any) -> tuple[str, str, ResultLine]:
    """Code, message and line of a response that is no answer; it is kept as it came."""
    line = read({"key": "s-t-1", "response": sent})
    assert line.outcome is not Outcome.SUCCEEDED
    assert json.loads(line.response or b"") == {"status_code": 200, "request_id": "", "body": sent}
    told = json.loads(line.error or b"")
    assert told["code"]
    assert told["message"]
    return told["code"], told["message"], line


BROKEN = [reason for reason, meaning in GEMINI.items() if meaning == "broken"]


@pytest.mark.parametrize("reason", BROKEN)
def test_an_answer_that_broke_off_is_none(reason: str) -> None:
    """Whatever of it came: it is kept, and so is what Gemini says of it."""
    for parts in ((), ({"text": "half"},), ({"functionCall": {"name": "f"}},)):
        sent = response(candidate(*parts, reason=reason, finishMessage="Malformed: call f(x"))
        code, message, line = failed(sent)
        assert (code, message, line.outcome) == (reason, "Malformed: call f(x", Outcome.FAILED)
        assert line.usage == Usage(input=7, output=5)
    assert reason in failed(response({"finishReason": reason}))[1]
    both = response(candidate({"text": "a"}), candidate(reason=reason, index=1))
    assert failed(both)[0] == reason


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"finishReason": "STOP"}, "empty_answer"),
        (candidate(), "empty_answer"),
        (candidate({"text": "hm", "thought": True}), "empty_answer"),
        (candidate({"thoughtSignature": "c2ln"}), "empty_answer"),
        ({"content": {"role": "model"}, "index": 0}, "empty_answer"),
        ({"finishReason": "FINISH_REASON_UNSPECIFIED"}, "FINISH_REASON_UNSPECIFIED"),
        ({"finishReason": "A_REASON_OF_TOMORROW"}, "A_REASON_OF_TOMORROW"),
    ],
)
def test_an_empty_answer_is_none(sent: dict[str, Any], code: str) -> None:
    found, _, line = failed(response(sent))
    assert (found, line.outcome, line.usage) == (code, Outcome.FAILED, Usage(input=7, output=5))
    told = failed(response(sent | {"finishMessage": "Because."}))
    assert told[1] == "Because."


def test_an_answer_may_be_an_empty_text() -> None:
    for sent in (candidate({"text": ""}), {"finishReason": "MAX_TOKENS", "index": 0}):
        found, _, _ = completion(response(sent))
        assert found.choices[0].message.content == ""


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        ({"code": 503, "message": "m", "status": "UNAVAILABLE"}, Outcome.RETRYABLE, "UNAVAILABLE"),
        ({"code": 400, "message": "m"}, Outcome.FAILED, "INVALID_ARGUMENT"),
    ],
)
def test_an_error_in_the_place_of_a_response(error: Any, outcome: Outcome, code: str) -> None:
    found, message, line = failed({"error": error})
    assert (found, message, line.outcome) == (code, "m", outcome)


def test_a_blocked_answer_without_content() -> None:
    blocked = {"finishReason": "SAFETY", "finishMessage": "Too hot.", "index": 0}
    found, body, _ = completion(response(blocked))
    message = found.choices[0].message
    assert (message.content, message.refusal) == (None, "Too hot.")
    assert body["native"]["candidates"] == [{"finishMessage": "Too hot."}]


@pytest.mark.parametrize("reason", [each.value for each in types.BlockedReason])
def test_a_blocked_prompt(reason: str) -> None:
    sent = {"promptFeedback": {"blockReason": reason}, "usageMetadata": {"promptTokenCount": 7}}
    found, body, usage = completion(sent)
    assert found.choices[0].finish_reason == "content_filter"
    assert found.choices[0].message.refusal == f"The prompt was blocked: {reason}"
    assert body["native"]["prompt_feedback"] == {"blockReason": reason}
    assert found.model == "asked-model"
    assert usage == Usage(input=7)


def test_parts_without_a_place_are_kept() -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    code = {"executableCode": {"language": "PYTHON", "code": "1"}}
    signed = {"text": "", "thoughtSignature": "c2ln"}
    _, body, _ = completion(response(candidate({"text": "a"}, image, code, signed)))
    assert body["choices"][0]["message"]["content"] == "a"
    assert body["native"]["other_parts"] == [image, code, signed]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_members_without_a_field_are_kept() -> None:
    grounding = {"webSearchQueries": ["q"], "groundingSupports": [{"segment": {"endIndex": 1}}]}
    sent = response(
        candidate({"text": "a"}, groundingMetadata=grounding, avgLogprobs=-0.1250),
        createTime="2026-11-28T00:00:00Z",
    )
    _, body, _ = completion(sent)
    native = body["native"]
    assert native["candidates"] == [{"groundingMetadata": grounding, "avgLogprobs": -0.125}]
    assert native["other_fields"] == {"createTime": "2026-11-28T00:00:00Z"}
    odd = {"text": "b", "of_tomorrow": {"a": 1}}
    line = read({"key": "s-t-1", "response": response(candidate({"text": "a"}, odd))})
    body = json.loads(line.response or b"")["body"]
    assert body["choices"][0]["message"]["content"] == "ab"
    assert body["native"]["other_parts"] == [odd]


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"candidates": []},
        {"candidates": "none"},
        {"candidates": [{"content": {"parts": [{"text": "a", "functionCall": 1}]}}]},
        [],
        "text",
    ],
)
def test_answers_in_no_known_form_are_kept_as_they_came(sent: Any) -> None:
    """They may have been paid for, so they are not sent again."""
    code, _, line = failed(sent)
    assert line.outcome is Outcome.FAILED
    assert code in ("empty_answer", "unreadable_answer")


def test_usage_of_a_response_in_no_known_form() -> None:
    _, _, line = failed({"candidates": "none", "usageMetadata": COUNTS})
    assert line.usage == Usage(input=7, output=5)


@pytest.mark.parametrize("counts", [None, [], "many", {"promptTokenCount": "7"}, {"a": 1}])
def test_odd_tokens_cost_nothing(counts: Any) -> None:
    line = read({"key": "s-t-1", "response": response(usageMetadata=counts)})
    assert line.outcome is Outcome.SUCCEEDED
    assert line.usage == Usage()


@pytest.mark.parametrize(
    ("error", "outcome", "status", "code"),
    [
        ({"code": 3, "message": "m"}, Outcome.FAILED, 400, "INVALID_ARGUMENT"),
        ({"code": 400, "message": "m"}, Outcome.FAILED, 400, "INVALID_ARGUMENT"),
        (
            {"code": 400, "message": "m", "status": "FAILED_PRECONDITION"},
            Outcome.FAILED,
            400,
            "FAILED_PRECONDITION",
        ),
        ({"code": 4, "message": "m"}, Outcome.RETRYABLE, 504, "DEADLINE_EXCEEDED"),
        ({"code": 5, "message": "m"}, Outcome.FAILED, 404, "NOT_FOUND"),
        ({"code": 7, "message": "m"}, Outcome.FAILED, 403, "PERMISSION_DENIED"),
        ({"code": 8, "message": "m"}, Outcome.RETRYABLE, 429, "RESOURCE_EXHAUSTED"),
        ({"code": 13, "message": "m"}, Outcome.RETRYABLE, 500, "INTERNAL"),
        ({"code": 503, "message": "m"}, Outcome.RETRYABLE, 503, "UNAVAILABLE"),
        ({"code": 99, "message": "m"}, Outcome.RETRYABLE, 500, "UNKNOWN"),
        ("down", Outcome.RETRYABLE, 500, "UNKNOWN"),
    ],
)
@pytest.mark.parametrize("name", ["error", "status"])
def test_failed_lines(error: Any, outcome: Outcome, status: int, code: str, name: str) -> None:
    line = read({"key": "s-t-1", name: error})
    assert line.outcome is outcome
    assert line.response is not None
    envelope = json.loads(line.response)
    assert envelope["status_code"] == status
    assert envelope["body"]["error"]["code"] == code
    assert envelope["body"]["error"]["message"]
    assert json.loads(line.error or b"") == {
        "code": code,
        "message": envelope["body"]["error"]["message"],
    }


def test_lines_that_were_never_run() -> None:
    line = read({"key": "s-t-1", "error": {"code": 1, "message": "m"}})
    assert (line.outcome, line.response) == (Outcome.CANCELLED, None)
    assert json.loads(line.error or b"") == {"code": "batch_cancelled", "message": "m"}
    line = read({"key": "s-t-1"})
    assert (line.outcome, line.response) == (Outcome.RETRYABLE, None)


def test_keys_may_stand_in_the_metadata() -> None:
    assert read({"metadata": {"key": "s-t-1"}, "response": response()}).custom_id == "s-t-1"


@pytest.mark.parametrize("odd", [{"metadata": "x"}, {"metadata": {"key": 1}}, {"metadata": []}])
def test_what_stands_beside_a_response_does_not_cost_it(odd: dict[str, Any]) -> None:
    line = read({"key": "s-t-1", "response": response()} | odd)
    assert (line.custom_id, line.outcome) == ("s-t-1", Outcome.SUCCEEDED)
    named = {"key": None, "metadata": {"key": "s-t-1"}, "response": response()}
    assert read(named).custom_id == "s-t-1"


@pytest.mark.parametrize(
    "line", [b"", b"[]", b"{}", b'{"response":{}}', b'{"key":1}', b'{"key":"\xff"}']
)
def test_unreadable_lines(line: bytes) -> None:
    with pytest.raises(UnreadableLine):
        read_line(line, CREATED, "m")


def embed(**changes: Any) -> bytes:
    return json.dumps({"model": "gemini/gemini-embedding-001", "input": "x", **changes}).encode()


@pytest.mark.parametrize(
    ("changes", "request_", "base64"),
    [
        ({}, {"content": {"parts": [{"text": "x"}]}}, False),
        ({"input": ["ü"]}, {"content": {"parts": [{"text": "ü"}]}}, False),
        ({"encoding_format": "base64"}, {"content": {"parts": [{"text": "x"}]}}, True),
        (
            {"dimensions": 8, "encoding_format": "float", "user": None},
            {"content": {"parts": [{"text": "x"}]}, "outputDimensionality": 8},
            False,
        ),
    ],
)
def test_embedding_requests(changes: Any, request_: Any, base64: bool) -> None:
    made, wants_base64, notes = translate_embedding(embed(**changes))
    assert json.loads(made) == request_
    assert (wants_base64, list(notes)) == (base64, [])
    assert not check_embedding(embed(**changes))


@pytest.mark.parametrize(
    ("changes", "field", "weight"),
    [
        ({"input": ["a", "b"]}, "body.input", "refused"),
        ({"input": []}, "body.input", "refused"),
        ({"input": ""}, "body.input", "refused"),
        ({"input": [1, 2]}, "body.input", "refused"),
        ({"input": None}, "body.input", "refused"),
        ({"dimensions": 0}, "body.dimensions", "refused"),
        ({"encoding_format": "hex"}, "body.encoding_format", "refused"),
        ({"surprise": 1}, "body.surprise", "lost"),
        ({"user": "u"}, "body.user", "harmless"),
    ],
)
def test_embedding_requests_that_lose_something(changes: Any, field: str, weight: str) -> None:
    (note,) = check_embedding(embed(**changes))
    assert (note.field, note.weight) == (field, weight)
    for lenient in (False, True):
        if weight == "refused" or (weight == "lost" and not lenient):
            with pytest.raises(LineRejected) as caught:
                translate_embedding(embed(**changes), lenient=lenient)
            assert caught.value.field == field
        else:
            assert list(translate_embedding(embed(**changes), lenient=lenient)[2]) == [note]


@pytest.mark.parametrize("base64", [False, True])
def test_embeddings(base64: bool) -> None:
    key = "s-t-1" + (":base64" if base64 else "")
    raw = b'{"key":"%b","response":{"tokenCount":"3","embedding":{"values":[0.25,-1.50]}}}'
    line = read_line(raw % key.encode(), CREATED, "gemini-embedding-001")
    assert (line.custom_id, line.outcome, line.usage) == (
        "s-t-1",
        Outcome.SUCCEEDED,
        Usage(input=3),
    )
    assert line.response is not None
    body = json.loads(line.response)["body"]
    assert body["model"] == "gemini-embedding-001"
    assert body["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    (item,) = body["data"]
    if base64:
        assert list(array("f", b64decode(item["embedding"]))) == [0.25, -1.5]
    else:
        assert b"[0.25,-1.50]" in line.response
        CreateEmbeddingResponse.model_validate(body, strict=True)


@pytest.mark.parametrize("values", [[], None])
def test_an_embedding_without_values_is_no_answer(values: Any) -> None:
    code, _, line = failed({"embedding": {"values": values}, "tokenCount": "3"})
    assert (code, line.outcome) == ("empty_answer", Outcome.FAILED)
