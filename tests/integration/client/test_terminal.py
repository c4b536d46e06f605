"""The progress bar, on a pseudo-terminal."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from polybatch import Batch
from polybatch.cli.terminal import TerminalDisplay
from polybatch.v1 import results_pb2
from rich.cells import cell_len
from rich.console import Console

from tests.support.client.batches import snapshot
from tests.support.client.fake_service import API_KEY, FakePolybatch
from tests.support.client.fault import Fault
from tests.support.client.screen import CONTROL, Screen
from tests.support.forked.python import python

BATCH = f"batch_{0:020}"


@pytest.fixture
def screen() -> Screen:
    return Screen(80)


@contextmanager
def running(
    fake: FakePolybatch,
    screen: Screen,
    folder: Path,
    *arguments: str,
    program: Sequence[str] = ("-m", "polybatch"),
    listed: bool = False,
    **environment: str,
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs the command with stderr on the terminal, if `listed` stdout too, to its end."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("POLYBATCH_") and name != "NO_COLOR"
    }
    with subprocess.Popen(
        python(*program, *arguments),
        cwd=folder,
        env=inherited
        | {
            "POLYBATCH_GATEWAY": fake.address,
            "POLYBATCH_COLLECTOR": fake.address,
            "POLYBATCH_API_KEY": API_KEY,
            "TERM": "xterm-256color",
            "PYTHONIOENCODING": "utf-8",
        }
        | environment,
        stdin=subprocess.DEVNULL,
        stdout=screen.slave if listed else subprocess.PIPE,
        stderr=screen.slave,
    ) as process:
        yield process
        process.wait(20)


def test_bar_is_drawn_over_in_place(fake: FakePolybatch, screen: Screen, tmp_path: Path) -> None:
    waiting = snapshot(BATCH, 2, succeeded=30, retrying=5)
    waiting.shards.add(
        provider="anthropic",
        model="anthropic/claude-4.5-sonnet",
        line_count=50,
        state="queued",
        waiting_reason="the provider is away",
    )
    fake.publish(snapshot(BATCH, 1))
    with running(fake, screen, tmp_path, "watch", BATCH) as process:
        screen.wait_for("0 of 100 lines")
        fake.publish(waiting)
        screen.wait_for("the provider is away")
        lines = screen.lines()
        assert lines[0] == f"{BATCH}  In Progress (in_progress)"
        assert "░" in lines[1]
        assert " 30 %  30 of 100 lines done, 5 to be sent again, 65 waiting" in lines[1]
        assert lines[2].startswith("  anthropic claude-4.5-sonnet (50 lines) waits: ")
        fake.publish(snapshot(BATCH, 3, "COMPLETED", succeeded=98, failed=2))
    assert process.returncode == 3
    screen.finish()
    lines = screen.lines()
    assert lines[0] == f"{BATCH}  Completed (completed)"
    assert "100 %  100 of 100 lines done, 2 failed" in lines[1]
    assert "░" not in lines[1]
    assert lines[2].startswith("why lines failed")
    # One block in all, however often it was drawn.
    assert sum(line.startswith(BATCH) for line in lines) == 1
    assert "\x1b[31m█" in screen.raw


def test_upload_and_batch_of_a_submit(fake: FakePolybatch, screen: Screen, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(b'{"custom_id": "a"}\n' * 200_000)
    fake.on_submit = lambda batch: fake.batches[batch.id].append(
        snapshot(batch.id, 2, "COMPLETED", succeeded=100)
    )
    with running(fake, screen, tmp_path, "submit", "in.jsonl") as process:
        assert process.stdout is not None
        assert process.stdout.read() == f"{BATCH}\n".encode()
    assert process.returncode == 0
    screen.finish()
    lines = screen.lines()
    assert "100%  3.8 MB of 3.8 MB" in lines[0]
    assert "in.jsonl" in lines[0]
    assert lines[1].startswith("cost: about 0.032 USD")
    assert lines[2] == f"{BATCH}  Completed (completed)"
    assert "100 %  100 of 100 lines" in lines[3]


def test_why_a_batch_ended_as_it_did_is_told_in_full(
    fake: FakePolybatch, screen: Screen, tmp_path: Path
) -> None:
    """While it runs a reason is cut to its line; what stays on the screen is not."""
    message = "5 lines were not sent: the max cost could have been passed; retry runs them later"
    ended = snapshot(BATCH, 2, "COMPLETED", succeeded=95, failed=5)
    ended.errors.add(code="cost_limit", message=message)
    fake.publish(snapshot(BATCH, 1, succeeded=30))
    fake.publish(ended)
    with running(fake, screen, tmp_path, "watch", BATCH):
        pass
    screen.finish()
    told = " ".join(" ".join(screen.lines()).split())
    assert f"cost_limit: {message}" in told


def test_a_command_in_an_error_stays_in_one_piece(fake: FakePolybatch, tmp_path: Path) -> None:
    screen = Screen(35)  # which ends within it
    with running(fake, screen, tmp_path, "list", "--wait", "0", "--gateway", "127.0.0.1:9"):
        pass
    screen.finish()
    lines = screen.lines()
    assert sum("`make up`" in line for line in lines) == 1, lines


def test_what_is_longer_than_a_line_is_broken_between_its_words(
    fake: FakePolybatch, tmp_path: Path
) -> None:
    message = "expected `polybatch webhooks create --for-batches --name alerts`"
    fault = Fault(grpc.StatusCode.INVALID_ARGUMENT, message, "INVALID_FIELD")
    fake.faults["ListBatches"].append(fault)
    screen = Screen(35)
    with running(fake, screen, tmp_path, "list"):
        pass
    screen.finish()
    words = " ".join(screen.lines()).split()
    assert words[1:-1] == message.split(), screen.lines()


@pytest.mark.parametrize("columns", [24, 50, 200])
def test_lines_fit_the_terminal(fake: FakePolybatch, tmp_path: Path, columns: int) -> None:
    screen = Screen(columns)
    waiting = snapshot(BATCH, 1, succeeded=30)
    for number in range(9):
        waiting.shards.add(
            provider="openai", model=f"m{number}", line_count=5, waiting_reason="很慢" * 60
        )
    fake.publish(waiting)
    fake.publish(snapshot(BATCH, 2, "COMPLETED", succeeded=100))
    with running(fake, screen, tmp_path, "watch", BATCH):
        pass
    screen.finish()
    assert "  and 4 more" in screen.raw
    for drawn in screen.raw.replace("\r", "").split("\n"):
        plain = CONTROL.sub("", drawn)
        if not plain.startswith("the results:"):
            assert cell_len(plain) < columns


def test_width_may_change(fake: FakePolybatch, tmp_path: Path) -> None:
    screen = Screen(100)
    fake.publish(snapshot(BATCH, 1))
    with running(fake, screen, tmp_path, "watch", BATCH, NO_COLOR="1"):
        screen.wait_for("0 of 100 lines done, 100 waiting\r\n")
        # A terminal of 60 columns has wrapped what was drawn.
        rows = sum(-(-cell_len(line) // 60) for line in screen.lines())
        assert rows > 2
        screen.resize(60)
        before = len(screen.raw)
        fake.publish(snapshot(BATCH, 2, "COMPLETED", succeeded=100))
    screen.finish()
    drawn = screen.raw[before:]
    assert drawn.startswith(f"\r\x1b[{rows}A\x1b[J")
    first, second = CONTROL.sub("", drawn).replace("\r", "").split("\n")[:2]
    assert first == f"{BATCH}  Completed (completed)"
    assert cell_len(second) < 60


def test_no_color(fake: FakePolybatch, screen: Screen, tmp_path: Path) -> None:
    fake.publish(snapshot(BATCH, 1, "COMPLETED", succeeded=98, failed=2))
    with running(fake, screen, tmp_path, "watch", BATCH, NO_COLOR="1"):
        pass
    screen.finish()
    assert "█" in screen.raw
    assert not re.search(r"\x1b\[[\d;]*m", screen.raw)


def test_dumb_terminal_is_given_plain_lines(
    fake: FakePolybatch, screen: Screen, tmp_path: Path
) -> None:
    fake.publish(snapshot(BATCH, 1, "COMPLETED", succeeded=100))
    with running(fake, screen, tmp_path, "watch", BATCH, TERM="dumb"):
        pass
    screen.finish()
    assert "100 of 100 lines" in screen.raw
    assert "\x1b" not in screen.raw


def test_bar_without_unicode(fake: FakePolybatch, screen: Screen, tmp_path: Path) -> None:
    fake.publish(snapshot(BATCH, 1, "COMPLETED", succeeded=100))
    with running(fake, screen, tmp_path, "watch", BATCH, PYTHONIOENCODING="ascii"):
        pass
    screen.finish()
    assert "####" in screen.raw
    assert screen.raw.isascii()


def test_ctrl_c_keeps_what_is_shown(fake: FakePolybatch, screen: Screen, tmp_path: Path) -> None:
    fake.publish(snapshot(BATCH, 1, succeeded=30))
    with running(fake, screen, tmp_path, "watch", BATCH) as process:
        screen.wait_for("30 of 100 lines")
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    screen.finish()
    lines = screen.lines()
    assert lines[0].startswith(BATCH)
    assert "30 of 100 lines" in lines[1]
    assert lines[2].startswith("polybatch: stopped watching"), screen.raw


# Ctrl-C that comes once gRPC has noted a message as due, and has not yet asked for it.
_INTERRUPTED_GRPC = """
import sys
import threading

