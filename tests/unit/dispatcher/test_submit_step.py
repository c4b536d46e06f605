"""The submit step: what is sent, taken back, looked for, and sent again."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from polybatch.v1.events_pb2 import BatchEvent, WorkItem
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from core.blobs import BlobStore
from core.bus import Ack, Delivery, Snooze
from core.failpoints import Failpoint
from core.ledger import (
    Batch,
    Ledger,
    LedgerUnavailable,
    Settlement,
    Shard,
    ShardState,
    new_token,
    now,
)
from core.pipeline import EventPublisher, PauseWatch, ProviderKeys, Runtime
from core.providers import (
    Absent,
    Accepted,
    FindOutcome,
    Found,
    Gate,
    Holds,
    Intent,
    OutcomeUnknown,
    Provider,
    ProviderRejected,
    ProviderUnavailable,
    Refused,
    SubmitOutcome,
    Unsure,
    Upload,
    known_providers,
)
from core.providers.http.retries import LONGEST_DELAY
from core.settings import ProviderAccess, Settings
from services.dispatcher import reconcile
from services.dispatcher.fair_scheduler import FairScheduler
from services.dispatcher.sharding import plan_shards
from services.dispatcher.submit import Submitter
from tests.support.input_files import chat, store
from tests.support.ledger.rows import create, intend
from tests.support.prices import cost_limit
from tests.support.publishers import Silent

ITEM = WorkItem(batch_id="batch_1", shard_id="shard_10000")
DELIVERY = Delivery(1, now())
CREDENTIAL = "today"
CREDENTIALS = {"openai": CREDENTIAL}


class Scripted:
    """OpenAI's form of lines; what comes of submit and find is told beforehand."""

    def __init__(self, likeness: Provider) -> None:
        self._likeness = likeness
        self.outcome: SubmitOutcome = Accepted("remote_1")
        self.found: FindOutcome | Exception = Absent()
        self.before_gate: Callable[[], Awaitable[Any]] | None = None
        self.after_gate: Callable[[], Awaitable[Any]] | None = None
        self.checked: Exception | None = None
        self.created: list[str] = []
        self.sources: list[Path | Upload] = []
        self.uploads = 0
        self.orphans = False
        self.discarded: list[str] = []
        self.quiet_since: datetime | None = None
        self.looked_for: Intent | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._likeness, name)

    async def submit(self, intent: Intent, source: Path | Upload, *, gate: Gate) -> SubmitOutcome:
        self.sources.append(source)
        if isinstance(source, Path):
            assert intent.file_token == intent.token
            self.uploads += 1
            source = Upload(f"file-{self.uploads}", orphans=self.orphans)
        else:
            assert intent.file_token != intent.token
        if self.before_gate is not None:
            await self.before_gate()
        await gate(source)
        self.created.append(intent.token)
        if self.after_gate is not None:
            await self.after_gate()
        return self.outcome

    async def check(self) -> None:
        if self.checked is not None:
            raise self.checked

    async def find(
        self, intent: Intent, known: frozenset[str], *, quiet_since: datetime | None = None
    ) -> FindOutcome:
        self.quiet_since = quiet_since
        self.looked_for = intent
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    async def discard(self, remote_file_id: str) -> None:
        self.discarded.append(remote_file_id)

    async def discard_all(self, shard_id: str, since: datetime) -> int:
        self.discarded.append(f"all of {shard_id}")
        return 1


