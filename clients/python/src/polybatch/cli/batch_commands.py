"""The commands about batches."""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from pathlib import Path

from polybatch.cli.exit_codes import ExitCode, outcome
from polybatch.cli.output import moment, row, size
from polybatch.cli.progress import describe_counts, describe_late, describe_state, describe_waiting
from polybatch.cli.session import (
    Session,
    UnusableInput,
    advising,
    interruptible,
    opened_input,
)
from polybatch.errors import Conflict
from polybatch.models import Batch, ResultFilter

_NO_BATCH = "no batch was made, unless the upload had just ended (`polybatch list` shows)"


def submit(session: Session, arguments: argparse.Namespace) -> ExitCode:
    """Uploads, makes a batch, watches it and writes its results."""
    output: str | None = arguments.output
    if output is not None and not arguments.watch:
        raise UnusableInput("-o needs the end of the batch: leave out --no-watch.")
    with (
        opened_input(arguments.file) as (file, name),
        interruptible(f"stopped while uploading; {_NO_BATCH}."),
        advising(session, _NO_BATCH),
    ):
        batch = session.client.submit(
            file,
            filename=name,
            completion_window=arguments.window,
            metadata=dict(arguments.metadata),
            skip_invalid_lines=arguments.skip_invalid,
            lenient=arguments.lenient,
            fail_fast=arguments.fail_fast,
            request_id=arguments.request_id,
            progress=lambda sent, total: session.display.upload(name, sent, total),
        )
    session.display.settle()
    # The id comes before anything else can go wrong.
    if not session.json and output != "-":
        session.say(batch.id)
    if not arguments.watch:
        if session.json:
            session.emit(batch)
        return ExitCode.OK
    batch = _watch(session, batch.id, every_snapshot=False)
    if output is not None:
        _fetch(session, batch, output)
    if session.json and output != "-":
        session.emit(batch)
    _explain_outcome(session, batch, output)
    return outcome(batch)


def watch(session: Session, arguments: argparse.Namespace) -> ExitCode:
    """Shows progress until the end."""
    batch = _watch(session, arguments.batch_id, every_snapshot=session.json)
    _explain_outcome(session, batch, None)
    return outcome(batch)


def list_batches(session: Session, arguments: argparse.Namespace) -> ExitCode:
    """Lists batches."""
    number = -1
    for number, batch in enumerate(islice(session.client.list_batches(), arguments.limit)):
        if session.json:
            session.emit(batch)
            continue
        if number == 0:
            session.say(_list_row("ID", "STATE", "DONE", "LINES", "FAILED", "CREATED"))
        counts = batch.request_counts
        session.say(
            _list_row(
                batch.id,
                describe_state(batch),
                f"{batch.progress_percent:.0f} %",
                f"{counts.total:,}",
                f"{counts.failed:,}",
                moment(batch.created_at),
            )
        )
    if number < 0:
        session.note("no batches yet: polybatch submit FILE makes one")
    return ExitCode.OK


def get(session: Session, arguments: argparse.Namespace) -> ExitCode:
    """Shows one batch."""
    batch = session.client.get_batch(arguments.batch_id)
    if session.json:
        session.emit(batch)
        return ExitCode.OK
    usage = batch.usage
    facts = [
        ("batch", batch.id),
        ("state", describe_state(batch)),
        ("progress", f"{batch.progress_percent:.0f} %, {describe_counts(batch)}"),
        ("input file", batch.input_file_id),
        ("endpoint", batch.endpoint),
        ("metadata", ", ".join(f"{key}={value}" for key, value in batch.metadata.items())),
        ("tokens", f"{usage.input_tokens:,} in, {usage.output_tokens:,} out"),
        ("created", moment(batch.created_at)),
        ("in progress", moment(batch.in_progress_at)),
        ("finalizing", moment(batch.finalizing_at)),
        ("completed", moment(batch.completed_at)),
        ("failed", moment(batch.failed_at)),
        ("expired", moment(batch.expired_at)),
        ("cancelling", moment(batch.cancelling_at)),
        ("cancelled", moment(batch.cancelled_at)),
        ("expires", moment(batch.expires_at)),
    ]
    for name, value in facts:
        if value:
            session.say(row([(name, 12), (value, 0)]))
    for line in [*describe_late(batch), *describe_waiting(batch)]:
        session.say(row([("", 12), (line, 0)]))
    for shard in batch.shards:
        session.say(
            row(
                [
                    ("shard", 12),
                    (shard.state, 10),
                    (f"{shard.line_count:,} lines", -14),
                    (shard.provider, 0),
                    (shard.model, 0),
                    (shard.provider_batch_id, 0),
                ]
            )
        )
    if batch.shard_count > len(batch.shards):
        session.say(row([("", 12), (f"of {batch.shard_count} shards", 0)]))
    return ExitCode.OK


