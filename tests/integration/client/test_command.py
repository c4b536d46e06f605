"""The command `polybatch`, run as a process of its own against the fake."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys

import grpc
import pytest
from polybatch.cli import ExitCode
from polybatch.v1 import providers_pb2, results_pb2

from tests.support.client.batches import result_line, snapshot
from tests.support.client.command import GOOD, Command
from tests.support.client.fake_service import API_KEY, FakePolybatch
from tests.support.client.fault import Fault
from tests.support.client.prices import priced, unpriced

BATCH = f"batch_{0:020}"
SELF = f"{sys.executable} -m polybatch"


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


@pytest.mark.parametrize(
    "words",
    [("get", "a\udcf6"), ("list", "--name", "a\udcf6"), ("list", "--json", "--name", "\udcf6")],
)
def test_words_that_are_no_utf8_are_refused(command: Command, words: tuple[str, ...]) -> None:
    done = command.run(*words)
    assert done.returncode == ExitCode.BAD_INPUT
    assert "is not text in UTF-8" in done.stderr


def test_without_a_stdout_nothing_is_shown(command: Command) -> None:
    done = command.shell(f"exec {sys.executable} -m polybatch list >&-")
    assert done.returncode == ExitCode.OK
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["submit", "validate", "estimate", "convert"])
def test_a_closed_stdin_is_named(command: Command, name: str) -> None:
    done = command.shell(f"exec {sys.executable} -m polybatch {name} - <&-")
    assert (done.returncode, done.stderr) == (
        ExitCode.BAD_INPUT,
        "polybatch: stdin is closed; give it something to read, or name a file.\n",
    )


def test_without_a_stderr_the_work_is_done(command: Command, fake: FakePolybatch) -> None:
    (command.folder / "in.jsonl").write_bytes(GOOD)
    done = command.shell(f"exec {sys.executable} -m polybatch submit in.jsonl --no-watch 2>&-")
    assert (done.returncode, done.stdout.strip()) == (ExitCode.OK, BATCH)


def test_watch_in_json_is_a_line_a_snapshot(command: Command, fake: FakePolybatch) -> None:
    for revision in range(1, 4):
        fake.publish(snapshot(BATCH, revision))
    fake.publish(snapshot(BATCH, 4, "COMPLETED", succeeded=99, failed=1))
    done = command.run("watch", BATCH, "--json")
    assert done.returncode == ExitCode.LINES_FAILED
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert [document["revision"] for document in documents] == [1, 2, 3, 4]


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
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_results_that_find_no_room_are_said_to_stay(command: Command) -> None:
    """Nobody is to run the batch again for it."""
    for words in (("results",), ("watch",)):
        done = command.run(*words, BATCH, "-o", "/dev/full")
        assert done.returncode == ExitCode.ERROR
        *_, advice, last = done.stderr.splitlines()
        again = f"{SELF} results {BATCH} -o /dev/full"
        assert advice == f"the results stay there; fetch them again: {again}"
        assert last == "polybatch: /dev/full: No space left on device."


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


def test_why_lines_fail_can_be_asked_before_the_end(command: Command, fake: FakePolybatch) -> None:
    why = f"{SELF} failures {BATCH} --by-cause --partial"
    fake.publish(snapshot(BATCH, 1, succeeded=1, failed=2))
    assert f"why lines failed: {why}" in command.run("get", BATCH).stdout
    process = command.start("watch", BATCH)
    assert process.stderr is not None
    assert process.stderr.readline() == f"lines fail; why, so far: {why}\n"
    fake.publish(snapshot(BATCH, 2, succeeded=1, failed=3))
    fake.publish(snapshot(BATCH, 3, "COMPLETED", succeeded=1, failed=99))
    _, told = process.communicate(timeout=20)
    assert "so far" not in told
    assert f"why lines failed: {SELF} failures {BATCH}\n" in told
    assert "--partial" not in command.run("get", BATCH).stdout


def test_a_list_by_name_that_is_empty_says_which_names_are_meant(command: Command) -> None:
    told = command.run("list", "--name", "good.jsonl").stderr
    assert "no batch is like that; --name does not look at the names of files" in told
    assert "--name" not in command.run("list", "--model", "gpt-4.1").stderr


def test_a_list_says_what_is_paused(command: Command, fake: FakePolybatch) -> None:
    for number, state in enumerate(("VALIDATING", "IN_PROGRESS", "COMPLETED")):
        paused = snapshot(f"batch_{number:020}", 1, state)
        paused.paused_at.FromSeconds(1_800_000_000)
        fake.publish(paused)
    _, *rows = command.run("list").stdout.splitlines()
    assert ["paused" in row for row in rows] == [False, True, True]


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


@pytest.mark.parametrize("words", ["files download last", "convert good.jsonl"])
def test_a_file_that_finds_no_room_is_named(command: Command, words: str) -> None:
    command.run("submit", "good.jsonl", "--no-watch")
    # Not one byte can be written, which a file system without room says alike.
    done = command.shell(f"ulimit -f 0; exec {SELF} {words} -o copy.jsonl")
    assert done.returncode == ExitCode.ERROR
    assert done.stderr.splitlines()[-1] == "polybatch: copy.jsonl: File too large."
    assert [each.name for each in command.folder.glob("*copy*")] == []


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


@pytest.mark.parametrize(
    "words", [("results", "last"), ("results", "last", "--partial"), ("files", "download", "last")]
)
def test_output_that_cannot_be_written(
    command: Command, fake: FakePolybatch, words: tuple[str, ...]
) -> None:
    done = command.run(*words, "-o", "no-such-folder/x.jsonl")
    assert done.returncode == ExitCode.BAD_INPUT
    told = "polybatch: no-such-folder/x.jsonl cannot be written: No such file or directory."
    assert done.stderr.splitlines() == [told]
    assert not fake.calls


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
