"""The commands that find, read, cancel and delete batches."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

import click

import polybatch
from polybatch.cli import grammar
from polybatch.cli.describe import (
    describe_canary,
    describe_cost,
    describe_counts,
    describe_end,
    describe_late,
    describe_pace,
    describe_retention,
    describe_state,
    describe_waiting,
    why_lines_failed,
)
from polybatch.cli.exit_codes import ExitCode
from polybatch.cli.ids import whole_batch_id
from polybatch.cli.listing import FileNames, Listing
from polybatch.cli.output import about_usd, age, counted, moment, percent, row, usd
from polybatch.cli.session import (
    Session,
)

if TYPE_CHECKING:
    pass


_STATES = (
    "validating",
    "in_progress",
    "finalizing",
    "completed",
    "failed",
    "expired",
    "cancelling",
    "cancelled",
)


@click.command(
    "list",
    cls=grammar.Command,
    example="""\
Examples:
  polybatch list --state in_progress --limit 20
  polybatch list --name nightly --model gpt-4.1 --metadata team=search
  polybatch list --filter 'create_time >= "2026-11-01T00:00:00Z" AND state != COMPLETED'

A filter compares state, name, model, key, parent and metadata.KEY (= and !=; name:text for
"contains, whatever the case") and create_time (<, <=, >, >=), joined by AND. All options have to be
met.
""",
)
@click.option("--filter", "wanted", type=grammar.word, metavar="FILTER", help="What batches meet.")
@click.option("--name", type=grammar.word, metavar="TEXT", help="Only with this in their name.")
@click.option("--model", type=grammar.word, metavar="NAME", help="Only with lines for this model.")
@click.option(
    "--metadata",
    type=grammar.pair,
    multiple=True,
    metavar="KEY=VALUE",
    help="Only with this note; may be given several times.",
)
@click.option(
    "--state",
    "states",
    type=click.Choice(_STATES),
    multiple=True,
    help="Only batches in this state; may be given several times.",
)
@grammar.limit
@click.pass_obj
def list_batches(
    session: Session,
    *,
    states: tuple[str, ...],
    wanted: str | None,
    name: str | None,
    model: str | None,
    metadata: tuple[tuple[str, str], ...],
    limit: int | None,
) -> ExitCode:
    """List batches, newest first."""
    columns = {
        "ID": 26,
        "STATE": 25,
        "DONE": -5,
        "LINES": -11,
        "FAILED": -11,
        "CANCELLED": -9,
        "USD": -9,
        "AGE": -6,
        "CREATED": 25,
        "NAME": 0,
    }
    now = datetime.now(UTC)
    names = FileNames(session.client.files.list(page_size=1000))
    conditions = [wanted] if wanted else []
    if name:
        conditions.append(f"name:{_quoted(name)}")
    if model:
        conditions.append(f"model = {_quoted(model)}")
    conditions += [f"metadata.{_quoted(key)} = {_quoted(value)}" for key, value in metadata]
    found = session.client.list_batches(
        states=[polybatch.BatchState(state) for state in states], filter=" AND ".join(conditions)
    )
    batch = None
    spare = ("CREATED", "CANCELLED", "USD", "LINES", "NAME", "AGE", "FAILED", "DONE")
    with Listing(columns, *spare) as listing:
        for batch in islice(found, limit):
            if session.json:
                session.emit(batch)
                continue
            counts = batch.request_counts
            listing.add(
                batch.id,
                f"{batch.display_state} ({_word(batch)})" if listing.plain else _word(batch),
                percent(batch.progress_percent),
                f"{counts.total:,}",
                f"{counts.failed:,}",
                f"{counts.cancelled + counts.expired:,}",
                about_usd(batch.cost.so_far) if batch.cost else "",
                age(batch.created_at, now),
                moment(batch.created_at),
                batch.name or names.of(batch.input_file_id),
            )
    if batch is None and conditions:
        searched = "; --name does not look at the names of files" if name else ""
        session.note(f"no batch is like that{searched}")
    elif batch is None:
        advice = f"no batches yet: {session.command('submit')} FILE makes one"
        session.note(f"no batch is {' or '.join(states)}" if states else advice)
    return ExitCode.OK


def _word(batch: polybatch.Batch) -> str:
    # Nothing else in a row would say why the batch does not go on.
    going = (polybatch.BatchState.VALIDATING, polybatch.BatchState.IN_PROGRESS)
    return "paused" if batch.paused_at and batch.state in going else str(batch.state)


def _quoted(text: str) -> str:
    """As a filter takes it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@click.command(cls=grammar.Command, example="polybatch get batch_4k2j9x --json")
