"""Whole batches through Google's own client."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import errors, types

from services.sandbox.answers import fingerprint
from tests.support.sandbox.driving import PATIENCE, Sandbox

MODEL = "gemini-3.8-flash"
HEADERS = {"x-goog-api-key": "key"}
ENDED = {"SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"}


def line(key: str, text: str = "Hi", **members: Any) -> dict[str, Any]:
    contents = [{"role": "user", "parts": [{"text": text}]}]
    return {"key": key, "request": {"contents": contents, **members}}


def upload(client: genai.Client, folder: Path, lines: Sequence[Any] | bytes) -> str:
    """Send a file of lines; gives its name."""
    path = folder / "lines.jsonl"
    if isinstance(lines, bytes):
        path.write_bytes(lines)
    else:
        path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    config = types.UploadFileConfig(display_name="lines", mime_type="jsonl")
    file = client.files.upload(file=path, config=config)
    assert file.name
    assert file.state == types.FileState.ACTIVE
    return file.name


def create(
    client: genai.Client, folder: Path, lines: Sequence[Any] | bytes, model: str = MODEL
) -> types.BatchJob:
    name = upload(client, folder, lines)
    config = types.CreateBatchJobConfig(display_name="ours")
    return client.batches.create(model=model, src=name, config=config)


def state(job: types.BatchJob) -> str:
    assert job.state is not None
    return job.state.value.removeprefix("JOB_STATE_")


def until(client: genai.Client, job: types.BatchJob, *states: str) -> types.BatchJob:
    deadline = monotonic() + PATIENCE
    while state(job) not in (states or ENDED):
        assert monotonic() < deadline, job.state
        assert job.name
        job = client.batches.get(name=job.name)
    return job


def rows(client: genai.Client, job: types.BatchJob) -> list[dict[str, Any]]:
    assert job.dest is not None
    assert job.dest.file_name is not None
    data = client.files.download(file=job.dest.file_name)
    return [json.loads(row) for row in data.splitlines()]


def operation(sandbox: Sandbox, name: str | None) -> dict[str, Any]:
    answer = sandbox.http.get(f"/v1beta/{name}", headers=HEADERS)
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


def test_whole_batch(sandbox: Sandbox, gemini_client: genai.Client, tmp_path: Path) -> None:
    questions = {f"row-{i}": f"Hello world! what is {i} * 3 " + "ü" * i for i in range(40)}
    sandbox.set(batch_seconds=3600)
    created = create(gemini_client, tmp_path, [line(k, text) for k, text in questions.items()])
    assert state(created) in ("PENDING", "RUNNING")
    assert created.display_name == "ours"
    assert created.dest is None
    sandbox.set(batch_seconds=0)

    job = until(gemini_client, created)

    assert state(job) == "SUCCEEDED"
    assert job.model == f"models/{MODEL}"
    assert job.end_time is not None
    stats = operation(sandbox, job.name)["metadata"]["batchStats"]
    assert stats == {"requestCount": "40", "successfulRequestCount": "40"}
    found = rows(gemini_client, job)
    assert {row["key"] for row in found} == set(questions)
    for row in found:
        question = questions[row["key"]]
        response = types.GenerateContentResponse.model_validate(row["response"])
        assert response.text is not None
        assert fingerprint(MODEL, question) in response.text
        number = int(question.split()[4])
        assert response.text.endswith(f"\n\n{number * 3}")
        usage = response.usage_metadata
        assert usage.prompt_token_count is not None
        assert usage.candidates_token_count is not None
        assert usage.total_token_count == (
            usage.prompt_token_count
            + usage.candidates_token_count
            + (usage.thoughts_token_count or 0)
        )
    bill = sandbox.bill()["providers"]["gemini"]
    assert bill["lines_billed"] == 40
    assert bill["models"][MODEL]["output_tokens"] == sum(
        row["response"]["usageMetadata"]["candidatesTokenCount"]
        + row["response"]["usageMetadata"]["thoughtsTokenCount"]
        for row in found
    )


def test_embeddings(sandbox: Sandbox, gemini_client: genai.Client, tmp_path: Path) -> None:
    lines = [
        {"key": f"e{i}", "request": {"content": {"parts": [{"text": f"text {i}"}]}}}
        for i in range(3)
    ]
    lines[2]["request"]["outputDimensionality"] = 8  # type: ignore[index]
    name = upload(gemini_client, tmp_path, lines)
    source = types.EmbeddingsBatchJobSource(file_name=name)
    with pytest.warns(Warning, match="experimental"):
        job = gemini_client.batches.create_embeddings(model="gemini-embedding-001", src=source)
    job = until(gemini_client, job)
    found = {row["key"]: row["response"] for row in rows(gemini_client, job)}
    assert [len(found[f"e{i}"]["embedding"]["values"]) for i in range(3)] == [3072, 3072, 8]
    assert int(found["e0"]["tokenCount"]) > 0
    types.ContentEmbedding.model_validate(found["e0"]["embedding"])


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "look", "parametersJsonSchema": SCHEMA}


def test_shapes_of_answers(sandbox: Sandbox, gemini_client: genai.Client, tmp_path: Path) -> None:
    config = {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}
    lines = [
        line("json", generationConfig=config),
        line("cut", generationConfig={"maxOutputTokens": 3}),
        line("two", generationConfig={"candidateCount": 2}),
        line(
            "call",
            tools=[{"functionDeclarations": [FUNCTION]}],
            toolConfig={"functionCallingConfig": {"mode": "ANY"}},
        ),
    ]
    job = until(gemini_client, create(gemini_client, tmp_path, lines))
    found = {
        row["key"]: types.GenerateContentResponse.model_validate(row["response"])
        for row in rows(gemini_client, job)
    }
    assert json.loads(found["json"].text or "").keys() == {"city"}
    cuts = found["cut"].candidates or []
    assert cuts[0].finish_reason == types.FinishReason.MAX_TOKENS
    assert len(found["two"].candidates or ()) == 2
    content = (found["call"].candidates or [])[0].content
    part = (content.parts or [])[0]
    assert part.function_call is not None
    assert part.function_call.name == "look"
    assert (part.function_call.args or {}).keys() == {"city"}
    assert part.thought_signature


def functions(*declared: dict[str, Any]) -> dict[str, Any]:
    return {"tools": [{"functionDeclarations": list(declared)}]}


def parameters(of_a: dict[str, Any], **more: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"a": of_a}} | more
    return {"name": "look", "parametersJsonSchema": schema}


def test_bad_requests_cost_only_themselves(
    sandbox: Sandbox, gemini_client: genai.Client, tmp_path: Path
) -> None:
    call = {"functionCall": {"name": "look", "args": {}}}
    answered = {"functionResponse": {"name": "look", "response": {"output": "x"}}}
    turns = [
        {"role": "user", "parts": [{"text": "Hi"}]},
        {"role": "model", "parts": [call]},
        {"role": "user", "parts": [answered]},
    ]
    bad: dict[str, dict[str, Any]] = {
        "hot": {"generationConfig": {"temperature": 3}},
        "unknown": {"tool_choice": {}},
        "empty": {"contents": []},
        "prefill": {"contents": [turns[0], {"role": "model", "parts": [{"text": "So"}]}]},
        "nothing": {"contents": [{"role": "user", "parts": [{}]}]},
        "unsigned": {"contents": turns},
        "unanswered": {"contents": [*turns[:2], turns[0]]},
        "schema": {"generationConfig": {"responseJsonSchema": SCHEMA}},
        "name": functions({"name": "two words"}),
        "doubled": functions({"name": "look"}, {"name": "look"}),
        "choice": functions({"name": "look"})
        | {
            "toolConfig": {
                "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["other"]}
            }
        },
        "dangling": functions(parameters({"$ref": "#/$defs/a"})),
        "external": functions(parameters({"$ref": "https://example.org/a"})),
        "definitions": functions(
            parameters({"$ref": "#/definitions/a"}, definitions={"a": {"type": "string"}})
        ),
        "cyclic": functions(parameters({"$ref": "#"}, required=["a"])),
    }
    good = line("good")
    signed = [
        turns[0],
        {"role": "model", "parts": [{**call, "thoughtSignature": "eA=="}]},
        turns[2],
    ]
    lines = [good, line("turns", contents=signed)]
    # Once round is allowed where it need not be gone.
    lines.append(line("tree", **functions(parameters({"$ref": "#"}))))
    lines += [line(key, **members) for key, members in bad.items()]
    job = until(gemini_client, create(gemini_client, tmp_path, lines))
    assert state(job) == "SUCCEEDED"
    found = {row["key"]: row for row in rows(gemini_client, job)}
    assert {key for key, row in found.items() if "response" in row} == {"good", "turns", "tree"}
    assert {found[key]["error"]["code"] for key in bad} == {3}
    stats = operation(sandbox, job.name)["metadata"]["batchStats"]
    assert (stats["successfulRequestCount"], stats["failedRequestCount"]) == ("3", str(len(bad)))


def test_names_as_protocol_buffers_have_them(
    sandbox: Sandbox, gemini_client: genai.Client, tmp_path: Path
) -> None:
    # The keys of arguments and schemas are the caller's own.
    declared = {
        "name": "look",
        "parameters_json_schema": {"type": "object", "properties": {"a_city": SCHEMA}},
    }
    lines = [
        line("cut", generation_config={"max_output_tokens": 3}),
        line(
            "call",
            tools=[{"function_declarations": [declared]}],
            tool_config={"function_calling_config": {"mode": "ANY"}},
        ),
        line("unknown", generation_config={"most_tokens": 3}),
    ]
    job = until(gemini_client, create(gemini_client, tmp_path, lines))
    found = {row["key"]: row for row in rows(gemini_client, job)}
    assert found["cut"]["response"]["candidates"][0]["finishReason"] == "MAX_TOKENS"
    part = found["call"]["response"]["candidates"][0]["content"]["parts"][0]
    assert part["functionCall"]["args"].keys() == {"a_city"}
    assert "mostTokens" in found["unknown"]["error"]["message"]


@pytest.mark.parametrize(
    ("marker", "code"),
    [("invalid", 3), ("rate_limit", 8), ("server", 13), ("overloaded", 14), ("timeout", 4)],
)
def test_markers(
    marker: str, code: int, sandbox: Sandbox, gemini_client: genai.Client, tmp_path: Path
) -> None:
    lines = [line("a", f"[[sandbox:error={marker}]]"), line("b")]
    job = until(gemini_client, create(gemini_client, tmp_path, lines))
    found = {row["key"]: row for row in rows(gemini_client, job)}
    assert found["a"]["error"]["code"] == code
    assert "response" in found["b"]
    assert sandbox.bill()["lines_billed"] == 1


@pytest.mark.parametrize("content", [b"", b'{"key":"a"}\n', b"no json\n", b'{"request":{}}\n'])
def test_a_file_of_something_else_fails(
    content: bytes, gemini_client: genai.Client, sandbox: Sandbox, tmp_path: Path
) -> None:
    if not content:
        content = b"\n"
    job = until(gemini_client, create(gemini_client, tmp_path, content))
    assert state(job) == "FAILED"
    found = operation(sandbox, job.name)
    assert found["done"] is True
    assert found["error"]["code"] == 3


def test_cancelled_batches_keep_what_was_run(
    sandbox: Sandbox, gemini_client: genai.Client, tmp_path: Path
) -> None:
    sandbox.set(batch_seconds=1, cancel_seconds=0)
    job = create(gemini_client, tmp_path, [line(f"k{i}") for i in range(1000)])
    deadline = monotonic() + PATIENCE
    while "successfulRequestCount" not in operation(sandbox, job.name)["metadata"]["batchStats"]:
        assert monotonic() < deadline
    sandbox.set(batch_seconds=3600)
    assert job.name
    gemini_client.batches.cancel(name=job.name)
    job = gemini_client.batches.get(name=job.name)
    assert state(job) == "CANCELLED"
    assert operation(sandbox, job.name)["error"]["code"] == 1
    assert 0 < len(rows(gemini_client, job)) < 1000
    assert job.name
    with pytest.raises(errors.ClientError, match="has ended"):
        gemini_client.batches.cancel(name=job.name)


def test_expired_batches_have_no_results(
    sandbox: Sandbox, gemini_client: genai.Client, tmp_path: Path
) -> None:
    sandbox.set(batch_seconds=3600)
    job = create(gemini_client, tmp_path, [line("a")])
    sandbox.set(window_seconds=0)
    job = until(gemini_client, job)
    assert state(job) == "EXPIRED"
    assert job.dest is None


def test_lists_in_pages(sandbox: Sandbox, gemini_client: genai.Client, tmp_path: Path) -> None:
    names = [create(gemini_client, tmp_path, [line("a")]).name for _ in range(5)]
    config = types.ListBatchJobsConfig(page_size=2)
    assert [job.name for job in gemini_client.batches.list(config=config)] == names[::-1]
    # Each batch has its input, and its responses once somebody has looked.
    assert len(list(gemini_client.files.list(config={"page_size": 3}))) == 10
    another = sandbox.gemini("another key")
    assert not list(another.batches.list())
    assert names[0]
    gemini_client.batches.delete(name=names[0])
    with pytest.raises(errors.ClientError) as caught:
        gemini_client.batches.get(name=names[0])
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


def test_files_of_others_are_forbidden(gemini_client: genai.Client, tmp_path: Path) -> None:
    name = upload(gemini_client, tmp_path, [line("a")])
    assert gemini_client.files.get(name=name).display_name == "lines"
    with pytest.raises(errors.ClientError, match="Only generated files"):
        gemini_client.files.download(file=name)
    gemini_client.files.delete(name=name)
    with pytest.raises(errors.ClientError) as caught:
        gemini_client.files.get(name=name)
    assert (caught.value.code, caught.value.status) == (403, "PERMISSION_DENIED")


def test_uploads_come_in_pieces(sandbox: Sandbox) -> None:
    start = {
        "x-goog-upload-protocol": "resumable",
        "x-goog-upload-command": "start",
        "x-goog-upload-header-content-length": "6",
        "x-goog-upload-header-content-type": "jsonl",
        **HEADERS,
    }
    answer = sandbox.http.post("/upload/v1beta/files", headers=start, json={})
    url = answer.headers["x-goog-upload-url"]

    def send(command: str, offset: int, data: bytes = b"") -> httpx2.Response:
        headers = {"x-goog-upload-command": command, "x-goog-upload-offset": str(offset)}
        return sandbox.http.post(url, headers=headers, content=data)

    assert send("upload", 0, b"abc").headers["x-goog-upload-status"] == "active"
    assert send("upload", 5, b"abc").status_code == 400
    assert send("query", 0).headers["x-goog-upload-size-received"] == "3"
    last = send("upload, finalize", 3, b"def")
    assert last.headers["x-goog-upload-status"] == "final"
    assert last.json()["file"]["sizeBytes"] == "6"
    assert send("query", 0).status_code == 404


def test_refused_keys(sandbox: Sandbox) -> None:
    client = sandbox.gemini("invalid-key")
    with pytest.raises(errors.ClientError) as caught:
        client.batches.list()
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")
    assert sandbox.http.get("/v1beta/batches").status_code == 403


def test_what_a_create_refuses(
    sandbox: Sandbox, gemini_client: genai.Client, tmp_path: Path
) -> None:
    name = upload(gemini_client, tmp_path, [line("a", "x" * 400)])
    for model, source, status in (
        ("gpt-4.1", name, "NOT_FOUND"),
        ("gemini-embedding-001", name, "NOT_FOUND"),
        (MODEL, "files/nothing", "NOT_FOUND"),
    ):
        with pytest.raises(errors.ClientError) as caught:
            gemini_client.batches.create(model=model, src=source)
        assert caught.value.status == status
    sandbox.set(enqueued_token_limit=50)
    with pytest.raises(errors.ClientError) as caught:
        gemini_client.batches.create(model=MODEL, src=name)
    assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")
    assert sandbox.bill()["batches_created"] == 0


def test_faults(sandbox: Sandbox, gemini_client: genai.Client, tmp_path: Path) -> None:
    sandbox.fault("status", status=503, provider="gemini", count=1)
    with pytest.raises(errors.ServerError) as caught:
        list(gemini_client.batches.list())
    assert (caught.value.code, caught.value.status) == (503, "UNAVAILABLE")
    assert not list(gemini_client.batches.list())
    sandbox.fault("fail_batch", provider="gemini", code="resource_exhausted", count=1)
    job = until(gemini_client, create(gemini_client, tmp_path, [line("a")]))
    assert state(job) == "FAILED"
    assert operation(sandbox, job.name)["error"]["code"] == 8