import grpc._channel
from grpc._cython import cygrpc
from polybatch.cli import main


def interrupted(call):
    with call._state.condition:
        call._state.due.add(cygrpc.OperationType.receive_message)
        raise KeyboardInterrupt


grpc._channel._MultiThreadedRendezvous._next = interrupted
code = main(sys.argv[1:])
for thread in threading.enumerate():
    if thread.name.endswith("(_run)"):
        thread.join(1)
sys.exit(code)
"""


def test_ctrl_c_shows_nothing_of_grpc(fake: FakePolybatch, screen: Screen, tmp_path: Path) -> None:
    fake.publish(snapshot(BATCH, 1, succeeded=30))
    watch = ("-c", _INTERRUPTED_GRPC, "watch", BATCH)
    with running(fake, screen, tmp_path, program=watch) as process:
        pass
    assert process.returncode == 130
    screen.finish()
    assert screen.lines()[0].startswith("polybatch: stopped watching"), screen.raw
    assert "Traceback" not in screen.raw


@contextmanager
def shell(fake: FakePolybatch, screen: Screen, folder: Path) -> Iterator[Callable[[str], None]]:
    """A shell with jobs; yields what types a line."""

    def type_in(text: str) -> None:
        os.write(screen.master, text.encode())

    environment = {
        "POLYBATCH_GATEWAY": fake.address,
        "POLYBATCH_COLLECTOR": fake.address,
        "POLYBATCH_API_KEY": API_KEY,
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "TERM": "xterm-256color",
        "PYTHONIOENCODING": "utf-8",
        "POLYBATCH": f"{sys.executable} -m polybatch",
        "PS1": "$ ",
    }
    # The terminal becomes that of the shell's session.
    leader = "import fcntl, os, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    leader += "os.execv('/bin/sh', ['sh', '-i'])"
    with subprocess.Popen(
        [sys.executable, "-c", leader],
        cwd=folder,
        env=environment,
        stdin=screen.slave,
        stdout=screen.slave,
        stderr=screen.slave,
    ) as process:
        try:
            screen.wait_for("$ ")
            yield type_in
            type_in("exit\n")
            process.wait(20)
        finally:
            # With it, the terminal hangs up, and its jobs end.
            process.kill()


def test_what_others_write_while_it_is_suspended_is_left_alone(
    fake: FakePolybatch, screen: Screen, tmp_path: Path
) -> None:
    fake.publish(snapshot(BATCH, 1, succeeded=30))
    with shell(fake, screen, tmp_path) as type_in:
        type_in(f"$POLYBATCH watch {BATCH}\n")
        screen.wait_for("30 of 100 lines")
        assert fake.watching.wait(20)
        type_in("\x1a")
        screen.wait_for("Stopped")
        type_in("echo be''tween; fg\n")
        screen.wait_for("between\r\n")
        # By itself, and then with news.
        screen.wait_for_match(r"(?s)between\r\n.*30 of 100 lines")
        fake.publish(snapshot(BATCH, 2, "COMPLETED", succeeded=100))
        screen.wait_for("the results: ")
    screen.finish()
    after = screen.raw.partition("between\r\n")[2]
    assert "\x1b[2A" not in after.partition("30 of 100 lines")[0]
    assert after.count("\x1b[2A") >= 1
    assert after.count("Completed (completed)") == 1


def test_nothing_is_drawn_over_from_the_background(
    fake: FakePolybatch, screen: Screen, tmp_path: Path
) -> None:
    fake.publish(snapshot(BATCH, 1, succeeded=30))
    with shell(fake, screen, tmp_path) as type_in:
        type_in(f"$POLYBATCH watch {BATCH} &\n")
        assert fake.watching.wait(20)
        fake.publish(snapshot(BATCH, 2, "COMPLETED", succeeded=100))
        screen.wait_for("the results: ")
    screen.finish()
    assert not re.search(r"\x1b\[\d+A", screen.raw)
    assert screen.raw.count("100 of 100 lines") == 1
    assert "30 of 100 lines" not in screen.raw


def test_absence_is_told_below_the_bar(fake: FakePolybatch, screen: Screen, tmp_path: Path) -> None:
    fake.publish(snapshot(BATCH, 1, succeeded=30))
    with running(fake, screen, tmp_path, "watch", BATCH, NO_COLOR="1") as process:
        screen.wait_for("30 of 100 lines")
        assert fake.watching.wait(20)
        fake.stop()
        screen.wait_for("Ctrl-C stops")
        lines = screen.lines()
        # Whole, and in as many lines as it needs.
        assert "30 of 100 lines" in lines[1]
        told = " ".join(line.rstrip() for line in lines[2:])
        assert told.startswith(f"waiting for the collector at {fake.address} (")
        assert told.endswith("up to 120 s, Ctrl-C stops")
        fake.start()
        screen.wait_for("the collector is back; going on")
        assert fake.count("WatchBatch") == 2
        fake.publish(snapshot(BATCH, 2, "COMPLETED", succeeded=100))
    assert process.returncode == 0
    screen.finish()
    lines = screen.lines()
    assert lines[0] == f"{BATCH}  Completed (completed)"
    assert "100 %  100 of 100 lines" in lines[1]
    assert "waiting" not in "".join(lines)
    assert screen.raw.count("waiting for") == 1


def test_absence_is_told_where_there_is_no_bar(
    fake: FakePolybatch, screen: Screen, tmp_path: Path
) -> None:
    fake.stop()
    with running(fake, screen, tmp_path, "list", "--json") as process:
        screen.wait_for("Ctrl-C stops")
        fake.publish(snapshot(BATCH, 1))
        fake.start()
        assert process.stdout is not None
        assert f'"id": "{BATCH}"'.encode() in process.stdout.read()
    assert process.returncode == 0
    screen.finish()
    lines = screen.lines()
    assert "(connection refused: nothing listens there, `make up` starts" in lines[0]
    assert lines[-1] == "the gateway is back; going on"


def test_ctrl_c_in_the_middle_of_an_absence(
    fake: FakePolybatch, screen: Screen, tmp_path: Path
) -> None:
    fake.publish(snapshot(BATCH, 1, succeeded=30))
    with running(fake, screen, tmp_path, "watch", BATCH) as process:
        screen.wait_for("30 of 100 lines")
        fake.stop()
        screen.wait_for("Ctrl-C stops")
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    screen.finish()
    lines = screen.lines()
    assert "30 of 100 lines" in lines[1]
    assert lines[2].startswith("polybatch: stopped watching"), screen.raw


def listed(
    fake: FakePolybatch, columns: int, folder: Path, *arguments: str, **environment: str
) -> list[str]:
    """What a command shows on a terminal that is its stdout too."""
    screen = Screen(columns)
    with running(fake, screen, folder, *arguments, listed=True, **environment):
        pass
    screen.finish()
    if environment.get("NO_COLOR"):
        assert "\x1b" not in screen.raw
    lines = [line.rstrip() for line in screen.lines()]
    assert all(cell_len(line) <= columns for line in lines)
    return lines


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        (40, "ID STATE"),
        (60, "ID STATE DONE FAILED AGE"),
        (80, "ID STATE DONE LINES FAILED USD AGE NAME"),
        (120, "ID STATE DONE LINES FAILED CANCELLED USD AGE CREATED NAME"),
    ],
)
def test_list_is_a_line_a_batch(
    fake: FakePolybatch, tmp_path: Path, columns: int, names: str
) -> None:
    ids = [f"batch_{number:020}" for number in range(3)]
    for number, state in enumerate(("IN_PROGRESS", "COMPLETED", "EXPIRED")):
        fake.publish(snapshot(ids[number], 1, state, succeeded=98, failed=2))
    header, *rows = listed(fake, columns, tmp_path, "list")
    assert header.split() == names.split()
    expected = zip(reversed(ids), ("expired", "completed", "in_progress"), strict=True)
    assert [tuple(row.split()[:2]) for row in rows] == list(expected)
    if "DONE" in names:
        assert [row.split()[2:4] for row in rows] == [["100", "%"]] * 3
        assert [row.split()[5 if "LINES" in names else 4] for row in rows] == ["2"] * 3


def test_an_id_is_whole_on_a_terminal_for_which_nothing_else_is_narrow_enough(
    fake: FakePolybatch, tmp_path: Path
) -> None:
    fake.publish(snapshot(BATCH, 1, "COMPLETED"))
    lines = listed(fake, 34, tmp_path, "list")
    assert BATCH in [line.split()[0] for line in lines]
    # What has no room beside it wraps, and nothing of it is cut off.
    at = lines[0].index("STATE")
    assert "".join(line[at:] for line in lines[1:]) == "completed"


def test_a_long_list_comes_in_pieces(fake: FakePolybatch, tmp_path: Path) -> None:
    for number in range(150):
        fake.publish(snapshot(f"batch_{number:020}", 1))
    lines = listed(fake, 100, tmp_path, "list", NO_COLOR="1")
    assert [at for at, line in enumerate(lines) if line.startswith("ID")] == [0, 101]
    assert len(lines) == 152


def test_long_and_hostile_cells_wrap(fake: FakePolybatch, tmp_path: Path) -> None:
    name, message = "n" * 50, "[red]very[/red] \x1b[2Jlong " * 8
    fake.publish(snapshot(BATCH, 1, "COMPLETED", failed=1))
    fake.failures[BATCH] = [
        results_pb2.LineFailure(line=7, custom_id=name, code="invalid_value", message=message)
    ]
    header, *rows = listed(fake, 80, tmp_path, "failures", BATCH)
    assert header.split() == ["LINE", "CUSTOM_ID", "HTTP", "CODE", "MESSAGE"]
    at = header.index("MESSAGE")
    words = " ".join(row[at:] for row in rows).split()
    assert words == message.replace("\x1b", "?").split()
    assert "".join(row[6 : header.index("HTTP")].strip() for row in rows) == name


@pytest.fixture
def causes(fake: FakePolybatch) -> FakePolybatch:
    """The service, with a batch that has failed for a cause, twice."""
    fake.publish(snapshot(BATCH, 1, "COMPLETED", failed=1))
    cause = results_pb2.FailureCause(
        id="1f0c9a77e2d4",
        provider="openai",
        code="invalid_value",
        field="body.n",
        message="at most ...",
        line_count=1200,
        share=0.6,
        first_lines=[1, 2, 3, 5, 8],
        hint="Set it to what the message expects.",
    )
    fake.failure_causes[BATCH] = results_pb2.ListFailureCausesResponse(
        causes=[cause, cause], failure_count=3200, other_line_count=800
    )
    return fake


def test_causes_say_what_to_do(causes: FakePolybatch, tmp_path: Path) -> None:
    lines = listed(causes, 120, tmp_path, "failures", BATCH, "--by-cause", NO_COLOR="1")
    words = " ".join(" ".join(lines).split())
    assert "1f0c9a77e2d4 1,200 60.0% invalid_value openai: body.n: at most ..." in words
    assert "1, 2, 3, 5, 8, ..." in words
    assert "800 lines with other causes" in words


@pytest.mark.parametrize(
    ("columns", "hint"),
    [
        (40, ["Set it to what the message", "expects."]),
        (60, ["Set it to what the message expects."]),
    ],
)
def test_causes_stand_by_themselves_where_a_table_would_squeeze_them(
    causes: FakePolybatch, screen: Screen, tmp_path: Path, columns: int, hint: list[str]
) -> None:
    screen.resize(columns)
    with running(causes, screen, tmp_path, "failures", BATCH, "--by-cause", listed=True):
        pass
    screen.finish()
    shown = [line.rstrip() for line in screen.lines()]
    until = next(at for at, line in enumerate(shown) if "other causes" in line)
    cause = [
        "CAUSE        1f0c9a77e2d4",
        "LINES        1,200",
        "SHARE        60.0%",
        "CODE         invalid_value",
        "MESSAGE      openai: body.n: at most ...",
        "FIRST LINES  1, 2, 3, 5, 8, ...",
        f"WHAT TO DO   {hint[0]}",
        *(" " * 13 + more for more in hint[1:]),
    ]
    assert shown[:until] == cause * 2
    assert screen.raw.count("\r\n\r\n") == 2, "an empty line after each"


def test_facts_wrap_beside_their_names(fake: FakePolybatch, tmp_path: Path) -> None:
    waiting = snapshot(BATCH, 1)
    waiting.waiting_reason = "the provider is away, " * 5
    fake.publish(waiting)
    lines = listed(fake, 60, tmp_path, "get", BATCH)
    assert lines[0].split() == ["batch", BATCH]
    assert lines[1].split(maxsplit=1) == ["state", "In Progress (in_progress)"]
    at = next(at for at, line in enumerate(lines) if "waits: " in line)
    assert lines[at + 1].startswith(" " * lines[at].index("waits: ") + "the provider")


def test_an_error_wraps_between_words(fake: FakePolybatch, tmp_path: Path) -> None:
    lines = listed(fake, 40, tmp_path, "get", "batch_unknown")
    assert len(lines) > 1
    assert lines[0].startswith("polybatch: ")
    assert "(BATCH_NOT_FOUND)" in " ".join(lines)


def test_rate_and_time_left_of_an_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, clock = io.StringIO(), [100.0]
    console = Console(file=stream, force_terminal=True, color_system=None)
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr(console, "get_time", lambda: clock[0])
    display = TerminalDisplay(stream, console)
    for second in range(11):
        display.upload("in.jsonl", second * 1_000_000, 100_000_000)
        clock[0] += 1
    shown = stream.getvalue().splitlines()[-1]
    assert "10%  10.0 MB of 100.0 MB  1.0 MB/s  0:01:30 left  in.jsonl" in shown
    # At the width of 80 the bar is what gives way.
    assert cell_len(shown.rpartition("J")[2]) < 80


def test_time_runs_while_no_news_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is looked at again; what is drawn over stays one block, and nothing follows it."""
    stream, drawn = io.StringIO(), threading.Event()
    console = Console(file=stream, force_terminal=True, color_system=None)
    paces = iter(["1 s", "2 s", "2 s"])
    monkeypatch.setattr("polybatch.cli.terminal._TICK", 0.001)

    def pace(batch: object) -> str:
        text = next(paces, "")
        if not text:
            drawn.set()
        return text or "3 s"

    monkeypatch.setattr("polybatch.cli.terminal.describe_pace", pace)
    display = TerminalDisplay(stream, console)
    display.batch(Batch.from_proto(snapshot(BATCH, 1, succeeded=30)))
    assert drawn.wait(20)
    display.settle()
    shown = stream.getvalue()
    display.note("the end")
    blocks = shown.split("\x1b[J")[1:]
    times = [block.splitlines()[0].split("  ")[-1] for block in blocks]
    assert times[:2] == ["1 s", "2 s"]
    assert set(times[2:]) <= {"3 s"}
    assert shown.count("\x1b[2A") == len(blocks) - 1
    assert stream.getvalue() == f"{shown}the end\n"
