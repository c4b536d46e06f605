"""The command line's grammar and its help."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from datetime import timedelta
from importlib.metadata import version

from polybatch.cli import batch_commands, file_commands
from polybatch.cli.exit_codes import ExitCode

_EXAMPLES = """\
examples:
  polybatch submit requests.jsonl -o results.jsonl   submit, watch, write the results
  polybatch submit requests.jsonl --no-watch         print the batch's id and return
  generate-requests | polybatch submit -             the same from a pipe
  polybatch watch batch_4k2j9x                       watch it, now or later, from anywhere
  polybatch results batch_4k2j9x --failed            only the lines that failed
  polybatch validate requests.jsonl                  check every line, run nothing
  polybatch list --json | jq -r .id                  for scripts: one JSON document a line

A service that is away, as while it is restarted, is waited for: uploads, watches and
downloads then go on where they were.
"""

_ENVIRONMENT = """\
environment:
  POLYBATCH_GATEWAY     address of the gateway (localhost:50051); grpcs:// for TLS;
                        several replicas separated by commas
  POLYBATCH_COLLECTOR   address of the collector (localhost:50052), as for the gateway
  POLYBATCH_API_KEY     the key; else the file $POLYBATCH_DATA_DIR/api-key
  POLYBATCH_DATA_DIR    folder of that file (.polybatch)
  POLYBATCH_TLS         1 or 0; on by itself unless both addresses are this machine
  POLYBATCH_TLS_CA      authority of the services' certificate (PEM file)
  POLYBATCH_TLS_CLIENT_CERT, POLYBATCH_TLS_CLIENT_KEY
                        your certificate and its key, where mutual TLS is on
  POLYBATCH_WAIT        as --wait; without either 120
  NO_COLOR              no colours
"""

_SPAN = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

Command = Callable[..., ExitCode]


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser; `command` of what it returns is the function to call."""
    connection = _connection_options()
    parser = argparse.ArgumentParser(
        prog="polybatch",
        description="One JSONL file in, any mix of LLM providers, one JSONL file of results out.",
        epilog=f"{_EXAMPLES}\n{_exit_codes()}\n{_ENVIRONMENT}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[connection],
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"polybatch {version('polybatch')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")

    def add(name: str, command: Command, summary: str, example: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[connection],
            allow_abbrev=False,
        )
        sub.set_defaults(command=command)
        return sub

    submit = add(
        "submit",
        batch_commands.submit,
        "upload a file, make a batch of it and watch it to its end",
        "polybatch submit requests.jsonl --window 2h --metadata team=search -o results.jsonl",
    )
    submit.add_argument("file", metavar="FILE", help="JSONL file of requests; - for stdin")
    submit.add_argument(
        "--watch",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="watch the batch to its end (default), or only print its id",
    )
    submit.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="write the results there once it has ended; - for stdout",
    )
    submit.add_argument(
        "--window",
        type=_span,
        metavar="SPAN",
        help="completion window, such as 90s, 30m, 24h (default) or 7d",
    )
    submit.add_argument(
        "--skip-invalid",
        action="store_true",
        help="run the good lines; bad ones come back as failed lines",
    )
    submit.add_argument(
        "--lenient",
        action="store_true",
        help="leave out what a provider lacks; the results tell what",
    )
    submit.add_argument(
        "--fail-fast",
        action="store_true",
        help="fail lines at once where their provider refuses the key; else they wait for another",
    )
    submit.add_argument(
        "--metadata",
        type=_pair,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a note kept with the batch; may be given several times",
    )
    submit.add_argument(
        "--request-id", metavar="ID", help="makes it repeatable: the same id, the same batch"
    )

    watch = add(
        "watch",
        batch_commands.watch,
        "show a batch's progress until it has ended",
        "polybatch watch batch_4k2j9x",
    )
    _batch_id(watch)

    listing = add(
        "list",
        batch_commands.list_batches,
        "list batches, newest first",
        "polybatch list --limit 20",
    )
    _limit(listing)

    get = add(
        "get",
        batch_commands.get,
        "show all that is known of a batch",
        "polybatch get batch_4k2j9x --json",
    )
    _batch_id(get)

    results = add(
        "results",
        batch_commands.results,
        "fetch the results of a batch that has ended",
        "polybatch results batch_4k2j9x -o results.jsonl",
    )
    _batch_id(results)
    results.add_argument(
        "-o", "--output", metavar="FILE", help="write them there, whole or not at all (stdout)"
    )
    which = results.add_mutually_exclusive_group()
    which.add_argument("--failed", action="store_true", help="only the lines that failed")
    which.add_argument("--succeeded", action="store_true", help="only the lines that succeeded")

    failures = add(
        "failures",
        batch_commands.failures,
        "list the lines of a batch that failed, and why",
        "polybatch failures batch_4k2j9x",
    )
    _batch_id(failures)
    _limit(failures)

    cancel = add(
        "cancel",
        batch_commands.cancel,
        "ask for the end of a batch; what has finished is kept",
        "polybatch cancel batch_4k2j9x",
    )
    _batch_id(cancel)

    validate = add(
        "validate",
        file_commands.validate,
        "have every line of a file checked, and run nothing",
        "polybatch validate requests.jsonl",
    )
    validate.add_argument("file", metavar="FILE", help="JSONL file of requests; - for stdin")

    _add_file_commands(commands, connection)
    return parser


