"""Running lines one call each: what is called, what is kept, and what a crash costs."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import obstore
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from obstore.exceptions import AlreadyExistsError
from obstore.store import MemoryStore

from core.batchfile import INDEX
from core.blobs import BlobExists, BlobStore, BlobUnavailable, SegmentWriter
from core.failpoints import Failpoint
from core.ledger import Batch, BatchState, File, Shard, ShardState
from core.pipeline import Event, RunLog, RunTaken, read_run
from core.prices.usage import Usage
from core.providers import (
    Answered,
    CallLimits,
    CallOutcome,
    LineRejected,
    Outcome,
    OutcomeUnknown,
    Throttled,
)
from core.providers.contract import ProviderLimits
from services.dispatcher.adaptive_concurrency import AdaptiveConcurrencyLimiter
from services.dispatcher.direct_lines import LineRun, Retries
from tests.fuzz.budget import examples
from tests.support.ledger.rows import batch_row, file_row, shard_row

CHAT = "/v1/chat/completions"
PATIENCE = 10.0
LIMITS = ProviderLimits(
    max_lines=100, max_bytes=10**9, one_model_per_batch=False, endpoints=frozenset({CHAT})
)


def answered(outcome: Outcome = Outcome.SUCCEEDED, status: int = 200) -> Answered:
    return Answered(outcome, b'{"status_code":%d}' % status, Usage(input=3, output=1))


OK = answered()
BAD = answered(Outcome.FAILED, 400)
ERROR = answered(Outcome.RETRYABLE, 500)
NOT_NOW = Throttled("not now", retry_after=0.0)
REFUSED_KEY = Throttled("the key is refused", key_refused="invalid_api_key")
LOST = OutcomeUnknown("gone")


async def ours() -> None:
    """Nobody else wants the shard."""


@dataclass
class Scripted:
    """A provider that answers each line as it is told, and remembers the calls."""

    call_limits: CallLimits
    script: Callable[[int, int], CallOutcome] = lambda number, attempt: OK
    """Takes the line's number and which of its calls it is, from 1."""
    gate: Callable[[int], Any] | None = None
    """Awaited in each call; takes the line's number."""
    calls: Counter[int] = field(default_factory=Counter)
    ran: Counter[int] = field(default_factory=Counter)
    """Calls that may have cost something."""
    at_once: int = 0
    most_at_once: int = 0
    name: str = "local"
    limits: ProviderLimits = LIMITS

    def remote_model(self, model: str) -> str:
        return model

    def encode_body(self, url: str, model: str, body: bytes) -> bytes:
        if json.loads(body).get("bad"):
            raise LineRejected("body.bad", "unsupported_parameter", "no")
        return body

    async def call(self, call_id: str, url: str, body: bytes) -> CallOutcome:
        number = int(json.loads(body)["n"])
        assert call_id.startswith("shard_1-")
        self.calls[number] += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        outcome = self.script(number, self.calls[number])
        self.ran[number] += not isinstance(outcome, Throttled) and outcome is not ERROR
        try:
            if self.gate is not None:
                await self.gate(number)
            else:
                await asyncio.sleep(0)
        finally:
            self.at_once -= 1
        return outcome

    async def close(self) -> None:
        return None


