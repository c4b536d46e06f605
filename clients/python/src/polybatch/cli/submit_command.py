"""`polybatch submit`: upload, make a batch, watch it to its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from polybatch.cli import grammar
from polybatch.cli.estimate_command import Confirmation
from polybatch.cli.exit_codes import ExitCode, outcome
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
from polybatch.cli.watch_command import explain_outcome, watch_to_end
from polybatch.errors import (
    Conflict,
    InvalidLines,
    InvalidRequest,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    PolybatchError,
)

if TYPE_CHECKING:
    pass


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
    except (InvalidRequest, Conflict, PermissionDenied, NotFound, LimitExceeded) as error:
        file_id = error.metadata.get("file_id", "")
        if not file_id:
            raise
        from polybatch._operations.upload_stream import refuses_batch

        reasons: list[str] = []
        if isinstance(error, InvalidLines) and not session.json:
            line_count = int(error.metadata.get("line_count", "0"))
            with suppress(PolybatchError):
                # Else the first ones, which came with the error, have to do.
                reasons = told_errors(session, name, file_id, line_count, lenient=lenient)
        if keep_file or not refuses_batch(error):
            raise RefusedFile(error, reasons, file_id) from error
        try:
            with suppress(NotFound):
                session.client.files.delete(file_id)
        except PolybatchError:
            raise RefusedFile(error, reasons, file_id) from error
        raise RefusedFile(error, reasons) from error
