"""What each peer checks, loses and leaves to its user: found by having it happen."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import MeasurementFailed
from benchmarks.peers.contestants import Peer
from benchmarks.peers.fates import fates_in
from benchmarks.peers.inputs import custom_id, line, write_lines
from benchmarks.peers.running import Client, Ended, started, wait_until_idle
from benchmarks.peers.sandbox import Sandbox

_SHOWN = 150
_DEADLINE = 60.0
_TELLING = re.compile(r"line \S+: |[\w.]+(Error|Timeout)\b|polybatch: |.*: (error|warning): ")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One peer before one probe."""

    peer: Peer
    sandbox: Sandbox
    source: Path
    target: Path
    name: str
    """Of the work, for clients that are told it; empty: none is told."""

    def start(self) -> Client:
        """Start its client."""
        return started(self.peer, self.source, self.target, self.name)


def once(attempt: Attempt) -> list[Ended]:
    """Run the client to its end."""
    return [attempt.start().ended()]


def client_killed_while_it_waits(attempt: Attempt) -> list[Ended]:
    """Kill the client once there is a batch, and give the same command again."""
    return _repeated(attempt, lambda client: attempt.sandbox.wait_for_batches(1))


def client_killed_while_it_uploads(attempt: Attempt) -> list[Ended]:
    """Kill the client once it has read half of the file, and give the same command again."""
    half = attempt.source.stat().st_size // 2
    return _repeated(attempt, lambda client: _wait_for_reading(client, attempt.source, half))


def server_killed(attempt: Attempt) -> list[Ended]:
    """Kill the servers once there is a batch, and start them again under the same client."""
    if attempt.peer.server is None:
        return []
    client = attempt.start()
    attempt.sandbox.wait_for_batches(1)
    attempt.peer.kill_server()
    attempt.peer.server.start()
    return [client.ended()]


def _repeated(attempt: Attempt, wait: Callable[[Client], None]) -> list[Ended]:
    client = attempt.start()
    wait(client)
    client.process.send_signal(signal.SIGKILL)
    return [client.ended(), attempt.start().ended()]


def _wait_for_reading(client: Client, path: Path, offset: int) -> None:
    deadline = time.monotonic() + _DEADLINE
    while (place := _place_in(client.process.pid, path)) is None or place < offset:
        if time.monotonic() > deadline:
            raise MeasurementFailed(f"{path} is not read: {place}")
        time.sleep(0.001)


def _place_in(pid: int, path: Path) -> int | None:
    """Where a process stands in a file that it has open; None: it has not."""
    with suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if entry.readlink() == path:
                    told = Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text()
                    return int(told.split("pos:")[1].split()[0])
    return None


@dataclass(frozen=True, slots=True)
class Probe:
    """Something that happens to files, servers or clients."""

    name: str
    special: Mapping[int, str] = field(default_factory=dict)
    """Lines of the file that are not like the others, by number."""
    lines: int = 10
    line_bytes: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    """The sandbox's."""
    run: Callable[[Attempt], list[Ended]] = once


def _marked(marker: str) -> dict[int, str]:
    return {3: line(3, f"[[sandbox:{marker}]]")}


def _calls(kind: str, calls: Sequence[str], **more: Any) -> dict[str, Any]:
    return {"faults": [{"kind": kind, "provider": "openai", "calls": list(calls), **more}]}


_EVERY = ("upload", "create", "poll", "list", "download")

