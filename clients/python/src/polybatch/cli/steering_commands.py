"""The commands that steer a batch which runs."""

from __future__ import annotations

import click

from polybatch.cli import grammar
from polybatch.cli.describe import describe_state
from polybatch.cli.exit_codes import ExitCode
from polybatch.cli.ids import whole_batch_id
from polybatch.cli.session import Session


@click.command(cls=grammar.Command, example="polybatch pause batch_4k2j9x")
@grammar.batch_id
@click.pass_obj
def pause(session: Session, *, batch_id: str) -> ExitCode:
    """Send nothing more of a batch until it is resumed; what is at providers comes home.

    The completion window goes on: a batch that stays paused expires.
    """
    batch = session.client.pause_batch(whole_batch_id(session, batch_id))
    if session.json:
        session.emit(batch)
        return ExitCode.OK
    session.say(f"{batch.id}  {describe_state(batch)}, {batch.waiting_reason}")
    session.note(f"let it go on: {session.command('resume', batch.id)}")
    return ExitCode.OK


@click.command(cls=grammar.Command, example="polybatch resume batch_4k2j9x")
@grammar.batch_id
@click.pass_obj
def resume(session: Session, *, batch_id: str) -> ExitCode:
    """Let a paused batch go on."""
    batch = session.client.resume_batch(whole_batch_id(session, batch_id))
    if session.json:
        session.emit(batch)
        return ExitCode.OK
    session.say(f"{batch.id}  {describe_state(batch)}")
    session.note(f"watch it: {session.command('watch', batch.id)}")
    return ExitCode.OK