class Stand:
    """A dispatcher with one queued shard of three lines."""

    def __init__(self, runtime: Runtime, provider: Scripted) -> None:
        self.provider = provider
        self.shards = runtime.ledger.shards
        self.keys = ProviderKeys(
            {"openai": "OPENAI_API_KEY"},
            recheck=0.0,
            ledger=runtime.ledger,
            credentials=CREDENTIALS,
        )
        self._runtime = runtime
        self.hold = Holds().of("openai", CREDENTIAL)

    @property
    def publisher(self) -> Silent:
        return cast("Silent", self._runtime.publisher)

    @property
    def ledger(self) -> Ledger:
        return self._runtime.ledger

    async def set(self, **values: Any) -> None:
        """Change the shard's row, as time or somebody else would."""
        async with self.ledger._database.write(Failpoint.SHARD_OVERDUE) as session:
            row = await session.get(Shard, ITEM.shard_id)
            row.sqlmodel_update(values)
            session.add(row)

    async def fail_fast(self) -> None:
        async with self.ledger._database.write(Failpoint.SHARD_OVERDUE) as session:
            row = await session.get(Batch, ITEM.batch_id)
            row.fail_fast = True
            session.add(row)

    def submitter(
        self, credential: str = CREDENTIAL, *, configured: bool = True, **settings: Any
    ) -> Submitter:
        runtime = dataclasses.replace(
            self._runtime, settings=self._runtime.settings.model_copy(update=settings)
        )
        provider = cast("Provider", self.provider)
        credentials = {"openai": credential}
        return Submitter(
            runtime,
            {"openai": provider} if configured else {},
            {},
            FairScheduler(runtime),
            credentials,
            self.keys,
            cost_limit(runtime),
            PauseWatch(runtime.ledger),
            holds={"openai": self.hold},
        )

    async def handle(self, **settings: Any) -> Ack | Snooze:
        return await self.submitter(**settings).handle(ITEM, DELIVERY)

    async def shard(self) -> Shard:
        found = await self.shards.get(ITEM.shard_id)
        assert found is not None
        return found

    async def intend(self, credential: str = CREDENTIAL) -> Shard:
        """What a dispatcher does before it sends."""
        shard = await self.shard()
        return await intend(
            self.ledger, shard, new_token(), credential=credential, lease=timedelta()
        )

    async def died(self, *, let_go: bool, credential: str = CREDENTIAL) -> Shard:
        """A dispatcher has died, before or after its create was let go; its lease is over."""
        shard = await self.intend(credential)
        if let_go:
            assert await self.shards.mark_dispatched(shard, timedelta())
        return await self.shard()


@pytest.fixture
async def stand(ledger: Ledger, tmp_path: Path) -> Stand:
    access = ProviderAccess.model_validate({"openai_api_key": "k"})
    providers = known_providers(access, Settings()).open()
    blobs = BlobStore.open((tmp_path / "blobs").as_uri())
    batch, file = await store(blobs, [chat(n, "openai/gpt-4.1") for n in range(3)])
    shards = await plan_shards(batch, file, blobs, providers)
    assert [shard.id for shard in shards] == [ITEM.shard_id]
    await ledger.files.finish_upload(file)
    made = await create(ledger, batch)
    await ledger.batches.plan(made.id, shards)
    settings = Settings(data_dir=tmp_path, provider_timeout=60.0, submit_lease=30.0)
    publisher = cast("EventPublisher", Silent())
    runtime = Runtime(settings, ledger, blobs, cast("Any", None), publisher)
    return Stand(runtime, Scripted(providers["openai"]))


async def test_the_create_is_let_go_before_it_is_sent(stand: Stand) -> None:
    async def look() -> None:
        shard = await stand.shard()
        assert shard.state == ShardState.SUBMITTING
        seen.append(shard.dispatched_at is not None)

    seen: list[bool] = []
    stand.provider.before_gate = stand.provider.after_gate = look
    assert await stand.handle() == Ack()
    assert seen == [False, True]
    shard = await stand.shard()
    assert (shard.state, shard.remote_id) == (ShardState.SUBMITTED, "remote_1")
    assert shard.credential == CREDENTIAL


@pytest.mark.parametrize("seconds", [5.0, 40.0])
async def test_nothing_is_translated_while_no_call_may_be_made(
    stand: Stand, seconds: float
) -> None:
    stand.hold.note(seconds)
    outcome = await stand.handle()
    shard = await stand.shard()
    if seconds < LONGEST_DELAY:
        # The call itself waits for so long.
        assert (outcome, shard.state) == (Ack(), ShardState.SUBMITTED)
        return
    assert isinstance(outcome, Snooze)
    assert seconds - 1 < outcome.delay <= 1.25 * seconds
    assert (shard.state, shard.attempts, stand.provider.uploads) == (ShardState.QUEUED, 0, 0)
    assert shard.waiting_reason.startswith("openai: the provider asked for no call before")
    assert shard.due_at > now()
    batch = await stand.ledger.batches.get(ITEM.batch_id)
    await stand.set(due_at=now())
    assert isinstance(await stand.handle(), Snooze)
    assert (await stand.shard()).due_at > now()
    assert await stand.ledger.batches.get(ITEM.batch_id) == batch, "there is nothing new to see"


