"""Entry point: parse, run the command, turn what goes wrong into one line and an exit code."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from polybatch.cli.arguments import build_parser
from polybatch.cli.exit_codes import ExitCode
from polybatch.cli.output import printable
from polybatch.cli.session import Interrupted, Session, UnusableInput
from polybatch.errors import InvalidLines, InvalidRequest, PolybatchError

_INPUT_TOO_LARGE = frozenset({"FILE_TOO_LARGE", "TOO_MANY_LINES"})


def main(argv: Sequence[str] | None) -> int:
    """What `polybatch.cli.main` does once gRPC may be imported."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that lacks a character shows it escaped, where Python would raise.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = build_parser().parse_args(argv)
    as_json = getattr(arguments, "json", False)
    try:
        with Session(arguments) as session:
            code: ExitCode = arguments.command(session, arguments)
            sys.stdout.flush()
            return code
    except Interrupted as stop:
        _complain("INTERRUPTED", stop.message, as_json)
        return ExitCode.INTERRUPTED
    except KeyboardInterrupt:
        _complain("INTERRUPTED", "stopped.", as_json)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Python would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.BROKEN_PIPE
    except UnusableInput as error:
        _complain("BAD_INPUT", str(error), as_json)
        return ExitCode.BAD_INPUT
    except PolybatchError as error:
        _explain(error, as_json)
        return ExitCode.BAD_INPUT if _blames_input(error) else ExitCode.ERROR
    except OSError as error:
        _complain("OS_ERROR", f"{error.filename or 'output'}: {error.strerror or error}.", as_json)
        return ExitCode.ERROR


def _blames_input(error: PolybatchError) -> bool:
    return isinstance(error, InvalidRequest) or error.reason in _INPUT_TOO_LARGE


def _complain(reason: str, message: str, as_json: bool) -> None:
    if as_json:
        message = json.dumps({"error": {"reason": reason, "message": message, "next_step": ""}})
    else:
        message = f"polybatch: {printable(message)}"
    print(message, file=sys.stderr)


def _explain(error: PolybatchError, as_json: bool) -> None:
    problems = error.problems if isinstance(error, InvalidLines) else ()
    if as_json:
        document: dict[str, Any] = {
            "reason": error.reason,
            "message": error.message,
            "next_step": error.next_step,
            **error.metadata,
        }
        if problems:
            document["problems"] = [
                {"line": p.line, "field": p.field, "message": p.message} for p in problems
            ]
        print(json.dumps({"error": document}), file=sys.stderr)
        return
    print(f"polybatch: {printable(str(error))}", file=sys.stderr)
    for problem in problems:
        where = f"line {problem.line}" if problem.line else "file"
        field = f" {problem.field}:" if problem.field else ""
        print(f"  {where}:{field} {printable(problem.message)}", file=sys.stderr)
