"""Running the lines of one shard, one call each, at a provider without batches, or as a rescue.

    begun (kept first, where a lost answer would be money) --> called --> answered

What came of a line is noted in the shard's log. Of the lines themselves only those under
way are in memory; one that is to be run again is read again.

In: a shard, its log, and a provider. Out: a final result in the log for every line. What can go
wrong: the provider throttles (the line waits), answers with a transient error (the line is run
again, so often), or gives no clear answer (reported, or run again where that costs nothing); the
lease is lost (no further call begins); lines cannot be read, or the ledger cannot be asked whose
the shard is (those under way end first).
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

import structlog

from core.batchfile import answer_tail, error_json
from core.batchfile.result_lines import RESULT_MISSING
from core.blobs import BlobError, BlobStore, BlobUnavailable, StoredFile
from core.ledger import Batch, File, LedgerUnavailable, Shard, ShardPurpose
from core.pipeline import Event, RunLog
from core.prices.usage import NO_USAGE, Usage
from core.providers import (
    Answered,
    CallOutcome,
    DirectProvider,
    LineRejected,
    Outcome,
    OutcomeUnknown,
    Throttled,
    error_of,
)
from services.dispatcher.adaptive_concurrency import AdaptiveConcurrencyLimiter
from services.dispatcher.line_queue import LineQueue, QueuedLine

log = structlog.get_logger()

# Lines whose begin is kept together, and how far apart such writes are at least.
_GROUP_LINES = 64
_GROUP_SECONDS = 0.02
_FLUSH_BYTES = 1 << 20
_FIRST_STORE_PAUSE = 0.2
_LONGEST_STORE_PAUSE = 10.0

_LOST = "It may have been run and paid for, so it is not retried automatically."
_ENDED = "The dispatcher ended before the answer to this line came."


@dataclass(frozen=True, slots=True)
class Retries:
    """How often, and how soon, a line that failed for a transient reason is run again."""

    limit: int
    delay: float
    """Seconds before the first; doubled with each further one."""


class LineRun:
    """Runs the lines of a shard that have no final result yet."""

    def __init__(
        self,
        shard: Shard,
        batch: Batch,
        file: File,
        *,
        provider: DirectProvider,
        limiter: AdaptiveConcurrencyLimiter,
        run_log: RunLog,
        blobs: BlobStore,
        retries: Retries,
    ) -> None:
        self._shard = shard
        self._url = batch.endpoint
        self._file = file
        self._provider = provider
        self._limiter = limiter
        self._log = run_log
        self._blobs = blobs
        self._retries = retries
        self._guarded = not provider.call_limits.rerun_lost
        self._queue: LineQueue
        self._confirm: Callable[[], Awaitable[None]]
        self._under_way: set[asyncio.Task[None]] = set()
        self._uncalled: set[int] = set()
        """Positions of those whose call has not started yet."""
        self._changed = asyncio.Event()
        self._may_begin = asyncio.Event()
        self._may_begin.set()
        self._feeder: asyncio.Task[None] | None = None
        self._fail_fast = batch.fail_fast
        # Lines of providers without batches are taken in full or not at all.
        self._lenient = batch.lenient_translation and shard.purpose == ShardPurpose.RESCUE
        self._paid_once = batch.max_cost_nanos is not None
        self._refused_key: Throttled | None = None
        """Why no line of a batch that fails fast needs a call any more."""
        self._halted = False
        self._group_at = 0.0
        self.unread: BlobError | LedgerUnavailable | None = None
        """Why lines could not be read, or no further one begun, which ended the run early."""
        self.trouble = ""
        """Why results cannot be kept just now, human-readable."""

    @property
    def complete(self) -> bool:
        """Whether every line has its final result, kept for good."""
        return self._log.kept == self._shard.line_count

    @property
    def kept(self) -> int:
        """Lines with a final result that is kept for good."""
        return self._log.kept

    async def work(self, confirm: Callable[[], Awaitable[None]]) -> None:
        """Run until every line has its result, or after `halt` until no call is under way.

        `confirm`: asked before calls that may cost money; raises RunTaken if the shard is
        somebody else's, LedgerUnavailable if that is not known. Raises RunTaken.
        """
        self._confirm = confirm
        try:
            records = await self._blobs.get(self._shard.lines_key)
            data = await StoredFile.open(self._blobs, f"{self._file.prefix}/data")
        except BlobError as error:
            self.unread = error
            return
        self._queue = LineQueue(
            records,
            data,
            self._file,
            url=self._url,
            provider=self._provider,
            final=self._log.final,
            reject=self._reject,
            lenient=self._lenient,
        )
        if self._guarded:
            for position in self._log.under_way():
                self._give_up(position, _ENDED)
        async with asyncio.TaskGroup() as calls:
            if not self._halted:
                self._feeder = calls.create_task(self._feed(calls))

    def halt(self) -> None:
        """Begin no further call."""
        self._halted = True
        if self._feeder is not None:
            self._feeder.cancel()

    def abandon(self) -> None:
        """Wait no longer for the calls that are under way: their answers are lost."""
        for call in self._under_way:
            call.cancel()

    def pause(self, paused: bool) -> None:
        """Begin no further call until it is taken back."""
        if paused:
            self._may_begin.clear()
        else:
            self._may_begin.set()

    async def flush(self) -> None:
        """Keep what was noted, however long the store takes. Raises RunTaken."""
        pause = _FIRST_STORE_PAUSE
        while True:
            try:
                await self._log.flush()
            except BlobUnavailable as error:
                log.warning("run_log_waits", shard_id=self._shard.id, cause=str(error))
                self.trouble = "results cannot be stored just now"
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_STORE_PAUSE)
            else:
                self.trouble = ""
                return

    async def _feed(self, calls: asyncio.TaskGroup) -> None:
        try:
            await self._begin_all(calls)
        except (BlobError, LedgerUnavailable) as error:
            # The calls under way may have been paid for: they end first.
            self.unread = error

    async def _begin_all(self, calls: asyncio.TaskGroup) -> None:
        async with aclosing(self._queue.fresh()) as fresh:
            while (line := await self._next(fresh)) is not None:
                if self._log.pending_bytes > _FLUSH_BYTES:
                    await self.flush()
                if self._refused_key is not None:
                    self._fail_unsent(line.position, self._refused_key)
                    continue
                await self._enter()
                group = [line]
                if self._guarded:
                    await self._keep_begun(group, fresh)
                for entry in group:
                    self._uncalled.add(entry.position)
                    call = calls.create_task(self._call(entry))
                    self._under_way.add(call)
                    call.add_done_callback(partial(self._ended, entry.position))

    async def _enter(self) -> None:
        """Wait for a place in the pace while calls may begin at all."""
        while True:
            await self._may_begin.wait()
            await self._limiter.enter()
            if self._may_begin.is_set():
                return
            self._limiter.left()

    async def _keep_begun(
        self, group: list[QueuedLine], fresh: AsyncGenerator[QueuedLine, None]
    ) -> None:
        """Make it durable that the lines are about to be run, with more that can be now.

        Each line holds a place in the pace; what cannot be begun gives it back.
        """
        noted = 0
        try:
            loop = asyncio.get_running_loop()
            await asyncio.sleep(max(0.0, self._group_at + _GROUP_SECONDS - loop.time()))
            self._group_at = loop.time()
            while len(group) < _GROUP_LINES and self._limiter.try_enter():
                try:
                    line = await self._queue.ready(fresh)
                except BaseException:
                    self._limiter.left()
                    raise
                if line is None:
                    self._limiter.left()
                    break
                group.append(line)
            for line in group:
                self._log.add(line.position, Event.BEGUN)
                noted += 1
            await self.flush()
            await self._confirm()
        except BaseException:
            for line in group[:noted]:
                self._log.add(line.position, Event.RETURNED)
            for _ in group:
                self._limiter.left()
            raise

    async def _next(self, fresh: AsyncGenerator[QueuedLine, None]) -> QueuedLine | None:
        """The next line to run, when there is one; None when none will come."""
        while True:
            self._changed.clear()
            line = await self._queue.ready(fresh)
            if line is not None:
                return line
            due = self._queue.next_due
            if due is None and not self._under_way:
                return None
            try:
                async with asyncio.timeout_at(due):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _reject(self, position: int, error: LineRejected) -> None:
        """A line that the provider cannot accept."""
        failure = error_json(error.reason, f"{error.field}: {error.message}")
        self._log.add(position, Event.FAILED, answer_tail(None, failure, self._shard.round))

    async def _call(self, line: QueuedLine) -> None:
        self._uncalled.discard(line.position)
        began = asyncio.get_running_loop().time()
        call_id = f"{self._shard.id}-{line.position}"
        try:
            outcome = await self._provider.call(call_id, self._url, line.body)
        except Exception as error:  # noqa: BLE001
            # A plug-in's. Let out, it would break off all other calls, whose answers are paid for.
            # Only where: what it says may quote the request or its answer.
            kind, at = type(error).__name__, traceback.extract_tb(error.__traceback__)[-1]
            where = f"{at.filename}:{at.lineno}"
            log.error("call_failed", shard_id=self._shard.id, error=kind, where=where)
            outcome = OutcomeUnknown(f"{self._provider.name}: its adapter failed with {kind}.")
        self._conclude(line.position, outcome, began)

    def _ended(self, position: int, call: asyncio.Task[None]) -> None:
        if call.cancelled() or call.exception() is not None:
            # Perhaps before it had begun: then nothing in it could have said so.
            self._limiter.left()
        if position in self._uncalled:
            self._uncalled.discard(position)
            if self._guarded:
                self._log.add(position, Event.RETURNED)
        self._under_way.discard(call)
        self._changed.set()

    def _conclude(self, position: int, outcome: CallOutcome, began: float) -> None:
        match outcome:
            case Answered(outcome=Outcome.RETRYABLE, response=response, usage=usage):
                self._limiter.failed(began, "it answers with errors only")
                self._fail(position, response, outcome.error or error_of(response), usage)
            case Answered(outcome=Outcome.SUCCEEDED, response=response, usage=usage, pause=pause):
                self._limiter.answered(began, pause)
                self._note(position, Event.SUCCEEDED, response, None, usage)
            case Answered(response=response, usage=usage, pause=pause):
                self._limiter.answered(began, pause)
                error = outcome.error or error_of(response)
                self._note(position, Event.FAILED, response, error, usage)
            case Throttled() if outcome.key_refused and self._fail_fast:
                self._refused_key = outcome
                self._limiter.left()
                self._fail_unsent(position, outcome)
            case Throttled():
                self._limiter.refused(began, outcome)
                if self._guarded:
                    self._log.add(position, Event.RETURNED)
                self._queue.put_back(position, began)
            case OutcomeUnknown(message=message):
                log.info("answer_lost", shard_id=self._shard.id, cause=message)
                self._limiter.lost(began, message)
                if self._guarded:
                    self._give_up(position, message)
                else:
                    self._fail(position, None, error_json(RESULT_MISSING, message))

    def _fail(
        self, position: int, response: bytes | None, error: bytes, usage: Usage | None = None
    ) -> None:
        """A line failed for a transient reason: once more, while it may.

        Under a max cost each line has room for one call that is paid for.
        """
        before = self._log.attempts[position]
        paid = usage is not None and usage != NO_USAGE
        if before >= self._retries.limit or (paid and self._paid_once):
            self._note(position, Event.FAILED, response, error, usage)
            return
        self._note(position, Event.RETRYABLE, response, error, usage)
        due = asyncio.get_running_loop().time() + self._retries.delay * 2.0**before
        self._queue.put_back(position, due)

    def _fail_unsent(self, position: int, refusal: Throttled) -> None:
        """A line of a batch that fails fast, whose provider refuses the key: it was not run."""
        failure = error_json(refusal.key_refused, refusal.reason)
        attempts = self._shard.round + self._log.attempts[position]
        self._log.add(position, Event.FAILED, answer_tail(None, failure, attempts))

    def _give_up(self, position: int, why: str) -> None:
        self._note(position, Event.FAILED, None, error_json(RESULT_MISSING, f"{why} {_LOST}"))

    def _note(
        self,
        position: int,
        event: Event,
        response: bytes | None,
        error: bytes | None,
        usage: Usage | None = None,
    ) -> None:
        attempts = self._shard.round + self._log.attempts[position] + 1
        self._log.add(position, event, answer_tail(response, error, attempts), usage)