async def test_what_was_not_let_go_is_sent_at_once(stand: Stand) -> None:
    dead = await stand.died(let_go=False)
    assert await stand.handle() == Snooze(0.0)
    assert (await stand.shard()).state == ShardState.QUEUED
    assert await stand.handle() == Ack()
    assert len(stand.provider.created) == 1
    assert stand.provider.created != [dead.token]


async def test_a_stalled_dispatcher_sends_nothing_that_was_taken_back(stand: Stand) -> None:
    """It stands still in its upload, while its machine sleeps, say; another one goes on."""

    async def sleep() -> None:
        stand.provider.before_gate = None
        shard = await stand.shard()
        assert await stand.shards.renew_lease(shard, timedelta())
        other = stand.submitter()
        assert await other.handle(ITEM, DELIVERY) == Snooze(0.0)
        assert await other.handle(ITEM, DELIVERY) == Ack()

    stand.provider.before_gate = sleep
    assert await stand.handle() == Ack()
    assert len(stand.provider.created) == 1
    assert (await stand.shard()).token == stand.provider.created[0]


async def test_a_batch_that_the_ledger_has_forgotten_is_named(stand: Stand) -> None:
    """As after a failover to a standby that had not heard of the attempt yet."""
    before = await stand.shard()

    async def fail_over() -> None:
        await stand.set(state=before.state, token=before.token, dispatched_at=None)

    stand.provider.after_gate = fail_over
    with capture_logs() as logs:
        assert await stand.handle() == Ack()
    (told,) = [entry for entry in logs if entry["event"] == "batch_not_in_ledger"]
    assert (told["provider"], told["remote_id"]) == ("openai", "remote_1")


async def test_a_batch_that_somebody_else_has_noted_is_not_named(stand: Stand) -> None:
    async def note() -> None:
        assert isinstance(
            await stand.shards.submitted(await stand.shard(), "remote_1", "", now()), Batch
        )

    stand.provider.after_gate = note
    with capture_logs() as logs:
        assert await stand.handle() == Ack()
    assert "batch_not_in_ledger" not in [entry["event"] for entry in logs]


async def test_what_was_let_go_is_looked_for(stand: Stand) -> None:
    dead = await stand.died(let_go=True)
    stand.provider.found = Found("remote_9")
    assert await stand.handle() == Ack()
    shard = await stand.shard()
    assert (shard.state, shard.remote_id, shard.token) == (
        ShardState.SUBMITTED,
        "remote_9",
        dead.token,
    )
    assert not stand.provider.created
    assert dead.dispatched_at is not None
    # Its create may have been on its way for as long as a call may take.
    assert stand.provider.quiet_since == dead.dispatched_at + timedelta(seconds=60)


