"""Results of batches that still run, and of families of batches: `polybatch results`."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import polybatch
from polybatch.cli.exit_codes import ExitCode
from polybatch.cli.output import counted
from polybatch.cli.session import Session, advising, interruptible


@dataclass(frozen=True, slots=True)
class Some:
    """Which results."""

    follow: bool = False
    """What is settled so far, and then what comes, until the end."""
    merged: bool = False
    """Those of the batch and of its retries."""


def download_some(
    session: Session, batch_id: str, output: str, which: polybatch.ResultFilter, some: Some
) -> ExitCode:
    """Writes them, and says how much is still to come."""
    seen: list[polybatch.ResultsExtent] = []
    again = session.command("results", batch_id, "-o", "results.jsonl")
    stopped = "stopped: what came is there." if some.follow else "stopped."
    with (
        interruptible(stopped, f"once it has ended: {again}"),
        advising(session, f"the results stay there; once it has ended: {again}", output),
        _opened(output, in_place=some.follow) as file,
    ):
        for lines in session.client.result_chunks(
            batch_id,
            filter=which,
            partial=True,
            follow=some.follow,
            merged=some.merged,
            on_extent=seen.append,
        ):
            file.write(lines)
            if some.follow:
                file.flush()
    extent = seen[-1]
    if extent.incomplete and some.merged:
        session.note("a retry has not ended: its lines are as they were before it")
    elif extent.incomplete:
        session.note(
            f"{counted(extent.settled_line_count, 'line')} settled so far, none missing up to "
            f"line {extent.complete_until_line:,}; more come: {session.command('watch', batch_id)}"
        )
    return ExitCode.OK


@contextmanager
def _opened(output: str, *, in_place: bool) -> Iterator[BinaryIO]:
    """A file to write to. Unless it is written in place, it is there whole or not at all."""
    if output == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(output)
    if in_place or (path.exists() and not path.is_file()):
        with path.open("wb") as file:
            yield file
        return
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with unfinished.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
