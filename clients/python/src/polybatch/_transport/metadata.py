"""What goes with every call: the key, and the trace of the program that calls."""

from __future__ import annotations

import sys
from typing import Any


def call_metadata(api_key: str) -> tuple[tuple[str, str], ...]:
    """Metadata of one call, made in the caller's own context.

    A program that uses OpenTelemetry finds what the services do for it in its own trace.
    Nothing is imported for it: where the API is not loaded there is no span.
    """
    authorization = ("authorization", f"Bearer {api_key}")
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return (authorization,)
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return (authorization,)
    parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    return (authorization, ("traceparent", parent))
