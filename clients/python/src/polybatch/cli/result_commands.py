"""The commands about the results of a batch."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import click

import polybatch
from polybatch.cli import grammar
from polybatch.cli.exit_codes import ExitCode
from polybatch.cli.ids import whole_batch_id
from polybatch.cli.listing import Listing
from polybatch.cli.output import counted, row, size, usd
from polybatch.cli.partial_results import Some, download_some
from polybatch.cli.session import Session, advising, interruptible, tried_output
from polybatch.errors import Conflict


@click.command(cls=grammar.Command, example="polybatch results batch_4k2j9x -o results.jsonl")
@grammar.batch_id
@grammar.output_file("Write them there, whole or not at all (stdout).")
@click.option("--failed", is_flag=True, help="Only the lines that failed.")
@click.option("--succeeded", is_flag=True, help="Only the lines that succeeded.")
@click.option("--partial", is_flag=True, help="What is settled so far, of a batch that still runs.")
@click.option("--follow", is_flag=True, help="That, and then each line as it comes, until the end.")
@click.option("--merged", is_flag=True, help="Of the batch and its retries: each line once.")
@click.pass_obj
def results(
    session: Session,
    *,
    batch_id: str,
    output: str | None,
    failed: bool,
    succeeded: bool,
    partial: bool,
    follow: bool,
    merged: bool,
) -> ExitCode:
    """Fetch the results of a batch: once it has ended, or while it runs."""
    if failed and succeeded:
        raise click.UsageError("--failed and --succeeded exclude each other: leave out both.")
    if partial + follow + merged > 1:
        raise click.UsageError("--partial, --follow and --merged exclude each other: give one.")
    tried_output(output or "-")
    which = polybatch.ResultFilter.ALL
    if failed:
        which = polybatch.ResultFilter.FAILED
    elif succeeded:
        which = polybatch.ResultFilter.SUCCEEDED
    whole = whole_batch_id(session, batch_id)
    if partial or follow or merged:
        some = Some(follow=follow, merged=merged)
        return download_some(session, whole, output or "-", which, some)
    _download(session, whole, output or "-", which)
    return ExitCode.OK


@click.command(cls=grammar.Command, example="polybatch manifest batch_4k2j9x --json")
@grammar.batch_id
@click.pass_obj
def manifest(session: Session, *, batch_id: str) -> ExitCode:
    """Show what proves that the results are complete: digests, counts, provider batches."""
    found = session.client.manifest(whole_batch_id(session, batch_id))
    if session.json:
        session.emit(found)
        return ExitCode.OK
    usage, awaited = found.usage, found.awaited_line_count
    facts = [
        ("batch", found.batch_id),
        ("input", f"{counted(found.input_line_count, 'line')}, sha256 {found.input_sha256}"),
        ("results", f"{size(found.results_bytes)}, sha256 {found.results_sha256}"),
        ("revision", f"{found.results_revision:,}"),
        ("lines", _describe_ends(found)),
        ("awaited", f"{counted(awaited, 'line')} may still be answered" if awaited else ""),
        ("tokens", f"{usage.input_tokens:,} in, {usage.output_tokens:,} out"),
        ("cost", f"{usd(found.cost)} USD" if found.cost is not None else ""),
    ]
    for shard in found.shards:
        cells = (
            f"{shard.succeeded:,} of {counted(shard.line_count, 'line')}",
            shard.provider,
            shard.model,
            shard.provider_batch_id,
        )
        facts.append(("shard", row(cells, (-20, 0, 0, 0))))
    session.tell_facts(facts, 10)
    return ExitCode.OK


@click.command(
    cls=grammar.Command,
    example="""\
Examples:
  polybatch failures batch_4k2j9x --limit 20
  polybatch failures batch_4k2j9x --by-cause            what failed most, and what to do about it
  polybatch failures batch_4k2j9x --cause 1f0c9a77e2d4  the lines of one cause