async def test_what_another_look_adopts_meanwhile_is_not_sent_again(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep has woken the shard once more while a look is slow; the provider has its batch."""
    await stand.died(let_go=True)
    slow = True

    async def find(intent: Intent, known: frozenset[str], **_: Any) -> FindOutcome:
        # What is known is left out, as by the adapters.
        return Absent() if "remote_9" in known else Found("remote_9")

    async def remote_ids(provider: str, since: datetime) -> frozenset[str]:
        nonlocal slow
        if slow:
            slow = False
            assert await stand.handle() == Ack()
            assert (await stand.shard()).state == ShardState.SUBMITTED
        return await asked(provider, since)

    asked = stand.shards.remote_ids
    monkeypatch.setattr(stand.provider, "find", find)
    monkeypatch.setattr(stand.shards, "remote_ids", remote_ids)
    assert await stand.handle() == Ack()
    shard = await stand.shard()
    assert (shard.state, shard.remote_id) == (ShardState.SUBMITTED, "remote_9")
    assert not stand.provider.created


async def test_a_clock_that_is_ahead_ends_no_doubt_too_early(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what is on its way from another replica would be absent at once, and sent twice."""
    sent = await stand.died(let_go=True)
    ahead = timedelta(minutes=20)

    async def clock_ahead() -> timedelta:
        return ahead

    monkeypatch.setattr(stand.ledger, "clock_ahead", clock_ahead)
    stand.provider.found = Unsure("not listed yet")
    await stand.handle()
    assert sent.dispatched_at is not None
    assert sent.intended_at is not None
    assert stand.provider.quiet_since == sent.dispatched_at + timedelta(seconds=60) + ahead
    assert stand.provider.looked_for is not None
    assert stand.provider.looked_for.intended_at == sent.intended_at + ahead


async def test_a_lease_that_goes_on_is_respected(stand: Stand) -> None:
    shard = await stand.died(let_go=False)
    assert await stand.shards.renew_lease(shard, timedelta(seconds=20))
    outcome = await stand.handle()
    assert isinstance(outcome, Snooze)
    assert 15 < outcome.delay <= 20
    assert (await stand.shard()).state == ShardState.SUBMITTING


async def test_what_is_surely_absent_is_sent_again(stand: Stand) -> None:
    await stand.died(let_go=True)
    assert await stand.handle() == Snooze(0.0)
    assert (await stand.shard()).state == ShardState.QUEUED
    assert await stand.handle() == Ack()
    assert len(stand.provider.created) == 1


async def test_the_unsure_wait_by_default(stand: Stand) -> None:
    await stand.died(let_go=True)
    stand.provider.found = Unsure("cannot tell", retry_after=3.0)
    assert await stand.handle(unsure_patience=0.0) == Snooze(3.0)
    shard = await stand.shard()
    assert (shard.state, shard.waiting_reason) == (ShardState.SUBMITTING, "cannot tell")
    assert shard.no_inflight_since is None, "nobody knows whether its create is still under way"


async def test_the_longer_it_cannot_be_told_the_less_often_it_is_asked(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stand.died(let_go=True)
    stand.provider.found = Unsure("cannot tell")
    dispatched_at = (await stand.shard()).dispatched_at
    assert dispatched_at is not None
    pauses = []
    for hours in (0, 1, 20):
        later = dispatched_at + timedelta(hours=hours)
        monkeypatch.setattr(reconcile, "now", lambda later=later: later)
        outcome = await stand.handle(unreachable_pause=7.0)
        assert isinstance(outcome, Snooze)
        pauses.append(outcome.delay)
        await stand.shards.renew_lease(await stand.shard(), timedelta())
    assert pauses == [7.0, 360.0, 3600.0]


async def test_the_unsure_are_sent_again_where_the_operator_wants_it(stand: Stand) -> None:
    await stand.died(let_go=True)
    stand.provider.found = Unsure("cannot tell", retry_after=3.0)
    patient = await stand.handle(unsure_submission="resend", unsure_patience=100.0)
    assert patient == Snooze(3.0)
    await stand.shards.renew_lease(await stand.shard(), timedelta())
    assert await stand.handle(unsure_submission="resend", unsure_patience=0.0) == Snooze(0.0)
    assert (await stand.shard()).state == ShardState.QUEUED


async def test_a_provider_that_is_away_is_no_reason_to_send_again(stand: Stand) -> None:
    await stand.died(let_go=True)
    stand.provider.found = ProviderUnavailable("away")
    outcome = await stand.handle(unsure_submission="resend", unsure_patience=0.0)
    assert isinstance(outcome, Snooze)
    assert (await stand.shard()).state == ShardState.SUBMITTING


async def test_absence_is_not_believed_of_another_key(stand: Stand) -> None:
    await stand.died(let_go=True, credential="yesterday")
    assert isinstance(await stand.handle(), Snooze)
    shard = await stand.shard()
    assert shard.state == ShardState.SUBMITTING
    assert "another key" in shard.waiting_reason
    stand.provider.found = Found("remote_9")
    await stand.shards.renew_lease(shard, timedelta())
    assert await stand.handle() == Ack()
    assert (await stand.shard()).state == ShardState.SUBMITTED


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (OutcomeUnknown("no answer"), ShardState.SUBMITTING),
        (Refused("rate", "later", transient=True, retry_after=5.0), ShardState.QUEUED),
        (Refused("bad", "never", transient=False), ShardState.SETTLED),
    ],
)
async def test_the_other_outcomes(stand: Stand, outcome: SubmitOutcome, state: ShardState) -> None:
    stand.provider.outcome = outcome
    await stand.handle()
    shard = await stand.shard()
    assert shard.state == state
    assert (shard.no_inflight_since is not None) == isinstance(outcome, OutcomeUnknown)


