"""The commands about files."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from polybatch.cli import grammar
from polybatch.cli.estimate_command import in_one_line
from polybatch.cli.exit_codes import ExitCode
from polybatch.cli.ids import whole_file_id
from polybatch.cli.listing import Listing
from polybatch.cli.output import counted, moment, row, size
from polybatch.cli.problems import ProblemGroups, problem_line
from polybatch.cli.session import Session, interruptible, opened_input, tried_output
from polybatch.errors import PolybatchError

if TYPE_CHECKING:
    from polybatch import File


@click.command(cls=grammar.Command, example="polybatch validate requests.jsonl")
@grammar.input_file
@grammar.defaults
@click.option("--all", "every", is_flag=True, help="List each problem; else equal ones come once.")
@click.pass_obj
def validate(
    session: Session, *, file: str, provider: str | None, model: str | None, every: bool
) -> ExitCode:
    """Have every line of a file checked, and run nothing."""
    groups = ProblemGroups()
    with (
        opened_input(file) as (content, name),
        interruptible("stopped; nothing was run."),
    ):
        stored = session.client.upload(
            content,
            filename=name,
            provider=provider,
            model=model,
            progress=lambda sent, total: session.display.upload(name, sent, total),
        )
        session.display.settle()
        try:
            for problem in session.client.files.validation_report(stored.id):
                if session.json:
                    session.emit({"type": "problem", "problem": problem})
                    continue
                if not problem.line:
                    message = session.about_file(problem.message, file)
                    problem = replace(problem, message=message)
                if every:
                    session.say(problem_line(name, problem))
                else:
                    groups.add(problem)
            estimate = session.client.estimate(stored) if stored.valid else None
        except BaseException:
            # Whoever pressed Ctrl-C, or has waited in vain, waits no longer.
            with suppress(PolybatchError), session.hasty_client() as hasty:
                hasty.files.delete(stored.id)
            raise
        session.client.files.delete(stored.id)
    for line in groups.lines(name, stored.line_count):
        session.say(line)
    if session.json:
        summary = {"type": "summary", "valid": stored.valid, "file": stored, "estimate": estimate}
        session.emit(summary)
    else:
        verdict = "can be submitted" if stored.valid else "cannot be submitted as it is"
        if stored.lenient_line_count and stored.lenient_line_count == stored.invalid_line_count:
            verdict = "can be submitted with --lenient only"
        lines = _describe_lines(stored)
        if not stored.line_count and not stored.problem_count:
            lines = "only blank lines" if stored.bytes else "the file is empty"
        session.note(f"{name}: {lines}; it {verdict}.")
        if estimate is not None:
            session.note(in_one_line(estimate))
    return ExitCode.OK if stored.valid else ExitCode.BAD_INPUT


@click.group(cls=grammar.Group, example="polybatch files list --limit 20")
def files() -> None:
    """List, show, delete or download stored files."""


@files.command("list", example="polybatch files list --json")
@grammar.limit
@click.pass_obj
def list_files(session: Session, *, limit: int | None) -> ExitCode:
    """List files, newest first."""
    columns = {"ID": 25, "STATE": 8, "SIZE": -10, "LINES": -11, "CREATED": 25, "NAME": 0}
    with Listing(columns, "LINES", "CREATED", "STATE") as listing:
        for file in islice(session.client.files.list(), limit):
            if session.json:
                session.emit(file)
                continue
            listing.add(
                file.id,
                str(file.state),
                size(file.bytes),
                f"{file.line_count:,}",
                moment(file.created_at),
                file.filename,
            )
    return ExitCode.OK


@files.command(example="polybatch files get file_7h3m2p")
@grammar.file_id
@click.pass_obj
def get(session: Session, *, file_id: str) -> ExitCode:
    """Show all that is known of a file."""
    file = session.client.files.get(whole_file_id(session, file_id))
    if session.json:
        session.emit(file)
        return ExitCode.OK
    facts = [
        ("file", file.id),
        ("name", file.filename),
        ("state", str(file.state)),
        ("size", f"{size(file.bytes)}, {_describe_lines(file)}"),
        ("sha256", file.sha256),
        ("endpoint", file.endpoint),
        ("created", moment(file.created_at)),
    ]
    for count in file.models:
        cells = (counted(count.line_count, "line"), count.provider, count.model)
        facts.append(("model", row(cells, (-14, 0, 0))))
    session.tell_facts(facts, 10)
    return ExitCode.OK


@files.command(example="polybatch files delete file_7h3m2p")
@grammar.file_id
@click.pass_obj
def delete(session: Session, *, file_id: str) -> ExitCode:
    """Delete a file and its contents."""
    file_id = whole_file_id(session, file_id)
    session.client.files.delete(file_id)
    if session.json:
        session.emit({"id": file_id, "deleted": True})
    else:
        session.say(f"{file_id} deleted")
    return ExitCode.OK


@files.command(example="polybatch files download file_7h3m2p -o requests.jsonl")
@grammar.file_id
@grammar.output_file("Write it there, whole or not at all (stdout).")
@click.pass_obj
def download(session: Session, *, file_id: str, output: str | None) -> ExitCode:
    """Fetch a file's contents."""
    tried_output(output or "-")
    file_id = whole_file_id(session, file_id)
    with interruptible("stopped."):
        if output in (None, "-"):
            for chunk in session.client.files.chunks(file_id):
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            return ExitCode.OK
        file = session.client.files.download(
            file_id,
            Path(output),
            progress=lambda done, total: session.display.upload(output, done, total),
        )
        session.display.settle()
        session.note(f"{output}: {size(file.bytes)}, {_describe_lines(file)}")
    return ExitCode.OK


def _describe_lines(file: File) -> str:
    bad = f", {file.invalid_line_count:,} bad" if file.invalid_line_count else ""
    return f"{counted(file.line_count, 'line')}{bad}"