def results(session: Session, arguments: argparse.Namespace) -> ExitCode:
    """Fetches results to stdout or to a file."""
    which = ResultFilter.ALL
    if arguments.failed:
        which = ResultFilter.FAILED
    elif arguments.succeeded:
        which = ResultFilter.SUCCEEDED
    _download(session, arguments.batch_id, arguments.output or "-", which)
    return ExitCode.OK


def failures(session: Session, arguments: argparse.Namespace) -> ExitCode:
    """Lists failed lines."""
    found = islice(session.client.failures(arguments.batch_id), arguments.limit)
    for number, failure in enumerate(found):
        if session.json:
            session.emit(failure)
            continue
        if number == 0:
            session.say(_failure_row("LINE", "CUSTOM_ID", "HTTP", "CODE", "MESSAGE"))
        session.say(
            _failure_row(
                str(failure.line),
                failure.custom_id,
                str(failure.status_code or "-"),
                failure.code,
                failure.message,
            )
        )
    return ExitCode.OK


def cancel(session: Session, arguments: argparse.Namespace) -> ExitCode:
    """Asks for the end of a batch."""
    batch = session.client.cancel_batch(arguments.batch_id)
    if session.json:
        session.emit(batch)
    else:
        session.say(f"{batch.id}  {describe_state(batch)}")
        if not batch.ended:
            session.note(f"watch it end: polybatch watch {batch.id}")
    return ExitCode.OK


def _watch(session: Session, batch_id: str, *, every_snapshot: bool) -> Batch:
    """Watches to the end; the last snapshot is returned."""
    with (
        interruptible(
            f"stopped watching; {batch_id} goes on. Watch it again: polybatch watch {batch_id}; "
            f"cancel it: polybatch cancel {batch_id}"
        ),
        advising(session, f"{batch_id} goes on; watch it again: polybatch watch {batch_id}"),
    ):
        last: Batch | None = None
        for last in session.client.watch(batch_id):
            session.display.batch(last)
            if every_snapshot:
                session.emit(last)
    assert last is not None, "a watch ends with a snapshot"
    session.display.settle()
    return last


def _fetch(session: Session, batch: Batch, output: str) -> None:
    """Writes the results of a batch that has ended, if it has any."""
    try:
        _download(session, batch.id, output, ResultFilter.ALL)
    except Conflict as error:
        if error.reason != "NO_RESULTS":
            raise


def _download(session: Session, batch_id: str, output: str, which: ResultFilter) -> None:
    again = f"fetch them again: polybatch results {batch_id}"
    if output != "-":
        again = f"{again} -o {output}"
    with interruptible(f"stopped; {again}"), advising(session, f"the results stay there; {again}"):
        if output == "-":
            for chunk in session.client.result_chunks(batch_id, filter=which):
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            return
        path = Path(output)
        if path.exists() and not path.is_file():
            # A device or a pipe, such as /dev/stdout: nothing to put in its place.
            with path.open("wb") as file:
                for chunk in session.client.result_chunks(batch_id, filter=which):
                    file.write(chunk)
            return
        manifest = session.client.download_results(
            batch_id,
            path,
            filter=which,
            progress=lambda done, total: session.display.upload(output, done, total),
        )
        session.display.settle()
        if which is ResultFilter.ALL:
            lines = manifest.request_counts
            session.note(
                f"{output}: {size(path.stat().st_size)}, {lines.succeeded:,} succeeded, "
                f"{lines.failed:,} failed"
                + (f", {manifest.late_line_count:,} late" if manifest.late_line_count else "")
            )


def _explain_outcome(session: Session, batch: Batch, output: str | None) -> None:
    for line in describe_late(batch):
        session.note(line)
    if batch.request_counts.failed:
        session.note(f"why lines failed: polybatch failures {batch.id}")
    if output is None and batch.request_counts.finished:
        session.note(f"the results: polybatch results {batch.id} -o results.jsonl")


def _list_row(*cells: str) -> str:
    return row(list(zip(cells, (26, 25, -5, -11, -11, 0), strict=True)))


def _failure_row(*cells: str) -> str:
    return row(list(zip(cells, (-8, 24, 4, 24, 0), strict=True)))
