"""What the commands of this folder share: their options, and going through the benchmarks."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks.machine import disk_folder

F = TypeVar("F")


def parsed(
    prog: str, description: str, names: Collection[str], numbers: Sequence[tuple[str, int, str]]
) -> argparse.Namespace:
    """The arguments: `names`, `folder`, and each of `numbers`: option, default and meaning."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        choices=[*names, []],
        help=f"which to run: {', '.join(names)} (all)",
    )
    for option, default, meaning in numbers:
        parser.add_argument(
            option, type=int, default=default, metavar="N", help=f"{meaning} ({default})"
        )
    add_folder(parser)
    arguments = parser.parse_args()
    arguments.names = arguments.names or list(names)
    return arguments


def add_folder(parser: argparse.ArgumentParser) -> None:
    """The option --folder."""
    parser.add_argument(
        "--folder",
        type=Path,
        default=disk_folder(),
        metavar="PATH",
        help="where data is written meanwhile; has to be on a disk (%(default)s)",
    )


def each(names: Sequence[str], measure: Callable[[str], list[F]]) -> tuple[list[F], list[str]]:
    """What all of them measured, and the names of those that failed, which is printed."""
    figures: list[F] = []
    failed: list[str] = []
    for name in names:
        print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
        begun = time.monotonic()
        try:
            figures += measure(name)
        except Exception:  # noqa: BLE001  (one that fails must not cost the others)
            failed.append(name)
            traceback.print_exc()
        print(f"{time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    return figures, failed
