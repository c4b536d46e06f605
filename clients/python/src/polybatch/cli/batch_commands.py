"""The commands about batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any

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
)
from polybatch.cli.estimate_command import Confirmation
from polybatch.cli.exit_codes import ExitCode, outcome
from polybatch.cli.ids import whole_batch_id
from polybatch.cli.listing import FileNames, Listing
from polybatch.cli.output import about_usd, age, counted, moment, row, usd
from polybatch.cli.problems import tell_warnings, told_errors
from polybatch.cli.result_commands import fetch
from polybatch.cli.session import (
    RefusedFile,
    Session,
    UnusableInput,
    advising,
    interruptible,
    opened_input,
    tried_output,
)
from polybatch.errors import (
    Conflict,
    InvalidLines,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    PolybatchError,
)

if TYPE_CHECKING:
    from polybatch import Batch

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
    type=grammar.window,
    metavar="SPAN",
    help="Completion window, such as 90s, 30m or 24h (default); from 1s to 7d.",
)
@click.option(
    "--skip-invalid",
    "skip_invalid_lines",
    is_flag=True,
    help="Run the good lines; bad ones come back as failed lines.",
)
@click.option("--lenient", is_flag=True, help="Drop unsupported fields; each result lists them.")
@click.option(
    "--fail-fast",
    is_flag=True,
    help="Fail lines at once where their provider refuses the key; else they wait for another.",
)
@click.option(
    "--metadata",
    type=grammar.pair,
    multiple=True,
    callback=grammar.metadata,
    metavar="KEY=VALUE",
    help="A note kept with the batch; may be given several times.",
)
@click.option(
    "--name", type=grammar.word, metavar="TEXT", help="A name for people, to find the batch by."
)
@click.option(
    "--keep-results",
    "results_retention",
    type=grammar.retention,
    metavar="SPAN",
    help="Delete results and input so long after the end, such as 12h or 30d (as the account or "
    "the service is set); from 1h to 30d.",
)
@click.option(
    "--webhook",
    "webhook_url",
    metavar="URL",
    help="Have it called at the end of the batch; signed with the secret that `polybatch webhooks "
    "create --for-batches` prints.",
)
@click.option(
    "--request-id",
    type=grammar.request_id,
    metavar="ID",
    help="Idempotency key: reusing it returns the same batch.",
)
@click.option(
    "--key",
    "key_id",
    metavar="KEY_ID",
    help="Bill it to this key of the account (takes a key of the scope account).",
)
@click.option(
    "--max-cost",
    type=grammar.usd,
    metavar="USD",
    help="Send nothing that would go past it; such lines fail with cost_limit.",
)
@grammar.steering
@click.option(
    "--reuse-answers",
    type=grammar.span,
    metavar="AGE",
    help="Lines that ask what an earlier line asks take its answer and cost nothing: lines of this "
    "file, and of batches with this option that are not older than this, such as 7d; 0: of this "
    "file only.",
)
@click.option(
    "--rescue-before",
    type=grammar.window,
    metavar="SPAN",
    help="So long before the window closes, call what is not answered line by line, at the "
    "real-time price.",
)
@click.option(
    "--confirm-above",
    type=grammar.usd,
    metavar="USD",
    envvar="POLYBATCH_CONFIRM_ABOVE",
    help="Ask before a batch that is expected to cost more, or whose cost is not known; without a "
    "terminal make none.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask, whatever it costs.")
@click.option(
    "--keep-file",
    is_flag=True,
    help="Keep the uploaded file even if no batch is made of it; else it is deleted then.",
)
@click.pass_obj
def submit(
    session: Session,
    /,
    *,
    file: str,
    watch: bool,
    output: str | None,
    keep_file: bool,
    confirm_above: Decimal | None,
    yes: bool,
    **options: Any,
) -> ExitCode:
    """Upload a file, make a batch of it and watch it to its end."""
    if output is not None and not watch:
        raise UnusableInput("-o needs the end of the batch: leave out --no-watch.")
    rescue, window = options["rescue_before"], options["completion_window"]
    if rescue is not None and rescue >= (window or grammar.USUAL_WINDOW):
        raise UnusableInput(
            "--rescue-before is no shorter than the completion window: give a shorter one, or a "
            "longer --window."
        )
    if output is not None:
        tried_output(output, file)
    defaults = [
        word
        for name in ("provider", "model")
        if options[name]
        for word in (f"--{name}", options[name])
    ]
    confirmation = Confirmation(
        session,
        file,
        confirm_above,
        yes=yes,
        # An earlier batch of the same request id may read the same file.
        keep_file=keep_file or bool(options["request_id"]),
        rescue=options["rescue_before"] is not None,
    )
    no_batch = (
        f"no batch was made, unless the upload had just ended: {session.command('list')} shows"
    )
    with (
        opened_input(file) as (content, name),
        interruptible("stopped while uploading.", no_batch),
        advising(session, no_batch),
        _refusing(session, name, keep_file=keep_file, lenient=bool(options["lenient"])),
        _telling_how(session, file, defaults),
    ):
        batch = session.client.submit(
            content,
            filename=name,
            progress=lambda sent, total: session.display.upload(name, sent, total),
            on_estimate=confirmation,
            **options,
        )
    session.display.settle()
    # The id comes before anything else can go wrong.
    if not session.json and output != "-":
        session.say(batch.id)
    every = session.command("validate", file, *defaults)
    tell_warnings(session, name, every, batch.input_file_id, batch.request_counts.total)
    if not watch:
        if session.json:
            session.emit(batch)
        return ExitCode.OK
    batch = watch_to_end(session, batch.id, output, every_snapshot=False)
    if output is not None:
        fetch(session, batch, output)
    if session.json and output != "-":
        session.emit(batch)
    explain_outcome(session, batch, output)
    return outcome(batch)


@contextmanager
def _telling_how(session: Session, file: str, defaults: Sequence[str]) -> Iterator[None]:
    """Where a batch is refused in the block: lets what is advised be pasted."""
    try:
        yield
    except (InvalidRequest, Conflict, PermissionDenied) as error:
        error.message = session.about_file(error.message, file)
        error.next_step = session.about_file(error.next_step, file, *defaults)
        raise


@contextmanager
def _refusing(session: Session, name: str, *, keep_file: bool, lenient: bool) -> Iterator[None]:
    """Where a batch is refused in the block: reads why, and deletes the file."""
    try:
        yield
    except (InvalidRequest, Conflict, PermissionDenied) as error:
        file_id = error.metadata.get("file_id", "")
        if not file_id:
            raise
        reasons: list[str] = []
        if isinstance(error, InvalidLines) and not session.json:
            line_count = int(error.metadata.get("line_count", "0"))
            with suppress(PolybatchError):
                # Else the first ones, which came with the error, have to do.
                reasons = told_errors(session, name, file_id, line_count, lenient=lenient)
        if keep_file:
            raise RefusedFile(error, reasons, file_id) from error
        try:
            with suppress(NotFound):
                session.client.files.delete(file_id)
        except PolybatchError:
            raise RefusedFile(error, reasons, file_id) from error
        raise RefusedFile(error, reasons) from error


@click.command(cls=grammar.Command, example="polybatch watch last -o results.jsonl")
@grammar.batch_id
@grammar.output_file("Write the results there once it has ended; - for stdout.")
@click.pass_obj
def watch(session: Session, *, batch_id: str, output: str | None) -> ExitCode:
    """Show a batch's progress until it has ended."""
    if output is not None:
        tried_output(output)
    batch_id = whole_batch_id(session, batch_id)
    batch = watch_to_end(session, batch_id, output, every_snapshot=session.json and output != "-")
    if output is not None:
        fetch(session, batch, output)
    explain_outcome(session, batch, output)
    return outcome(batch)


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
    spare = ("CREATED", "CANCELLED", "USD", "LINES", "NAME", "AGE", "FAILED")
    with Listing(columns, *spare) as listing:
        for batch in islice(found, limit):
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
                about_usd(batch.cost.so_far) if batch.cost else "",
                age(batch.created_at, now),
                moment(batch.created_at),
                batch.name or names.of(batch.input_file_id),
            )
    if batch is None and conditions:
        session.note("no batch is like that")
    elif batch is None:
        advice = f"no batches yet: {session.command('submit')} FILE makes one"
        session.note(f"no batch is {' or '.join(states)}" if states else advice)
    return ExitCode.OK


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
        ("progress", f"{batch.progress_percent:.0f} %, {describe_counts(batch)}"),
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


