"""The command that runs what failed of a batch once more."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import click

from polybatch.cli import grammar
from polybatch.cli.exit_codes import ExitCode, outcome
from polybatch.cli.ids import whole_batch_id
from polybatch.cli.output import counted
from polybatch.cli.session import Session
from polybatch.cli.watch_command import explain_outcome, watch_to_end

_EXAMPLE = """\
Examples:
  polybatch retry batch_4k2j9x --watch              all that did not succeed
  polybatch retry batch_4k2j9x --code batch_expired --window 24h
  polybatch failures batch_4k2j9x --by-cause        which causes there are, by their ids
  polybatch retry batch_4k2j9x --cause 1f0c9a77e2d4
  polybatch results batch_4k2j9x --merged           the batch and its retries as one file
"""


@click.command(cls=grammar.Command, example=_EXAMPLE)
@grammar.batch_id
@click.option(
    "--code",
    "codes",
    type=grammar.word,
    multiple=True,
    help="Only lines with this error code; may be given several times.",
)
@click.option(
    "--cause",
    "cause_ids",
    type=grammar.word,
    multiple=True,
    metavar="CAUSE",
    help="Only lines with this cause, by its id; may be given several times.",
)
@click.option(
    "--window",
    type=grammar.window,
    metavar="SPAN",
    help="Answer the lines within 90s, 30m, 24h or 7d (as of the batch).",
)
@click.option(
    "--max-cost",
    type=grammar.usd,
    metavar="USD",
    help="Send nothing that would go past it (as of the batch).",
)
@click.option("--name", help="A name for the new batch (as of the batch).")
@click.option(
    "--request-id",
    type=grammar.request_id,
    metavar="ID",
    help="The same ID returns the same batch, however often it is asked.",
)
@click.option("--watch", is_flag=True, help="Show its progress until it has ended.")
@click.pass_obj
def retry(
    session: Session,
    *,
    batch_id: str,
    codes: tuple[str, ...],
    cause_ids: tuple[str, ...],
    window: timedelta | None,
    max_cost: Decimal | None,
    name: str | None,
    request_id: str | None,
    watch: bool,
) -> ExitCode:
    """Make a batch of the lines of another that did not succeed."""
    parent_id = whole_batch_id(session, batch_id)
    batch = session.client.retry_batch(
        parent_id,
        codes=codes,
        cause_ids=cause_ids,
        completion_window=window,
        max_cost=max_cost,
        name=name or "",
        request_id=request_id,
    )
    if not session.json:
        session.say(batch.id)
        lines = counted(batch.request_counts.total, "line")
        session.note(f"{lines} of {parent_id} are run once more")
    if not watch:
        if session.json:
            session.emit(batch)
        else:
            session.note(f"watch it: {session.command('watch', batch.id)}")
        return ExitCode.OK
    batch = watch_to_end(session, batch.id, None, every_snapshot=False)
    if session.json:
        session.emit(batch)
    explain_outcome(session, batch, None)
    merged = session.command("results", parent_id, "--merged", "-o", "results.jsonl")
    session.note(f"with the lines that succeeded before: {merged}")
    return outcome(batch)
