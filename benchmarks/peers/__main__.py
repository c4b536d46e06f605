"""`python -m benchmarks.peers`: the race and the probes, printed as tables."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.command import add_folder
from benchmarks.figures import table
from benchmarks.machine import facts
from benchmarks.peers import probes, race
from benchmarks.peers.contestants import LITELLM, POLYBATCH, SDK, running_peers
from benchmarks.peers.sandbox import running_sandbox

_PARTS = ("race", "limit", "probes")
# What a developer's shell may set must not change what is measured.
_FOREIGN = ("POLYBATCH_", "OPENAI_", "ANTHROPIC_", "LITELLM_")


def main() -> None:
    """Run the chosen parts."""
    arguments = _arguments()
    for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
        del os.environ[name]
    print(f"{facts(arguments.folder)}, {datetime.now(UTC):%Y-%m-%d}", flush=True)
    without = [LITELLM] if arguments.parts == ["limit"] else []
    with (
        tempfile.TemporaryDirectory(dir=arguments.folder, prefix="polybatch-peers-") as name,
        running_sandbox(Path(name) / "sandbox") as sandbox,
        running_peers(Path(name), arguments.environments, sandbox.url, without) as peers,
    ):
        folder = Path(name)
        if "race" in arguments.parts:
            runs = race.race(peers, sandbox, folder, arguments.lines, arguments.rounds)
            print(f"\n{race.shown(peers, runs, arguments.lines)}", flush=True)
        if "limit" in arguments.parts:
            two = [peer for peer in peers if peer.name != LITELLM]
            runs = race.race(two, sandbox, folder, arguments.limit_lines, arguments.rounds)
            figure = race.beside_its_limit(runs[POLYBATCH], runs[SDK], arguments.limit_lines)
            print(f"\n{table([figure])}", flush=True)
        if "probes" in arguments.parts:
            for told in probes.told(peers, sandbox, folder, arguments.probe):
                print(f"\n{told}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description="Runs the same files through a script with the vendor's SDK, LiteLLM's proxy "
        "and polybatch, all against one sandbox, and prints what each took, checked and lost.",
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", choices=[*_PARTS, []], help=f"{', '.join(_PARTS)} (all)"
    )
    for option, default, meaning in (
        ("--lines", 50_000, "of the race"),
        ("--limit-lines", 45_000, "of the figure that has a limit"),
        ("--rounds", 5, "of both; medians are taken"),
    ):
        parser.add_argument(
            option, type=int, default=default, metavar="N", help=f"{meaning} ({default})"
        )
    parser.add_argument(
        "--probe", default="", metavar="TEXT", help="only the probes whose names have this in them"
    )
    parser.add_argument(
        "--environments",
        type=Path,
        default=Path(sys.prefix) / "peers",
        metavar="FOLDER",
        help="of the peers' virtual environments (%(default)s)",
    )
    add_folder(parser)
    arguments = parser.parse_args()
    arguments.parts = arguments.parts or list(_PARTS)
    return arguments


if __name__ == "__main__":
    main()
