"""Why lines failed: what differs is left out of messages, and each code has a hint."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.genai.types import BlockedReason
from openai.types.responses import ResponseError

import core
from core.batchfile import ResultLine, answer_line, error_json, read_failure
from core.batchfile.result_lines import COST_LIMIT, RESULT_MISSING
from core.failure_causes import cause_of, normalise, providers_by_model
from core.failure_hints import HINTS, hint
from core.ledger.states import STOP_ERRORS
from core.providers import line_errors, provider_errors
from core.providers.anthropic.translation.response import STATUS_BY_ERROR
from core.providers.finish_reasons import BROKEN, GEMINI, OPENAI, OPENAI_RESPONSES
from core.providers.openai.errors import BLAMES
from services.collector.failure_causes import CauseTally
from services.sandbox.gemini.errors import CODES as GOOGLE_CODES
from tests.unit.providers.test_finish_reasons import AS_NONE, members

ROOT = Path(core.__file__).parent
# Calls that give a line its reason, and where in their arguments it stands.
REASON_AT = {
    "LineRejected": (1,),
    "Note": (1,),
    "Problem": (0, 3),
    "Refused": (0,),
    "ResultsGone": (0,),
    "error": (1,),
    "lose": (2,),
    "_kept": (2,),
}


@pytest.mark.parametrize(
    ("one", "other", "shown"),
    [
        ("Request req_011CS failed", "Request req_97ZbX failed", "Request ... failed"),
        ("Limit 90,000, used 12.5%", "Limit 7, used 3%", "Limit ..., used ..."),
        ("The model `gpt-x` doesn't exist", "The model `m` doesn't exist", None),
        ("Invalid value: 'a'. Use 'b', 'c', and 'd'.", "Invalid value: 'z'. Use 'y'.", None),
        ("see https://a.b/c?d=e", "see https://f.g/h#i", "see ..."),
        ("wait until 2026-11-28T23:38:32Z", "wait until 2026-01-01 00:00", "wait until ..."),
        ("messages.3.content: empty", "messages.14.content: empty", "messages[...].content: empty"),
        ("id 9f0c1b2a-1111-2222-3333-abcdefabcdef", "id deadbeefcafe", "id ..."),
        ('it said "a cut text', 'it said "another', "it said ..."),
    ],
)
def test_what_differs_is_left_out(one: str, other: str, shown: str | None) -> None:
    assert normalise(one) == normalise(other)
    assert shown is None or normalise(one) == shown


def test_what_does_not_differ_stays() -> None:
    text = "We can't take tools; they won't do"
    assert normalise(text) == text
    assert cause_of("openai", "a", "", text).id != cause_of("openai", "b", "", text).id
    assert cause_of("openai", "a", "", text).id != cause_of("mistral", "a", "", text).id


def test_the_field_is_that_of_the_answer_or_the_head_of_our_own_message() -> None:
    body = {"error": {"message": "Too hot: 3", "param": "messages[3].temperature", "code": "x"}}
    response = json.dumps({"status_code": 400, "request_id": "r", "body": body}).encode()
    answered = read_failure(
        answer_line("batch_1", 1, "a", response, error_json("x", "Too hot: 3"), model="m")
    )
    providers = providers_by_model([{"model": "m", "provider": "openai"}])
    assert answered.cause(providers) == ("openai", "x", "messages[...].temperature", "Too hot: ...")
    checked = read_failure(
        answer_line("batch_1", 2, "b", None, error_json("wrong_type", "body.n[2]: expected text"))
    )
    assert checked.cause(providers) == ("", "wrong_type", "body.n[...]", "expected text")


def test_no_more_causes_are_kept_than_may_be() -> None:
    tally = CauseTally({}, most_causes=2)
    codes = ["a", "b", "b", "c", "d", "b"] + ["a"] * 9
    lines = [answer_line("b", n, str(n), None, error_json(c, "no")) for n, c in enumerate(codes)]
    tally.add([ResultLine(n, n + 1, 0, raw) for n, raw in enumerate(lines)])
    told = tally.told()
    found = [(each.code, each.line_count, list(each.first_lines)) for each in told.causes]
    assert found == [("a", 10, [1, 7, 8, 9, 10]), ("b", 3, [2, 3, 6])]
    assert (told.failure_count, told.other_line_count) == (15, 2)
    assert told.causes[0].share == 10 / 15


def test_each_code_has_a_hint() -> None:
    told = members(ResponseError.model_fields["code"].annotation)
    told |= set(BLAMES) | set(STATUS_BY_ERROR) | set(GOOGLE_CODES)
    told |= provider_errors.PASSING_CODES | {code for code, _ in STOP_ERRORS.values()}
    told |= {each.name for each in BlockedReason} - {"BLOCKED_REASON_UNSPECIFIED"}
    told |= {name for name in GEMINI if name not in AS_NONE}
    for reasons in (OPENAI, OPENAI_RESPONSES):
        told |= {name for name, meaning in reasons.items() if meaning == BROKEN}
    told |= {line_errors.EMPTY_ANSWER, line_errors.UNREADABLE_ANSWER, line_errors.NO_ANSWER}
    told |= {line_errors.PROVIDER_ERROR}
    told |= {RESULT_MISSING, COST_LIMIT, "canary_failed", "failure_limit", "refused_key"}
    told |= set(codes())
    # Gemini's good ends, and what is no code but a default.
    told -= {"STOP", "MAX_TOKENS", "CONTINUATION"}
    assert told - set(HINTS) == set()
    assert all(text.strip() for text in HINTS.values())


def test_a_url_that_is_no_endpoint_may_be_that_of_an_image() -> None:
    assert "image" in hint("unsupported_url")
    assert "endpoint" in hint("unsupported_url")


def test_a_status_has_a_hint_and_an_unknown_code_too() -> None:
    assert hint("http_418") == HINTS["invalid_request_error"]
    assert hint("599") == HINTS["server_error"]
    assert "does not know" in hint("what_is_this")


def codes() -> Iterator[str]:
    """The codes that the source gives to lines."""
    for folder in ("batchfile", "providers"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "conformance" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                yield from _in_call(node) if isinstance(node, ast.Call) else _constant(node)


def _in_call(call: ast.Call) -> Iterator[str]:
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    for place, value in enumerate(call.args):
        if place in REASON_AT.get(name, ()) and isinstance(value, ast.Constant):
            text = value.value
            if isinstance(text, str) and "_" in text and text.replace("_", "").islower():
                yield text


def _constant(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Assign(targets=[ast.Name(id="_REASON")], value=ast.Constant(value=str(text))):
            yield text


def test_the_source_is_read() -> None:
    found = set(codes())
    assert {
        "results_expired",
        "duplicate_custom_id",
        "too_complex_schema",
        "unsupported_tool",
    } < found
