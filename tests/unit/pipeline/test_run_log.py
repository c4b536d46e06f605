"""The log of a run: what survives, and that only one writer goes on."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.blobs import BlobStore, BlobUnavailable
from core.failpoints import Failpoint
from core.pipeline.run_log import Event, Record, RunLog, RunTaken, read_run
from core.prices.usage import Usage
from tests.fuzz.budget import examples

PREFIX = "batches/b/shards/s/run"
LINES = 8

steps = st.lists(
    st.tuples(
        st.integers(0, LINES - 1),
        st.sampled_from([event for event in Event if event is not Event.HELD]),
        st.binary(max_size=40),
        st.sampled_from(["go on", "flush", "crash"]),
    ),
    max_size=40,
)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore.open((tmp_path / "blobs").as_uri())


async def records(blobs: BlobStore, prefix: str = PREFIX) -> list[Record]:
    return [record async for group in read_run(blobs, prefix) for record in group]


async def held(blobs: BlobStore, token: str, prefix: str = PREFIX) -> RunLog:
    log = await RunLog.open(blobs, prefix, LINES)
    log.fence(token)
    await log.flush()
    return log


async def test_what_was_flushed_is_read_back(blobs: BlobStore) -> None:
    log = await held(blobs, "t1")
    usage = Usage(input=1 << 40, cached_input=2, output=3, reasoning=4)
    log.add(0, Event.BEGUN)
    log.add(1, Event.BEGUN)
    log.add(1, Event.SUCCEEDED, b'"response":{}', usage)
    assert log.kept == 0
    await log.flush()
    assert log.kept == 1
    log.add(0, Event.SUCCEEDED, b"never flushed")
    found = await records(blobs)
    assert [(record.position, record.event) for record in found] == [
        (0, Event.HELD),
        (0, Event.BEGUN),
        (1, Event.BEGUN),
        (1, Event.SUCCEEDED),
    ]
    assert found[0].piece == b"t1"
    assert found[3].piece == b'"response":{}'
    most = (1 << 32) - 1
    assert found[3].usage == Usage(input=most, cached_input=2, output=3, reasoning=4)
    after = await RunLog.open(blobs, PREFIX, LINES)
    assert after.kept == 1
    assert after.final(1)
    assert after.under_way() == [0]


async def test_all_kinds_of_usage_are_kept(blobs: BlobStore) -> None:
    usage = Usage(*range(1, len(Usage.__struct_fields__) + 1))
    log = await held(blobs, "t1")
    log.add(1, Event.SUCCEEDED, b"one", usage)
    log.add(2, Event.SUCCEEDED, b"two", Usage(web_searches=1 << 40))
    await log.flush()
    _, first, second = await records(blobs)
    assert (first.piece, first.usage) == (b"one", usage)
    assert (second.piece, second.usage) == (b"two", Usage(web_searches=(1 << 32) - 1))


async def test_where_inference_ran_is_skipped_by_the_release_before(blobs: BlobStore) -> None:
    """Replicas of it may read the log during an upgrade."""
    log = await RunLog.open(blobs, PREFIX, LINES)
    log.add(1, Event.SUCCEEDED, b"one", Usage(input=5, us_inference=1))
    await log.flush()
    old = struct.Struct("<IIBxHIIII")
    segment = await blobs.get(f"{PREFIX}/{0:010d}")
    assert old.unpack_from(segment) == (1, 3, Event.SUCCEEDED, 0, 5, 0, 0, 0)
    assert segment[old.size :] == b"one"


async def test_a_log_of_the_release_before_is_gone_on_with(blobs: BlobStore) -> None:
    """Its records had 28 bytes before the piece, and four counts."""
    old = struct.Struct("<IIB3xIIII")
    segment = b"".join(
        old.pack(position, len(piece), event, *counts) + piece
        for position, event, piece, counts in (
            (0, Event.HELD, b"t1", (0, 0, 0, 0)),
            (3, Event.BEGUN, b"", (0, 0, 0, 0)),
            (4, Event.SUCCEEDED, b'"response":{}', (10, 3, 20, 4)),
        )
    )
    await blobs.put(f"{PREFIX}/{0:010d}", segment, point=Failpoint.RUN_LOG)
    log = await held(blobs, "t2")
    assert (log.kept, log.under_way()) == (1, [3])
    log.add(3, Event.SUCCEEDED, b"new", Usage(input=5, cache_write_1h=2))
    await log.flush()
    assert [record for record in await records(blobs) if record.event is Event.SUCCEEDED] == [
        Record(
            4,
            Event.SUCCEEDED,
            b'"response":{}',
            Usage(input=10, cached_input=3, output=20, reasoning=4),
        ),
        Record(3, Event.SUCCEEDED, b"new", Usage(input=5, cache_write_1h=2)),
    ]


async def test_an_empty_log(blobs: BlobStore) -> None:
    log = await RunLog.open(blobs, PREFIX, LINES)
    await log.flush()
    assert await blobs.list(PREFIX) == []
    assert (log.kept, log.under_way()) == (0, [])
    assert await records(blobs) == []


async def test_the_slower_of_two_holders_finds_out(blobs: BlobStore) -> None:
    first = await held(blobs, "t1")
    first.add(0, Event.BEGUN)
    second = await held(blobs, "t2")
    with pytest.raises(RunTaken):
        await first.flush()
    with pytest.raises(RunTaken):
        await first.flush()
    second.add(0, Event.BEGUN)
    await second.flush()
    assert [record.event for record in await records(blobs)] == [
        Event.HELD,
        Event.HELD,
        Event.BEGUN,
    ]


async def test_of_two_takers_one_is_the_holder(blobs: BlobStore) -> None:
    await held(blobs, "t1")
    logs = [await RunLog.open(blobs, PREFIX, LINES) for _ in range(2)]
    for number, log in enumerate(logs):
        log.fence(f"taker-{number}")
    outcomes = await asyncio.gather(*(log.flush() for log in logs), return_exceptions=True)
    assert sorted(map(str, map(type, outcomes))) == sorted(map(str, [type(None), RunTaken]))


class LosesConfirmation(BlobStore):
    """Stores what it is given, and says that it did not, the first time."""

    lost = False

    async def put(self, key, data, *, point, create_only=False) -> None:  # type: ignore[no-untyped-def]
        await super().put(key, data, point=point, create_only=create_only)
        if not self.lost:
            self.lost = True
            raise BlobUnavailable("no confirmation", key=key)


async def test_a_lost_confirmation_is_not_another_holder(tmp_path: Path) -> None:
    blobs = LosesConfirmation.open((tmp_path / "blobs").as_uri())
    log = await RunLog.open(blobs, PREFIX, LINES)
    log.fence("t1")
    with pytest.raises(BlobUnavailable):
        await log.flush()
    log.add(3, Event.SUCCEEDED, b"x")
    await log.flush()
    assert log.kept == 1
    assert [record.position for record in await records(blobs)] == [0, 3]


async def test_what_comes_while_a_segment_is_written_goes_into_the_next(
    blobs: BlobStore,
) -> None:
    log = await held(blobs, "t1")
    log.add(0, Event.SUCCEEDED, b"a")
    writing = asyncio.create_task(log.flush())
    await asyncio.sleep(0)
    log.add(1, Event.SUCCEEDED, b"b")
    await asyncio.gather(writing, log.flush())
    assert log.kept == 2
    assert [record.piece for record in await records(blobs)] == [b"t1", b"a", b"b"]


async def test_many_small_segments(blobs: BlobStore) -> None:
    log = await held(blobs, "t1")
    for round_number in range(40):
        log.add(round_number % LINES, Event.RETRYABLE, b"%d" % round_number)
        await log.flush()
    found = await records(blobs)
    assert [record.piece for record in found[1:]] == [b"%d" % n for n in range(40)]
    again = await RunLog.open(blobs, PREFIX, LINES)
    assert list(again.attempts) == [5] * LINES
    again.fence("t2")
    await again.flush()
    assert len(await blobs.list(PREFIX)) == 42


async def test_a_call_that_was_not_run_is_not_under_way(blobs: BlobStore) -> None:
    log = await held(blobs, "t1")
    for position, events in enumerate(
        (
            [Event.BEGUN],
            [Event.BEGUN, Event.RETURNED],
            [Event.BEGUN, Event.RETRYABLE],
            [Event.BEGUN, Event.RETRYABLE, Event.BEGUN],
            [Event.BEGUN, Event.FAILED],
        )
    ):
        for event in events:
            log.add(position, event)
    await log.flush()
    after = await RunLog.open(blobs, PREFIX, LINES)
    assert after.under_way() == [0, 3]
    assert after.events == log.events


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=steps)
async def test_after_any_crash_what_was_flushed_counts(
    steps: list[tuple[int, Event, bytes, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A model: the records in order, those since the last flush lost at each crash."""
    blobs = BlobStore.open(tmp_path_factory.mktemp("log").as_uri())
    log = await held(blobs, "t")
    kept: list[tuple[int, Event, bytes]] = []
    since: list[tuple[int, Event, bytes]] = []
    for position, event, piece, then in steps:
        log.add(position, event, piece)
        since.append((position, event, piece))
        if then == "flush":
            await log.flush()
            kept += since
            since = []
        elif then == "crash":
            log = await held(blobs, "t")
            since = []
            again = await RunLog.open(blobs, PREFIX, LINES)
            assert (again.events, again.attempts) == (log.events, log.attempts)
    found = await records(blobs)
    written = [record[:3] for record in found if record.event is not Event.HELD]
    assert written == kept
    reopened = await RunLog.open(blobs, PREFIX, LINES)
    for position in range(LINES):
        own = [event for at, event, _ in kept if at == position]
        answers = [event for event in own if event >= Event.RETRYABLE]
        assert reopened.attempts[position] == len(answers)
        begun = [event for event in own if event is not Event.RETURNED]
        if begun:
            last_is_return = own[-1] is Event.RETURNED and begun[-1] is Event.BEGUN
            expected = Event.RETURNED if last_is_return else begun[-1]
            assert reopened.events[position] == expected
    finals = {at for at in range(LINES) if reopened.final(at)}
    assert reopened.kept == len(finals)
