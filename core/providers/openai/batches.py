"""A batch as a server in OpenAI's form shows it, alone or in a list, in the contract's terms."""

from __future__ import annotations

import structlog

from core.providers.contract import RemoteBatch, RemoteState
from core.providers.openai.errors import refusal
from core.providers.openai.wire import STATES, RemoteJob
from core.providers.parsing import count_of

log = structlog.get_logger()


def batch_of(job: RemoteJob) -> RemoteBatch:
    """How the batch stands."""
    status = job.status.lower()
    if status not in STATES:
        log.warning("unknown_remote_status", remote_id=job.id, status=job.status)
    state, ended_as = STATES.get(status, (RemoteState.RUNNING, ""))
    finished = count_of(job.counts.completed) + count_of(job.counts.failed)
    sources = tuple(i for i in (job.output_file_id, job.error_file_id) if i)
    if state is RemoteState.FAILED and (count_of(job.counts.completed) or (finished and sources)):
        # Broke off while it ran: not at OpenAI, where what failed has never run. Without a file,
        # too, it is not sent again: what was completed is paid for.
        state, ended_as = RemoteState.ENDED, "failed"
    return RemoteBatch(
        remote_id=job.id,
        state=state,
        native_status=job.status,
        total=count_of(job.counts.total),
        finished=finished,
        result_sources=sources,
        refusal=refusal(job) if state is RemoteState.FAILED else None,
        ended_as=ended_as,
        ended_at=job.ended_at,
    )
