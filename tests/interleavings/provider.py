"""A provider that keeps the truth: what was created, run, billed and fetched, and what is left.

Its calls are those of the adapters' contract (core/providers/contract.py), with a gate before what
a call does at the provider and another before its answer is heard: so an answer may be old when it
comes, lost, or never heard by a caller that has died.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from core.ledger import now
from core.prices.usage import Usage
from core.providers import (
    Accepted,
    FindOutcome,
    Found,
    Gate,
    Intent,
    Outcome,
    OutcomeUnknown,
    Provider,
    ProviderRejected,
    ProviderUnavailable,
    Refused,
    RemoteBatch,
    RemoteState,
    ResultLine,
    SubmitOutcome,
    Unsure,
    Upload,
)
from core.providers.attempts import parse_custom_id, upload_prefix
from core.providers.contract import Listed
from core.providers.list_search import not_listed
from tests.interleavings.scheduler import Process
from tests.interleavings.truth import Flying, Made, Truth, custom_ids

TIMEOUT = 60.0
SETTLE = timedelta(seconds=30)
# Within the settle time: half for a create that lands late, half for a batch that shows late.
_LATE = SETTLE.total_seconds() / 2
_RESPONSE = b'{"status_code":200,"request_id":"","body":{}}'
_ERROR = b'{"code":"invalid_request","message":"no"}'


class Script:
    """The adapter of one process: how it sees the provider."""

    def __init__(self, truth: Truth, likeness: Provider, process: Process) -> None:
        self._truth = truth
        self._likeness = likeness
        self._process = process
        self.name = likeness.name
        self.limits = likeness.limits
        self.framing = likeness.framing
        self.keeps_results = timedelta(days=29)
        self.input_lifetime = timedelta(days=30) if truth.uploads else timedelta()

    def encode_line(self, *args: Any, **options: Any) -> Any:
        return self._likeness.encode_line(*args, **options)

    def remote_model(self, model: str) -> str:
        return self._likeness.remote_model(model)

    async def check(self) -> None:
        await self._call("check")

    async def close(self) -> None: ...

    async def _gate(self, label: str, *answers: str, deadline: float | None = None) -> str:
        return await self._truth.loop.gate(self._process, label, *answers, deadline=deadline)

    async def _call(self, label: str) -> None:
        """The way there."""
        if await self._gate(f"call {label}", "", "no connection"):
            raise ProviderUnavailable("no connection")

    async def _answered(self, label: str) -> None:
        """The way back."""
        if await self._gate(f"answer to {label}", "", "lost"):
            raise ProviderUnavailable("no answer")

    async def submit(self, intent: Intent, source: Path | Upload, *, gate: Gate) -> SubmitOutcome:
        truth = self._truth
        deadline = truth.loop.time() + TIMEOUT
        if isinstance(source, Upload):
            upload, ids = source, truth.inputs.get(source.remote_file_id, [])
        else:
            ids, upload = custom_ids(source), Upload()
            if truth.uploads:
                told = await self._gate("call upload", "", "no connection", "refused", "lost")
                if told in ("no connection", "refused"):
                    return Refused("overloaded", told, transient=told == "no connection")
                file_id, orphans = truth.upload(intent, source), False
                if told == "lost":
                    # Sent once more, as adapters do.
                    file_id, orphans = truth.upload(intent, source), True
                await self._gate("answer to upload")
                upload = Upload(file_id, orphans=orphans)
        await gate(upload)

        def create(lag: float) -> Made:
            return truth.create(intent, upload.remote_file_id, ids, lag)

        # The gate was open: its bytes leave, whatever becomes of this process.
        flying = Flying(create, deadline, self._process)
        truth.flying.append(flying)
        told = await self._gate(
            "call create",
            "",
            "shows late",
            "refused for now",
            "refused",
            "hangs",
            deadline=deadline,
        )
        if flying not in truth.flying:
            # It has come there meanwhile, and its answer never came back.
            return OutcomeUnknown("no answer")
        truth.flying.remove(flying)
        if told == "hangs" and not truth.loop.schedule.calm:
            flying.awaited = False
            flying.until = truth.loop.time() + _LATE
            truth.flying.append(flying)
            return OutcomeUnknown("no answer")
        if told.startswith("refused"):
            if truth.uploads and upload.remote_file_id not in truth.files:
                return Refused("no_file", "gone", transient=True, input_lost=True)
            return Refused("rate", told, transient=told != "refused", upload=upload)
        if truth.uploads and upload.remote_file_id not in truth.files:
            return Refused("no_file", "gone", transient=True, input_lost=True)
        made = create(_LATE if told == "shows late" else 0.0)
        if await self._gate(
            "answer to create", "", "lost", deadline=max(deadline, truth.loop.time())
        ):
            return OutcomeUnknown("no answer")
        return Accepted(made.id, upload.remote_file_id)

    async def find(
        self, intent: Intent, known: frozenset[str], *, quiet_since: datetime | None = None
    ) -> FindOutcome:
        truth = self._truth
        await self._call("find")
        asked_at = now()
        seen = [each for each in truth.batches.values() if each.shows_at <= asked_at]
        outcome: FindOutcome = not_listed(
            intent, asked_at, quiet_since, timeout=TIMEOUT, settle=SETTLE
        )
        for made in seen:
            ours = (made.shard_id, made.token) == (intent.shard_id, intent.token)
            if truth.uploads:
                if ours:
                    outcome = Found(made.id, made.file_id)
            elif made.id not in known and len(made.custom_ids) == intent.line_count:
                if made.open:
                    outcome = Unsure(f"{made.id} may be it")
                elif ours:
                    outcome = Found(made.id)
                    break
        await self._answered("find")
        return outcome

    async def poll(self, remote_id: str) -> RemoteBatch:
        await self._call("poll")
        made = self._truth.batches[remote_id]
        if made.shows_at > now():
            raise ProviderRejected("not_found", "no such batch", 404)
        seen = self._seen(made)
        await self._answered("poll")
        return seen

    async def poll_many(self, remote_ids: Collection[str], oldest: datetime) -> Listed:
        await self._call("list")
        there = (self._truth.batches[each] for each in sorted(remote_ids))
        found = {made.id: self._seen(made) for made in there if made.shows_at <= now()}
        await self._answered("list")
        return Listed(found, 1)

    def _seen(self, made: Made) -> RemoteBatch:
        state = {
            "in_progress": RemoteState.RUNNING,
            "cancelling": RemoteState.STOPPING,
            "failed": RemoteState.FAILED,
        }.get(made.status, RemoteState.ENDED)
        ended = state is RemoteState.ENDED
        return RemoteBatch(
            made.id,
            state,
            made.status,
            total=len(made.custom_ids),
            finished=len(made.ran),
            result_sources=("out",) if ended else (),
            refusal=made.refusal,
            ended_as=made.status if ended else "",
            ended_at=now() if ended else None,
            unanswered={"expired": Outcome.EXPIRED, "cancelled": Outcome.CANCELLED}.get(
                made.status
            ),
        )

    async def results(self, batch: RemoteBatch) -> AsyncGenerator[Sequence[ResultLine], None]:
        await self._call("results")
        made = self._truth.batches[batch.remote_id]
        lines = [_result(each, outcome) for each, outcome in made.ran.items()]
        yield lines[:1]
        await self._answered("results")
        yield lines[1:]

    async def cancel(self, remote_id: str) -> None:
        await self._call("cancel")
        made = self._truth.batches[remote_id]
        if made.status == "in_progress":
            made.status = "cancelling"
        await self._answered("cancel")

    async def discard(self, remote_file_id: str) -> None:
        await self._call("discard")
        self._truth.files.pop(remote_file_id, None)
        await self._answered("discard")

    async def discard_all(self, shard_id: str, since: datetime) -> int:
        await self._call("discard_all")
        ours = [
            file_id
            for file_id, name in self._truth.files.items()
            if name.startswith(upload_prefix(shard_id))
        ]
        for file_id in ours:
            del self._truth.files[file_id]
        await self._answered("discard_all")
        return len(ours)


def _result(custom_id: str, outcome: Outcome) -> ResultLine:
    parsed = parse_custom_id(custom_id)
    assert parsed is not None
    succeeded = outcome is Outcome.SUCCEEDED
    usage = Usage() if outcome is Outcome.RETRYABLE else Usage(input=1000)
    error = None if succeeded else _ERROR
    return ResultLine(custom_id, outcome, _RESPONSE if succeeded else None, error, usage)
