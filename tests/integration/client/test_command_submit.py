"""`polybatch submit`, run as a process of its own against the fake."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading

import grpc
import pytest
from polybatch.cli import ExitCode
from polybatch.v1 import batches_pb2

from tests.support.client.batches import result_line, snapshot
from tests.support.client.command import GOOD, Command
from tests.support.client.fake_service import FakePolybatch
from tests.support.client.fault import Fault

BATCH = f"batch_{0:020}"
SELF = f"{sys.executable} -m polybatch"


def end_at_once(fake: FakePolybatch, state: str = "COMPLETED", **counts: int) -> None:
    """Makes every batch that is submitted end as it begins."""

    def end(batch: batches_pb2.Batch) -> None:
        fake.batches[batch.id].append(snapshot(batch.id, 2, succeeded=10))
        fake.batches[batch.id].append(snapshot(batch.id, 3, state, **counts))
        lines = [result_line(n, failed=n < counts.get("failed", 0)) for n in range(100)]
        if state != "FAILED":
            fake.results[batch.id] = b"".join(json.dumps(x).encode() + b"\n" for x in lines)

    fake.on_submit = end


@pytest.mark.parametrize(
    ("state", "counts", "code"),
    [
        ("COMPLETED", {"succeeded": 100}, ExitCode.OK),
        ("COMPLETED", {"succeeded": 97, "failed": 3}, ExitCode.LINES_FAILED),
        ("EXPIRED", {"succeeded": 50, "failed": 50}, ExitCode.BATCH_FAILED),
        ("CANCELLED", {"failed": 100}, ExitCode.BATCH_FAILED),
        ("FAILED", {}, ExitCode.BATCH_FAILED),
    ],
)
def test_submit_to_the_end(
    command: Command, fake: FakePolybatch, state: str, counts: dict[str, int], code: int
) -> None:
    end_at_once(fake, state, **counts)
    done = command.run("submit", "good.jsonl", "-o", "results.jsonl")
    assert done.returncode == code
    assert done.stdout == f"{BATCH}\n"
    lines = done.stderr.splitlines()
    assert lines[0] == "good.jsonl: 1.9 kB of 1.9 kB (100%)"
    assert any(f"{BATCH}: " in line and f"({state.lower()})" in line for line in lines)
    assert "\x1b" not in done.stderr
    target = command.folder / "results.jsonl"
    if state == "FAILED":
        assert not target.exists()
    else:
        assert target.read_bytes() == fake.results[BATCH]
    if counts.get("failed"):
        assert f"polybatch failures {BATCH}" in done.stderr


def test_submit_passes_its_options_on(command: Command, fake: FakePolybatch) -> None:
    done = command.run(
        *("--json", "submit", "bad.jsonl", "--no-watch", "--window", "90m", "--skip-invalid"),
        "--lenient",
        *("--metadata", "team=search", "--metadata", "note=a=b", "--request-id", "mine"),
    )
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert document["id"] == BATCH
    assert document["state"] == "validating"
    assert document["metadata"] == {"team": "search", "note": "a=b"}
    assert document["completion_window"] == 5400
    assert document["skip_invalid_lines"] is True
    assert document["lenient_translation"] is True
    assert document["created_at"] == "2027-01-15T08:00:00+00:00"
    [spec] = [request for name, request in fake.calls if name == "UploadFile"]
    assert spec.filename == "bad.jsonl"
    [order] = [request for name, request in fake.calls if name == "CreateBatch"]
    assert order.request_id == "mine"


def test_submit_from_a_pipe_to_a_pipe(command: Command, fake: FakePolybatch) -> None:
    end_at_once(fake, succeeded=100)
    fake.faults["UploadFile"].append(Fault(after_bytes=1))
    process = command.start("submit", "-", "-o", "-", stdin=subprocess.PIPE)
    output, errors = process.communicate(GOOD.decode(), timeout=30)
    assert process.returncode == 0, errors
    assert output.encode() == fake.results[BATCH]
    assert fake.contents[f"file_{0:020}"] == GOOD


def test_submit_in_json_is_one_document(command: Command, fake: FakePolybatch) -> None:
    end_at_once(fake, succeeded=100)
    done = command.run("submit", "good.jsonl", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["state"] == "completed"


def test_submit_of_bad_lines(command: Command, fake: FakePolybatch) -> None:
    done = command.run("submit", "bad.jsonl")
    assert done.returncode == ExitCode.BAD_INPUT
    assert done.stdout == ""
    assert "INVALID_LINES" in done.stderr
    assert "bad.jsonl: error: 2 lines (2, 4): expected a JSON object (not_json)" in done.stderr
    assert "--skip-invalid" in done.stderr
    assert f"`{SELF} validate bad.jsonl`" in done.stderr
    assert not fake.files
    done = command.run("submit", "bad.jsonl", "--json")
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert error["reason"] == "INVALID_LINES"
    assert [problem["line"] for problem in error["problems"]] == [2, 4]
    assert "file_id" not in error
    assert not fake.files
    done = command.run("submit", "bad.jsonl", "--json", "--keep-file")
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert list(fake.files) == [error["file_id"]]
    kept = command.run("submit", "bad.jsonl", "--keep-file").stderr
    assert f"files delete {max(fake.files)} deletes it" in kept


REFUSALS = {
    "INVALID_FIELD": grpc.StatusCode.INVALID_ARGUMENT,
    "KEY_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "INSUFFICIENT_CREDITS": grpc.StatusCode.FAILED_PRECONDITION,
    "BATCHES_LIMIT": grpc.StatusCode.RESOURCE_EXHAUSTED,
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_file_is_deleted_whatever_its_batch_is_refused_for(
    command: Command, fake: FakePolybatch, reason: str
) -> None:
    after = 30.0 if reason == "BATCHES_LIMIT" else None
    refusal = Fault(REFUSALS[reason], "it may not be", reason, retry_after=after)
    fake.faults["CreateBatch"] += [refusal, refusal]
    done = command.run("submit", "good.jsonl", "--wait", "0")
    assert (done.returncode != 0, reason in done.stderr) == (True, True)
    assert not fake.files
    assert "the file is kept" not in done.stderr
    done = command.run("submit", "good.jsonl", "--wait", "0", "--keep-file")
    assert f"the file is kept as {max(fake.files)}" in done.stderr


def test_a_file_stays_where_a_batch_may_have_been_made_of_it(
    command: Command, fake: FakePolybatch
) -> None:
    refusal = Fault(grpc.StatusCode.ALREADY_EXISTS, "made before", "REQUEST_ID_REUSED")
    fake.faults["CreateBatch"].append(refusal)
    command.run("submit", "good.jsonl", "--request-id", "mine")
    fake.faults["CreateBatch"].append(Fault())
    command.run("submit", "good.jsonl", "--wait", "0")
    assert len(fake.files) == 2
    # Asked again, it is refused before anybody has looked whether the batch is there.
    busy = Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", "REQUEST_RATE_LIMIT", retry_after=60)
    fake.faults["CreateBatch"] += [Fault(after_work=True), busy]
    done = command.run("submit", "good.jsonl", "--wait", "30")
    assert len(fake.batches) == 1
    assert f"the file is kept as {max(fake.files)}" in done.stderr


def test_advice_names_the_file_and_its_defaults_as_given(command: Command) -> None:
    (command.folder / "my files").mkdir()
    (command.folder / "bad.jsonl").rename(command.folder / "my files" / "bad.jsonl")
    options = ("--model", "gemini-2.5-flash", "--provider", "gemini")
    done = command.run("submit", "my files/bad.jsonl", *options)
    words = "validate 'my files/bad.jsonl' --provider gemini --model gemini-2.5-flash"
    assert f"`{SELF} {words}`" in done.stderr
    process = command.start("submit", "-", stdin=subprocess.PIPE)
    assert f"`{SELF} validate -`" in process.communicate("not json\n", timeout=30)[1]


def test_nobody_is_told_to_skip_all_lines(command: Command) -> None:
    (command.folder / "all-bad.jsonl").write_text("no\n" * 3000)
    done = command.run("submit", "all-bad.jsonl")
    assert done.returncode == ExitCode.BAD_INPUT
    assert "skip" not in done.stderr
    said = "all-bad.jsonl: error: all 3,000 lines: expected a JSON object (not_json)"
    assert [line.strip() for line in done.stderr.splitlines()][-1] == said


def test_of_a_file_without_lines_there_is_no_problem_to_show(
    command: Command, fake: FakePolybatch
) -> None:
    (command.folder / "empty.jsonl").touch()
    (command.folder / "blank.jsonl").write_text("\n \n")
    for name, said in (("empty", "the file is empty"), ("blank", "only blank lines")):
        done = command.run("validate", f"{name}.jsonl")
        assert (done.returncode, done.stdout) == (ExitCode.BAD_INPUT, "")
        told = f"{name}.jsonl: {said}; it cannot be submitted as it is."
        assert done.stderr.splitlines()[-1] == told
    done = command.run("submit", "empty.jsonl")
    assert done.returncode == ExitCode.BAD_INPUT
    told = "polybatch: the file is empty (NO_VALID_LINES); write a request on each line."
    assert done.stderr.splitlines()[-1] == told
    assert not fake.files


def test_plain_progress_is_sparse_and_ends_with_the_end(
    command: Command, fake: FakePolybatch
) -> None:
    for revision in range(1, 200):
        fake.publish(snapshot(BATCH, revision, succeeded=revision // 2))
    fake.publish(snapshot(BATCH, 200, "COMPLETED", succeeded=100))
    done = command.run("watch", BATCH)
    assert done.returncode == 0
    shown = [line for line in done.stderr.splitlines() if line.startswith(f"{BATCH}: ")]
    assert 1 <= len(shown) <= 5
    assert shown[-1] == f"{BATCH}: Completed (completed), 100 %, 100 of 100 lines done"


def test_ctrl_c_while_uploading(command: Command, fake: FakePolybatch) -> None:
    process = command.start("submit", "-", stdin=subprocess.PIPE)
    assert process.stdin is not None
    arrived = threading.Event()

    def wait_for_call() -> None:
        while not fake.count("UploadFile"):
            if process.poll() is not None:
                return
            arrived.wait(0.01)
        arrived.set()

    # More than one chunk, so that the call is open while stdin is still waited for.
    process.stdin.write("x" * 3_000_000)
    process.stdin.flush()
    waiter = threading.Thread(target=wait_for_call)
    waiter.start()
    waiter.join(20)
    assert arrived.is_set()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == ExitCode.INTERRUPTED
    assert "no batch was made" in errors
    assert not fake.batches


def test_outputs_are_tried_before_anything_is_sent(command: Command, fake: FakePolybatch) -> None:
    for words in (("submit", "good.jsonl"), ("watch", BATCH)):
        done = command.run(*words, "-o", "no-such-folder/x.jsonl")
        assert done.returncode == ExitCode.BAD_INPUT
        assert "no-such-folder/x.jsonl cannot be written: No such file" in done.stderr
    assert not fake.calls


def test_submit_tells_the_warnings(command: Command, fake: FakePolybatch) -> None:
    def warn(batch: batches_pb2.Batch) -> None:
        fake.problems[batch.input_file_id] = [
            {
                "line": line,
                "field": "body.model",
                "reason": "unknown_model",
                "message": "not known",
                "severity": "warning",
            }
            for line in range(1, 101)
        ]

    fake.on_submit = warn
    done = command.run("submit", "good.jsonl", "--no-watch")
    assert (done.returncode, done.stdout) == (0, f"{BATCH}\n")
    said = "good.jsonl: warning: all 100 lines: body.model: not known (unknown_model)"
    assert done.stderr.splitlines()[-1] == said
    done = command.run("submit", "good.jsonl", "--no-watch", "--json")
    json.loads(done.stdout)
    told = [json.loads(line)["warning"] for line in done.stderr.splitlines() if line[:1] == "{"]
    assert [warning["line"] for warning in told] == [*range(1, 101)]
    assert {(each["reason"], each["message"]) for each in told} == {("unknown_model", "not known")}


def test_batch_goes_on_without_its_collector(command: Command, fake: FakePolybatch) -> None:
    command.environment["POLYBATCH_COLLECTOR"] = "localhost:1"
    done = command.run("submit", "good.jsonl", "--wait", "0")
    assert done.returncode == ExitCode.ERROR
    assert done.stdout == f"{BATCH}\n"
    assert f"watch it again: {SELF} watch {BATCH}" in done.stderr
    assert "collector at localhost:1: cannot be reached: Connection refused" in done.stderr


def test_cancelled_lines_are_told_apart_from_failed_ones(
    command: Command, fake: FakePolybatch
) -> None:
    fake.publish(snapshot(BATCH, 3, "CANCELLED", succeeded=90, failed=3, cancelled=5, expired=2))
    done = command.run("get", BATCH)
    assert "100 %, 100 of 100 lines done, 3 failed, 5 cancelled, 2 expired" in done.stdout
    counts = json.loads(command.run("get", BATCH, "--json").stdout)["request_counts"]
    assert [counts[name] for name in ("failed", "cancelled", "expired")] == [3, 5, 2]
