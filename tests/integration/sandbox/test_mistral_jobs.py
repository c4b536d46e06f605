"""Mistral's jobs over OpenAI's files. The fields of a job are those of mistralai 3.7."""

from __future__ import annotations

import json
from collections.abc import Iterator
from time import monotonic
from typing import Any

import httpx2
import pytest

from tests.support.sandbox.driving import PATIENCE, Sandbox

MODEL = "mistral-small-latest"
FIELDS = {
    *("id", "object", "input_files", "metadata", "endpoint", "model", "agent_id", "output_file"),
    *("error_file", "errors", "status", "created_at", "total_requests", "completed_requests"),
    *("succeeded_requests", "failed_requests", "started_at", "completed_at"),
}


@pytest.fixture
def http(sandbox: Sandbox) -> Iterator[httpx2.Client]:
    headers = {"authorization": "Bearer key"}
    with httpx2.Client(base_url=sandbox.url, headers=headers, timeout=PATIENCE) as client:
        yield client


def upload(http: httpx2.Client, *lines: Any) -> str:
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    files = {"file": ("lines.jsonl", content)}
    answer = http.post("/v1/files", data={"purpose": "batch"}, files=files)
    file_id: str = answer.raise_for_status().json()["id"]
    return file_id


def line(custom_id: str, **body: Any) -> dict[str, Any]:
    message = {"role": "user", "content": f"I am {custom_id}"}
    return {"custom_id": custom_id, "body": {"messages": [message], **body}}


def create(http: httpx2.Client, file_id: str, **members: Any) -> httpx2.Response:
    creation = {"input_files": [file_id], "endpoint": "/v1/chat/completions", "model": MODEL}
    return http.post("/v1/batch/jobs", json=creation | members)


def ended(http: httpx2.Client, job_id: str) -> dict[str, Any]:
    deadline = monotonic() + PATIENCE
    while True:
        job: dict[str, Any] = http.get(f"/v1/batch/jobs/{job_id}").json()
        if job["status"] not in ("QUEUED", "RUNNING", "CANCELLATION_REQUESTED"):
            return job
        assert monotonic() < deadline, job


def test_a_job_runs_its_lines_with_its_own_model(http: httpx2.Client) -> None:
    file_id = upload(http, line("a"), line("b", n=0), line("c", model="gpt-4.1"))
    made = create(http, file_id, metadata={"ours": "yes"}, timeout_hours=12).json()
    assert made.keys() == FIELDS
    job = ended(http, made["id"])
    assert job["status"] == "SUCCESS"
    assert job["metadata"] == {"ours": "yes"}
    assert (job["total_requests"], job["succeeded_requests"], job["failed_requests"]) == (3, 2, 1)
    rows = [
        json.loads(row)
        for source in (job["output_file"], job["error_file"])
        for row in http.get(f"/v1/files/{source}/content").text.splitlines()
    ]
    found = {row["custom_id"]: row["response"] for row in rows}
    assert {name: response["status_code"] for name, response in found.items()} == {
        "a": 200,
        "b": 400,
        "c": 200,
    }
    assert {found[name]["body"]["model"] for name in "ac"} == {MODEL}


def test_a_job_may_have_more_lines_than_a_batch_of_openai(http: httpx2.Client) -> None:
    many = [line(f"{number}") for number in range(50_001)]
    job = ended(http, create(http, upload(http, *many)).json()["id"])
    assert (job["status"], job["total_requests"]) == ("SUCCESS", 50_001)


@pytest.mark.long
@pytest.mark.parametrize(("size", "status"), [(300_000_000, 200), (512_000_001, 400)])
def test_a_file_may_be_larger_than_one_of_openai(
    http: httpx2.Client, size: int, status: int
) -> None:
    content = (json.dumps(line("a")) + "\n").encode().ljust(size)
    files = {"file": ("lines.jsonl", content)}
    answer = http.post("/v1/files", data={"purpose": "batch"}, files=files)
    assert answer.status_code == status, answer.text


@pytest.mark.long
def test_more_than_100000_lines_fail_the_job(http: httpx2.Client) -> None:
    many = [line(f"{number}") for number in range(100_001)]
    job = ended(http, create(http, upload(http, *many)).json()["id"])
    assert job["status"] == "FAILED"
    assert "100000" in job["errors"][0]["message"]


def test_jobs_are_listed_by_pages_the_newest_first(http: httpx2.Client) -> None:
    file_id = upload(http, line("a"))
    made = [create(http, file_id).json()["id"] for _ in range(3)]
    pages = [
        http.get("/v1/batch/jobs", params={"page": page, "page_size": 2}).json()
        for page in range(3)
    ]
    assert [[job["id"] for job in page["data"]] for page in pages] == [
        [made[2], made[1]],
        [made[0]],
        [],
    ]
    assert {page["total"] for page in pages} == {3}


def test_a_job_that_cannot_run_says_why(http: httpx2.Client) -> None:
    job = ended(http, create(http, upload(http, {"custom_id": "a"})).json()["id"])
    assert job["status"] == "FAILED"
    assert job["errors"][0]["message"]
    assert job["errors"][0]["count"] == 1


def test_a_cancelled_job(sandbox: Sandbox, http: httpx2.Client) -> None:
    sandbox.set(batch_seconds=3600, cancel_seconds=3600)
    made = create(http, upload(http, line("a"))).json()
    cancelled = http.post(f"/v1/batch/jobs/{made['id']}/cancel").json()
    assert cancelled["status"] == "CANCELLATION_REQUESTED"
    sandbox.set(cancel_seconds=0)
    assert ended(http, made["id"])["status"] == "CANCELLED"


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({"input_files": ["file-nobody-has"]}, 404),
        ({"endpoint": "/v1/ocr"}, 422),
        ({"model": ""}, 422),
        ({"input_file_id": "file-1"}, 422),
    ],
)
def test_what_a_create_gets_wrong(
    http: httpx2.Client, members: dict[str, Any], status: int
) -> None:
    answer = create(http, upload(http, line("a")), **members)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]
