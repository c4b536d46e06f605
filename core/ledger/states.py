"""The state machines of batches and shards, drawn once.

A batch, with the states that clients see::

    VALIDATING --plan--> IN_PROGRESS --last shard settles--> FINALIZING --assemble--> COMPLETED
        |                    |                                   ^            \\-----> EXPIRED
        |                    |--window closes (stop=EXPIRE)--> (same, EXPIRED at its end)
        |                    |--cancel (stop=CANCEL)--> CANCELLING --assemble--> CANCELLED
        |--cancel (stop=CANCEL)--> CANCELLING
        \\--cannot be planned--> FAILED

A shard (lines for one provider)::

    QUEUED --intent--> SUBMITTING --accepted--> SUBMITTED --provider ended--> FETCHING --> SETTLED
      ^                    |                        |                            |
      |---refused for now--|                        |                            |
      |---surely absent----|                        |--provider refused late-----|
      |------------------------------------------------- (back to QUEUED or on to SETTLED)
      |--stop or refused for good--> SETTLED
      \\--started--> RUNNING --all lines run, or stopped--> FETCHING --> SETTLED
                     (the dispatcher makes the calls itself: providers without batches; and,
                     at the others, shards of a batch that is rescued)

A batch with a rescue: so long before its window closes, its queued shards are switched to ones
that are called line by line; those that are SUBMITTED are cancelled at their provider, and once
that has ended them, lines that it reports as never run go on in such a shard::

    QUEUED --switched--> QUEUED (purpose RESCUE) --started--> RUNNING
    SUBMITTED --cancelled, ended--> FETCHING --> SETTLED + QUEUED (purpose RESCUE)

A batch that stops does not wait for its providers longer than POLYBATCH_STOP_GRACE: a shard
that is SUBMITTING (and may have been sent), SUBMITTED or FETCHING by then is given up: its
lines count as failed, the batch ends, and the shard goes on as drawn above. Once it is
SETTLED its late answers are merged into the results::

    SUBMITTING, SUBMITTED, FETCHING --grace over--> the same, given up
    given up, SETTLED --merged into the results--> SETTLED, late_merged
    given up --the provider's keeping is over--> SETTLED, late_merged (as it was filled)

A batch that is halted (too many of its canary, or of its lines, failed: core.ledger.halting) stays
IN_PROGRESS and completes as drawn: what is QUEUED is settled at once, an attempt whose create was
not dispatched goes back to QUEUED first, and a RUNNING shard ends its calls.

Lines that take the answers of equal ones (`reuse_answers`) are never sent: of other batches' they
are SETTLED from planning on; of the batch's own they are FETCHING until all others have theirs::

    FETCHING (purpose TWINS) --the last other shard settles--> SETTLED

A pause, of a batch or of a provider, is no state: while it lasts, the arrows "intent" and "started"
are closed, an attempt whose create was not dispatched goes back to QUEUED, and a RUNNING shard
begins no line and belongs to nobody; all else goes on as drawn (core.ledger.pauses).

Every transition of a state is one conditional UPDATE (``WHERE id = ? AND state IN (...)``)
in a transaction that also raises the batch's revision. Zero rows means that somebody
else was faster or that the work is no longer wanted: `Stale`. What nobody watches (a lease
renewed, a create dispatched) raises no revision and says True or False.
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag, StrEnum
from typing import Any


class BatchState(StrEnum):
    """States of a batch; names as in polybatch.v1.BatchState."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """True when nothing can change any more."""
        return self in TERMINAL


TERMINAL = frozenset(
    {BatchState.COMPLETED, BatchState.FAILED, BatchState.EXPIRED, BatchState.CANCELLED}
)


class Priority(IntEnum):
    """Which batches of an account go first; numbers as in polybatch.v1.BatchPriority."""

    LOW = 1
    NORMAL = 2
    HIGH = 3


class CanaryState(StrEnum):
    """Of the lines that go first; names as in polybatch.v1.CanaryState."""

    NONE = ""
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"


class ResultsGone(IntFlag):
    """Results that were deleted by their owner, or for their age."""

    NONE = 0
    SUCCEEDED = 1
    """The lines that succeeded."""
    FAILED = 2
    """The others."""
    ALL = 3


class Stop(StrEnum):
    """Why a batch is being stopped before its lines are done."""

    NONE = ""
    CANCEL = "cancel"
    EXPIRE = "expire"


STOP_ERRORS = {
    Stop.CANCEL: ("batch_cancelled", "The batch was cancelled before this line was run."),
    Stop.EXPIRE: ("batch_expired", "The completion window closed before this line was run."),
}
"""Error code and message of lines that a stop kept from running."""


def stopped_lines(code: str, lines: int) -> dict[str, Any]:
    """How many of so many lines with one error code count as cancelled, and as expired."""
    return {
        "cancelled": lines if code == STOP_ERRORS[Stop.CANCEL][0] else 0,
        "expired": lines if code == STOP_ERRORS[Stop.EXPIRE][0] else 0,
    }


class ShardState(StrEnum):
    """States of a shard."""

    QUEUED = "queued"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    RUNNING = "running"
    FETCHING = "fetching"
    SETTLED = "settled"


class ShardPurpose(StrEnum):
    """Why its lines are in a shard of their own."""

    NONE = ""
    CANARY = "canary"
    """They go first."""
    REUSED = "reused"
    """They took answers of other batches: settled from its planning on, never sent."""
    TWINS = "twins"
    """They take the answers of equal lines of the batch, once these have theirs: never sent."""
    RESCUE = "rescue"
    """They are called one by one, as the window closes soon."""


class FileState(StrEnum):
    """States of a file; names as in polybatch.v1.FileState."""

    READY = "ready"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Stale:
    """A transition that found its row in another state, or gone: nothing was changed."""

    subject: str
    """Id of the row."""
