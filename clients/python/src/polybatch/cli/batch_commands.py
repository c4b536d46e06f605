"""The commands about batches."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from polybatch.cli import grammar
from polybatch.cli.describe import (
    describe_counts,
    describe_late,
    describe_state,
    describe_waiting,
)
from polybatch.cli.exit_codes import ExitCode, outcome
from polybatch.cli.listing import Listing
from polybatch.cli.output import moment, row
from polybatch.cli.result_commands import fetch
from polybatch.cli.session import (
    Session,
    UnusableInput,
    advising,
    interruptible,
    opened_input,
)

if TYPE_CHECKING:
    from polybatch import Batch

_NO_BATCH = "no batch was made, unless the upload had just ended (`polybatch list` shows)"


@click.command(
    cls=grammar.Command,
    example="polybatch submit requests.jsonl --window 2h --metadata team=search -o results.jsonl",
)
@grammar.input_file
@grammar.defaults
@click.option(
    "--watch/--no-watch",
    default=True,
    help="Watch the batch to its end (default), or only print its id.",
)
@grammar.output_file("Write the results there once it has ended; - for stdout.")
@click.option(
    "--window",
    "completion_window",
    type=grammar.span,
    metavar="SPAN",
    help="Completion window, such as 90s, 30m, 24h (default) or 7d.",
)
@click.option(
    "--skip-invalid",
    "skip_invalid_lines",
    is_flag=True,
    help="Run the good lines; bad ones come back as failed lines.",
)
@click.option(
    "--lenient", is_flag=True, help="Leave out what a provider lacks; the results tell what."
)
@click.option(
    "--fail-fast",
    is_flag=True,
    help="Fail lines at once where their provider refuses the key; else they wait for another.",
)
@click.option(
    "--metadata",
    type=grammar.pair,
    multiple=True,
    metavar="KEY=VALUE",
    help="A note kept with the batch; may be given several times.",
)
@click.option(
    "--request-id", metavar="ID", help="Makes it repeatable: the same id, the same batch."
)
@click.pass_obj
def submit(
    session: Session,
    /,
    *,
    file: str,
    watch: bool,
    output: str | None,
    metadata: tuple[tuple[str, str], ...],
    **options: Any,
) -> ExitCode:
    """Upload a file, make a batch of it and watch it to its end."""
    if output is not None and not watch:
        raise UnusableInput("-o needs the end of the batch: leave out --no-watch.")
    with (
        opened_input(file) as (content, name),
        interruptible(f"stopped while uploading; {_NO_BATCH}."),
        advising(session, _NO_BATCH),
    ):
        batch = session.client.submit(
            content,
            filename=name,
            metadata=dict(metadata),
            progress=lambda sent, total: session.display.upload(name, sent, total),
            **options,
        )
    session.display.settle()
    # The id comes before anything else can go wrong.
    if not session.json and output != "-":
        session.say(batch.id)
    if not watch:
        if session.json:
            session.emit(batch)
        return ExitCode.OK
    batch = _watch(session, batch.id, every_snapshot=False)
    if output is not None:
        fetch(session, batch, output)
    if session.json and output != "-":
        session.emit(batch)
    _explain_outcome(session, batch, output)
    return outcome(batch)


@click.command(cls=grammar.Command, example="polybatch watch batch_4k2j9x")
@grammar.batch_id
@click.pass_obj
def watch(session: Session, *, batch_id: str) -> ExitCode:
    """Show a batch's progress until it has ended."""
    batch = _watch(session, batch_id, every_snapshot=session.json)
    _explain_outcome(session, batch, None)
    return outcome(batch)


@click.command("list", cls=grammar.Command, example="polybatch list --limit 20")
@grammar.limit
@click.pass_obj
def list_batches(session: Session, *, limit: int | None) -> ExitCode:
    """List batches, newest first."""
    columns = {
        "ID": 26,
        "STATE": 25,
        "DONE": -5,
        "LINES": -11,
        "FAILED": -11,
        "CANCELLED": -9,
        "CREATED": 19,
    }
    batch = None
    with Listing(columns, "CANCELLED", "LINES", "CREATED", "FAILED") as listing:
        for batch in islice(session.client.list_batches(), limit):
            if session.json:
                session.emit(batch)
                continue
            counts = batch.request_counts
            listing.add(
                batch.id,
                describe_state(batch) if listing.plain else str(batch.state),
                f"{batch.progress_percent:.0f} %",
                f"{counts.total:,}",
                f"{counts.failed:,}",
                f"{counts.cancelled + counts.expired:,}",
                moment(batch.created_at),
            )
    if batch is None:
        session.note("no batches yet: polybatch submit FILE makes one")
    return ExitCode.OK


@click.command(cls=grammar.Command, example="polybatch get batch_4k2j9x --json")
@grammar.batch_id
@click.pass_obj
def get(session: Session, *, batch_id: str) -> ExitCode:
    """Show all that is known of a batch."""
    batch = session.client.get_batch(batch_id)
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
    facts += [("", line) for line in (*describe_late(batch), *describe_waiting(batch))]
    for shard in batch.shards:
        cells = (shard.state, f"{shard.line_count:,} lines", shard.provider, shard.model)
        facts.append(("shard", row((*cells, shard.provider_batch_id), (10, -14, 0, 0, 0))))
    if batch.shard_count > len(batch.shards):
        facts.append(("", f"of {batch.shard_count} shards"))
    session.tell_facts(facts, 12)
    return ExitCode.OK


@click.command(cls=grammar.Command, example="polybatch cancel batch_4k2j9x")
@grammar.batch_id
@click.pass_obj
def cancel(session: Session, *, batch_id: str) -> ExitCode:
    """Ask for the end of a batch; what has finished is kept."""
    batch = session.client.cancel_batch(batch_id)
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


def _explain_outcome(session: Session, batch: Batch, output: str | None) -> None:
    for line in describe_late(batch):
        session.note(line)
    if batch.request_counts.unsuccessful:
        session.note(f"why lines failed: polybatch failures {batch.id}")
    if output is None and batch.request_counts.finished:
        session.note(f"the results: polybatch results {batch.id} -o results.jsonl")