@grammar.batch_id
@click.pass_obj
def get(session: Session, *, batch_id: str) -> ExitCode:
    """Show all that is known of a batch."""
    batch = session.client.get_batch(whole_batch_id(session, batch_id))
    if session.json:
        session.emit(batch)
        return ExitCode.OK
    usage = batch.usage
    facts = [
        ("batch", batch.id),
        ("name", batch.name),
        ("state", describe_state(batch)),
        ("progress", f"{percent(batch.progress_percent)}, {describe_counts(batch)}"),
        ("time", describe_pace(batch)),
        ("estimate", describe_end(batch)),
        ("input file", batch.input_file_id),
        ("endpoint", batch.endpoint),
        ("retry of", batch.parent_batch_id),
        ("retried by", ", ".join(batch.child_batch_ids)),
        ("webhook", batch.webhook_url),
        ("priority", "" if batch.priority == "normal" else str(batch.priority)),
        ("canary", describe_canary(batch)),
        ("metadata", ", ".join(f"{key}={value}" for key, value in batch.metadata.items())),
        ("tokens", f"{usage.input_tokens:,} in, {usage.output_tokens:,} out"),
        ("cost", describe_cost(batch)),
        ("created", moment(batch.created_at)),
        ("in progress", moment(batch.in_progress_at)),
        ("finalizing", moment(batch.finalizing_at)),
        ("completed", moment(batch.completed_at)),
        ("failed", moment(batch.failed_at)),
        ("expired", moment(batch.expired_at)),
        ("cancelling", moment(batch.cancelling_at)),
        ("cancelled", moment(batch.cancelled_at)),
        ("expires", moment(batch.expires_at)),
        ("results", describe_retention(batch)),
    ]
    facts += [("", line) for line in (*describe_late(batch), *describe_waiting(batch))]
    if batch.request_counts.failed and not batch.ended:
        facts.append(("", f"why lines failed: {session.command(*why_lines_failed(batch))}"))
    for shard in batch.shards:
        cells = (
            shard.state,
            counted(shard.line_count, "line"),
            shard.provider,
            shard.model,
            shard.provider_batch_id,
            f"{usd(shard.cost)} USD" if shard.cost else "",
        )
        facts.append(("shard", row(cells, (10, -14, 0, 0, 0, 0))))
    if batch.shard_count > len(batch.shards):
        facts.append(("", f"of {batch.shard_count} shards"))
    session.tell_facts(facts, 12)
    return ExitCode.OK


@click.command(cls=grammar.Command, example="polybatch cancel batch_4k2j9x")
@grammar.batch_id
@click.pass_obj
def cancel(session: Session, *, batch_id: str) -> ExitCode:
    """Ask for the end of a batch; what has finished is kept."""
    batch = session.client.cancel_batch(whole_batch_id(session, batch_id))
    if session.json:
        session.emit(batch)
    else:
        session.say(f"{batch.id}  {describe_state(batch)}")
        if not batch.ended:
            session.note(f"watch it end: {session.command('watch', batch.id)}")
    return ExitCode.OK


@click.command(cls=grammar.Command, example="polybatch delete batch_4k2j9x")
@grammar.batch_id
@click.option("--results", "results_only", is_flag=True, help="Only its results.")
@click.pass_obj
def delete(session: Session, *, batch_id: str, results_only: bool) -> ExitCode:
    """Delete a batch that has ended, with its results, and its input if no other batch has it."""
    batch_id = whole_batch_id(session, batch_id)
    if results_only:
        session.client.delete_results(batch_id)
    else:
        session.client.delete_batch(batch_id)
    if session.json:
        session.emit({"id": batch_id, "deleted": not results_only, "results_deleted": True})
    else:
        session.say(f"{batch_id} {'results ' if results_only else ''}deleted")
    return ExitCode.OK
