"""Traces with OpenTelemetry: off, and not even imported, unless an exporter is configured.

One trace follows a batch from the call that made it to its end. The call's span context
(W3C traceparent) is kept with the batch and travels as a header of each work item, so a
step that was lost and woken again by the sweep still belongs to its batch. No body, key
or custom id is ever an attribute.
"""

from core.tracing.spans import Mark, Value, enabled, mark, note, span, trace_id, traceparent
from core.tracing.starting import BadTracing, Tracing, start_tracing