@dataclass
class Stand:
    """A shard of `count` lines, whose body of line n (from 0) is {"n": n}."""

    blobs: BlobStore
    count: int
    shard: Shard
    batch: Batch
    file: File

    @classmethod
    async def build(cls, blobs: BlobStore, count: int, bad: frozenset[int] = frozenset()) -> Stand:
        groups = [{"provider": "local", "model": "m", "lines": count, "bytes": 0}]
        file = file_row(id="file_1", account_id="acct", upload_id="u", groups=groups)
        batch = batch_row(file, id="batch_1", state=BatchState.IN_PROGRESS)
        shard = shard_row(
            batch,
            id="shard_1",
            provider="local",
            model="m",
            state=ShardState.RUNNING,
            line_count=count,
        )
        content, records = bytearray(), bytearray()
        for n in range(count):
            body = {"n": n} | ({"bad": True} if n in bad else {})
            line = json.dumps({"custom_id": f"c{n}", "url": CHAT, "body": body}).encode()
            records += INDEX.pack(len(content), len(line), n + 1, 0, 0)
            content += line + b"\n"
        writer = SegmentWriter(
            blobs, f"{file.prefix}/data", segment_bytes=1 << 20, point=Failpoint.UPLOAD_DATA
        )
        await writer.write(bytes(content))
        await writer.close()
        await blobs.put(shard.lines_key, bytes(records), point=Failpoint.UPLOAD_DATA)
        return cls(blobs, count, shard, batch, file)

    async def log(self, token: str = "t") -> RunLog:
        log = await RunLog.open(self.blobs, self.shard.run_prefix, self.count)
        log.fence(token)
        await log.flush()
        return log

    async def run(self, provider: Scripted, *, limit: int = 2) -> tuple[LineRun, RunLog]:
        log = await self.log()
        run = LineRun(
            self.shard,
            self.batch,
            self.file,
            provider=provider,
            limiter=AdaptiveConcurrencyLimiter(provider.call_limits),
            run_log=log,
            blobs=self.blobs,
            retries=Retries(limit, 0.0),
        )
        # The pauses of a pace are tested by themselves.
        run._limiter._close = lambda seconds, reason: None  # type: ignore[method-assign]
        return run, log

    async def input_tokens(self) -> Counter[int]:
        """By position, of all its calls."""
        tokens: Counter[int] = Counter()
        async for records in read_run(self.blobs, self.shard.run_prefix):
            for record in records:
                tokens[record.position] += record.usage.input
        return tokens

    async def results(self) -> dict[int, tuple[Event, dict[str, Any]]]:
        """By line: the last event, and what its result ends with."""
        found: dict[int, tuple[Event, dict[str, Any]]] = {}
        async for records in read_run(self.blobs, self.shard.run_prefix):
            for position, event, piece, _ in records:
                if event is not Event.HELD:
                    found[position] = (event, json.loads(b"{" + piece) if piece else {})
        return found

    async def begun(self) -> set[int]:
        """Lines whose begin has ever been kept."""
        return {
            position
            async for records in read_run(self.blobs, self.shard.run_prefix)
            for position, event, _, _ in records
            if event is Event.BEGUN
        }

    async def events(self) -> Counter[Event]:
        return Counter(event for event, _ in (await self.results()).values())


@pytest.fixture
async def stand(blobs: BlobStore) -> Stand:
    return await Stand.build(blobs, 60)


def paid(most: int = 8) -> CallLimits:
    return CallLimits(max_concurrency=most)


def free(most: int = 8) -> CallLimits:
    return CallLimits(max_concurrency=most, rerun_lost=True)


@asynccontextmanager
async def working(run: LineRun) -> AsyncIterator[asyncio.Task[None]]:
    work = asyncio.create_task(run.work(ours))
    try:
        async with asyncio.timeout(PATIENCE):
            yield work
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work


@pytest.mark.parametrize("call_limits", [paid(), free()], ids=["paid", "free"])
async def test_a_refused_key_fails_all_lines_of_a_batch_that_fails_fast(
    stand: Stand, call_limits: CallLimits
) -> None:
    stand.batch.fail_fast = True
    provider = Scripted(call_limits, lambda n, k: REFUSED_KEY)
    run, _ = await stand.run(provider)
    async with working(run) as work:
        await work
    await run.flush()
    results = await stand.results()
    assert len(results) == stand.count
    for event, answer in results.values():
        assert event is Event.FAILED
        assert answer["error"] == {"code": "invalid_api_key", "message": REFUSED_KEY.reason}
        assert answer["attempts"] == 0
    assert sum(provider.calls.values()) <= call_limits.max_concurrency, (
        "it is not asked for each line"
    )