PROBES = (
    Probe("nothing is wrong"),
    Probe("a line that is not JSON (3)", {3: '{"custom_id": "request-00000003", "method"'}),
    Probe("a custom_id that stands twice (3, 5)", {5: line(5).replace(custom_id(5), custom_id(3))}),
    Probe("a misspelt field of a body (3)", {3: line(3, temprature=0.2)}),
    Probe("a value out of range (3)", {3: line(3, temperature=7)}),
    Probe("a line without messages (3)", {3: line(3).replace('"messages"', '"message"')}),
    Probe("another model of the same provider (3)", {3: line(3, model="gpt-4.1-mini")}),
    Probe("a model of another provider (3)", {3: line(3, model="claude-4.6-sonnet")}),
    Probe("a line of 17 MiB (3)", {3: line(3, "x" * (17 << 20))}),
    Probe("50,001 lines", lines=50_001),
    Probe("215 MB", lines=500, line_bytes=430_000),
    Probe("a line fails twice for a passing reason (3)", _marked("flaky=2")),
    Probe("the provider runs a line and leaves out its answer (3)", _marked("lost")),
    Probe("the provider answers a line twice (3)", _marked("duplicate")),
    Probe("an answer that is torn JSON (3)", _marked("garbage")),
    Probe("an answer of status 200 without choices (3)", _marked("answer=no_choices")),
    Probe(
        "five seconds in which every call of the provider is answered 503",
        options=_calls("status", _EVERY, status=503, seconds=5),
    ),
    Probe(
        "five creates in a row are answered 429, with Retry-After 1",
        options=_calls("status", ["create"], status=429, retry_after=1, count=5),
    ),
    Probe(
        "the connection breaks after a create, before its answer",
        options=_calls("reset_after", ["create"], count=1),
    ),
    Probe(
        "the connection breaks in the download, after 2,000 bytes",
        options=_calls("cut", ["download"], after_bytes=2000, count=1),
    ),
    Probe(
        "the client is killed in the middle of an upload of 40 MB; the same command again",
        lines=10_000,
        line_bytes=4_000,
        run=client_killed_while_it_uploads,
    ),
    Probe(
        "the client is killed while the batch runs; the same command again",
        options={"batch_seconds": 3},
        run=client_killed_while_it_waits,
    ),
    Probe(
        "the server is killed while the batch runs, and started again",
        options={"batch_seconds": 3},
        run=server_killed,
    ),
)


def told(peers: Sequence[Peer], sandbox: Sandbox, folder: Path, only: str) -> Iterator[str]:
    """What became of each probe; of those with `only` in their names."""
    for probe in PROBES:
        if only not in probe.name:
            continue
        source = folder / "probe.jsonl"
        write_lines(source, probe.lines, line_bytes=probe.line_bytes, special=probe.special)
        rows = [probe.name]
        for peer in peers:
            rows.append(f"  {peer.name:<28}{_outcome(probe, peer, sandbox, source, '')}")
            if peer.repeatable and probe.run is client_killed_while_it_waits:
                named = _outcome(probe, peer, sandbox, source, f"work-{os.getpid()}")
                rows.append(f"  {f'{peer.name}, {peer.repeatable[0]}':<28}{named}")
        yield "\n".join(rows)


def _outcome(probe: Probe, peer: Peer, sandbox: Sandbox, source: Path, name: str) -> str:
    sandbox.begin(dict(probe.options))
    target = source.with_name("probe-results.jsonl")
    target.unlink(missing_ok=True)
    ends = probe.run(Attempt(peer, sandbox, source, target, name))
    if not ends:
        return "has no server"
    sandbox.wait_for_the_end()
    # What is left to do must not meet the faults of the next one either.
    wait_until_idle([*peer.server_pids(), sandbox.pid])
    bill = sandbox.bill()
    exits = ", then ".join(
        "killed" if each.exit_code == -signal.SIGKILL else f"exit {each.exit_code}" for each in ends
    )
    told = [exits, str(fates_in(target, probe.lines)), f"paid for {bill['lines_billed']:,}"]
    if bill["extra_billings"]:
        told[-1] += f", {bill['extra_billings']:,} of them for the second time"
    if bill["uploads_kept"]:
        told.append(f"left at the provider: {bill['uploads_kept']}")
    return f"{'; '.join(told)}\n{'':<6}{_said(ends[-1], source.parent)}"


def _said(ended: Ended, folder: Path) -> str:
    """The line of its output that tells most."""
    said = ended.said
    for place in (folder, Path(sys.executable).parent):
        said = said.replace(f"{place}/", "")
    lines = [each for each in said.splitlines() if each.strip()]
    telling = [each for each in lines if _TELLING.match(each)] or lines
    return telling[-1].strip()[:_SHOWN]
