"""Answers with a good status that are none: every way of asking calls the same lines failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from polybatch import BatchState, ResultFilter

from tests.support.e2e.direct_server import Server
from tests.support.e2e.inputs import write
from tests.support.e2e.suite import Suite

MODELS = {
    "openai": "openai/gpt-4.1",
    "mistral": "mistral/mistral-small-latest",
    "local": "local/llama3.2:3b",
    "paid": "paid/llama3.2:3b",
    "anthropic": "anthropic/claude-4.6-sonnet",
    "gemini": "gemini/gemini-3.8-flash",
}
ALL = tuple(MODELS)
IN_BATCHES = ("openai", "mistral", "anthropic", "gemini")
EMPTY = "empty_answer"
CODES: dict[str, dict[str, str]] = {
    "answer=empty": dict.fromkeys(ALL, EMPTY),
    "answer=no_choices": dict.fromkeys(ALL, EMPTY),
    "answer=no_content": dict.fromkeys(ALL, EMPTY),
    "answer=null": dict.fromkeys(ALL, EMPTY)
    | {"anthropic": "unreadable_answer", "gemini": "no_answer"},
    "answer=no_status": dict.fromkeys(ALL, "ok"),
    "answer=refusal": dict.fromkeys(ALL, "ok"),
    "answer=error_body": dict.fromkeys(ALL, "invalid_prompt")
    | {"anthropic": "invalid_request_error", "gemini": "INVALID_ARGUMENT"},
    # A server that is called directly is waited for, as long as it says so.
    "answer=rate_limit_body": dict.fromkeys(IN_BATCHES, "429")
    | {"anthropic": "rate_limit_error", "gemini": "RESOURCE_EXHAUSTED"},
    "finish=error": dict.fromkeys(ALL, "error") | {"anthropic": EMPTY},
    "finish=MALFORMED_FUNCTION_CALL": {"gemini": "MALFORMED_FUNCTION_CALL"},
}
PASSING = {"answer=rate_limit_body"}


@pytest.mark.long
def test_every_view_calls_the_same_lines_failed(
    suite: Suite, server: Server, tmp_path: Path
) -> None:
    suite.reset_sandbox()
    wanted: dict[str, str] = {}
    lines: list[dict[str, Any]] = []
    for mark, codes in CODES.items():
        for provider, code in codes.items():
            custom_id = f"{provider} {mark}"
            wanted[custom_id] = code
            message = {"role": "user", "content": f"[[sandbox:{mark}]]"}
            lines.append(
                {
                    "custom_id": custom_id,
                    "provider": provider,
                    "method": "POST",
                    "url": "/v1/chat/completions",
                    "body": {"model": MODELS[provider], "messages": [message], "max_tokens": 100},
                }
            )
    with suite.client() as client:
        batch = client.submit(write(tmp_path / "bad.jsonl", lines))
        ended = client.wait(batch.id, timeout=90)
        shown = list(client.results(batch.id))
        succeeded = list(client.results(batch.id, filter=ResultFilter.SUCCEEDED))
        failed = list(client.results(batch.id, filter=ResultFilter.FAILED))
        failures = list(client.failures(batch.id))
        manifest = client.manifest(batch.id)
    assert ended.state == BatchState.COMPLETED
    found = {line.custom_id: "ok" if line.ok else line.error and line.error.code for line in shown}
    assert found == wanted
    for line in shown:
        assert line.ok or (line.error and line.error.message), line.raw
        passing = line.custom_id.partition(" ")[2] in PASSING or "no_answer" in str(line.error)
        assert line.attempts == (4 if passing else 1), line.raw
    good = [custom_id for custom_id, code in wanted.items() if code == "ok"]
    assert [line.custom_id for line in succeeded] == good
    bad = {custom_id: code for custom_id, code in wanted.items() if code != "ok"}
    assert {line.custom_id for line in failed} == bad.keys()
    assert {failure.custom_id: failure.code for failure in failures} == bad
    assert all(failure.message for failure in failures)
    counts = ended.request_counts
    assert (counts.succeeded, counts.failed) == (len(good), len(bad))
    assert manifest.request_counts == counts
    # Half of the answers say what they cost, most of these among the failed.
    spent = sum(
        (line.response.body.get("usage") or {}).get("completion_tokens", 0)
        for line in succeeded
        if line.response
    )
    assert manifest.usage.output_tokens > spent
    (refused,) = (line for line in shown if line.custom_id == "anthropic answer=refusal")
    assert refused.response is not None
    assert refused.response.body["native"]["stop_details"]["category"] == "bio"