@pytest.mark.parametrize("call_limits", [paid(), free()], ids=["paid", "free"])
async def test_other_batches_wait_for_a_key(stand: Stand, call_limits: CallLimits) -> None:
    provider = Scripted(call_limits, lambda n, k: REFUSED_KEY if k == 1 else OK)
    run, _ = await stand.run(provider)
    async with working(run) as work:
        await work
    await run.flush()
    assert await stand.events() == {Event.SUCCEEDED: stand.count}


@pytest.mark.parametrize("call_limits", [paid(), free()], ids=["paid", "free"])
async def test_each_line_is_run_once(stand: Stand, call_limits: CallLimits) -> None:
    provider = Scripted(call_limits)
    run, _ = await stand.run(provider)
    await run.work(ours)
    await run.flush()
    assert run.complete
    assert provider.calls == Counter(range(60))
    assert provider.most_at_once <= 8
    results = await stand.results()
    assert results.keys() == set(range(60))
    for event, tail in results.values():
        assert event is Event.SUCCEEDED
        assert tail == {"response": {"status_code": 200}, "error": None, "attempts": 1}


async def test_an_adapter_that_fails_costs_no_other_line_its_answer(stand: Stand) -> None:
    def script(number: int, _attempt: int) -> CallOutcome:
        if number == 5:
            raise ValueError("no number in the answer")
        return OK

    provider = Scripted(paid(), script)
    run, _ = await stand.run(provider)
    async with working(run) as work:
        await work
    await run.flush()
    results = await stand.results()
    assert {n for n, (event, _) in results.items() if event is Event.SUCCEEDED} == (
        set(range(60)) - {5}
    )
    event, answer = results[5]
    assert (event, answer["error"]["code"]) == (Event.FAILED, "result_missing")
    assert "local: its adapter failed with ValueError." in answer["error"]["message"]
    assert "no number" not in answer["error"]["message"], "it may quote what was answered"
    assert provider.calls[5] == 1


async def test_what_each_answer_becomes(stand: Stand) -> None:
    scripts: dict[int, list[CallOutcome]] = {
        1: [BAD],
        2: [ERROR, ERROR, OK],
        3: [ERROR],
        4: [NOT_NOW, NOT_NOW, OK],
        5: [LOST, OK],
    }

    def script(number: int, attempt: int) -> CallOutcome:
        outcomes = scripts.get(number, [OK])
        return outcomes[min(attempt, len(outcomes)) - 1]

    expected = {
        1: (Event.FAILED, 400, 1),
        2: (Event.SUCCEEDED, 200, 3),
        3: (Event.FAILED, 500, 3),
        4: (Event.SUCCEEDED, 200, 1),
        6: (Event.SUCCEEDED, 200, 1),
    }
    provider = Scripted(paid(), script)
    run, _ = await stand.run(provider)
    await run.work(ours)
    await run.flush()
    results = await stand.results()
    for number, (event, status, attempts) in expected.items():
        assert results[number][0] is event
        assert results[number][1]["response"]["status_code"] == status
        assert results[number][1]["attempts"] == attempts
        error = results[number][1]["error"]
        assert (error is None) == (event is Event.SUCCEEDED)
        assert error is None or error["code"] == f"http_{status}"
    spent = dict.fromkeys(range(60), 3) | {2: 9, 3: 9, 5: 0}
    assert await stand.input_tokens() == spent, "what failed was paid for, too"
    lost_event, lost = results[5]
    assert lost_event is Event.FAILED
    assert (lost["response"], lost["error"]["code"]) == (None, "result_missing")
    assert "paid for" in lost["error"]["message"]
    assert provider.calls[5] == 1


async def test_where_calls_cost_nothing_a_lost_answer_is_asked_for_again(stand: Stand) -> None:
    provider = Scripted(free(), lambda n, attempt: LOST if n == 9 or attempt == 1 else OK)
    run, _ = await stand.run(provider)
    await run.work(ours)
    await run.flush()
    results = await stand.results()
    assert results[9][0] is Event.FAILED
    assert results[9][1]["error"] == {"code": "result_missing", "message": "gone"}
    assert results[9][1]["attempts"] == provider.calls[9] == 3
    assert all(results[n][0] is Event.SUCCEEDED for n in range(60) if n != 9)


