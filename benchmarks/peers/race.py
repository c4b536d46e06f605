"""The race: one file through each peer, by turns."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure
from benchmarks.peers.columns import columns
from benchmarks.peers.contestants import POLL_SECONDS, Peer
from benchmarks.peers.inputs import write_lines
from benchmarks.peers.processes import memory
from benchmarks.peers.running import Run, measured
from benchmarks.peers.sandbox import Sandbox

LINE_BYTES = 400
TIMES = 1.5


def race(
    peers: Sequence[Peer], sandbox: Sandbox, folder: Path, lines: int, rounds: int
) -> dict[str, list[Run]]:
    """Run it by turns; the first run of each, which warms up, is the one whose memory counts."""
    source = folder / f"{lines}.jsonl"
    write_lines(source, lines, line_bytes=LINE_BYTES)
    runs: dict[str, list[Run]] = {peer.name: [] for peer in peers}
    for number in range(rounds + 1):
        for peer in peers:
            sandbox.begin({})
            target = folder / "results.jsonl"
            run = measured(peer, source, target, lines, sandbox.pid, look=number == 0)
            runs[peer.name].append(run)
            print(f"{lines} lines, {peer.name}: {run.seconds:.2f} s", file=sys.stderr)
    return runs


def shown(peers: Sequence[Peer], runs: dict[str, list[Run]], lines: int) -> str:
    """A table of what each took."""
    rows = [("", "seconds", "from", "to", "CPU s client", "CPU s servers", "peak MB", "idle MB")]
    for peer in peers:
        first, *timed = runs[peer.name]
        seconds = [each.seconds for each in timed]
        rows.append(
            (
                peer.name,
                f"{median(seconds):.2f}",
                f"{min(seconds):.2f}",
                f"{max(seconds):.2f}",
                f"{median(each.client for each in timed):.2f}",
                f"{median(each.servers for each in timed):.2f}",
                f"{first.memory / 1e6:.0f}",
                f"{memory(peer.server_pids()) / 1e6:.0f}",
            )
        )
    rounds = len(next(iter(runs.values()))) - 1
    return (
        f"{lines:,} lines of {LINE_BYTES} bytes, file on disk to results on disk; medians of "
        f"{rounds} alternating rounds, all look every {POLL_SECONDS:g} s\n{columns(rows)}"
    )


def beside_its_limit(ours: Sequence[Run], script: Sequence[Run], lines: int) -> Figure:
    """The figure of the race that has a limit."""
    own = [each.seconds for each in ours[1:]]
    other = [each.seconds for each in script[1:]]
    return Figure(
        f"file on disk to results on disk, {lines} lines",
        median(own),
        "s",
        limit=TIMES * median(other),
        basis=f"{TIMES:g} times the script's {median(other):.2f} s (medians of {len(own)}; "
        f"ours {min(own):.2f} to {max(own):.2f}, script {min(other):.2f} to {max(other):.2f})",
    )
