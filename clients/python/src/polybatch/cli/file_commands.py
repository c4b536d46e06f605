"""The commands about files."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from itertools import islice
from pathlib import Path

from polybatch.cli.exit_codes import ExitCode
from polybatch.cli.output import moment, row, size
from polybatch.cli.session import Session, interruptible, opened_input
from polybatch.errors import PolybatchError
from polybatch.models import File, LineProblem


def validate(session: Session, arguments: argparse.Namespace) -> ExitCode:
    """Uploads a file, shows every problem, deletes it again."""
    with (
        opened_input(arguments.file) as (content, name),
        interruptible("stopped; nothing was run."),
    ):
        file = session.client.upload(
            content,
            filename=name,
            progress=lambda sent, total: session.display.upload(name, sent, total),
        )
        session.display.settle()
        try:
            for problem in session.client.files.validation_report(file.id):
                if session.json:
                    session.emit({"type": "problem", "problem": problem})
                else:
                    session.say(_problem_line(name, problem))
        except BaseException:
            # Whoever pressed Ctrl-C, or has waited in vain, waits no longer.
            with suppress(PolybatchError), session.hasty_client() as hasty:
                hasty.files.delete(file.id)
            raise
        session.client.files.delete(file.id)
    if session.json:
        session.emit({"type": "summary", "valid": file.valid, "file": file})
    else:
        verdict = "can be submitted" if file.valid else "cannot be submitted as it is"
        if file.lenient_line_count and file.lenient_line_count == file.invalid_line_count:
            verdict = "can be submitted with --lenient only"
        session.note(f"{name}: {_describe_lines(file)}; it {verdict}.")
    return ExitCode.OK if file.valid else ExitCode.BAD_INPUT


def list_files(session: Session, arguments: argparse.Namespace) -> ExitCode:
    """Lists files."""
    for number, file in enumerate(islice(session.client.files.list(), arguments.limit)):
        if session.json:
            session.emit(file)
            continue
        if number == 0:
            session.say(_list_row("ID", "STATE", "SIZE", "LINES", "CREATED", "NAME"))
        session.say(
            _list_row(
                file.id,
                str(file.state),
                size(file.bytes),
                f"{file.line_count:,}",
                moment(file.created_at),
                file.filename,
            )
        )
    return ExitCode.OK


def get(session: Session, arguments: argparse.Namespace) -> ExitCode:
    """Shows one file."""
    file = session.client.files.get(arguments.file_id)
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
    for name, value in facts:
        if value:
            session.say(row([(name, 10), (value, 0)]))
    for count in file.models:
        lines = f"{count.line_count:,} lines"
        session.say(row([("model", 10), (lines, -14), (count.provider, 0), (count.model, 0)]))
    return ExitCode.OK


def delete(session: Session, arguments: argparse.Namespace) -> ExitCode:
    """Deletes one file."""
    session.client.files.delete(arguments.file_id)
    if session.json:
        session.emit({"id": arguments.file_id, "deleted": True})
    else:
        session.say(f"{arguments.file_id} deleted")
    return ExitCode.OK


def download(session: Session, arguments: argparse.Namespace) -> ExitCode:
    """Fetches a file's contents to stdout or to a file."""
    with interruptible("stopped."):
        if arguments.output in (None, "-"):
            for chunk in session.client.files.chunks(arguments.file_id):
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            return ExitCode.OK
        file = session.client.files.download(
            arguments.file_id,
            Path(arguments.output),
            progress=lambda done, total: session.display.upload(arguments.output, done, total),
        )
        session.display.settle()
        session.note(f"{arguments.output}: {size(file.bytes)}, {_describe_lines(file)}")
    return ExitCode.OK


def _problem_line(name: str, problem: LineProblem) -> str:
    parts = [f"{name}:{problem.line}" if problem.line else name, problem.severity]
    if problem.custom_id:
        parts.append(problem.custom_id)
    if problem.field:
        parts.append(problem.field)
    return row([(f"{': '.join(parts)}: {problem.message} ({problem.reason})", 0)])


def _describe_lines(file: File) -> str:
    bad = f", {file.invalid_line_count:,} bad" if file.invalid_line_count else ""
    return f"{file.line_count:,} lines{bad}"


def _list_row(*cells: str) -> str:
    return row(list(zip(cells, (25, 8, -10, -11, 19, 0), strict=True)))
