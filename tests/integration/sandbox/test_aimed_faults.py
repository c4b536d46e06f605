"""Faults that strike now and then, some kinds of calls, some keys, or from a call on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai.errors import ClientError

from tests.integration.sandbox import test_gemini_batches as gemini
from tests.support.sandbox.driving import (
    Sandbox,
    chat_line,
    create,
    errors,
    message_request,
    results,
    rows,
    until,
)

OPENAI = {"authorization": "Bearer key"}
ANTHROPIC = {"x-api-key": "key", "anthropic-version": "2023-06-01"}


def outcomes(count: int, call: Callable[[], Any]) -> list[int]:
    """The statuses that so many calls come to; 0: the connection was broken off."""
    found = []
    for _ in range(count):
        try:
            call()
            found.append(200)
        except (openai.APIStatusError, anthropic.APIStatusError) as error:
            found.append(error.status_code)
        except (openai.APIConnectionError, anthropic.APIConnectionError):
            found.append(0)
    return found


@pytest.mark.parametrize("status", [429, 500, 503])
def test_every_second_call_is_refused(
    sandbox: Sandbox, openai_client: openai.OpenAI, status: int
) -> None:
    sandbox.fault("status", status=status, every=2)
    assert outcomes(5, openai_client.batches.list) == [200, status, 200, status, 200]


def test_only_calls_of_a_kind_are_counted_and_struck(
    sandbox: Sandbox, openai_client: openai.OpenAI
) -> None:
    sandbox.fault("status", status=429, retry_after=0.4, every=3, calls=["create"])
    seen = []
    for number in range(6):
        seen += outcomes(1, lambda n=number: create(openai_client, [chat_line(f"{n}")]))
        openai_client.batches.list()
    assert seen == [200, 200, 429] * 2
    refused = sandbox.bill()["providers"]["openai"]["refused"]
    assert refused == {"create": {"429": 2}}


def test_every_second_line_fails(sandbox: Sandbox, openai_client: openai.OpenAI) -> None:
    sandbox.fault("line", outcome="server", every=2)
    batch = until(openai_client, create(openai_client, [chat_line(f"{i}") for i in range(6)]))
    assert {row["custom_id"] for row in rows(openai_client, batch.error_file_id)} == {"1", "3", "5"}


def test_a_provider_is_away_until_it_is_told_to_be_back(
    sandbox: Sandbox, openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
) -> None:
    batch = create(openai_client, [chat_line("a")])
    sandbox.set(
        faults=[
            {"kind": "reset_before", "provider": "openai"},
            {"kind": "status", "status": 503, "provider": "anthropic", "seconds": 3600},
        ]
    )
    assert outcomes(2, lambda: openai_client.batches.retrieve(batch.id)) == [0, 0]
    assert outcomes(1, openai_client.files.list) == [0]
    assert outcomes(2, anthropic_client.messages.batches.list) == [503, 503]
    sandbox.set(faults=[])
    assert until(openai_client, batch).status == "completed", "it has run meanwhile"
    assert outcomes(1, anthropic_client.messages.batches.list) == [200]


def test_a_provider_goes_away_with_the_first_cancel(
    sandbox: Sandbox, openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
) -> None:
    sandbox.set(
        batch_seconds=3600,
        faults=[{"kind": "reset_before", "provider": "openai", "since": "cancel", "seconds": 3600}],
    )
    batch = create(openai_client, [chat_line("a")])
    made = anthropic_client.messages.batches.create(requests=[message_request("a")])
    anthropic_client.messages.batches.cancel(made.id)
    assert outcomes(1, lambda: openai_client.batches.retrieve(batch.id)) == [200]
    (waiting,) = sandbox.http.get("/sandbox/config").json()["faults"]
    assert waiting["since"] == "cancel"
    assert outcomes(1, lambda: openai_client.batches.cancel(batch.id)) == [0]
    assert outcomes(1, lambda: openai_client.batches.retrieve(batch.id)) == [0]
    sandbox.set(faults=[])
    batch = openai_client.batches.retrieve(batch.id)
    assert batch.status in ("validating", "in_progress"), "the cancel did not get there"


def test_what_begins_with_a_call_ends_in_its_time(
    sandbox: Sandbox, openai_client: openai.OpenAI
) -> None:
    sandbox.fault("status", status=503, since="list", seconds=0)
    assert outcomes(1, openai_client.batches.list) == [200], "its time was over at once"
    assert sandbox.http.get("/sandbox/config").json()["faults"] == []
    sandbox.fault("status", status=503, since="list", calls=["poll"], count=1)
    assert outcomes(1, openai_client.batches.list) == [200], "begins it, and is not meant"
    assert outcomes(2, lambda: openai_client.batches.retrieve("batch_x")) == [503, 404]


def test_a_batch_is_not_found_though_it_runs_on(
    sandbox: Sandbox,
    openai_client: openai.OpenAI,
    anthropic_client: anthropic.Anthropic,
    gemini_client: genai.Client,
    tmp_path: Path,
) -> None:
    batch = create(openai_client, [chat_line("a")])
    made = anthropic_client.messages.batches.create(requests=[message_request("a")])
    job = gemini.create(gemini_client, tmp_path, [gemini.line("a")])
    assert job.name
    sandbox.fault("not_found")
    for call in (openai_client.batches.retrieve, openai_client.batches.cancel):
        with pytest.raises(openai.NotFoundError) as not_there:
            call(batch.id)
        assert not_there.value.type == "invalid_request_error"
        assert not_there.value.code is None
        assert batch.id in str(not_there.value)
    with pytest.raises(anthropic.NotFoundError, match=made.id):
        anthropic_client.messages.batches.retrieve(made.id)
    hidden = sandbox.http.get(f"/v1/messages/batches/{made.id}/results", headers=ANTHROPIC)
    assert hidden.status_code == 404
    assert hidden.json()["error"]["type"] == "not_found_error"
    with pytest.raises(ClientError, match="NOT_FOUND"):
        gemini_client.batches.get(name=job.name)
    # Only that one batch is asked for is answered so.
    assert [each.id for each in openai_client.batches.list()] == [batch.id]
    openai_client.files.retrieve(batch.input_file_id)
    sandbox.set(faults=[])
    assert until(openai_client, batch).status == "completed"
    assert len(results(anthropic_client, made.id)) == 1
    assert gemini.state(gemini.until(gemini_client, job)) == "SUCCEEDED"


def test_a_job_of_mistral_is_not_found(sandbox: Sandbox, openai_client: openai.OpenAI) -> None:
    file = openai_client.files.create(file=("a.jsonl", b"{}"), purpose="batch")
    wanted = {"input_files": [file.id], "endpoint": "/v1/chat/completions", "model": "m"}
    job = sandbox.http.post("/v1/batch/jobs", json=wanted, headers=OPENAI).json()
    sandbox.fault("not_found", count=1)
    statuses = [
        sandbox.http.get(f"/v1/batch/jobs/{job['id']}", headers=OPENAI).status_code
        for _ in range(2)
    ]
    assert statuses == [404, 200]


def test_a_key_is_withdrawn_and_given_back(
    sandbox: Sandbox, openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
) -> None:
    sandbox.fault("withdrawn", key="key")
    with pytest.raises(openai.AuthenticationError) as refused:
        openai_client.batches.list()
    assert refused.value.response.json()["error"] == {
        "message": "Incorrect API key provided.",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    }
    with pytest.raises(anthropic.AuthenticationError) as denied:
        anthropic_client.messages.batches.list()
    assert denied.value.response.json() == {
        "type": "error",
        "error": {"type": "authentication_error", "message": "invalid x-api-key"},
    }
    # Google has no 401 for a key that it does not know.
    unknown = sandbox.http.get("/v1beta/batches", headers={"x-goog-api-key": "key"})
    assert unknown.status_code == 400
    assert unknown.json()["error"]["details"][0]["reason"] == "API_KEY_INVALID"
    with sandbox.openai("other") as other:
        other.batches.list()
    body = chat_line("a")["body"]
    assert sandbox.http.post("/v1/chat/completions", json=body).is_success, "there is no key"
    sandbox.set(faults=[])
    openai_client.batches.list()
    anthropic_client.messages.batches.list()


def test_the_answer_to_the_second_upload_is_lost(
    sandbox: Sandbox, openai_client: openai.OpenAI
) -> None:
    sandbox.fault("reset_after", calls=["upload"], every=2, count=1)

    def upload() -> None:
        openai_client.files.create(file=("a.jsonl", b"{}"), purpose="batch")

    assert outcomes(5, upload) == [200, 0, 200, 200, 200]
    assert len(openai_client.files.list().data) == 5
    account = sandbox.bill()["providers"]["openai"]
    assert account["answers_lost"] == {"upload": 1}
    assert account["uploads"] == 5


def test_the_answer_to_an_upload_to_gemini_is_lost(
    sandbox: Sandbox, gemini_client: genai.Client, tmp_path: Path
) -> None:
    sandbox.fault("reset_after", calls=["upload"], count=1)
    with pytest.raises(httpx2.TransportError):
        gemini.upload(gemini_client, tmp_path, b"{}")
    assert len(list(gemini_client.files.list())) == 1, "it was not announced in vain"


@pytest.mark.parametrize("how", ["deleted", "expired"])
def test_an_input_file_that_is_no_longer_there(
    sandbox: Sandbox,
    openai_client: openai.OpenAI,
    gemini_client: genai.Client,
    tmp_path: Path,
    how: str,
) -> None:
    file = openai_client.files.create(file=("a.jsonl", b"{}"), purpose="batch")
    name = gemini.upload(gemini_client, tmp_path, b"{}")
    if how == "deleted":
        openai_client.files.delete(file.id)
        gemini_client.files.delete(name=name)
    else:
        sandbox.set(upload_life_seconds=1e-6)
        with pytest.raises(openai.NotFoundError):
            openai_client.files.content(file.id)
    assert openai_client.files.list().data == []
    assert sandbox.bill()["uploads_kept"] == 0
    batch = openai_client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    (error,) = errors(until(openai_client, batch))
    assert (error.code, error.param) == ("invalid_request", "file_id")
    sandbox.set(create_checks_file=True)
    with pytest.raises(openai.BadRequestError, match=file.id):
        openai_client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
    wanted = {"input_files": [file.id], "endpoint": "/v1/chat/completions", "model": "m"}
    assert sandbox.http.post("/v1/batch/jobs", json=wanted, headers=OPENAI).status_code == 404
    with pytest.raises(ClientError, match="NOT_FOUND"):
        gemini_client.batches.create(model=gemini.MODEL, src=name)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "every": 0},
        {"kind": "status", "calls": ["nonsense"]},
        {"kind": "status", "since": "nonsense"},
    ],
)
def test_faults_that_make_no_sense_are_refused(sandbox: Sandbox, fault: dict[str, Any]) -> None:
    answer = sandbox.http.post("/sandbox/config", json={"faults": [fault]})
    assert answer.status_code == 400


def test_a_result_file_that_was_deleted_is_gone(
    sandbox: Sandbox, openai_client: openai.OpenAI
) -> None:
    batch = until(openai_client, create(openai_client, [chat_line("a")]))
    assert batch.output_file_id
    openai_client.files.delete(batch.output_file_id)
    with pytest.raises(openai.NotFoundError):
        openai_client.files.content(batch.output_file_id)
    assert openai_client.batches.retrieve(batch.id).output_file_id == batch.output_file_id
    bill = sandbox.bill()
    assert (bill["answers_never_fetched"], bill["uploads_deleted"]) == (1, 0)
