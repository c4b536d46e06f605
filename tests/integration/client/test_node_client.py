"""The Node.js client against the fake: what it does when a stream breaks."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import grpc
import pytest
from polybatch.v1 import batches_pb2

from tests.support.client.batches import result_line, snapshot
from tests.support.client.fake_service import API_KEY, FakePolybatch
from tests.support.client.fake_servicers import SEGMENT_BYTES
from tests.support.client.fault import Fault
from tests.support.client.node_program import run_node

CHUNK_BYTES = 1024 * 1024
CONTENT = b'{"custom_id": "a", "text": "%s"}\n' % (b"x" * 80) * 30_000
RESULTS = b"".join(json.dumps(result_line(n)).encode() + b"\n" for n in range(100))
BATCH = f"batch_{0:020}"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, Path]:
    """Names of the requests and of the results to be."""
    (tmp_path / "requests.jsonl").write_bytes(CONTENT)
    (tmp_path / "out").mkdir()
    return str(tmp_path / "requests.jsonl"), tmp_path / "out" / "results.jsonl"


def run(fake: FakePolybatch, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("POLYBATCH_")
    }
    connection = {
        "POLYBATCH_GATEWAY": fake.address,
        "POLYBATCH_COLLECTOR": fake.address,
        "POLYBATCH_API_KEY": API_KEY,
    }
    return run_node(*arguments, environment=inherited | connection | variables)


def end_at_once(fake: FakePolybatch) -> None:
    """Every batch that is submitted ends as it begins, with RESULTS."""

    def end(batch: batches_pb2.Batch) -> None:
        fake.batches[batch.id] += [
            snapshot(batch.id, 2, succeeded=10),
            snapshot(batch.id, 3, "COMPLETED", succeeded=100),
        ]
        fake.results[batch.id] = RESULTS

    fake.on_submit = end


def test_everything_goes_on_where_it_broke(fake: FakePolybatch, files: tuple[str, Path]) -> None:
    requests, results = files
    end_at_once(fake)
    fake.faults["SubmitBatch"] += [
        Fault(after_bytes=1_500_000),
        Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="OPEN_UPLOADS_LIMIT", retry_after=0.01),
        Fault(after_work=True),
    ]
    fake.faults["GetUploadStatus"] += [Fault(reason="SERVER_STOPPING")]
    fake.faults["WatchBatch"] += [
        Fault(reason="SERVER_STOPPING", after_messages=1),
        Fault(end_with_ok=True, after_messages=1),
    ]
    fake.faults["DownloadResults"] += [
        Fault(after_bytes=3000),
        Fault(after_bytes=4000, end_with_ok=True),
    ]
    done = run(fake, requests, str(results))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [BATCH]
    assert results.read_bytes() == RESULTS
    assert list(results.parent.iterdir()) == [results]
    assert list(fake.contents.values()) == [CONTENT]
    assert list(fake.batches) == [BATCH]
    assert fake.received_bytes <= len(CONTENT) + SEGMENT_BYTES + CHUNK_BYTES
    submits = [call.upload for name, call in fake.calls if name == "SubmitBatch"]
    assert len({spec.upload_id for spec in submits}) == 1
    offsets = [spec.write_offset for spec in submits]
    assert offsets[0] == 0
    assert offsets[1] >= 1_500_000 - SEGMENT_BYTES
    assert offsets[3] == len(CONTENT), "the answer was lost after the upload was complete"
    watches = [call.last_revision for name, call in fake.calls if name == "WatchBatch"]
    assert watches == [0, 1, 2]
    downloads = [call.offset for name, call in fake.calls if name == "DownloadResults"]
    assert downloads == [0, 3000, 7000]


def test_a_second_run_with_the_same_id_makes_nothing_twice(
    fake: FakePolybatch, files: tuple[str, Path]
) -> None:
    requests, results = files
    end_at_once(fake)
    again = ("--request-id", "my-own-id", requests, str(results))
    assert [run(fake, *again).returncode for _ in range(2)] == [0, 0]
    assert fake.received_bytes == len(CONTENT)
    assert list(fake.batches) == [BATCH]
    Path(requests).write_bytes(CONTENT[:-20])
    refused = run(fake, *again)
    assert refused.returncode == 2
    assert "the upload my-own-id is not of" in refused.stderr


@pytest.mark.parametrize("state", ["EXPIRED", "FAILED"])
def test_a_batch_that_did_not_complete(
    fake: FakePolybatch, files: tuple[str, Path], state: str
) -> None:
    fake.batches[BATCH] = [snapshot(BATCH, 3, state)]
    if state == "EXPIRED":
        fake.results[BATCH] = RESULTS
    done = run(fake, "--watch", BATCH, str(files[1]))
    assert (done.returncode, done.stdout) == (4, ""), done.stderr
    assert files[1].exists() == (state == "EXPIRED")


def test_what_cannot_pass_is_said_once(fake: FakePolybatch, files: tuple[str, Path]) -> None:
    requests, results = files
    end_at_once(fake)
    wrong_key = run(fake, requests, str(results), POLYBATCH_API_KEY="pb-other")
    assert wrong_key.returncode == 1
    assert "(API_KEY_INVALID)" in wrong_key.stderr
    fake.results_digest[BATCH] = "0" * 64
    garbled = run(fake, requests, str(results))
    assert garbled.returncode == 1
    assert "not what the manifest names" in garbled.stderr
    assert list(results.parent.iterdir()) == []
    no_folder = run(fake, requests, str(results / "none"))
    assert (no_folder.returncode, fake.count("SubmitBatch")) == (2, 1)
