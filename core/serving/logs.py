"""The log of a process: one event a line on stderr, as JSON or for a console."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import structlog
from structlog.typing import Processor

from core.serving.log_stream import LogStream
from core.serving.redaction import Redactor, secrets_of
from core.tracing import trace_id

# Never to be logged; removed should a line of code name one all the same.
_FORBIDDEN_KEYS = ("body", "authorization", "api_key")


def configure_logging(service: str, *, level: str = "info", format: str = "json") -> None:
    """Set up structlog and the standard library's logging, for the whole process.

    level: "debug", "info", "warning" or "error". format: "json", or "console" for people: local
    times, no name of the service. Raises ValueError for others. Secrets do not pass: see
    core.serving.redaction. What cannot be written is left out: see core.serving.log_stream.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"unknown log level {level!r}")
    if format not in ("json", "console"):
        raise ValueError(f"unknown log format {format!r}: 'json' or 'console' was expected")

    def add_service(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"] = service
        return event

    for_people = format == "console"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
        if for_people
        else structlog.processors.TimeStamper(fmt="iso", utc=True),
        _say_in_words if for_people else add_service,
        _add_trace,
        _remove_forbidden,
    ]
    # Plain tracebacks in both: the richer formatters print local variables, which may
    # hold keys or request bodies.
    render: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if not for_people
        else [
            structlog.dev.ConsoleRenderer(
                colors=_coloured(),
                pad_event_to=20,
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    )
    redact = Redactor(secrets_of(os.environ))
    render.append(lambda _, __, line: redact(str(line)))

    def interrupted(lines: int) -> str:
        event: Any = {"event": "log_interrupted", "lines": lines}
        for process in (*shared, *render):
            event = process(None, "warning", event)
        return f"{event}\n"

    stream = LogStream(sys.stderr, interrupted)
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", stream)),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    # Libraries speak up only when something is wrong.
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)


def _coloured() -> bool:
    """Whether whoever reads the log wants colours; a supervisor on a terminal says so."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stderr.isatty()


def _say_in_words(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """ "batch_planned" -> "batch planned": people read it, and find it by these words too."""
    event["event"] = str(event.get("event", "")).replace("_", " ")
    return event


def _add_trace(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if trace := trace_id():
        event["trace_id"] = trace
    return event


def _remove_forbidden(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key in _FORBIDDEN_KEYS:
        if key in event:
            event[key] = "[removed]"
    return event