def watch_to_end(
    session: Session, batch_id: str, output: str | None, *, every_snapshot: bool
) -> Batch:
    """Watches to the end; the last snapshot is returned. `output` is for the advice."""
    words = ("watch", batch_id) if output is None else ("watch", batch_id, "-o", output)
    again = session.command(*words)
    with (
        interruptible(
            f"stopped watching; {batch_id} goes on.",
            f"watch it again: {again}",
            f"cancel it: {session.command('cancel', batch_id)}",
        ),
        advising(session, f"{batch_id} goes on; watch it again: {again}"),
    ):
        last: Batch | None = None
        for last in session.client.watch(batch_id):
            session.display.batch(last)
            if every_snapshot:
                session.emit(last)
    assert last is not None, "a watch ends with a snapshot"
    session.display.settle()
    return last


def explain_outcome(session: Session, batch: Batch, output: str | None) -> None:
    """Says what has become of a batch that has ended, and what can be done next."""
    if cost := describe_cost(batch):
        session.note(f"cost: {cost}")
    for line in describe_late(batch):
        session.note(line)
    if kept := describe_retention(batch):
        session.note(f"results {kept}")
    counts = batch.request_counts
    if counts.unsuccessful:
        what = "why lines failed" if counts.failed else "the lines without an answer"
        session.note(f"{what}: {session.command('failures', batch.id)}")
    if output is None and counts.finished:
        again = session.command("results", batch.id, "-o", "results.jsonl")
        session.note(f"the results: {again}")