def settled_lines(outcome: str) -> float:
    labels = {"provider": "openai", "outcome": outcome}
    return REGISTRY.get_sample_value("polybatch_lines_settled_total", labels) or 0


async def test_a_shard_that_is_refused_is_counted_and_announced(stand: Stand) -> None:
    before = settled_lines("failed")
    stand.provider.outcome = Refused("bad", "never", transient=False)
    await stand.handle()
    assert settled_lines("failed") - before == 3
    assert stand.publisher.kinds[-1] == BatchEvent.SHARD_SETTLED


async def test_a_shard_that_is_cut_is_announced_as_retried(stand: Stand) -> None:
    before = settled_lines("retried")
    stand.provider.limits = dataclasses.replace(stand.provider.limits, max_bytes=300)
    await stand.handle()
    assert settled_lines("retried") - before == 3
    assert stand.publisher.kinds[-1] == BatchEvent.SHARD_RETRIED


async def test_a_dispatcher_that_is_stopped_leaves_nothing_to_wait_for(stand: Stand) -> None:
    async def stopped() -> None:
        raise asyncio.CancelledError

    stand.provider.before_gate = stopped
    with pytest.raises(asyncio.CancelledError):
        await stand.handle()
    stand.provider.before_gate = None
    assert await stand.handle() == Snooze(0.0), "taken back at once"
    assert await stand.handle() == Ack()
    assert len(stand.provider.created) == 1


