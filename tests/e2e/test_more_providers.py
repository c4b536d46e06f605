"""Gemini, and a provider that exists by configuration alone, beside the others."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from polybatch import BatchState, InvalidLines

from tests.support.e2e.direct_server import Server
from tests.support.e2e.inputs import chat, check_answers, write
from tests.support.e2e.stories import check_waste
from tests.support.e2e.suite import Suite

MODELS = {
    "openai": "openai/gpt-4.1",
    "anthropic": "anthropic/claude-4.6-sonnet",
    "gemini": "gemini/gemini-3.8-flash",
    "acme": "acme/gpt-4.1-mini",
    "mistral": "mistral/mistral-small-latest",
}
NAMES = list(MODELS)


def ask(number: int, provider: str, **extra: Any) -> dict[str, Any]:
    line = chat(number, **extra)
    line["provider"] = provider
    line["body"]["model"] = MODELS.get(provider, f"{provider}/llama-4")
    return line


def test_five_providers_in_one_file_each_paid_for_once(
    suite: Suite, server: Server, tmp_path: Path
) -> None:
    count = 200
    # The answer to each create is lost once: what was created has to be found again.
    lost = [
        {"kind": "reset_after", "method": "POST", "path": path, "count": 1}
        for path in (
            "^/v1/batches$",
            "^/v1/batch/jobs$",
            "^/v1/messages/batches$",
            ":batchGenerateContent$",
        )
    ]
    suite.reset_sandbox(faults=[lost[0], *lost[2:]])
    server.set(faults=lost[:2])
    path = write(tmp_path / "five.jsonl", (ask(n, NAMES[n % 5]) for n in range(count)))
    with suite.client() as client:
        batch = client.submit(path)
        ended = client.wait(batch.id, timeout=90)
        assert ended.state == BatchState.COMPLETED
        assert ended.request_counts.succeeded == count
        lines = list(check_answers(client.results(batch.id), range(count)))
        manifest = client.manifest(batch.id)
    assert all(line.ok for line in lines)
    assert Counter(shard.provider for shard in manifest.shards) == dict.fromkeys(MODELS, 1)
    bodies = [line.response.body for line in lines if line.response]
    assert all(body["usage"]["completion_tokens"] for body in bodies)
    bill = suite.sandbox("/sandbox/bill")
    assert {name: each["lines_billed"] for name, each in bill["providers"].items()} == {
        "openai": 40,
        "anthropic": 40,
        "gemini": 40,
    }
    assert (bill["extra_billings"], server.bill["extra_billings"]) == (0, 0)
    assert server.bill["lines_billed"] == 80
    for each in (bill, server.bill):
        check_waste(each)


def test_embeddings_of_gemini(suite: Suite, tmp_path: Path) -> None:
    lines = [
        {
            "custom_id": f"line-{n}",
            "method": "POST",
            "url": "/v1/embeddings",
            "body": {
                "model": "gemini/gemini-embedding-001",
                "input": f"text {n}",
                "dimensions": 8,
                **({"encoding_format": "base64"} if n % 2 else {}),
            },
        }
        for n in range(6)
    ]
    with suite.client() as client:
        batch = client.submit(write(tmp_path / "embeddings.jsonl", lines))
        assert client.wait(batch.id, timeout=60).request_counts.succeeded == 6
        found = list(client.results(batch.id))
    assert [len(line.embedding or ()) for line in found[::2]] == [8, 8, 8]
    bodies = [line.response.body for line in found if line.response]
    assert [type(body["data"][0]["embedding"]) for body in bodies] == [list, str] * 3


def test_a_line_that_gemini_cannot_take_is_named(suite: Suite, tmp_path: Path) -> None:
    path = write(tmp_path / "bad.jsonl", [ask(0, "gemini"), ask(1, "gemini", logprobs=True)])
    with suite.client() as client, pytest.raises(InvalidLines) as caught:
        client.submit(path)
    (problem,) = caught.value.problems
    assert (problem.line, problem.field) == (2, "body.logprobs")


def test_a_provider_without_its_key_is_named_with_the_variable(
    suite: Suite, tmp_path: Path
) -> None:
    path = write(tmp_path / "groq.jsonl", [ask(0, "groq")])
    with suite.client() as client, pytest.raises(Exception, match="GROQ_API_KEY"):
        client.submit(path)
