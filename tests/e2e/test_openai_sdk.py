"""OpenAI's SDK, unchanged, against the running suite: only base_url and api_key are ours."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.request import Request, urlopen

import openai
import pytest
from openai import OpenAI

from tests.support.e2e.direct_server import Server
from tests.support.e2e.inputs import chat
from tests.support.e2e.stories import check_bill
from tests.support.e2e.suite import ROOT, Suite, wait_for
from tests.support.stores.files import files_below

ENDED = ("completed", "failed", "expired", "cancelled")


def sdk(suite: Suite, key: str | None = None) -> OpenAI:
    own = Path(suite.ready["api_key_file"]).read_text().strip()
    return OpenAI(base_url=f"{suite.ready['web']}/v1", api_key=key or own)


@pytest.fixture
def client(suite: Suite) -> Iterator[OpenAI]:
    with sdk(suite) as client:
        yield client


@contextmanager
def receiving() -> Iterator[str]:
    """The address of one who takes every call."""

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Taker) as server:
        Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def jsonl(lines: list[object]) -> bytes:
    return b"".join(
        (line.encode() if isinstance(line, str) else json.dumps(line).encode()) + b"\n"
        for line in lines
    )


def run(client: OpenAI, content: bytes, **order: object) -> openai.types.Batch:
    """Upload, make a batch, and wait for its end."""
    file = client.files.create(file=("requests.jsonl", content), purpose="batch")
    options = {"endpoint": "/v1/chat/completions", "completion_window": "24h"} | order
    batch = client.batches.create(input_file_id=file.id, **options)  # type: ignore[arg-type]
    wait_for(lambda: client.batches.retrieve(batch.id).status in ENDED, "the batch's end")
    return client.batches.retrieve(batch.id)


def test_a_mixed_batch_from_file_to_results(suite: Suite, client: OpenAI) -> None:
    lines = [chat(1), chat(2), chat(3)]
    batch = run(client, jsonl(lines), metadata={"who": "sdk"})
    assert batch.status == "completed"
    assert batch.metadata == {"who": "sdk"}
    assert batch.completion_window == "24h"
    assert batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"total": 3, "completed": 3, "failed": 0}
    assert batch.usage is not None
    assert batch.usage.total_tokens > 0
    assert batch.error_file_id is None
    assert batch.output_file_id is not None
    content = client.files.content(batch.output_file_id)
    answers = [json.loads(line) for line in content.text.splitlines()]
    assert [each["custom_id"] for each in answers] == ["line-1", "line-2", "line-3"]
    assert all(each["response"]["status_code"] == 200 for each in answers)
    shown = client.files.retrieve(batch.output_file_id)
    assert (shown.purpose, shown.bytes) == ("batch_output", len(content.content))
    assert client.files.content(batch.input_file_id).content == jsonl(lines)
    check_bill(suite, 3)


def test_a_file_with_bad_lines_makes_a_failed_batch(suite: Suite, client: OpenAI) -> None:
    batch = run(client, jsonl([chat(1), "no json", chat(3) | {"method": "GET"}]))
    assert batch.status == "failed"
    assert batch.failed_at is not None
    assert batch.errors is not None
    assert [(each.line, each.code, each.param) for each in batch.errors.data or ()] == [
        (2, "invalid_json", None),
        (3, "unsupported_method", "method"),
    ]
    assert (batch.output_file_id, batch.error_file_id) == (None, None)
    assert suite.sandbox("/sandbox/bill")["lines_billed"] == 0


def test_lines_that_fail_are_in_the_error_file(client: OpenAI) -> None:
    batch = run(
        client, jsonl([chat(1), "no json", chat(3)]), extra_body={"skip_invalid_lines": True}
    )
    assert batch.status == "completed"
    assert batch.output_file_id is not None
    assert batch.error_file_id is not None
    good = client.files.content(batch.output_file_id).text.splitlines()
    [bad] = client.files.content(batch.error_file_id).text.splitlines()
    assert [json.loads(each)["custom_id"] for each in good] == ["line-1", "line-3"]
    assert json.loads(bad)["error"]["code"] == "invalid_json"


def test_files_and_results_go_when_they_are_deleted_or_past_their_time(client: OpenAI) -> None:
    file = client.files.create(
        file=("f.jsonl", jsonl([chat(1), "no json"])),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 7200},
    )
    assert file.expires_at == file.created_at + 7200
    made = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        output_expires_after={"anchor": "created_at", "seconds": 3600},
        extra_body={"skip_invalid_lines": True},
    )
    wait_for(lambda: client.batches.retrieve(made.id).status == "completed", "the end")
    batch = client.batches.retrieve(made.id)
    assert batch.output_file_id is not None
    assert batch.error_file_id is not None
    output = client.files.retrieve(batch.output_file_id)
    assert batch.completed_at is not None
    assert output.expires_at == batch.completed_at + 3600
    assert client.files.delete(batch.output_file_id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.content(batch.output_file_id)
    assert client.batches.retrieve(made.id).output_file_id is None
    assert client.files.content(batch.error_file_id).text
    assert client.files.delete(batch.error_file_id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.delete(batch.error_file_id)
    assert client.batches.retrieve(made.id).error_file_id is None


@pytest.mark.long
def test_lists_go_on_behind_the_last_id(suite: Suite) -> None:
    with sdk(suite, suite.new_key(f"lists-{secrets.token_hex(4)}")) as client:
        files = [
            client.files.create(file=(f"{n}.jsonl", jsonl([chat(n)])), purpose="batch")
            for n in range(5)
        ]
        ids = [each.id for each in files]
        batch = run(client, jsonl([chat(9)]))
        assert batch.output_file_id is not None
        newest = [batch.input_file_id, *reversed(ids)]
        found = [each.id for each in client.files.list(limit=2, purpose="batch")]
        assert found == newest
        everything = [each.id for each in client.files.list(limit=2)]
        assert everything == [*newest, batch.output_file_id]
        oldest = [each.id for each in client.files.list(limit=2, order="asc")]
        assert oldest == list(reversed(everything))
        assert [each.id for each in client.files.list(purpose="batch_output")] == [
            batch.output_file_id
        ]
        # A program that deletes what it has listed goes on behind what is gone.
        for file in client.files.list(limit=2, purpose="batch"):
            assert client.files.delete(file.id).deleted
        assert not list(client.files.list(purpose="batch"))
        with pytest.raises(openai.NotFoundError):
            client.files.retrieve(ids[0])
        made = [batch.id]
        for n in range(2):
            made.append(run(client, jsonl([chat(n)])).id)
        assert [each.id for each in client.batches.list(limit=2)] == list(reversed(made))


def test_lists_of_results_go_on_past_what_is_deleted(suite: Suite) -> None:
    with sdk(suite, suite.new_key(f"gone-{secrets.token_hex(4)}")) as client:
        content = jsonl([chat(1), "no json"])
        made = [run(client, content, extra_body={"skip_invalid_lines": True}) for _ in range(3)]
        results = [each for b in reversed(made) for each in (b.output_file_id, b.error_file_id)]
        assert [each.id for each in client.files.list(purpose="batch_output")] == results
        for gone in results[:2]:
            assert gone is not None
            client.files.delete(gone)
        for order, limit in (("desc", 1), ("asc", 1), ("desc", 3)):
            listed = client.files.list(purpose="batch_output", limit=limit, order=order)  # type: ignore[arg-type]
            assert sorted(each.id for each in listed) == sorted(results[2:])  # type: ignore[type-var]
        # A program that deletes what it has listed goes on behind what is gone.
        for file in client.files.list(purpose="batch_output", limit=1):
            client.files.delete(file.id)
        assert not list(client.files.list(purpose="batch_output"))


def test_cancel(suite: Suite, client: OpenAI) -> None:
    suite.sandbox("/sandbox/config", {"batch_seconds": 600})
    file = client.files.create(file=io.BytesIO(jsonl([chat(1)])), purpose="batch")
    batch: Any = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        extra_body={"priority": "low"},
    )
    assert batch.polybatch["priority"] == "low"
    with pytest.raises(openai.ConflictError) as in_use:
        client.files.delete(file.id)
    assert in_use.value.code == "file_in_use"
    assert client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
    wait_for(lambda: client.batches.retrieve(batch.id).status == "cancelled", "the cancel")
    cancelled = client.batches.retrieve(batch.id)
    assert cancelled.error_file_id is not None
    [line] = client.files.content(cancelled.error_file_id).text.splitlines()
    assert json.loads(line)["error"]["code"] == "batch_cancelled"


def test_embeddings_and_models(suite: Suite, client: OpenAI) -> None:
    batch = run(
        client, (ROOT / "examples/embeddings.jsonl").read_bytes(), endpoint="/v1/embeddings"
    )
    assert batch.status == "completed"
    models = {each.id: each.owned_by for each in client.models.list()}
    assert models["openai/gpt-4.1"] == "openai"
    assert client.models.retrieve("openai/gpt-4.1").object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody/knows")


@pytest.mark.long
def test_what_is_settled_of_a_batch_that_runs(suite: Suite, server: Server, client: OpenAI) -> None:
    suite.sandbox("/sandbox/config", {"batch_seconds": 600})
    slow, quick = chat(1), chat(2) | {"provider": "local"}
    slow["provider"], slow["body"]["model"] = "openai", "gpt-4.1"
    quick["body"]["model"] = "any"
    file = client.files.create(file=("a.jsonl", jsonl([slow, quick])), purpose="batch")
    batch: Any = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert batch.output_file_id is None
    output, errors = (batch.polybatch[name] for name in ("output_file_id", "error_file_id"))

    def content(file_id: str, **query: Any) -> Any:
        return client.files.content(file_id, extra_query=query).response

    wait_for(lambda: content(output).text, "the first line")
    first = content(output)
    [line] = first.text.splitlines()
    assert json.loads(line)["custom_id"] == "line-2"
    assert (first.headers["x-incomplete"], first.headers["x-last-line"]) == ("true", "0")
    seen = first.headers["x-settled-until"]
    assert not content(output, settled_after=seen).text
    assert not content(errors).text
    client.batches.cancel(batch.id)
    wait_for(lambda: client.batches.retrieve(batch.id).status == "cancelled", "the cancel")
    rest = content(errors, settled_after=seen)
    assert json.loads(rest.text)["error"]["code"] == "batch_cancelled"
    assert rest.headers["x-incomplete"] == "false"
    assert not content(output, settled_after=seen).text
    whole = content(output)
    assert whole.text == first.text
    assert "x-incomplete" not in whole.headers


def test_webhook_endpoints(suite: Suite) -> None:
    with (
        sdk(suite, suite.new_key(f"hooks-{secrets.token_hex(4)}", "account")) as client,
        receiving() as url,
    ):
        hooks = client.webhooks
        assert "batch.completed" in hooks.event_types.list().data
        made = hooks.create(name="ours", url=url, event_types=["batch.completed", "batch.failed"])
        assert made.signing_secret.startswith("whsec_")
        assert made.signing_secret_hint is not None
        assert made.signing_secret.rstrip("=").endswith(made.signing_secret_hint[-4:])
        other = hooks.create(name="others", url=f"{url}/others", event_types=["batch.expired"])
        assert [each.id for each in hooks.list(limit=1)] == [made.id, other.id]
        changed = hooks.update(made.id, name="mine")
        assert (changed.name, changed.event_types) == ("mine", made.event_types)
        assert hooks.retrieve(made.id) == changed
        tested = hooks.test(made.id, event_type="batch.failed")
        assert (tested.status_code, tested.success) == (204, True)
        rotated = hooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
        assert rotated.signing_secret != made.signing_secret
        with pytest.raises(openai.BadRequestError) as unknown:
            hooks.create(name="x", url=url, event_types=["video.completed"])
        assert unknown.value.param == "event_types"
        with pytest.raises(openai.ConflictError):
            hooks.create(name="x", url=url, event_types=["batch.failed"])
        # A program that deletes what it has listed goes on behind what is gone.
        for each in hooks.list(limit=1):
            assert hooks.delete(each.id).deleted
        assert not list(hooks.list())
        with pytest.raises(openai.NotFoundError):
            hooks.retrieve(made.id)
        with pytest.raises(openai.NotFoundError):
            list(hooks.list(after="nonsense"))


def test_the_same_key_makes_the_same(client: OpenAI) -> None:
    key = {"Idempotency-Key": secrets.token_hex(8)}
    content = jsonl([chat(1)])
    first, second = (
        client.files.create(file=("a.jsonl", content), purpose="batch", extra_headers=key)
        for _ in range(2)
    )
    assert first.id == second.id
    one, two = (
        client.batches.create(
            input_file_id=first.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            extra_headers=key,
        )
        for _ in range(2)
    )
    assert one.id == two.id


def test_who_sends_a_large_file_again_reads_the_answer(suite: Suite, client: OpenAI) -> None:
    """Which is known before the file has come: who is cut off while it sends reads nothing."""
    content = jsonl([chat(1)]).strip() + b" " * 12_000_000
    form = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    body = form % (b"purpose", b"", b"batch") + form % (b"file", b'; filename="a.jsonl"', content)
    headers = {
        "authorization": f"Bearer {client.api_key}",
        "content-type": "multipart/form-data; boundary=x",
        "idempotency-key": secrets.token_hex(8),
    }
    request = Request(f"{suite.ready['web']}/v1/files", body + b"--x--\r\n", headers)
    first, second = (json.loads(urlopen(request, timeout=60).read())["id"] for _ in range(2))
    assert first == second


def test_an_upload_in_parts(suite: Suite, client: OpenAI, tmp_path: Path) -> None:
    content = jsonl([chat(n) for n in range(200)])
    path = tmp_path / "big.jsonl"
    path.write_bytes(content)
    # The SDK's own way, in parts that cut lines in two.
    done = client.uploads.upload_file_chunked(
        file=path,
        mime_type="application/jsonl",
        purpose="batch",
        part_size=len(content) // 3 - 7,
        md5=hashlib.md5(content).hexdigest(),
    )
    assert done.status == "completed"
    assert done.file is not None
    assert (done.file.filename, done.file.bytes) == ("big.jsonl", len(content))
    assert client.files.content(done.file.id).content == content
    # The order is that of the end, not that in which the parts came.
    half = len(content) // 2
    upload = client.uploads.create(
        bytes=len(content), filename="turned.jsonl", mime_type="text/plain", purpose="batch"
    )
    assert upload.status == "pending"
    second, first = (
        client.uploads.parts.create(upload.id, data=piece).id
        for piece in (content[half:], content[:half])
    )
    with pytest.raises(openai.BadRequestError) as short:
        client.uploads.complete(upload.id, part_ids=[first])
    assert short.value.code == "content_mismatch"
    with pytest.raises(openai.BadRequestError):
        client.uploads.complete(upload.id, part_ids=[first, second], md5="0" * 32)
    for _ in range(2):
        done = client.uploads.complete(upload.id, part_ids=[first, second])
        assert done.file is not None
        assert client.files.content(done.file.id).content == content
    with pytest.raises(openai.ConflictError):
        client.uploads.parts.create(upload.id, data=b"more")
    # Nothing is listed but the two files, and no part is left on the disk.
    stored = suite.data_dir / "blobs/files"
    assert not [path for path in files_below(stored) if "." in path.parent.name]


def test_a_cancelled_upload_leaves_nothing(suite: Suite, client: OpenAI) -> None:
    upload = client.uploads.create(
        bytes=4, filename="a.jsonl", mime_type="application/jsonl", purpose="batch"
    )
    part = client.uploads.parts.create(upload.id, data=b"abcd")
    other = sdk(suite, suite.new_key(f"other-{secrets.token_hex(4)}"))
    with other:
        with pytest.raises(openai.NotFoundError):
            other.uploads.complete(upload.id, part_ids=[part.id])
        with pytest.raises(openai.NotFoundError):
            other.uploads.cancel(upload.id)
    assert client.uploads.cancel(upload.id).status == "cancelled"
    with pytest.raises(openai.NotFoundError):
        client.uploads.complete(upload.id, part_ids=[part.id])
    with pytest.raises(openai.NotFoundError):
        client.uploads.parts.create(upload.id, data=b"abcd")


@pytest.mark.long
def test_the_sdk_rides_out_restarts(suite: Suite, client: OpenAI) -> None:
    suite.sandbox("/sandbox/config", {"batch_seconds": 3})
    patient = client.with_options(max_retries=8, timeout=20)
    content = jsonl([chat(n) for n in range(50)])
    file = patient.files.create(file=("requests.jsonl", content), purpose="batch")
    for name in ("gateway", "web"):
        suite.kill(name)
        assert patient.files.retrieve(file.id).bytes == len(content)
    batch = patient.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    suite.kill("collector")
    wait_for(lambda: patient.batches.retrieve(batch.id).status == "completed", "the batch's end")
    output = patient.batches.retrieve(batch.id).output_file_id
    assert output is not None
    suite.kill("web")
    assert len(patient.files.content(output).text.splitlines()) == 50
    check_bill(suite, 50)


def test_errors_are_the_sdks_own(suite: Suite, client: OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as wrong_key:
        sdk(suite, "wrong").models.list()
    assert wrong_key.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_none")
    with pytest.raises(openai.BadRequestError) as purpose:
        client.files.create(file=b"{}", purpose="fine-tune")
    assert (purpose.value.param, purpose.value.request_id is None) == ("purpose", False)
    batch = run(client, jsonl([chat(1)]))
    with pytest.raises(openai.ConflictError) as ended:
        client.batches.cancel(batch.id)
    assert ended.value.code == "batch_ended"
    # Told not to, the SDK has not tried it again.
    assert ended.value.response.headers["x-should-retry"] == "false"