async def test_a_ledger_that_is_away_keeps_the_create_from_leaving(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> bool:
        raise LedgerUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(stand.shards, "mark_dispatched", away)
        with pytest.raises(LedgerUnavailable):
            await stand.handle()
    assert not stand.provider.created
    await stand.shards.renew_lease(await stand.shard(), timedelta())
    assert await stand.handle() == Snooze(0.0)


REFUSED_KEY = Refused("invalid_api_key", "no such key", transient=False, access=True)


async def test_lines_wait_for_a_key_that_works(stand: Stand) -> None:
    stand.provider.outcome = REFUSED_KEY
    stand.provider.checked = ProviderRejected("invalid_api_key", "no such key", 401)
    assert isinstance(await stand.handle(refused_pause=0.001), Snooze)
    waiting = await stand.shard()
    assert waiting.state == ShardState.QUEUED
    assert "OPENAI_API_KEY" in waiting.waiting_reason
    assert isinstance(await stand.handle(refused_pause=0.001), Snooze)
    assert len(stand.provider.created) == 1, "a key is tried with a call that costs nothing"
    stand.provider.outcome, stand.provider.checked = Accepted("remote_1"), None
    assert await stand.handle() == Ack()
    assert (await stand.shard()).state == ShardState.SUBMITTED


async def test_lines_that_are_to_fail_fast_fail_for_a_refused_key(stand: Stand) -> None:
    await stand.fail_fast()
    stand.provider.outcome = REFUSED_KEY
    assert await stand.handle() == Ack()
    shard = await stand.shard()
    assert (shard.state, shard.fill_code) == (ShardState.SETTLED, "invalid_api_key")
    assert shard.times_sent == 0


async def test_a_key_that_was_wrong_from_the_start_is_not_tried_with_lines(stand: Stand) -> None:
    stand.provider.checked = ProviderRejected("invalid_api_key", "no such key", 401)
    await stand.keys.check(cast("Provider", stand.provider))
    assert isinstance(await stand.handle(), Snooze)
    assert stand.provider.created == []
    tried = (await stand.ledger.keys.of(CREDENTIALS))["openai"]
    assert (tried.accepted, tried.code) == (False, "invalid_api_key")
    stand.provider.checked = None
    await stand.keys.refusal(cast("Provider", stand.provider), fresh=True)
    assert (await stand.ledger.keys.of(CREDENTIALS))["openai"].accepted
    assert await stand.ledger.keys.of({"openai": "another key"}) == {}


async def test_a_given_up_shard_that_was_never_created_is_not_sent_again(stand: Stand) -> None:
    shard = await stand.died(let_go=True)
    await stand.ledger.batches.cancel(shard.batch_id)
    given_up = await stand.ledger.late.give_up(shard, "batch_cancelled", "perhaps", now())
    assert isinstance(given_up, Batch)
    assert given_up.all_settled, "its batch does not wait for it"
    far = now() + timedelta(days=1)
    await stand.set(late_until=far)
    stand.provider.found = Absent()
    assert await stand.handle() == Ack()
    settled = await stand.shard()
    assert (settled.state, settled.fill_code) == (ShardState.SETTLED, "batch_cancelled")
    assert settled.times_sent == 0
    assert stand.provider.created == []


async def test_a_given_up_shard_is_asked_about_less_and_less_often(stand: Stand) -> None:
    shard = await stand.died(let_go=True)
    await stand.ledger.batches.cancel(shard.batch_id)
    await stand.ledger.late.give_up(shard, "batch_cancelled", "perhaps", now() + timedelta(days=1))
    await stand.set(created_at=now() - timedelta(hours=5))
    stand.provider.found = Unsure("it cannot be told")
    again = await stand.handle()
    assert isinstance(again, Snooze)
    assert 1000 < again.delay < 3700
    await stand.set(late_until=now(), due_at=now())
    assert await stand.handle() == Ack()
    abandoned = await stand.shard()
    assert (abandoned.state, abandoned.late_merged) == (ShardState.SETTLED, True)


RATE = Refused("rate", "later", transient=True, retry_after=0.0)


async def test_a_refused_create_is_repeated_alone(stand: Stand) -> None:
    stand.provider.outcome = RATE
    for _ in range(3):
        assert await stand.handle() == Snooze(0.0)
    shard = await stand.shard()
    assert (shard.remote_file_id, shard.stray_uploads) == ("file-1", False)
    first_uploaded_at = shard.uploaded_at
    stand.provider.outcome = Accepted("remote_1", "file-1")
    assert await stand.handle() == Ack()
    assert stand.provider.sources[1:] == [Upload("file-1")] * 3
    assert len(set(stand.provider.created)) == 4, "each attempt can be found by itself"
    shard = await stand.shard()
    assert shard.file_token == stand.provider.created[0]
    assert shard.token == stand.provider.created[-1]
    assert (shard.remote_file_id, shard.uploaded_at) == ("file-1", first_uploaded_at)
    assert shard.sent_lines == 3
    assert stand.provider.discarded == []


async def test_an_upload_whose_create_was_held_back_is_kept(stand: Stand) -> None:
    """The gate was never asked, so only the refusal names it."""

    async def held_back() -> None:
        raise HeldBackHere

    class HeldBackHere(Exception):
        pass

    submit = stand.provider.submit

    async def refuse(intent: Intent, source: Path | Upload, *, gate: Gate) -> SubmitOutcome:
        stand.provider.before_gate = held_back
        try:
            return await submit(intent, source, gate=gate)
        except HeldBackHere:
            upload = Upload(f"file-{stand.provider.uploads}", orphans=True)
            return replace(RATE, upload=upload)

    stand.provider.submit = refuse  # type: ignore[method-assign]
    assert await stand.handle() == Snooze(0.0)
    shard = await stand.shard()
    assert (shard.remote_file_id, shard.stray_uploads) == ("file-1", True)
    assert shard.uploaded_at is not None
    stand.provider.submit = submit  # type: ignore[method-assign]
    stand.provider.before_gate = None
    assert await stand.handle() == Ack()
    assert stand.provider.sources[-1] == Upload("file-1")


async def test_a_lost_input_is_uploaded_anew(stand: Stand) -> None:
    stand.provider.outcome = replace(RATE, input_lost=True)
    await stand.handle()
    shard = await stand.shard()
    assert (shard.remote_file_id, shard.stray_uploads) == ("", True)
    await stand.handle()
    assert stand.provider.uploads == 2


@pytest.mark.parametrize("what", ["old", "another key"])
async def test_an_upload_that_cannot_be_used_is_left_for_the_end(stand: Stand, what: str) -> None:
    stand.provider.outcome = RATE
    await stand.handle()
    if what == "old":
        stand.provider.input_lifetime = timedelta(hours=1)
        await stand.handle()
    else:
        await stand.submitter(credential="tomorrow").handle(ITEM, DELIVERY)
    shard = await stand.shard()
    assert stand.provider.uploads == 2
    assert (shard.remote_file_id, shard.stray_uploads) == ("file-2", True)
    assert shard.file_token == shard.token


async def test_what_is_absent_is_sent_again_from_its_upload(stand: Stand) -> None:
    stand.provider.outcome = OutcomeUnknown("no answer")
    await stand.handle()
    await stand.shards.renew_lease(await stand.shard(), timedelta())
    assert await stand.handle() == Snooze(0.0)
    stand.provider.outcome = Accepted("remote_1")
    assert await stand.handle() == Ack()
    assert stand.provider.sources[-1] == Upload("file-1")
    assert (await stand.shard()).remote_file_id == "file-1"


async def test_who_dies_before_the_gate_may_have_uploaded(stand: Stand) -> None:
    await stand.died(let_go=False)
    await stand.handle()
    assert (await stand.shard()).stray_uploads
    stand.provider.outcome = Refused("bad", "never", transient=False)
    await stand.handle()
    assert stand.provider.discarded == ["all of shard_10000"]
    shard = await stand.shard()
    assert (shard.remote_file_id, shard.stray_uploads) == ("", False), "nobody deletes it again"


async def test_who_dies_with_a_kept_upload_has_uploaded_nothing(stand: Stand) -> None:
    stand.provider.outcome = RATE
    await stand.handle()
    shard = await stand.shard()
    await intend(
        stand.ledger,
        shard,
        new_token(),
        file_token=shard.file_token,
        credential=CREDENTIAL,
        lease=timedelta(),
    )
    assert await stand.handle() == Snooze(0.0)
    shard = await stand.shard()
    assert (shard.remote_file_id, shard.stray_uploads) == ("file-1", False)


async def test_a_shard_that_is_given_up_leaves_no_upload(stand: Stand) -> None:
    stand.provider.outcome = RATE
    await stand.handle()
    stand.provider.outcome = Refused("bad", "never", transient=False)
    await stand.handle()
    await stand.handle()
    assert stand.provider.discarded == ["file-1"], "once"


async def test_a_shard_that_is_split_leaves_no_upload(stand: Stand) -> None:
    stand.provider.outcome = RATE
    await stand.handle()
    limit = "openai/gpt-4.1=1"
    await stand.handle(enqueued_token_limits=limit)
    assert (await stand.shard()).state == ShardState.SETTLED
    assert stand.provider.discarded == ["file-1"]


async def test_an_upload_behind_a_closed_gate_is_left_to_the_end(stand: Stand) -> None:
    async def taken() -> None:
        stand.provider.before_gate = None
        assert isinstance(await stand.shards.revert_to_queued(await stand.shard()), Batch)

    stand.provider.before_gate = taken
    assert await stand.handle() == Ack()
    assert stand.provider.created == []
    assert stand.provider.discarded == [], "who has the shard now may be about to use it"
    assert (await stand.shard()).stray_uploads, "it is found by its name in the end"


async def test_an_upload_that_comes_after_the_end_is_deleted(stand: Stand) -> None:
    async def settled() -> None:
        stand.provider.before_gate = None
        shard = await stand.shard()
        assert isinstance(await stand.shards.revert_to_queued(shard), Batch)
        fill = Settlement(0, 3, fill_code="batch_cancelled")
        assert isinstance(await stand.shards.settle(shard, fill), Batch)
        await stand.submitter()._outcomes.remote_files.discard(shard)

    stand.provider.before_gate = settled
    assert await stand.handle() == Ack()
    assert stand.provider.discarded == ["all of shard_10000"] * 2


async def test_a_pause_that_comes_during_the_upload_lets_no_create_go(stand: Stand) -> None:
    async def pause() -> None:
        await stand.ledger.pauses.pause_batch(ITEM.batch_id, "key_a")

    stand.provider.before_gate = pause
    assert await stand.handle() == Snooze(0.0)
    shard = await stand.shard()
    assert (shard.state, shard.remote_file_id) == (ShardState.QUEUED, "file-1")
    assert await stand.handle() == Ack()
    held = await stand.shard()
    assert held.held
    assert not stand.provider.created
    # A message more changes nothing, and comes to its end at once.
    assert await stand.handle() == Ack()
    assert (await stand.shard()).due_at == held.due_at

    stand.provider.before_gate = None
    await stand.ledger.pauses.resume_batch(ITEM.batch_id)
    assert await stand.handle() == Ack()
    assert (await stand.shard()).state == ShardState.SUBMITTED
    assert (len(stand.provider.created), stand.provider.uploads) == (1, 1), "it was kept"


async def test_nothing_is_read_for_a_paused_provider(stand: Stand) -> None:
    await stand.ledger.pauses.pause_provider("openai", "key_op")
    assert await stand.handle() == Ack()
    assert (await stand.shard()).held
    assert not stand.provider.sources
    await stand.ledger.pauses.resume_provider("openai")
    # Due only later: a shard that was held does not wait for that.
    assert (await stand.shard()).due_at > now()
    assert await stand.handle() == Ack()
    assert (await stand.shard()).state == ShardState.SUBMITTED


async def test_a_pause_is_over_before_it_is_noted(stand: Stand) -> None:
    submitter = stand.submitter()
    await stand.ledger.pauses.pause_provider("openai", "key_op")
    assert await submitter.handle(ITEM, DELIVERY) == Ack()
    await stand.ledger.pauses.resume_provider("openai")
    # What this process remembers of it is half a second old at the most.
    outcome = await submitter.handle(ITEM, DELIVERY)
    assert isinstance(outcome, Snooze)
    assert 0 < outcome.delay < 1


async def test_what_comes_back_to_a_halted_batch_is_not_sent(stand: Stand) -> None:
    """Its shard is being uploaded when too many lines of another one have failed."""

    async def halt() -> None:
        async with stand.ledger._database.write(Failpoint.SHARD_OVERDUE) as session:
            row = await session.get(Batch, ITEM.batch_id)
            assert row is not None
            row.halt_code, row.halt_message = "failure_limit", "all failed"
            session.add(row)

    stand.provider.before_gate = halt
    assert await stand.handle() == Snooze(0.0)
    assert await stand.handle() == Ack()
    shard = await stand.shard()
    assert (shard.state, shard.withheld) == (ShardState.SETTLED, shard.line_count)
    assert (shard.fill_code, shard.fill_message) == (
        "failure_limit",
        "It was not sent: all failed.",
    )
    assert not stand.provider.created
    assert stand.provider.discarded, "nor is its upload left there"


@pytest.mark.parametrize("let_go", [True, False])
async def test_an_attempt_waits_for_access_to_its_provider(stand: Stand, let_go: bool) -> None:
    """What may be at the provider, and paid for, is looked for once its key is set again."""
    await stand.died(let_go=let_go)
    outcome = await stand.submitter(configured=False).handle(ITEM, DELIVERY)
    assert isinstance(outcome, Snooze)
    shard = await stand.shard()
    if not let_go:
        assert shard.state == ShardState.QUEUED, "nothing has left"
        return
    assert (shard.state, shard.failed) == (ShardState.SUBMITTING, 0)
    assert shard.waiting_reason == "openai: this installation has no access to it"
    await stand.set(due_at=now())
    stand.provider.found = Found("remote_1", "file_1")
    assert await stand.handle() == Ack()
    assert (await stand.shard()).state == ShardState.SUBMITTED


async def test_a_replica_without_the_key_leaves_the_attempts_of_others_alone(stand: Stand) -> None:
    lease = timedelta(minutes=5)
    shard = await intend(stand.ledger, await stand.shard(), new_token(), lease=lease)
    assert await stand.shards.mark_dispatched(shard, lease) is True
    outcome = await stand.submitter(configured=False).handle(ITEM, DELIVERY)
    assert isinstance(outcome, Snooze)
    accepted = await stand.shards.submitted(shard, "remote_1", "file_1", now())
    assert isinstance(accepted, Batch)
