"""The counts in the bill that show wasted calls, uploads and answers."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai.errors import ClientError

from services.sandbox.traffic import Traffic
from tests.integration.sandbox import test_gemini_batches as gemini
from tests.support.sandbox.driving import (
    PATIENCE,
    Sandbox,
    chat_line,
    create,
    message_request,
    results,
    rows,
    until,
    until_ended,
)

HOUR = 3600.0


def of(sandbox: Sandbox, provider: str) -> dict[str, Any]:
    """What the bill says of one provider."""
    account: dict[str, Any] = sandbox.bill()["providers"][provider]
    return account


def test_calls_by_kind(
    sandbox: Sandbox, openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
) -> None:
    batch = create(openai_client, [chat_line("a")])
    batch = openai_client.batches.retrieve(batch.id)
    openai_client.batches.retrieve(batch.id)
    openai_client.batches.list()
    openai_client.files.list()
    openai_client.files.retrieve(batch.input_file_id)
    openai_client.files.content(batch.input_file_id)
    openai_client.files.delete(batch.input_file_id)
    with pytest.raises(openai.ConflictError):
        openai_client.batches.cancel(batch.id)
    openai_client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
    assert of(sandbox, "openai")["calls"] == {
        "cancel": 1,
        "create": 1,
        "delete": 1,
        "download": 1,
        "list": 2,
        "other": 1,
        "poll": 2,
        "single": 1,
        "upload": 1,
    }
    made = anthropic_client.messages.batches.create(requests=[message_request("a")])
    results(anthropic_client, made.id)
    anthropic_client.messages.batches.list()
    anthropic_client.messages.batches.delete(made.id)
    with pytest.raises(anthropic.NotFoundError):
        anthropic_client.messages.batches.cancel(made.id)
    account = of(sandbox, "anthropic")
    # The vendor's client looks for the address of the results itself.
    assert account["calls"] == {
        "cancel": 1,
        "create": 1,
        "delete": 1,
        "download": 1,
        "list": 1,
        "poll": 1,
    }
    assert account["refused"] == {"cancel": {"404": 1}}


def test_calls_of_mistral_and_gemini_by_kind(
    sandbox: Sandbox, openai_client: openai.OpenAI, gemini_client: genai.Client, tmp_path: Path
) -> None:
    file = openai_client.files.create(file=("a.jsonl", b"{}"), purpose="batch")
    key = {"authorization": "Bearer key"}
    wanted = {"input_files": [file.id], "endpoint": "/v1/chat/completions", "model": "m"}
    job = sandbox.http.post("/v1/batch/jobs", json=wanted, headers=key).json()
    sandbox.http.get(f"/v1/batch/jobs/{job['id']}", headers=key)
    sandbox.http.get("/v1/batch/jobs", headers=key)
    sandbox.http.post(f"/v1/batch/jobs/{job['id']}/cancel", headers=key)
    assert of(sandbox, "openai")["calls"] == {
        "cancel": 1,
        "create": 1,
        "list": 1,
        "poll": 1,
        "upload": 1,
    }
    made = gemini.until(gemini_client, gemini.create(gemini_client, tmp_path, [gemini.line("a")]))
    assert made.name
    gemini_client.batches.delete(name=made.name)
    calls = of(sandbox, "gemini")["calls"]
    assert calls.pop("poll", 0) <= 1
    assert calls == {"announce": 1, "create": 1, "delete": 1, "upload": 1}


def test_refused_calls_by_kind_and_status(sandbox: Sandbox, openai_client: openai.OpenAI) -> None:
    sandbox.fault("status", status=503, count=2, method="GET")
    for _ in range(2):
        with pytest.raises(openai.InternalServerError):
            openai_client.batches.list()
    with pytest.raises(openai.NotFoundError):
        openai_client.batches.retrieve("batch_x")
    with pytest.raises(openai.BadRequestError):
        create(openai_client, [chat_line("a")], endpoint="/v1/nothing")
    openai_client.batches.list()
    assert of(sandbox, "openai")["refused"] == {
        "create": {"400": 1},
        "list": {"503": 2},
        "poll": {"404": 1},
    }


def test_uploads_and_their_deletion(
    sandbox: Sandbox, openai_client: openai.OpenAI, gemini_client: genai.Client, tmp_path: Path
) -> None:
    file = openai_client.files.create(file=("a.jsonl", b"{}"), purpose="batch")
    with pytest.raises(openai.BadRequestError):
        openai_client.files.create(file=("a.json", b"{}"), purpose="batch")
    openai_client.files.delete(file.id)
    for file_id in (file.id, "file-unknown"):
        with pytest.raises(openai.NotFoundError):
            openai_client.files.delete(file_id)
    account = of(sandbox, "openai")
    assert (account["uploads"], account["uploads_deleted"], account["deleted_twice"]) == (1, 1, 2)
    uploaded = gemini.upload(gemini_client, tmp_path, b"{}")
    gemini_client.files.delete(name=uploaded)
    with pytest.raises(ClientError):
        gemini_client.files.delete(name=uploaded)
    account = of(sandbox, "gemini")
    assert (account["uploads"], account["uploads_deleted"], account["deleted_twice"]) == (1, 1, 1)
    bill = sandbox.bill()
    assert (bill["uploads"], bill["uploads_deleted"], bill["deleted_twice"]) == (2, 2, 3)


def test_a_deletion_whose_answer_was_lost_may_be_repeated(
    sandbox: Sandbox, openai_client: openai.OpenAI
) -> None:
    file = openai_client.files.create(file=("a.jsonl", b"{}"), purpose="batch")
    sandbox.fault("reset_after", method="DELETE", count=1)
    with pytest.raises(openai.APIConnectionError):
        openai_client.files.delete(file.id)
    with pytest.raises(openai.NotFoundError):
        openai_client.files.delete(file.id)
    account = of(sandbox, "openai")
    assert (account["uploads_deleted"], account["deleted_twice"]) == (1, 0)
    assert account["answers_lost"] == {"delete": 1}


def test_a_deletion_that_a_reset_came_before_is_not_counted(
    sandbox: Sandbox, openai_client: openai.OpenAI
) -> None:
    file = openai_client.files.create(file=("a.jsonl", b"{}"), purpose="batch")
    sandbox.http.post("/sandbox/reset").raise_for_status()
    with pytest.raises(openai.NotFoundError):
        openai_client.files.delete(file.id)
    assert sandbox.bill()["deleted_twice"] == 0


@pytest.mark.parametrize(
    ("options", "early", "crossed"),
    [({"crossing_seconds": 0}, 3, 0), ({"crossing_seconds": HOUR}, 0, 3)],
    ids=["early", "crossing"],
)
def test_calls_before_a_retry_after_is_over(
    sandbox: Sandbox, options: dict[str, float], early: int, crossed: int
) -> None:
    fault = {"kind": "status", "status": 429, "retry_after": HOUR, "path": "/batches$", "count": 1}
    sandbox.set(**options, faults=[fault])
    with sandbox.openai("other") as other, sandbox.openai() as told:
        with pytest.raises(openai.RateLimitError):
            told.batches.list()
        other.batches.list()
        told.files.list()
        told.files.list()
        told.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
    with sandbox.anthropic() as another:
        another.messages.batches.list()
    bill = sandbox.bill()
    assert bill["calls_before_retry_after"] == early
    assert bill["calls_crossing_retry_after"] == crossed
    name = "calls_before_retry_after" if early else "calls_crossing_retry_after"
    assert bill["providers"]["openai"][name] == {"list": 2, "single": 1}


def test_the_retry_after_that_a_call_is_held_against() -> None:
    traffic = Traffic()
    traffic.answered("create", "key", 429, told_at=10.0, wait=2.0)
    traffic.arrived("poll", "key", now=10.1, crossing=0.25)
    assert (traffic.early, traffic.crossed) == (0, 1), "may have been on its way"
    # Told once more: that is no new excuse.
    traffic.answered("poll", "key", 429, told_at=10.2, wait=5.0)
    traffic.arrived("poll", "key", now=10.3, crossing=0.25)
    assert (traffic.early, traffic.crossed) == (1, 1)
    traffic.arrived("poll", "key", now=12.1, crossing=0.25)
    assert (traffic.early, traffic.crossed) == (2, 1), "the longer one still holds"
    traffic.arrived("poll", "key", now=15.2, crossing=0.25)
    assert (traffic.early, traffic.crossed) == (2, 1), "all are over"


@pytest.mark.parametrize(("wait", "whole", "exact"), [(0.3, "1", "300"), (2, "2", "2000")])
def test_a_retry_after_in_whole_seconds_and_in_milliseconds(
    sandbox: Sandbox, openai_client: openai.OpenAI, wait: float, whole: str, exact: str
) -> None:
    sandbox.fault("status", status=429, retry_after=wait)
    with pytest.raises(openai.RateLimitError) as caught:
        openai_client.batches.list()
    headers = caught.value.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == (whole, exact)


def test_the_limit_of_single_calls_tells_when_to_come_back(
    sandbox: Sandbox, openai_client: openai.OpenAI
) -> None:
    sandbox.set(crossing_seconds=0, calls_per_second=1e-9)
    question: Any = [{"role": "user", "content": "x"}]
    for _ in range(2):
        with pytest.raises(openai.RateLimitError):
            openai_client.chat.completions.create(model="m", messages=question)
    assert of(sandbox, "openai")["calls_before_retry_after"] == {"single": 1}


def test_answers_that_nobody_fetches(
    sandbox: Sandbox, openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
) -> None:
    lines = [chat_line(f"{i}") for i in range(5)]
    lines += [chat_line("bad", "[[sandbox:error=invalid]]"), chat_line("lost", "[[sandbox:lost]]")]
    batch = until(openai_client, create(openai_client, lines))
    assert sandbox.bill()["lines_billed"] == 6
    assert sandbox.bill()["answers_never_fetched"] == 5
    rows(openai_client, batch.error_file_id)
    assert sandbox.bill()["answers_never_fetched"] == 5
    rows(openai_client, batch.output_file_id)
    assert sandbox.bill()["answers_never_fetched"] == 0
    made = anthropic_client.messages.batches.create(requests=[message_request("a")])
    until_ended(anthropic_client, made)
    assert of(sandbox, "anthropic")["answers_never_fetched"] == 1
    results(anthropic_client, made.id)
    assert sandbox.bill()["answers_never_fetched"] == 0


def test_answers_of_gemini_that_nobody_fetches(
    sandbox: Sandbox, gemini_client: genai.Client, tmp_path: Path
) -> None:
    lines = [gemini.line("a"), gemini.line("b")]
    batch = gemini.until(gemini_client, gemini.create(gemini_client, tmp_path, lines))
    assert of(sandbox, "gemini")["answers_never_fetched"] == 2
    gemini.rows(gemini_client, batch)
    assert of(sandbox, "gemini")["answers_never_fetched"] == 0


@pytest.mark.parametrize("fault", [{"kind": "cut", "after_bytes": 100}, {"kind": "reset_after"}])
def test_what_was_broken_off_was_not_fetched(
    sandbox: Sandbox, openai_client: openai.OpenAI, fault: dict[str, Any]
) -> None:
    batch = until(openai_client, create(openai_client, [chat_line(f"{i}") for i in range(50)]))
    sandbox.fault(**fault, path="/content$", count=1)
    with pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError)):
        rows(openai_client, batch.output_file_id)
    account = of(sandbox, "openai")
    assert account["answers_never_fetched"] == 50
    assert account["answers_lost"] == {"download": 1}
    rows(openai_client, batch.output_file_id)
    assert of(sandbox, "openai")["answers_never_fetched"] == 0


def test_what_cannot_be_fetched_is_not_missed(
    sandbox: Sandbox, openai_client: openai.OpenAI
) -> None:
    """A cancelled batch may drop the answers of what has been run and is billed."""
    sandbox.set(batch_seconds=60, cancel_keeps_results=False)
    batch = create(openai_client, [chat_line(f"{i}") for i in range(1000)])
    deadline = monotonic() + PATIENCE
    while not sandbox.bill()["lines_running"]:
        assert monotonic() < deadline
    openai_client.batches.cancel(batch.id)
    until(openai_client, batch)
    bill = sandbox.bill()
    assert bill["lines_billed"] > 0
    assert bill["answers_never_fetched"] == 0


def test_a_call_whose_caller_went_away_has_lost_its_answer(sandbox: Sandbox) -> None:
    sandbox.fault("slow", path="/v1/batches$", delay=HOUR)
    with pytest.raises(httpx2.ReadTimeout):
        sandbox.http.get("/v1/batches", headers={"authorization": "Bearer key"}, timeout=0.2)
    deadline = monotonic() + PATIENCE
    while not of(sandbox, "openai")["answers_lost"]:
        assert monotonic() < deadline
    assert of(sandbox, "openai")["answers_lost"] == {"list": 1}
