"""The command `polybatch`, run as a process of its own against the fake."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import subprocess
import sys
import threading

import grpc
import pytest
from polybatch.cli import ExitCode
from polybatch.v1 import batches_pb2, providers_pb2, results_pb2

from tests.support.client.batches import result_line, snapshot
from tests.support.client.command import GOOD, Command
from tests.support.client.fake_service import API_KEY, FakePolybatch
from tests.support.client.fault import Fault
from tests.support.client.prices import priced, unpriced

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


def test_validate(command: Command, fake: FakePolybatch) -> None:
    done = command.run("validate", "bad.jsonl")
    assert done.returncode == ExitCode.BAD_INPUT
    assert done.stdout.splitlines() == [
        "bad.jsonl: error: 2 lines (2, 4): expected a JSON object (not_json)"
    ]
    done = command.run("validate", "bad.jsonl", "--all")
    assert done.stdout.splitlines() == [
        "bad.jsonl:2: error: expected a JSON object (not_json)",
        "bad.jsonl:4: error: expected a JSON object (not_json)",
    ]
    assert "4 lines, 2 bad" in done.stderr
    assert not fake.files
    done = command.run("validate", "good.jsonl")
    assert (done.returncode, done.stdout) == (0, "")
    done = command.run("validate", "--json", "bad.jsonl")
    *problems, summary = [json.loads(line) for line in done.stdout.splitlines()]
    assert [problem["problem"]["line"] for problem in problems] == [2, 4]
    assert summary["valid"] is False
    assert not fake.files


def test_watch_in_json_is_a_line_a_snapshot(command: Command, fake: FakePolybatch) -> None:
    for revision in range(1, 4):
        fake.publish(snapshot(BATCH, revision))
    fake.publish(snapshot(BATCH, 4, "COMPLETED", succeeded=99, failed=1))
    done = command.run("watch", BATCH, "--json")
    assert done.returncode == ExitCode.LINES_FAILED
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert [document["revision"] for document in documents] == [1, 2, 3, 4]


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


def test_waiting_reasons_are_shown(command: Command, fake: FakePolybatch) -> None:
    waiting = snapshot(BATCH, 1)
    waiting.shards.add(
        provider="openai",
        model="openai/gpt-4.1",
        line_count=50,
        state="queued",
        waiting_reason="rate limited\x1b[31m, next try in 30 s",
    )
    fake.publish(waiting)
    process = command.start("watch", BATCH)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "openai gpt-4.1 (50 lines) waits: rate limited?[31m, next try in 30 s" in line
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)


def test_ctrl_c_leaves_the_batch_alone(command: Command, fake: FakePolybatch) -> None:
    fake.publish(snapshot(BATCH, 1))
    process = command.start("watch", BATCH, "-o", "my results.jsonl")
    assert fake.watching.wait(20)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == ExitCode.INTERRUPTED
    assert errors.splitlines()[-3:] == [
        f"polybatch: stopped watching; {BATCH} goes on.",
        f"  watch it again: {SELF} watch {BATCH} -o 'my results.jsonl'",
        f"  cancel it: {SELF} cancel {BATCH}",
    ]
    assert "Traceback" not in errors
    assert fake.count("CancelBatch") == 0
    assert fake.cancelled.wait(10)


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


@pytest.fixture
def ended(fake: FakePolybatch) -> None:
    """A batch with results, three lines of them failed."""
    fake.publish(snapshot(BATCH, 3, "COMPLETED", succeeded=97, failed=3))
    lines = [result_line(n, failed=n < 3) for n in range(100)]
    fake.results[BATCH] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    fake.failures[BATCH] = [
        results_pb2.LineFailure(line=n + 1, custom_id=f"request-{n}", code="batch_expired")
        for n in range(3)
    ]


@pytest.mark.usefixtures("ended")
def test_results(command: Command, fake: FakePolybatch) -> None:
    done = command.run("results", BATCH)
    assert done.returncode == 0
    assert done.stdout.encode() == fake.results[BATCH]
    done = command.run("results", BATCH, "--failed", "-o", "failed.jsonl")
    assert done.stdout == ""
    assert len((command.folder / "failed.jsonl").read_bytes().splitlines()) == 3
    done = command.run("results", BATCH, "--succeeded", "-o", "/dev/stdout")
    assert len(done.stdout.splitlines()) == 97
    done = command.run("results", BATCH, "--failed", "--succeeded")
    assert done.returncode == ExitCode.BAD_INPUT
    done = command.run("results", "batch_running")
    assert done.returncode == ExitCode.ERROR
    assert "BATCH_NOT_ENDED" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.usefixtures("ended")
def test_failures(command: Command) -> None:
    done = command.run("failures", BATCH)
    assert done.returncode == 0
    header, *rows = done.stdout.splitlines()
    assert header.split() == ["LINE", "CUSTOM_ID", "HTTP", "CODE", "MESSAGE"]
    assert rows[0].split() == ["1", "request-0", "-", "batch_expired"]
    done = command.run("failures", BATCH, "--json", "--limit", "2")
    assert [json.loads(line)["line"] for line in done.stdout.splitlines()] == [1, 2]


@pytest.mark.usefixtures("ended")
def test_watch_writes_results_and_last_is_the_newest(command: Command, fake: FakePolybatch) -> None:
    done = command.run("watch", "last", "-o", "results.jsonl")
    assert done.returncode == ExitCode.LINES_FAILED
    assert (command.folder / "results.jsonl").read_bytes() == fake.results[BATCH]
    assert command.run("watch", "last", "-o", "-").stdout.encode() == fake.results[BATCH]
    manifest = command.run("manifest", "last").stdout
    assert f"sha256 {hashlib.sha256(fake.results[BATCH]).hexdigest()}" in manifest
    fake.failures.clear()
    assert "none: no line of" in command.run("failures", "last").stderr


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


def test_completion_is_printed(command: Command) -> None:
    for shell, word in (("zsh", "#compdef polybatch"), ("fish", "complete --no-files")):
        done = command.run("completion", shell)
        assert (done.returncode, word in done.stdout) == (0, True)
    assert command.run("completion", "csh").returncode == ExitCode.BAD_INPUT


@pytest.mark.usefixtures("ended")
def test_list_get_and_cancel(command: Command) -> None:
    done = command.run("list")
    assert BATCH in done.stdout
    assert "Completed (completed)" in done.stdout
    done = command.run("list", "--json", "--state", "completed", "--state", "failed")
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [BATCH]
    assert "no batch is expired" in command.run("list", "--state", "expired").stderr
    done = command.run("get", BATCH)
    assert "97" in done.stdout or "100 of 100 lines done, 3 failed" in done.stdout
    done = command.run("get", BATCH, "--json")
    assert json.loads(done.stdout)["request_counts"]["failed"] == 3
    done = command.run("cancel", BATCH)
    assert (done.returncode, "cancelling" in done.stdout) == (0, True)
    done = command.run("get", "batch_unknown")
    assert done.returncode == ExitCode.ERROR
    assert "BATCH_NOT_FOUND" in done.stderr


def test_what_is_sent_first_and_when_it_is_enough(command: Command, fake: FakePolybatch) -> None:
    options = ("--priority", "low", "--canary", "3", "--canary-max-failure-rate", "0.2")
    command.run("submit", "good.jsonl", "--no-watch", *options, "--max-failure-rate", "0")
    command.run("submit", "good.jsonl", "--no-watch")
    steered, plain = [request for name, request in fake.calls if name == "CreateBatch"]
    assert (steered.priority, steered.canary_lines) == (1, 3)
    assert (steered.canary_max_failure_rate, steered.max_failure_rate) == (0.2, 0.0)
    assert plain.canary_lines == 0
    assert not plain.HasField("canary_max_failure_rate")
    assert not plain.HasField("max_failure_rate")
    for wrong in (("--canary", "-1"), ("--max-failure-rate", "20%"), ("--priority", "urgent")):
        done = command.run("submit", "good.jsonl", *wrong)
        assert (done.returncode, wrong[0] in done.stderr) == (ExitCode.BAD_INPUT, True)


@pytest.mark.usefixtures("ended")
def test_pauses(command: Command) -> None:
    done = command.run("pause", BATCH)
    assert "paused: by key_1" in done.stdout
    assert f"let it go on: {SELF} resume {BATCH}" in done.stderr
    assert json.loads(command.run("pause", BATCH, "--json").stdout)["paused_by"] == "key_1"
    done = command.run("resume", BATCH)
    assert (done.returncode, "paused" in done.stdout) == (0, False)
    done = command.run("providers", "pause", "openai")
    assert done.stdout.startswith("openai  PAUSED by key_1 since ")
    assert f"{SELF} providers resume openai" in done.stderr
    assert "has work again" in command.run("providers", "resume", "openai").stdout
    done = command.run("providers", "pause")
    assert done.returncode == ExitCode.BAD_INPUT
    assert "pause takes the name of one provider" in done.stderr


def test_files(command: Command) -> None:
    command.run("submit", "good.jsonl", "--no-watch")
    done = command.run("files", "list", "--json")
    [file] = [json.loads(line) for line in done.stdout.splitlines()]
    assert file["filename"] == "good.jsonl"
    assert command.run("files", "--json", "list").stdout == done.stdout
    assert command.run("--json", "files", "list").stdout == done.stdout
    assert file["id"] in command.run("files", "list").stdout
    assert "openai/gpt-4.1" in command.run("files", "get", file["id"]).stdout
    assert command.run("files", "download", file["id"]).stdout.encode() == GOOD
    command.run("files", "download", file["id"], "-o", "copy.jsonl")
    assert (command.folder / "copy.jsonl").read_bytes() == GOOD
    assert command.run("files", "delete", file["id"]).returncode == 0
    assert command.run("files", "delete", file["id"]).returncode == ExitCode.ERROR


@pytest.mark.usefixtures("ended")
def test_reader_that_goes_away(command: Command, fake: FakePolybatch) -> None:
    fake.results[BATCH] *= 1000
    process = command.start("results", BATCH)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(30) == ExitCode.BROKEN_PIPE
    assert errors == ""
    process.stderr.close()


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("sumbit", "good.jsonl"),
        ("submit",),
        ("submit", "missing.jsonl"),
        ("submit", "."),
        ("submit", "good.jsonl", "--no-watch", "-o", "x.jsonl"),
        ("submit", "good.jsonl", "--window", "8d"),
        ("submit", "good.jsonl", "--no-wat"),
        ("list", "--limit", "0"),
        ("list", "--js"),
        ("list", "more"),
        ("list", "--wait"),
        ("--json",),
        ("files",),
    ],
)
def test_wrong_usage(command: Command, fake: FakePolybatch, arguments: tuple[str, ...]) -> None:
    done = command.run(*arguments)
    assert done.returncode == ExitCode.BAD_INPUT
    assert "polybatch" in done.stderr
    assert not fake.calls


def test_help_teaches(command: Command) -> None:
    done = command.run("--help")
    assert done.returncode == 0
    for code in ExitCode:
        assert f"{code:>3}  {code.description}" in done.stdout
    assert "polybatch submit requests.jsonl" in done.stdout
    for name in ("submit", "watch", "results", "validate", "files"):
        assert command.run(name, "--help").returncode == 0


def test_no_key(command: Command) -> None:
    del command.environment["POLYBATCH_API_KEY"]
    done = command.run("list")
    assert done.returncode == ExitCode.ERROR
    assert "API_KEY_MISSING" in done.stderr
    assert ".polybatch/api-key" in done.stderr
    (command.folder / "key").write_text(API_KEY)
    assert command.run("list", "--api-key-file", "key").returncode == 0
    assert command.run("--api-key-file", "key", "list").returncode == 0


def test_wrong_key_and_no_service(command: Command, fake: FakePolybatch) -> None:
    command.environment["POLYBATCH_API_KEY"] = "wrong"
    done = command.run("list")
    assert done.returncode == ExitCode.ERROR
    assert "API_KEY_INVALID" in done.stderr
    fake.stop()
    # Started as users start it: gRPC's core is not to log its own words beside ours.
    command.fresh = True
    done = command.run("list", "--json", "--wait", "0")
    assert done.returncode == ExitCode.ERROR
    [line] = done.stderr.splitlines()
    error = json.loads(line)["error"]
    assert error["reason"] == "UNAVAILABLE"
    assert fake.address in error["message"]
    assert "make up" in error["next_step"]


def test_batch_goes_on_without_its_collector(command: Command, fake: FakePolybatch) -> None:
    command.environment["POLYBATCH_COLLECTOR"] = "localhost:1"
    done = command.run("submit", "good.jsonl", "--wait", "0")
    assert done.returncode == ExitCode.ERROR
    assert done.stdout == f"{BATCH}\n"
    assert f"watch it again: {SELF} watch {BATCH}" in done.stderr
    assert "collector at localhost:1: cannot be reached: Connection refused" in done.stderr


@pytest.mark.usefixtures("ended")
def test_output_that_cannot_be_written(command: Command) -> None:
    done = command.run("results", BATCH, "-o", "no-such-folder/x.jsonl")
    assert done.returncode == ExitCode.ERROR
    assert "no-such-folder" in done.stderr
    assert "No such file or directory" in done.stderr


def test_internal_errors_name_their_reference(command: Command, fake: FakePolybatch) -> None:
    fake.faults["ListBatches"].extend(
        Fault(grpc.StatusCode.INTERNAL, "internal error, reference abc123", "INTERNAL")
        for _ in range(4)
    )
    done = command.run("list")
    assert done.returncode == ExitCode.ERROR
    assert "reference abc123" in done.stderr


async def test_trouble_is_told_while_it_is_waited_out(
    command: Command, fake: FakePolybatch
) -> None:
    fake.publish(snapshot(BATCH, 1))
    fake.faults["WatchBatch"].append(
        Fault(reason="LEDGER_AWAY", message="the ledger is away", retry_after=1.2)
    )
    process = await asyncio.to_thread(command.start, "watch", BATCH)
    assert await asyncio.to_thread(fake.watching.wait, 20)
    fake.publish(snapshot(BATCH, 2, "COMPLETED", succeeded=100))
    _, errors = await asyncio.to_thread(process.communicate, timeout=30)
    said = f"waiting for the collector at {fake.address} (the ledger is away); up to 120 s"
    assert errors.count(said) == 1
    assert "the collector is back" in errors
    assert process.returncode == 0


def test_cancelled_lines_are_told_apart_from_failed_ones(
    command: Command, fake: FakePolybatch
) -> None:
    fake.publish(snapshot(BATCH, 3, "CANCELLED", succeeded=90, failed=3, cancelled=5, expired=2))
    done = command.run("get", BATCH)
    assert "100 %, 100 of 100 lines done, 3 failed, 5 cancelled, 2 expired" in done.stdout
    counts = json.loads(command.run("get", BATCH, "--json").stdout)["request_counts"]
    assert [counts[name] for name in ("failed", "cancelled", "expired")] == [3, 5, 2]


@pytest.mark.parametrize("words", [("get",), ("watch",)])
def test_one_cause_for_all_lines_is_one_line(
    command: Command, fake: FakePolybatch, words: tuple[str, ...]
) -> None:
    batch = snapshot(BATCH, 3, "COMPLETED", failed=100)
    batch.common_cause.code, batch.common_cause.message = "invalid_api_key", "no such key"
    fake.publish(batch)
    done = command.run(*words, BATCH)
    said = done.stdout + done.stderr
    assert said.count("every line failed for one cause: invalid_api_key: no such key") == 1


def test_providers_are_shown(command: Command, fake: FakePolybatch) -> None:
    refused = providers_pb2.Provider(
        name="openai",
        configured=True,
        key_state=providers_pb2.KEY_STATE_REFUSED,
        key_variable="OPENAI_API_KEY",
        key_error="invalid_api_key",
        endpoints=["/v1/chat/completions"],
        models=[f"gpt-{number}" for number in range(9)],
        limits=providers_pb2.ProviderLimits(
            max_lines=50_000,
            max_bytes=200_000_000,
            token_limits=[providers_pb2.TokenLimit(model="gpt-1", enqueued_tokens=900_000)],
        ),
        waiting=[providers_pb2.ProviderQueue(reason="no key", line_count=1, shard_count=1)],
    )
    missing = providers_pb2.Provider(
        name="gemini", key_state=providers_pb2.KEY_STATE_MISSING, key_variable="GEMINI_API_KEY"
    )
    fake.providers = [missing, refused]
    done = command.run("providers")
    shown = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert shown["key"].startswith("REFUSED: invalid_api_key; set OPENAI_API_KEY")
    assert shown["waiting"] == "1 line in 1 shard: no key"
    assert shown["limits"] == "50,000 lines and 200.0 MB a batch"
    assert shown["tokens"] == "900,000 enqueued at a time for gpt-1"
    assert shown["models"].endswith(f"and 3 more ({SELF} providers openai)")
    assert "without a key: gemini" in done.stderr
    whole = json.loads(command.run("providers", "openai", "--json").stdout)
    assert (whole["key_state"], len(whole["models"])) == ("refused", 9)
    assert "missing: set GEMINI_API_KEY" in command.run("providers", "gemini").stdout
    wrong = command.run("providers", "opnai")
    assert (wrong.returncode, "gemini, openai" in wrong.stderr) == (ExitCode.BAD_INPUT, True)


def test_prices_are_shown(command: Command, fake: FakePolybatch) -> None:
    fake.prices = [priced("gpt-5.4"), unpriced("ft:gpt")]
    done = command.run("prices")
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["MODEL", "RUN", "INPUT", "CACHED", "OUTPUT", "PROMPT", "SINCE", "FROM"],
        ["openai/gpt-5.4", "batch", "1.25", "0.125", "7.50", "2026-03-05", "genai-prices", "0.2.3"],
        [
            *("openai/gpt-5.4", "batch", "2.50", "0.25", "11.00"),
            *(">272,000", "2026-03-05", "genai-prices", "0.2.3"),
        ],
        ["openai/ft:gpt", "real", "time", "unpriced", "nobody", "knows"],
    ]
    assert f"USD a million tokens; {SELF} prices MODEL shows all of one" in done.stderr
    one = command.run("prices", "openai/gpt-5.4", "--day", "2026-03-06").stdout.splitlines()
    assert fake.calls[-1][1].day.day == 6
    facts = [tuple(line.split(maxsplit=1)) for line in one]
    for fact in (
        ("input", "1.25 USD a million tokens"),
        ("web_searches", "10.00 USD a thousand"),
        ("longer", "prompts       of more than 272,000 tokens:"),
        ("mark-up", "times 1.15, in these rates already"),
        ("from", "genai-prices 0.2.3: input, output; since 2026-03-05; https://example.com"),
        ("from", "genai-prices 0.2.3: web_searches; at the real-time rate; https://example.com"),
        ("charged", "besides      storage"),
    ):
        assert fact in facts
    (document,) = map(json.loads, command.run("prices", "gpt-5.4", "--json").stdout.splitlines())
    assert (document["day"], document["markup"], document["unpriced"]) == ("2026-03-06", 1.15, "")
    assert document["bands"][0]["per_million"]["cached_input"] == 0.125
    assert document["bands"][0]["per_million"]["web_searches"] == 10_000
    assert command.run("prices", "--day", "6.3.").returncode == ExitCode.BAD_INPUT
