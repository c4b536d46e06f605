"""`polybatch watch`, and the watching that other commands end with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from polybatch.cli import grammar
from polybatch.cli.describe import (
    describe_cost,
    describe_late,
    describe_retention,
    why_lines_failed,
)
from polybatch.cli.exit_codes import ExitCode, outcome
from polybatch.cli.ids import whole_batch_id
from polybatch.cli.result_commands import fetch
from polybatch.cli.session import (
    Session,
    advising,
    interruptible,
    tried_output,
)

if TYPE_CHECKING:
    from polybatch import Batch


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
        told = False
        for last in session.client.watch(batch_id):
            if last.request_counts.failed and not (last.ended or told):
                # Whoever learns of it now need not pay for the rest of the lines.
                told = True
                why = session.command(*why_lines_failed(last))
                session.note(f"lines fail; why, so far: {why}")
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
        session.note(f"{what}: {session.command(*why_lines_failed(batch))}")
    if output is None and counts.finished:
        again = session.command("results", batch.id, "-o", "results.jsonl")
        session.note(f"the results: {again}")
