"""The command: python -m services.sandbox."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import structlog
from msgspec import Meta

from services.sandbox.config import SPEEDS, Options, merge
from services.sandbox.server import SandboxServer

_ENV = "POLYBATCH_SANDBOX_"
_ABOUT = """\
Stand-in for OpenAI's files and batches, Mistral's batch jobs over such files, Anthropic's
message batches and Gemini's batch mode, over HTTP; and for any server that answers single
calls of OpenAI's form (the key may be left out there).
Nothing is spent: answers are made up from the requests, the same each time.

  OPENAI_BASE_URL=http://127.0.0.1:8400/v1  OPENAI_API_KEY=anything
  ANTHROPIC_BASE_URL=http://127.0.0.1:8400  ANTHROPIC_API_KEY=anything
  GOOGLE_GEMINI_BASE_URL=http://127.0.0.1:8400  GEMINI_API_KEY=anything

Each key has files and batches of its own; the key 'invalid-key' is refused. Gemini is at
API version v1beta (for Google's own clients: GOOGLE_GENAI_API_VERSION=beta).
"""
_MORE = """\
every option can come from the environment: --batch-seconds from POLYBATCH_SANDBOX_BATCH_SECONDS

while it runs:
  GET  /healthz
  GET  /sandbox/config    the options named 'the sandbox' above, faults that are left
  POST /sandbox/config    change some: {"batch_seconds": 3600}
  GET  /sandbox/bill      what was run and what it would cost, lines that were run twice
                          and by provider what was wasted: calls_before_retry_after,
                          answers_never_fetched, uploads, uploads_deleted, deleted_twice,
                          answers_lost, refused (by kind of call and status), calls (by kind)
  GET  /sandbox/bill/lines
                          what each line on the bill has used, as JSON lines
  POST /sandbox/reset     forget everything

faults, as --fault or in "faults" of /sandbox/config:
  {"kind": "status", "status": 429, "retry_after": 2, "path": "/v1/batches$", "count": 3}
  {"kind": "status", "status": 529, "provider": "anthropic", "seconds": 30}
  {"kind": "status", "status": 429, "retry_after": 0.5, "every": 2, "calls": ["create"]}
  {"kind": "reset_before", "provider": "gemini", "since": "cancel", "seconds": 10}
  {"kind": "reset_after", "calls": ["upload"], "every": 3, "count": 1}
  {"kind": "not_found", "calls": ["poll"], "seconds": 5}
  {"kind": "withdrawn", "key": "sk-one", "seconds": 5}
  {"kind": "reset_after", "method": "POST", "path": "/v1/batches$", "count": 1}
  {"kind": "reset_before", "probability": 0.05}
  {"kind": "cut", "path": "/content$", "after_bytes": 100000, "count": 1}
  {"kind": "slow", "path": "/results$", "delay": 0.5}
  {"kind": "garbage", "count": 1}
  {"kind": "fail_batch", "code": "token_limit_exceeded", "count": 1}
  {"kind": "line", "outcome": "rate_limit", "probability": 0.01}
  calls: announce upload create poll list cancel download delete single
  line outcomes: invalid rate_limit server overloaded timeout lost duplicate garbage, and
  the answers below, and finish

markers in a message decide the fate of its line:
  [[sandbox:error=rate_limit]]  (or invalid, server, overloaded, timeout)
  [[sandbox:flaky=2]]           fails twice with a transient error, then succeeds
  [[sandbox:lost]]              is run, and is in no result file
  [[sandbox:duplicate]]         is answered twice
  [[sandbox:garbage]]           is answered with torn JSON
  [[sandbox:answer=empty]]      is answered, with a good status, with {} (or no_choices, null,
                                no_content; error_body, rate_limit_body: an error in the body;
                                no_status: well, but for the status; refusal: the model refuses)
  [[sandbox:finish=OTHER]]      ends for this finish reason, with nothing in it
"""


def main() -> None:
    parser = _parser()
    arguments = vars(parser.parse_args())
    host, _, port = arguments["listen"].rpartition(":")
    if not host or not port.isdigit():
        parser.error(f"--listen: expected HOST:PORT, not '{arguments['listen']}'")
    try:
        options = _options(arguments)
    except msgspec.DecodeError as error:
        parser.error(str(error))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    log = structlog.get_logger()
    with ExitStack() as stack:
        data_dir = arguments["data_dir"] or stack.enter_context(
            tempfile.TemporaryDirectory(prefix="polybatch-sandbox-")
        )

        def ready(url: str) -> None:
            log.info("sandbox_ready", url=url, data_dir=data_dir, speed=arguments["speed"])

        SandboxServer(host, int(port), Path(data_dir), options, ready).run()


def _leave(number: int, frame: FrameType | None) -> None:
    """Leave in good order: the server raises its signal again once it has stopped."""
    sys.exit(0)


def _options(arguments: dict[str, Any]) -> Options:
    """The options of the command line and the environment. Raises msgspec.DecodeError."""
    given = {name: arguments[name] for name, _ in _option_types() if arguments[name] is not None}
    given["faults"] = [msgspec.json.decode(text) for text in arguments["faults"] or ()]
    return msgspec.convert(
        {**msgspec.to_builtins(merge(Options(), dict(SPEEDS[arguments["speed"]]))), **given},
        Options,
        strict=False,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.sandbox",
        description=_ABOUT,
        epilog=_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        default=os.environ.get(f"{_ENV}LISTEN", "127.0.0.1:8400"),
        help="where to listen (%(default)s); port 0 takes a free one",
    )
    parser.add_argument(
        "--data-dir",
        metavar="FOLDER",
        default=os.environ.get(f"{_ENV}DATA_DIR"),
        help="folder for the contents while it runs (a temporary one); holds no state between runs",
    )
    parser.add_argument(
        "--speed",
        choices=sorted(SPEEDS),
        default=os.environ.get(f"{_ENV}SPEED", "instant"),
        help="a set of times; single options win over it (%(default)s)",
    )
    group = parser.add_argument_group("the sandbox")
    for name, (kind, description) in _option_types():
        default = os.environ.get(_ENV + name.upper())
        if name == "faults":
            group.add_argument(
                "--fault", dest=name, metavar="JSON", action="append", help=description
            )
        else:
            group.add_argument(
                f"--{name.replace('_', '-')}", metavar=kind, default=default, help=description
            )
    return parser


def _option_types() -> Iterator[tuple[str, tuple[str, str]]]:
    """(name, (what its value is, what it does)) of each option."""
    for name, hint in get_type_hints(Options, include_extras=True).items():
        kind, *metas = get_args(hint)
        description = next(m.description for m in metas if isinstance(m, Meta) and m.description)
        choices = get_args(kind) if get_origin(kind) is Literal else ()
        what = "|".join(choices) or ("true|false" if kind is bool else "N")
        default = getattr(Options(), name)
        shown = str(default).lower() if isinstance(default, bool) else default
        yield name, (what, description if name == "faults" else f"{description} ({shown})")


if __name__ == "__main__":
    main()
