"""What Mistral's adapter says and hears, where it is not as OpenAI's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse

from core.providers import (
    Absent,
    Accepted,
    Found,
    LineRejected,
    Provider,
    Refused,
    RemoteState,
    known_providers,
)
from core.settings import ProviderAccess, Settings
from tests.support.providers.fake_provider import NOW, FakeProvider, make_intent

CHAT = "/v1/chat/completions"
LONG_AGO = NOW - timedelta(days=1)


@pytest.fixture
async def mistral(
    fake: FakeProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Provider]:
    monkeypatch.setenv("MISTRAL_API_KEY", "key-1")
    file = tmp_path / "providers.toml"
    file.write_text(f'[mistral]\nbase_url = "{fake.url}/v1"\ntimeout_hours = 12\n')
    provider = known_providers(ProviderAccess(), Settings(providers_file=file)).open()["mistral"]
    yield provider
    await provider.close()


def job(**changes: Any) -> dict[str, Any]:
    """A job as mistralai 3.7 has it (models/batchjob.py)."""
    return {
        "id": "job-1",
        "object": "batch",
        "input_files": ["file-1"],
        "metadata": None,
        "endpoint": CHAT,
        "model": "mistral-small-latest",
        "agent_id": None,
        "output_file": None,
        "error_file": None,
        "errors": [],
        "outputs": None,
        "status": "QUEUED",
        "created_at": int(NOW.timestamp()),
        "total_requests": 10,
        "completed_requests": 0,
        "succeeded_requests": 0,
        "failed_requests": 0,
        "started_at": None,
        "completed_at": None,
    } | changes


def ours() -> dict[str, str]:
    intent = make_intent()
    return {"polybatch_shard": intent.shard_id, "polybatch_token": intent.token}


def test_a_line_has_neither_model_nor_url(mistral: Provider) -> None:
    body = b'{"model":"mistral/mistral-small-latest","messages":[],"safe_prompt":true}'
    line, dropped = mistral.encode_line("s-t-1", CHAT, "mistral/mistral-small-latest", body)
    assert json.loads(line) == {
        "custom_id": "s-t-1",
        "body": {"messages": [], "safe_prompt": True},
    }
    assert dropped == ()
    assert mistral.remote_model("mistral/mistral-small-latest") == "mistral-small-latest"
    with pytest.raises(LineRejected):
        mistral.encode_line("s-t-1", CHAT, "m", b'{"stream":true}')


async def test_the_job_has_the_model_and_the_endpoint(
    mistral: Provider, fake: FakeProvider, spool: Path
) -> None:
    fake.on("POST", "/v1/files", JSONResponse({"id": "file-1"}))
    fake.on("POST", "/v1/batch/jobs", JSONResponse(job()))
    intent = make_intent()
    assert await mistral.submit(intent, spool) == Accepted("job-1", "file-1")
    (upload,) = fake.seen("POST", "/v1/files")
    assert b'name="purpose"\r\n\r\nbatch' in upload.body
    (create,) = fake.seen("POST", "/v1/batch/jobs")
    assert create.headers["authorization"] == "Bearer key-1"
    assert json.loads(create.body) == {
        "input_files": ["file-1"],
        "endpoint": intent.endpoint,
        "model": intent.model,
        "metadata": ours(),
        "timeout_hours": 12,
    }


async def test_what_a_create_got_wrong_is_told(
    mistral: Provider, fake: FakeProvider, spool: Path
) -> None:
    fake.on("POST", "/v1/files", JSONResponse({"id": "file-1"}))
    fake.on("DELETE", "/v1/files/file-1", JSONResponse({"deleted": True}))
    detail = [{"type": "missing", "loc": ["body", "model"], "msg": "Field required"}]
    fake.on("POST", "/v1/batch/jobs", JSONResponse({"detail": detail}, 422))
    outcome = await mistral.submit(make_intent(), spool)
    assert isinstance(outcome, Refused)
    assert not outcome.transient
    assert "Field required" in outcome.message


@pytest.mark.parametrize(
    ("status", "state", "ended_as"),
    [
        ("QUEUED", RemoteState.RUNNING, ""),
        ("RUNNING", RemoteState.RUNNING, ""),
        ("CANCELLATION_REQUESTED", RemoteState.STOPPING, ""),
        ("SUCCESS", RemoteState.ENDED, "completed"),
        ("TIMEOUT_EXCEEDED", RemoteState.ENDED, "expired"),
        ("CANCELLED", RemoteState.ENDED, "cancelled"),
    ],
)
async def test_states(
    mistral: Provider, fake: FakeProvider, status: str, state: RemoteState, ended_as: str
) -> None:
    counts = {"completed_requests": 4, "succeeded_requests": 3, "failed_requests": 1}
    files = {"output_file": "out", "error_file": "err"}
    fake.on("GET", "/v1/batch/jobs/job-1", JSONResponse(job(status=status, **counts, **files)))
    batch = await mistral.poll("job-1")
    assert (batch.state, batch.ended_as, batch.native_status) == (state, ended_as, status)
    assert (batch.total, batch.finished) == (10, 4)
    assert batch.result_sources == ("out", "err")
    assert batch.unanswered is None, "nothing says that what is missing was never run"


async def test_a_job_that_failed_says_why(mistral: Provider, fake: FakeProvider) -> None:
    errors = [{"message": "the model does not exist", "count": 10}]
    fake.on("GET", "/v1/batch/jobs/job-1", JSONResponse(job(status="FAILED", errors=errors)))
    batch = await mistral.poll("job-1")
    assert batch.state is RemoteState.FAILED
    assert batch.refusal is not None
    assert not batch.refusal.transient
    assert "the model does not exist" in batch.refusal.message


async def test_find_reads_page_after_page(mistral: Provider, fake: FakeProvider) -> None:
    others = [job(id=f"job-{n}", metadata=None) for n in range(100)]
    mine = job(id="mine", metadata=ours())
    pages = [{"object": "list", "data": data, "total": 101} for data in (others, [mine])]
    fake.on("GET", "/v1/batch/jobs", *map(JSONResponse, pages))
    assert await mistral.find(make_intent(), frozenset()) == Found("mine", "file-1")
    asked = [call.query for call in fake.seen("GET", "/v1/batch/jobs")]
    assert [query["page"] for query in asked] == ["0", "1"]
    assert {query["order_by"] for query in asked} == {"-created"}


async def test_absence_ends_at_the_last_page(mistral: Provider, fake: FakeProvider) -> None:
    fake.on("GET", "/v1/batch/jobs", JSONResponse({"data": None, "total": 0}))
    assert await mistral.find(make_intent(), frozenset(), quiet_since=LONG_AGO) == Absent()


async def test_uploads_are_found_by_their_names(mistral: Provider, fake: FakeProvider) -> None:
    name = f"{make_intent().upload_name}.jsonl"
    files = [{"id": "orphan", "filename": name}, {"id": "other", "filename": "theirs.jsonl"}]
    fake.on("GET", "/v1/files", JSONResponse({"data": files, "total": 2}))
    fake.on("DELETE", "/v1/files/orphan", JSONResponse({"deleted": True}))
    assert await mistral.discard_all(make_intent().shard_id, LONG_AGO) == 1
    assert [call.path for call in fake.calls if call.method == "DELETE"] == ["/v1/files/orphan"]
    assert mistral.input_lifetime == timedelta(days=30)
