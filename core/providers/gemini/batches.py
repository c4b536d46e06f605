"""A batch as Gemini shows it, alone or in a list, in the contract's terms."""

from __future__ import annotations

import structlog

from core.providers.contract import Outcome, Refused, RemoteBatch, RemoteState
from core.providers.gemini.wire import STATES, TRANSIENT, Operation, read_status
from core.providers.line_errors import RESULT_MISSING
from core.providers.parsing import count_of, moment_of
from core.providers.uploads import says_no_file

log = structlog.get_logger()

_FILE_CODES = frozenset({"NOT_FOUND", "PERMISSION_DENIED", "FAILED_PRECONDITION"})
_BROKE_OFF = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "ABORTED", "INTERNAL"})
"""Of a batch that failed: codes that may come in the middle of it. The others that pass say that
there was no room for it."""


def batch_of(operation: Operation) -> RemoteBatch:
    """How the batch stands."""
    if operation.state not in STATES:
        log.warning("unknown_remote_status", remote_id=operation.name, status=operation.state)
    state, ended_as = STATES.get(operation.state, (RemoteState.RUNNING, ""))
    stats, responses = operation.stats, operation.responses_file
    finished = count_of(stats.successfulRequestCount) + count_of(stats.failedRequestCount)
    succeeded = count_of(stats.successfulRequestCount)
    if state is RemoteState.FAILED and (succeeded or (responses and finished)):
        # Without a file, too, it is not sent again: what succeeded is paid for.
        state, ended_as = RemoteState.ENDED, "failed"
    # The model goes with the source: embeddings do not name theirs.
    model = operation.metadata.model.removeprefix("models/")
    return RemoteBatch(
        remote_id=operation.name,
        state=state,
        native_status=operation.metadata.state,
        total=count_of(stats.requestCount),
        finished=finished,
        result_sources=(f"{responses}#{model}",) if responses else (),
        refusal=_refusal(operation) if state is RemoteState.FAILED else None,
        ended_as=ended_as,
        ended_at=moment_of(operation.metadata.endTime),
        # Its results are gone, those of requests that were run and counted too.
        unanswered=Outcome.EXPIRED if ended_as == "expired" and not succeeded else None,
    )


def _refusal(operation: Operation) -> Refused:
    name, _, message = read_status(operation.error)
    code = name if operation.error else "failed"
    lost = name in _FILE_CODES and says_no_file(message)
    if operation.error and name in _BROKE_OFF and not count_of(operation.stats.requestCount):
        # No document says whether requests that ran before it are billed. Without counts nobody
        # knows that none has: what is sent again may be paid for twice, what is told is lost to
        # nobody, as its user may retry it.
        return Refused(
            RESULT_MISSING,
            f"The provider's batch failed with {code}, and does not tell what it has run: "
            f"{message} It may have been run and paid for, so it is not retried automatically.",
            transient=False,
        )
    transient = lost or (name in TRANSIENT and bool(operation.error))
    return Refused(code, f"{code}: {message}", transient, input_lost=lost)
