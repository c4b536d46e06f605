"""The command, while gateway and collector go away and come back."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from typing import IO

import pytest
from polybatch.cli import ExitCode, main

from tests.support.client.batches import result_line, snapshot
from tests.support.client.command import Command
from tests.support.client.fake_service import FakePolybatch
from tests.support.client.fault import Fault
from tests.support.client.told import Told

BATCH = f"batch_{0:020}"
LINES = '{"custom_id": "a"}\n' * 100_000
"""Two chunks of an upload."""


@pytest.fixture
def command(command: Command, collector: FakePolybatch) -> Command:
    """The command, with a collector that is a server of its own."""
    command.environment["POLYBATCH_COLLECTOR"] = collector.address
    return command


def refused(server: str, fake: FakePolybatch) -> str:
    return f"waiting for the {server} at {fake.address} (connection refused"


def feed(stream: IO[str], written: list[str], enough: threading.Event) -> None:
    """Write more lines, and more: how many a command takes before it looks up is its own affair."""
    while not enough.is_set():
        written.append(LINES)
        stream.write(LINES)


def test_submit_outlives_gateway_and_collector(
    command: Command, fake: FakePolybatch, collector: FakePolybatch
) -> None:
    """Gone in the middle of the upload, before the watch begins, and in its middle."""
    collector.stop()
    lines = [result_line(number) for number in range(100)]
    collector.results[BATCH] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    with command.start("submit", "-", "-o", "out.jsonl", stdin=subprocess.PIPE) as process:
        told = Told(process)
        assert process.stdin is not None
        process.stdin.write(LINES)
        process.stdin.flush()
        assert fake.receiving.wait(30)
        fake.stop()
        # It looks up when it has read more, and reads no more while it waits.
        written = [LINES]
        waiting = threading.Event()
        feeder = threading.Thread(target=feed, args=(process.stdin, written, waiting))
        feeder.start()
        told.wait_for(f"waiting for the gateway at {fake.address} (")
        waiting.set()
        fake.start()
        told.wait_for("the gateway is back; going on")
        feeder.join(30)
        process.stdin.close()
        told.wait_for(
            f"{refused('collector', collector)}: nothing listens there, `make up` starts "
            "polybatch); up to 120 s, Ctrl-C stops"
        )
        collector.start()
        told.wait_for("the collector is back; going on")
        assert collector.watching.wait(30)
        collector.stop()
        told.wait_for(f"waiting for the collector at {collector.address} (", times=2)
        collector.publish(snapshot(BATCH, 2, "COMPLETED", succeeded=100))
        collector.start()
        errors = told.finish()
        assert process.stdout is not None
        assert process.stdout.read() == f"{BATCH}\n"
    assert process.returncode == ExitCode.OK
    assert errors.count("waiting for") == 3
    assert errors.count("going on") == 3
    assert fake.contents == {f"file_{0:020}": "".join(written).encode()}
    assert (command.folder / "out.jsonl").read_bytes() == collector.results[BATCH]


def test_results_go_on_where_they_broke(command: Command, collector: FakePolybatch) -> None:
    line = b'{"custom_id": "a", "response": null, "error": null, "text": "' + b"x" * 900 + b'"}\n'
    collector.results[BATCH] = line * 20_000
    collector.chunk_bytes = 100_000
    collector.faults["DownloadResults"].append(Fault(after_bytes=5_000_000, hold=True))
    with command.start("results", BATCH) as process:
        told = Told(process)
        output = process.stdout
        got = [output.readline()]
        collector.stop()
        reader = threading.Thread(target=lambda: got.append(output.read()))
        reader.start()
        told.wait_for(f"waiting for the collector at {collector.address} (")
        collector.start()
        told.wait_for("the collector is back; going on")
        reader.join(30)
        told.finish()
    assert process.returncode == ExitCode.OK
    assert "".join(got).encode() == collector.results[BATCH]


def test_json_on_stdout_stays_clean(command: Command, collector: FakePolybatch) -> None:
    collector.publish(snapshot(BATCH, 1))
    with command.start("watch", BATCH, "--json") as process:
        told = Told(process)
        assert collector.watching.wait(30)
        collector.stop()
        told.wait_for(f"waiting for the collector at {collector.address} (")
        collector.publish(snapshot(BATCH, 2, "COMPLETED", succeeded=100))
        collector.start()
        told.finish()
        assert process.stdout is not None
        documents = [json.loads(line) for line in process.stdout]
    assert process.returncode == ExitCode.OK
    assert [document["revision"] for document in documents] == [1, 2]


@pytest.mark.parametrize("arguments", [("watch", BATCH), ("results", BATCH), ("list",)])
def test_ctrl_c_while_it_waits(
    command: Command, fake: FakePolybatch, collector: FakePolybatch, arguments: tuple[str, ...]
) -> None:
    fake.stop()
    collector.stop()
    with command.start(*arguments) as process:
        told = Told(process)
        told.wait_for("Ctrl-C stops")
        process.send_signal(signal.SIGINT)
        errors = told.finish()
    assert process.returncode == ExitCode.INTERRUPTED
    assert "\npolybatch: stopped" in errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_is_told_to_end_leaves_no_half_written_file(
    command: Command, collector: FakePolybatch, number: signal.Signals
) -> None:
    collector.publish(snapshot(BATCH, 1, "COMPLETED", succeeded=100))
    collector.results[BATCH] = LINES.encode()
    collector.faults["DownloadResults"] += [
        Fault(after_bytes=10, reason="AWAY", message="gone")
    ] * 1000
    before = {each.name for each in command.folder.iterdir()}
    with command.start("watch", BATCH, "-o", "out.jsonl") as process:
        told = Told(process)
        told.wait_for("(gone); up to 120 s, Ctrl-C stops")
        assert {each.name for each in command.folder.iterdir()} != before
        process.send_signal(number)
        errors = told.finish()
    assert process.returncode == -number
    assert "polybatch: stopped" in errors
    assert {each.name for each in command.folder.iterdir()} == before


def test_ctrl_c_while_validate_waits(command: Command, fake: FakePolybatch) -> None:
    """What it tidies up on its way out does not wait as well."""
    fake.faults["DownloadFile"] += [Fault(reason="STORAGE_AWAY", message="no storage")] * 1000
    fake.faults["DeleteFile"] += [Fault(reason="LEDGER_AWAY", message="no ledger")] * 1000
    with command.start("validate", "bad.jsonl") as process:
        told = Told(process)
        told.wait_for("(no storage); up to 120 s, Ctrl-C stops")
        process.send_signal(signal.SIGINT)
        errors = told.finish()
    assert process.returncode == ExitCode.INTERRUPTED
    assert "stopped; nothing was run" in errors
    assert fake.count("DeleteFile") == 1


def test_the_end_of_the_wait_says_what_to_do(
    command: Command, fake: FakePolybatch, collector: FakePolybatch
) -> None:
    collector.stop()
    done = command.run("submit", "good.jsonl", "-o", "out.jsonl", "--wait", "0.3")
    assert done.returncode == ExitCode.ERROR
    assert done.stdout == f"{BATCH}\n"
    *_, advice, last = done.stderr.splitlines()
    again = f"{sys.executable} -m polybatch watch {BATCH} -o out.jsonl"
    assert advice == f"{BATCH} goes on; watch it again: {again}"
    assert last.startswith(
        f"polybatch: collector at {collector.address}: cannot be reached: Connection refused; "
        "waited "
    )
    assert "`make up` starts polybatch" in last
    assert "up to 0.3 s" in done.stderr
    command.environment["POLYBATCH_WAIT"] = "0.2"
    done = command.run("results", BATCH, "-o", "out.jsonl")
    assert done.returncode == ExitCode.ERROR
    assert (
        f"fetch them again: {sys.executable} -m polybatch results {BATCH} -o out.jsonl"
        in done.stderr
    )
    fake.stop()
    done = command.run("--wait", "0", "submit", "good.jsonl")
    assert done.returncode == ExitCode.ERROR
    assert "waiting" not in done.stderr
    assert "100%" not in done.stderr, "nothing was uploaded"
    assert "no batch was made, unless" in done.stderr


def test_what_does_not_pass_is_not_waited_for(command: Command) -> None:
    done = command.run("watch", "batch_unknown")
    assert done.returncode == ExitCode.ERROR
    assert "BATCH_NOT_FOUND" in done.stderr
    command.environment["POLYBATCH_API_KEY"] = "wrong"
    assert "API_KEY_INVALID" in command.run("submit", "good.jsonl").stderr


def test_times_that_are_none(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ("soon", "-1", "nan", "inf"):
        assert main(["list", f"--wait={wrong}"]) == ExitCode.BAD_INPUT
        assert f"'--wait': {wrong!r} is not a number of seconds" in capsys.readouterr().err
    command.environment["POLYBATCH_WAIT"] = "soon"
    done = command.run("list")
    assert done.returncode == ExitCode.ERROR
    assert "POLYBATCH_WAIT" in done.stderr


def test_one_replica_of_two_is_no_absence(
    command: Command, fake: FakePolybatch, collector: FakePolybatch
) -> None:
    command.environment["POLYBATCH_GATEWAY"] = f"localhost:1,{fake.address}"
    for _ in range(3):
        done = command.run("list")
        assert done.returncode == ExitCode.OK
        assert "waiting" not in done.stderr
