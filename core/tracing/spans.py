"""Spans: what is written down of a call, a step or an exchange. Nothing while tracing is off."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span, SpanKind, Tracer

Kind: TypeAlias = Literal["internal", "server", "client", "consumer"]
Value: TypeAlias = str | int | float | bool

_tracer: Tracer | None = None


def use(tracer: Tracer | None) -> None:
    """Write spans with a tracer from now on; None: none any more."""
    global _tracer
    _tracer = tracer


def enabled() -> bool:
    """Whether spans are written."""
    return _tracer is not None


class Mark:
    """A span as those see it who fill it in; does nothing while tracing is off."""

    __slots__ = ("_span",)

    def __init__(self, span: Span | None) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        """The span's context in W3C's form; empty while tracing is off."""
        if self._span is None:
            return ""
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def set(self, name: str, value: Value) -> None:
        """Set an attribute: never a body, a key or anything that a caller chose."""
        if self._span is not None:
            self._span.set_attribute(name, value)

    def fail(self, kind: str) -> None:
        """Say that what the span covers failed; `kind`: of error, bounded, without a message."""
        if self._span is not None:
            from opentelemetry.trace import StatusCode

            self._span.set_status(StatusCode.ERROR)
            self._span.set_attribute("error.type", kind)


_OFF = Mark(None)


@contextmanager
def span(
    name: str,
    kind: Kind = "internal",
    *,
    parent: str | None = None,
    link: str = "",
    current: bool = True,
    judged: bool = True,
    attributes: Mapping[str, Value] | None = None,
) -> Iterator[Mark]:
    """Write a span that covers the block.

    `parent`: a traceparent; empty: it begins a trace; None: it is part of the current
    span. `link`: traceparent of a span in another trace that it has to do with.
    `current`: whether spans within the block are parts of it; to be False where the block
    yields to others, as in a generator. `judged`: whether what the block raises makes it a
    failed one.
    """
    if _tracer is None:
        yield _OFF
        return
    from opentelemetry.trace import use_span

    links = _links(link)
    if links and not links[0].context.trace_flags.sampled:
        # What belongs to a trace that is not kept is not kept either.
        parent, links = link, []
    written = _tracer.start_span(
        name,
        context=_context(parent),
        kind=_kind(kind),
        attributes=attributes,
        links=links,
    )
    made = Mark(written)
    try:
        if current:
            with use_span(written, record_exception=False, set_status_on_exception=False):
                yield made
        else:
            yield made
    except asyncio.CancelledError:
        made.set("polybatch.cancelled", True)
        raise
    except Exception as error:
        if judged:
            made.fail(type(error).__name__)
        raise
    finally:
        written.end()


def mark(
    name: str,
    *,
    parent: str,
    link: str,
    start: datetime,
    attributes: Mapping[str, Value],
) -> None:
    """Write a span that began at `start` and ends now, as a part of `parent`."""
    if _tracer is not None:
        _tracer.start_span(
            name,
            context=_context(parent),
            start_time=int(start.timestamp() * 1e9),
            attributes=attributes,
            links=_links(link),
        ).end()


def note(name: str, value: Value) -> None:
    """Set an attribute of the current span."""
    if _tracer is not None:
        from opentelemetry.trace import get_current_span

        get_current_span().set_attribute(name, value)


def traceparent() -> str:
    """The current span's context in W3C's form; empty without one."""
    if _tracer is None:
        return ""
    from opentelemetry.trace import get_current_span

    current = get_current_span()
    return Mark(current).traceparent if current.get_span_context().is_valid else ""


def trace_id() -> str:
    """The id of the current trace, 32 hexadecimal digits; empty without one."""
    return traceparent()[3:35]


def _context(parent: str | None) -> Context | None:
    if parent is None:
        return None
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    # What is no traceparent counts as none.
    return TraceContextTextMapPropagator().extract({"traceparent": parent}, Context())


def _links(other: str) -> list[Link]:
    from opentelemetry.trace import Link, get_current_span

    context = get_current_span(_context(other)).get_span_context() if other else None
    return [Link(context)] if context is not None and context.is_valid else []


def _kind(kind: Kind) -> SpanKind:
    from opentelemetry.trace import SpanKind

    return SpanKind[kind.upper()]