async def test_a_line_that_the_provider_would_not_take_is_not_sent(blobs: BlobStore) -> None:
    stand = await Stand.build(blobs, 5, bad=frozenset({0, 4}))
    provider = Scripted(paid())
    run, _ = await stand.run(provider)
    await run.work(ours)
    await run.flush()
    assert run.complete
    assert sorted(provider.calls) == [1, 2, 3]
    event, tail = (await stand.results())[0]
    assert event is Event.FAILED
    assert tail["attempts"] == 0
    assert tail["error"] == {"code": "unsupported_parameter", "message": "body.bad: no"}


async def test_halted_it_lets_the_calls_under_way_end(stand: Stand) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def gate(number: int) -> None:
        begun.set()
        await go_on.wait()

    provider = Scripted(paid(), gate=gate)
    run, log = await stand.run(provider)
    async with working(run) as work:
        await begun.wait()
        run.halt()
        go_on.set()
        await work
    await run.flush()
    assert not run.complete
    assert await stand.events() == {Event.SUCCEEDED: len(provider.calls)}
    assert log.under_way() == []
    second = Scripted(paid())
    run, _ = await stand.run(second)
    await run.work(ours)
    await run.flush()
    assert run.complete
    assert not provider.calls & second.calls


async def test_halted_before_it_began(stand: Stand) -> None:
    provider = Scripted(paid())
    run, _ = await stand.run(provider)
    run.halt()
    await run.work(ours)
    assert not provider.calls


@pytest.mark.parametrize("call_limits", [paid(4), free(4)], ids=["paid", "free"])
async def test_abandoned_calls(stand: Stand, call_limits: CallLimits) -> None:
    begun = asyncio.Event()

    async def gate(number: int) -> None:
        begun.set()
        await asyncio.Event().wait()

    provider = Scripted(call_limits, gate=gate)
    run, _ = await stand.run(provider)
    async with working(run) as work:
        await begun.wait()
        run.halt()
        run.abandon()
        await work
    await run.flush()
    assert run._limiter.under_way == 0
    second = Scripted(call_limits)
    run, _ = await stand.run(second)
    await run.work(ours)
    await run.flush()
    assert run.complete
    results = await stand.results()
    lost = {n for n, (event, _) in results.items() if event is Event.FAILED}
    if call_limits.rerun_lost:
        assert not lost
        assert second.calls.keys() == set(range(60))
    else:
        assert lost == set(provider.calls)
        assert not provider.calls & second.calls
        assert {results[n][1]["error"]["code"] for n in lost} == {"result_missing"}
        assert {results[n][1]["attempts"] for n in lost} == {1}


async def test_paused_it_begins_nothing(stand: Stand) -> None:
    provider = Scripted(free())
    run, _ = await stand.run(provider)
    run.pause(True)
    async with working(run) as work:
        for _ in range(20):
            await asyncio.sleep(0)
        assert not provider.calls
        run.pause(False)
        await work
    assert len(provider.calls) == 60


