"""Entry point: parse, run the command, turn what goes wrong into one line and an exit code."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from polybatch.cli import grammar
from polybatch.cli.ending import ended_in_order, suspended_in_order
from polybatch.cli.exit_codes import ExitCode
from polybatch.cli.invocation import called_as
from polybatch.cli.output import printable, terminal
from polybatch.cli.session import Interrupted, NotConfirmed, RefusedFile, Session, UnusableInput
from polybatch.errors import InvalidLines, InvalidRequest, PolybatchError

_INPUT_TOO_LARGE = frozenset({"FILE_TOO_LARGE", "TOO_MANY_LINES"})
_NAME = "polybatch"
# The package of the protos: services of any version that serve it will do.
_API = "polybatch.v1"
_COMPLETION = "_POLYBATCH_COMPLETE"
_COMMAND = re.compile(r"`[^`]*`")
# For private use, so that no text has it once it is printable.
_GLUE = "\ue000"

_TEACHING = f"""\
Examples:
  polybatch submit requests.jsonl -o results.jsonl   submit, watch, write the results
  polybatch submit requests.jsonl --no-watch         print the batch's id and return
  generate-requests | polybatch submit -             the same from a pipe
  polybatch watch batch_4k2j9x                       watch it, now or later, from anywhere
  polybatch results batch_4k2j9x --failed            only the lines that failed
  polybatch validate requests.jsonl                  check every line, run nothing
  polybatch estimate requests.jsonl                  what it will cost, run nothing
  polybatch convert table.csv --help                 CSV, Parquet, other APIs' files to lines
  polybatch watch last -o results.jsonl              the newest batch; parts of ids do as well
  polybatch list --json | jq -r .id                  for scripts: one JSON document a line

A service that is away, as while it is restarted, is waited for: uploads, watches and
downloads then go on where they were.

Exit codes:
{"".join(f"  {code:>3}  {code.description}" + chr(10) for code in ExitCode)}
Environment:
  POLYBATCH_GATEWAY     address of the gateway (localhost:50051); grpcs:// for TLS;
                        several replicas separated by commas
  POLYBATCH_COLLECTOR   address of the collector (localhost:50052), as for the gateway
  POLYBATCH_API_KEY     the key; else the file $POLYBATCH_DATA_DIR/api-key
  POLYBATCH_DATA_DIR    folder of that file (.polybatch), and of operator-key for `admin`;
                        while `make up` runs from it, its addresses are found there too
  POLYBATCH_PORT_BASE   the first of the ports, where all were moved
  POLYBATCH_TLS         1 or 0; on by itself unless both addresses are this machine
  POLYBATCH_TLS_CA      authority of the services' certificate (PEM file)
  POLYBATCH_TLS_CLIENT_CERT, POLYBATCH_TLS_CLIENT_KEY
                        your certificate and its key, where mutual TLS is on
  POLYBATCH_WAIT        as --wait; without either 120
  POLYBATCH_CONFIRM_ABOVE
                        as --confirm-above of submit
  NO_COLOR              no colours

Completion, in ~/.bashrc (zsh: in ~/.zshrc, after compinit):
  eval "$(polybatch completion bash)"