""",
)
@grammar.batch_id
@click.option("--by-cause", is_flag=True, help="Group the lines by cause, with what to do.")
@click.option(
    "--cause",
    type=grammar.word,
    metavar="CAUSE",
    help="Only lines with this cause, by its id.",
)
@grammar.limit
@click.option("--partial", is_flag=True, help="Those of a batch that still runs.")
@click.pass_obj
def failures(
    session: Session,
    *,
    batch_id: str,
    by_cause: bool,
    cause: str | None,
    limit: int | None,
    partial: bool,
) -> ExitCode:
    """List the lines of a batch that failed, and why."""
    if by_cause and cause:
        raise click.UsageError("--by-cause and --cause exclude each other: leave one out.")
    batch_id = whole_batch_id(session, batch_id)
    if by_cause:
        _show_causes(session, batch_id, limit, partial=partial)
        return ExitCode.OK
    columns = {"LINE": -8, "CUSTOM_ID": 24, "HTTP": 4, "CODE": 24, "MESSAGE": 0}
    failure = None
    with Listing(columns) as listing:
        found = session.client.failures(batch_id, cause_id=cause or "", partial=partial)
        for failure in islice(found, limit):
            if session.json:
                session.emit(failure)
                continue
            listing.add(
                str(failure.line),
                failure.custom_id,
                str(failure.status_code or "-"),
                failure.code,
                failure.message,
            )
    if failure is None:
        session.note(
            f"none: no line of {batch_id} failed" + (f" for the cause {cause}" if cause else "")
        )
    return ExitCode.OK


def _show_causes(session: Session, batch_id: str, limit: int | None, *, partial: bool) -> None:
    found = session.client.failure_causes(batch_id, partial=partial)
    causes = found.causes[:limit]
    if session.json:
        session.emit(replace(found, causes=causes))
        return
    columns = {
        **{"CAUSE": 12, "LINES": -9, "SHARE": -6, "CODE": 22, "MESSAGE": 0},
        **{"FIRST LINES": 16, "WHAT TO DO": 0},
    }
    with Listing(columns, "FIRST LINES") as listing:
        for cause in causes:
            where = ": ".join(part for part in (cause.provider, cause.field) if part)
            first = ", ".join(map(str, cause.first_lines))
            listing.add(
                cause.id,
                f"{cause.line_count:,}",
                f"{cause.share:.1%}",
                cause.code,
                f"{where}: {cause.message}" if where else cause.message,
                first + (", ..." if cause.line_count > len(cause.first_lines) else ""),
                cause.hint,
            )
    if not found.failure_count:
        session.note(f"none: no line of {batch_id} failed")
        return
    others = found.failure_count - sum(cause.line_count for cause in causes)
    if others:
        session.note(f"{counted(others, 'line')} with other causes")
    session.note(f"the lines of one: {session.command('failures', batch_id, '--cause', 'CAUSE')}")


def fetch(session: Session, batch: polybatch.Batch, output: str) -> None:
    """Writes the results of a batch that has ended, if it has any."""
    try:
        _download(session, batch.id, output, polybatch.ResultFilter.ALL)
    except Conflict as error:
        if error.reason not in ("NO_RESULTS", "RESULTS_DELETED"):
            raise


def _download(session: Session, batch_id: str, output: str, which: polybatch.ResultFilter) -> None:
    words = ("results", batch_id) if output == "-" else ("results", batch_id, "-o", output)
    again = f"fetch them again: {session.command(*words)}"
    stay = f"the results stay there; {again}"
    with interruptible("stopped.", again), advising(session, stay, output):
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
        if which is polybatch.ResultFilter.ALL:
            session.note(f"{output}: {size(path.stat().st_size)}, {_describe_ends(manifest)}")


def _describe_ends(manifest: polybatch.Manifest) -> str:
    lines = manifest.request_counts
    text = f"{lines.succeeded:,} succeeded, {lines.failed:,} failed"
    for count, word in (
        (lines.cancelled, "cancelled"),
        (lines.expired, "expired"),
        (manifest.late_line_count, "late"),
    ):
        if count:
            text += f", {count:,} {word}"
    return text