def _add_file_commands(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    connection: argparse.ArgumentParser,
) -> None:
    files = commands.add_parser(
        "files",
        help="list, show, delete or download stored files",
        description="List, show, delete or download stored files.",
        parents=[connection],
        allow_abbrev=False,
    )
    actions = files.add_subparsers(metavar="ACTION", required=True, title="actions")

    def add(name: str, command: Command, summary: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            parents=[connection],
            allow_abbrev=False,
        )
        sub.set_defaults(command=command)
        return sub

    _limit(add("list", file_commands.list_files, "list files, newest first"))
    for name, command, summary in (
        ("get", file_commands.get, "show all that is known of a file"),
        ("delete", file_commands.delete, "delete a file and its contents"),
        ("download", file_commands.download, "fetch a file's contents"),
    ):
        action = add(name, command, summary)
        action.add_argument("file_id", metavar="FILE_ID")
        if name == "download":
            action.add_argument(
                "-o",
                "--output",
                metavar="FILE",
                help="write it there, whole or not at all (stdout)",
            )


def _connection_options() -> argparse.ArgumentParser:
    """Options that may stand before or after the command."""
    parent = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    group = parent.add_argument_group("connection and output")
    group.add_argument(
        "--json",
        action="store_true",
        help="for scripts: one JSON document on stdout, one a line for listings and watches",
    )
    group.add_argument("--gateway", metavar="HOST:PORT,...", help="address of the gateway")
    group.add_argument("--collector", metavar="HOST:PORT,...", help="address of the collector")
    group.add_argument(
        "--wait",
        type=_seconds,
        metavar="SECONDS",
        help="wait so long for a service that is away or breaks off, then give up; 0: at once "
        "(120, or POLYBATCH_WAIT)",
    )
    group.add_argument("--api-key-file", metavar="FILE", help="file that holds the API key")
    group.add_argument(
        "--tls",
        action=argparse.BooleanOptionalAction,
        help="speak TLS; on by itself unless both addresses are this machine",
    )
    group.add_argument("--tls-ca", metavar="FILE", help="authority of the services' certificate")
    group.add_argument("--tls-client-cert", metavar="FILE", help="your certificate (mutual TLS)")
    group.add_argument("--tls-client-key", metavar="FILE", help="its private key")
    return parent


def _batch_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("batch_id", metavar="BATCH_ID")


def _limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=_positive, metavar="N", help="no more than so many")


def _exit_codes() -> str:
    return "exit codes:\n" + "".join(f"  {code:>3}  {code.description}\n" for code in ExitCode)


def _span(text: str) -> timedelta:
    match = _SPAN.fullmatch(text.strip().lower())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no span such as 90s, 30m, 24h or 7d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 on")
    return seconds


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)