"""


_HOMES = {
    "submit": "submit_command.submit",
    "watch": "watch_command.watch",
    "list": "batch_commands.list_batches",
    "get": "batch_commands.get",
    "results": "result_commands.results",
    "failures": "result_commands.failures",
    "manifest": "result_commands.manifest",
    "cancel": "batch_commands.cancel",
    "pause": "steering_commands.pause",
    "resume": "steering_commands.resume",
    "retry": "retry_command.retry",
    "delete": "batch_commands.delete",
    "validate": "file_commands.validate",
    "estimate": "estimate_command.estimate",
    "convert": "convert_command.convert",
    "files": "file_commands.files",
    "providers": "provider_commands.providers",
    "prices": "price_command.prices",
    "usage": "usage_command.usage",
    "keys": "key_commands.keys",
    "admin": "admin_commands.admin",
    "webhooks": "webhook_commands.webhooks",
}


class _Program(grammar.Group):
    """Imports a command where it is called: all of them take as long as a call to the gateway."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are needed."""
        return [*_HOMES, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """None where there is no such command."""
        if (home := _HOMES.get(cmd_name)) is None:
            return super().get_command(ctx, cmd_name)
        module, _, name = home.partition(".")
        command: click.Command = getattr(import_module(f"polybatch.cli.{module}"), name)
        return command


@click.group(cls=_Program, example=_TEACHING)
@click.version_option(package_name="polybatch", message=f"{_NAME} %(version)s (API {_API})")
def cli() -> None:
    """One JSONL file in, any mix of LLM providers, one JSONL file of results out."""


@cli.command(example="polybatch completion fish | source")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(*, shell: str) -> ExitCode:
    """Print the script that lets a shell complete commands and options."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, "click knows the shells that are offered"
    print(kind(cli, {}, _NAME, _COMPLETION).source())
    return ExitCode.OK


def main(argv: Sequence[str] | None) -> int:
    """What `polybatch.cli.main` does once gRPC may be imported."""
    name = called_as() if argv is None else _NAME
    session = Session(name)
    if argv is not None:
        # Signals are the affair of the program that calls this.
        return _main(session, argv)
    with ended_in_order(), suspended_in_order(session.suspend):
        return _main(session, sys.argv[1:])


def _main(session: Session, argv: Sequence[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        # A terminal that lacks a character shows it escaped, where Python would raise.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if sys.stdout is None:
        # Closed by who called this, such as a daemon: nobody reads, which is no error.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    arguments, name = list(argv), session.name
    # Not click's own main: it has other ideas of Ctrl-C, closed pipes and exit codes.
    try:
        if asked := os.environ.get(_COMPLETION):
            from click.shell_completion import shell_complete

            return shell_complete(cli, {"obj": session}, _NAME, _COMPLETION, asked)
        with session, cli.make_context(name, arguments, obj=session) as context:
            code: int = cli.invoke(context)
            sys.stdout.flush()
            return code
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return ExitCode.BAD_INPUT
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else name
        message = f"{error.format_message().rstrip('.')}. See: {command} --help"
        _complain("BAD_INPUT", message, session.json)
        return ExitCode.BAD_INPUT
    except Interrupted as stop:
        _complain("INTERRUPTED", stop.message, session.json, stop.advice)
        return ExitCode.INTERRUPTED
    except KeyboardInterrupt:
        _complain("INTERRUPTED", "stopped.", session.json)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Python would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.BROKEN_PIPE
    except NotConfirmed as stop:
        kept = f"the file is kept as {stop.kept}" if stop.kept else ""
        _complain(
            "NOT_CONFIRMED", stop.message, session.json, [*filter(None, (stop.next_step, kept))]
        )
        return ExitCode.NOT_CONFIRMED
    except UnusableInput as error:
        _complain("BAD_INPUT", str(error), session.json)
        return ExitCode.BAD_INPUT
    except RefusedFile as refused:
        _explain(refused.error, session, refused)
        return ExitCode.BAD_INPUT if _blames_input(refused.error) else ExitCode.ERROR
    except UnicodeEncodeError as error:
        if not any(_is_undecodable(word) for word in arguments):
            raise
        said = f"{printable(error.object)} is not text in UTF-8; only names of files may be other."
        _complain("BAD_INPUT", said, session.json)
        return ExitCode.BAD_INPUT
    except PolybatchError as error:
        _explain(error, session)
        return ExitCode.BAD_INPUT if _blames_input(error) else ExitCode.ERROR
    except OSError as error:
        what = f"{error.filename or 'output'}: {error.strerror or error}."
        _complain("OS_ERROR", what, session.json)
        return ExitCode.ERROR


def _is_undecodable(word: str) -> bool:
    return any("\udc80" <= letter <= "\udcff" for letter in word)


def _blames_input(error: PolybatchError) -> bool:
    return isinstance(error, InvalidRequest) or error.reason in _INPUT_TOO_LARGE


def _complain(reason: str, message: str, as_json: bool, advice: Sequence[str] = ()) -> None:
    if as_json:
        document = {"reason": reason, "message": message, "next_step": "; ".join(advice)}
        print(json.dumps({"error": document}), file=sys.stderr)
        return
    _print(("polybatch:", "bold red"), f" {message}")
    for line in advice:
        # Not broken into lines here: what holds a command is there to be pasted.
        print(f"  {printable(line)}", file=sys.stderr)


def _explain(error: PolybatchError, session: Session, refused: RefusedFile | None = None) -> None:
    problems = error.problems if isinstance(error, InvalidLines) else ()
    error.next_step = error.next_step.replace("`polybatch ", f"`{session.name} ")
    if session.json:
        document: dict[str, Any] = {
            "reason": error.reason,
            "message": error.message,
            "next_step": error.next_step,
            **error.metadata,
        }
        if refused is not None and not refused.kept:
            del document["file_id"]
        if problems:
            document["problems"] = [
                {"line": p.line, "field": p.field, "message": p.message} for p in problems
            ]
        print(json.dumps({"error": document}), file=sys.stderr)
        return
    _complain(error.reason, str(error), session.json)
    if refused is not None and refused.reasons:
        for reason in refused.reasons:
            _print(("  ", ""), reason)
        problems = ()
    for problem in problems:
        where = f"line {problem.line}" if problem.line else "file"
        field = f" {problem.field}:" if problem.field else ""
        _print((f"  {where}:", "yellow"), f"{field} {problem.message}")
    if refused is not None and refused.kept:
        words = session.command("files", "delete", refused.kept)
        print(f"  the file is kept as {refused.kept}; {words} deletes it", file=sys.stderr)


def _print(marked: tuple[str, str], rest: str) -> None:
    """Prints a line to stderr, its beginning in a colour on a terminal."""
    (start, style), rest = marked, printable(rest)
    console = terminal(sys.stderr)
    if console is None:
        print(f"{start}{rest}", file=sys.stderr)
        return
    from rich.cells import cell_len
    from rich.text import Text

    console.width -= len("^C")  # which the terminal may have put before it
    # A command stays in one piece where lines are broken: it is there to be pasted. One that no
    # line holds is broken between its words, as all else is.
    most = console.width

    def glue(command: re.Match[str]) -> str:
        words = command[0]
        return words if cell_len(words) > most else words.replace(" ", _GLUE)

    glued = _COMMAND.sub(glue, rest)
    with console.capture() as drawn:
        console.print(Text.assemble((start, style), glued))
    print(drawn.get().replace(_GLUE, " "), end="", file=sys.stderr)
