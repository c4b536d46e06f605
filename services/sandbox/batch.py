"""A batch in time: the states that every vendor's batches go through, and when.

No timer runs: a batch is a function of the clock and the options, brought up to date
whenever somebody looks at it. The options of that moment count, so a batch that is held
by a long `batch_seconds` ends as soon as that is set to less. States never go back.

    WAITING --> RUNNING --> FINALIZING --> COMPLETED
       |           |------------------------> EXPIRED
       |           '--> STOPPING -----------> CANCELLED   (from WAITING too)
       '--> FAILED
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from services.sandbox.config import Options
from services.sandbox.kinds import Provider
from services.sandbox.plan import Plan


class Phase(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    FINALIZING = "finalizing"
    STOPPING = "stopping"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FAILED = "failed"


ENDED = frozenset({Phase.COMPLETED, Phase.EXPIRED, Phase.CANCELLED, Phase.FAILED})


@dataclass(slots=True)
class Refusal:
    """Why a batch cannot run, as OpenAI lists it."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


@dataclass(slots=True)
class Batch:
    """One batch of any vendor. Times are POSIX seconds."""

    id: str
    provider: Provider
    created_at: float
    endpoint: str = ""
    input_file_id: str = ""
    metadata: dict[str, str] | None = None
    display_name: str = ""
    model: str = ""
    """As the create names it (Gemini: it is not in the lines)."""
    output_seconds: float = 30 * 86400.0
    """Life of the result files, from the end of the batch."""
    version: str = ""
    """The API version that the batch was made under (Anthropic)."""
    plan: Plan | None = None
    planned_at: float = 0.0
    refusals: list[Refusal] = field(default_factory=list)
    phase: Phase = Phase.WAITING
    times: dict[Phase, float] = field(default_factory=dict)
    """When each phase was entered."""
    executed: int = 0
    """The lines 0 .. executed-1 have been run."""
    output_dropped: bool = False
    """The finished lines of a cancelled batch are in neither result file."""
    filed: bool = False
    """The result files have been made known, as far as there are any."""
    output_file_id: str | None = None
    error_file_id: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    """Sums over the lines that succeeded; filled at the end."""

    @property
    def total(self) -> int:
        return self.plan.total if self.plan else 0

    @property
    def answers_kept(self) -> int:
        """Of a batch that has ended: the answers that its result files have, torn ones too."""
        if self.plan is None or self.output_dropped:
            return 0
        if self.provider == "gemini" and self.phase is Phase.EXPIRED:
            # It "will not have any results".
            return 0
        return self.plan.succeeded(self.executed) - self.plan.lost(self.executed)

    @property
    def started(self) -> bool:
        """Whether it passed its check in time, so that its lines count."""
        return Phase.RUNNING in self.times

    @property
    def ended(self) -> bool:
        return self.phase in ENDED

    def expires_at(self, options: Options) -> float:
        """When the batch expires if it has not ended."""
        return self.created_at + options.window_seconds

    def refuse(self, refusals: list[Refusal], now: float) -> None:
        """The check found that the batch cannot run."""
        self.refusals = refusals
        self.planned_at = now

    def planned(self, plan: Plan, now: float) -> None:
        """The check is done: the batch can run."""
        self.plan = plan
        self.planned_at = now

    def start(self, plan: Plan) -> None:
        """The batch needs no check: it runs from its creation on."""
        self.planned(plan, self.created_at)
        self._enter(Phase.RUNNING, self.created_at)

    def cancel(self, now: float, options: Options) -> None:
        """Stop as soon as possible. The caller has looked that the batch has not ended."""
        self.advance(now, options)
        if self.phase in (Phase.WAITING, Phase.RUNNING, Phase.FINALIZING):
            self._enter(Phase.STOPPING, now)

    def advance(self, now: float, options: Options) -> None:
        """Bring the batch up to date."""
        while not self.ended and self._step(now, options):
            pass

    def _step(self, now: float, options: Options) -> bool:
        """Take at most one step; False when there is none to take."""
        expiry = self.expires_at(options)
        if self.phase is Phase.STOPPING:
            end = self.times[Phase.STOPPING] + options.cancel_seconds
            if now < end:
                return False
            if options.cancel_race and self.plan:
                self.executed = self.total
                self.output_dropped = False
                self._enter(Phase.COMPLETED, end)
            else:
                self._enter(Phase.CANCELLED, end)
            return True
        if self.phase is Phase.WAITING:
            ready = max(self.planned_at, self.created_at + options.validation_seconds)
            if (self.refusals or self.plan) and ready <= now and ready < expiry:
                self._enter(Phase.FAILED if self.refusals else Phase.RUNNING, ready)
                return True
        elif self.phase is Phase.RUNNING:
            start = self.times[Phase.RUNNING]
            duration = options.batch_seconds
            if options.lines_per_second:
                duration = max(duration, self.total / options.lines_per_second)
            reached = min(now, expiry) - start
            share = min(1.0, reached / duration) if duration else 1.0
            self.executed = max(self.executed, int(self.total * share))
            if share >= 1.0:
                self._enter(Phase.FINALIZING, start + duration)
                return True
        elif self.phase is Phase.FINALIZING:
            end = self.times[Phase.FINALIZING] + options.finalizing_seconds
            if end <= now:
                self._enter(Phase.COMPLETED, end)
                return True
            return False
        if expiry <= now:
            self._enter(Phase.EXPIRED, expiry)
            return True
        return False

    def _enter(self, phase: Phase, at: float) -> None:
        self.phase = phase
        self.times[phase] = at