async def test_a_store_that_is_away_for_a_while(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an answer is money no line begins before its begin is kept; nothing is lost."""
    provider = Scripted(paid())
    run, _ = await stand.run(provider)
    put = stand.blobs.put
    failures = 3

    async def failing(key: str, data: Any, **options: Any) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            assert not provider.calls
            raise BlobUnavailable("away", key=key)
        await put(key, data, **options)

    monkeypatch.setattr(stand.blobs, "put", failing)
    monkeypatch.setattr("services.dispatcher.direct_lines._FIRST_STORE_PAUSE", 0.01)
    async with asyncio.timeout(PATIENCE):
        await run.work(ours)
    await run.flush()
    assert run.complete
    assert run.trouble == ""
    assert provider.calls == Counter(range(60))


async def test_who_lost_the_shard_begins_no_further_call(stand: Stand) -> None:
    first_begun = asyncio.Event()
    go_on = asyncio.Event()

    async def gate(number: int) -> None:
        first_begun.set()
        await go_on.wait()

    slow = Scripted(paid(4), gate=gate)
    run, _ = await stand.run(slow)
    work = asyncio.create_task(run.work(ours))
    async with asyncio.timeout(PATIENCE):
        await first_begun.wait()
        quick = Scripted(paid(4))
        other, _ = await stand.run(quick)
        await other.work(ours)
        await other.flush()
        go_on.set()
        with pytest.raises(ExceptionGroup) as caught:
            await work
    assert caught.value.subgroup(RunTaken)
    assert other.complete
    assert not slow.calls & quick.calls, "no line is run by both"


async def test_a_call_that_is_abandoned_before_it_is_made_is_taken_back(stand: Stand) -> None:
    """Its begin is kept, but whoever made it knows that nothing was sent."""
    provider = Scripted(paid(4))
    run, log = await stand.run(provider)

    async def then_leave() -> None:
        """Ours, and about to end: what is to be called now never is."""
        asyncio.get_running_loop().call_soon(run.abandon)
        run.halt()

    async with asyncio.timeout(PATIENCE):
        await run.work(then_leave)
        await run.flush()
    assert not provider.calls
    assert log.under_way() == []
    assert {event for event in log.events if event} == {Event.RETURNED}
    second = Scripted(paid())
    run, _ = await stand.run(second)
    await run.work(ours)
    await run.flush()
    assert second.calls == Counter(range(60))
    assert await stand.events() == {Event.SUCCEEDED: 60}


class Where(StrEnum):
    """A place at which a process dies."""

    CALL = "in a call"
    BEFORE = "before a segment of the log is written"
    AFTER = "after it is written, before anybody has heard of it"
    LATE = "while it is written, which happens when the next process has opened the log"


class Death(NamedTuple):
    """The nth time that a process comes to a place."""

    where: Where
    nth: int


class Mortal(BlobStore):
    """A store in memory that processes write their logs to, each until it dies.

    Its writes take no thread: none is half-way when its process dies, unless that is wanted.
    """

    def __init__(self) -> None:
        super().__init__(MemoryStore(), None)
        self._death: Death | None = None
        self._late: tuple[str, bytes] | None = None
        self.dead = asyncio.Event()

    def live(self, death: Death | None) -> None:
        """A process begins, which will die there."""
        self._death, self.dead = death, asyncio.Event()

    async def come_to(self, where: Where) -> None:
        """Go on, or die: then nothing ever happens in this process again."""
        if self._death is not None and self._death.where is where:
            self._death = self._death._replace(nth=self._death.nth - 1)
            if not self._death.nth:
                self.dead.set()
        if self.dead.is_set():
            await asyncio.Event().wait()

    async def put(self, key: str, data: Any, **options: Any) -> None:
        content = data if isinstance(data, bytes) else b"".join(data)
        if not options.get("create_only"):
            self._write(key, content)
            return
        if self._late is not None:
            late, self._late = self._late, None
            # Whose place may be taken by now: nobody is there to be told.
            with suppress(BlobExists):
                self._write(*late)
        await self.come_to(Where.BEFORE)
        if self._death == (Where.LATE, 1):
            self._late = (key, content)
        await self.come_to(Where.LATE)
        self._write(key, content)
        await self.come_to(Where.AFTER)

    def _write(self, key: str, content: bytes) -> None:
        try:
            obstore.put(self._store, key, content, mode="create", use_multipart=False)
        except AlreadyExistsError as error:
            raise BlobExists(key, key=key) from error


async def turn(stand: Stand, store: Mortal, provider: Scripted, *, flushes: bool) -> bool:
    """Run until the process dies, or to the end; False when the shard was taken.

    Taken by a write of the process before, which landed late: whoever finds that leaves the
    shard to the next one. `flushes`: what came is kept whenever a line is called.
    """

    async def live() -> None:
        run, log = await stand.run(provider)

        async def gate(number: int) -> None:
            await store.come_to(Where.CALL)
            if flushes:
                await log.flush()
            await asyncio.sleep(0)

        provider.gate = gate
        await run.work(ours)
        await run.flush()

    process = asyncio.create_task(live())
    death = asyncio.create_task(store.dead.wait())
    async with asyncio.timeout(PATIENCE):
        await asyncio.wait([process, death], return_when=asyncio.FIRST_COMPLETED)
    death.cancel()
    if not process.done():
        process.cancel()
    try:
        await process
    except asyncio.CancelledError:
        assert store.dead.is_set()
    except RunTaken:
        return False
    except ExceptionGroup as errors:
        if errors.split(RunTaken)[1] is not None:
            raise
        return False
    return True


deaths = st.builds(Death, st.sampled_from(Where), st.integers(1, 12))


@settings(max_examples=examples(100), suppress_health_check=[HealthCheck.too_slow])
@given(
    rerun=st.booleans(),
    most=st.integers(1, 6),
    outcomes=st.lists(st.sampled_from([OK, OK, OK, BAD, ERROR, NOT_NOW, LOST]), max_size=50),
    dies=st.lists(deaths, max_size=3),
    flushes=st.booleans(),
)
# The first segment says who holds the log, the second one which lines are about to be called.
@example(rerun=False, most=4, outcomes=[], dies=[Death(Where.AFTER, 2)], flushes=False)
@example(rerun=False, most=4, outcomes=[], dies=[Death(Where.LATE, 2)], flushes=False)
@example(rerun=False, most=4, outcomes=[], dies=[Death(Where.CALL, 2)], flushes=True)
async def test_crashes(
    rerun: bool,
    most: int,
    outcomes: list[CallOutcome],
    dies: list[Death],
    flushes: bool,
) -> None:
    """Whatever happens: each line ends once, and none that may have cost is paid twice."""
    count = 14
    store = Mortal()
    stand = await Stand.build(store, count)
    left = iter(outcomes)
    call_limits = CallLimits(max_concurrency=most, rerun_lost=rerun)
    provider = Scripted(call_limits, lambda number, attempt: next(left, OK))
    cut_short: set[int] = set()
    """Lines whose begin was kept when a process died, and that had not come to their call."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("services.dispatcher.direct_lines._GROUP_SECONDS", 0.0)
        for death in [*dies, None]:
            store.live(death)
            while not await turn(stand, store, provider, flushes=flushes):
                # What had begun when the process before died is only known now.
                cut_short |= await stand.begun() - provider.calls.keys()
                store.live(death)
            begun = await stand.begun()
            if not rerun:
                assert provider.calls.keys() <= begun, "what is called is known to be about to be"
            if store.dead.is_set():
                cut_short |= begun - provider.calls.keys()
    reopened = await RunLog.open(stand.blobs, stand.shard.run_prefix, count)
    assert reopened.kept == count
    results = await stand.results()
    assert results.keys() == set(range(count))
    if not rerun:
        assert all(times <= 1 for times in provider.ran.values())
    for number, (event, tail) in results.items():
        if tail["error"] and tail["error"]["code"] == "result_missing":
            assert event is Event.FAILED
            assert provider.calls[number] >= 1 or number in cut_short, "only what was begun is"


async def test_under_a_max_cost_a_line_has_one_call_that_is_paid_for(stand: Stand) -> None:
    unpaid = Answered(Outcome.RETRYABLE, b'{"status_code":503}', Usage())

    def script(number: int, attempt: int) -> CallOutcome:
        outcomes = {1: [ERROR, OK], 2: [unpaid, OK], 3: [unpaid, ERROR, OK]}.get(number, [OK])
        return outcomes[attempt - 1]

    stand.batch.max_cost_nanos = 1
    run, _ = await stand.run(Scripted(free(), script))
    await run.work(ours)
    await run.flush()
    results = await stand.results()
    assert run.complete
    assert [results[number][1]["attempts"] for number in range(5)] == [1, 1, 2, 2, 1]
    assert [results[number][0] for number in range(4)] == [
        Event.SUCCEEDED,
        Event.FAILED,
        Event.SUCCEEDED,
        Event.FAILED,
    ]
    assert set((await stand.input_tokens()).values()) == {3}
