"""Several addresses of one server: calls go by turns, and elsewhere when one is away."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest
from polybatch import Connection, Unavailable
from polybatch._transport.replicas import Replicas, Turn
from polybatch._transport.translate import translate
from polybatch.retry import Backoff, RetryPolicy

from tests.integration.client.conftest import Api, AsyncioApi, BlockingApi
from tests.support.client.batches import snapshot
from tests.support.client.calls import KEY, Clock, call, failure
from tests.support.client.fake_service import FakePolybatch
from tests.support.client.fault import Fault

BATCH = "batch_1"


@pytest.fixture
def fakes() -> Iterator[list[FakePolybatch]]:
    services = [FakePolybatch() for _ in range(3)]
    for service in services:
        service.start()
        service.publish(snapshot(BATCH, 1))
    yield services
    for service in services:
        service.close()


@pytest.fixture(params=["blocking", "asyncio"])
async def api(request: pytest.FixtureRequest, fakes: list[FakePolybatch]) -> AsyncIterator[Api]:
    addresses = ", ".join(fake.address for fake in fakes)
    if request.param == "blocking":
        blocking = BlockingApi(addresses)
        with blocking.client:
            yield blocking
    else:
        asynchronous = AsyncioApi(addresses)
        async with asynchronous.client:
            yield asynchronous


async def test_calls_go_by_turns(api: Api, fakes: list[FakePolybatch]) -> None:
    for _ in range(9):
        await api.call("get_batch", BATCH)
    assert [fake.count("GetBatch") for fake in fakes] == [3, 3, 3]


async def test_a_replica_that_is_gone_costs_one_repetition(
    api: Api, fakes: list[FakePolybatch]
) -> None:
    for _ in range(3):
        await api.call("get_batch", BATCH)
    fakes[1].stop()
    for _ in range(9):
        assert (await api.call("get_batch", BATCH)).id == BATCH
    assert len(api.retries) <= 1, "it is left alone meanwhile"
    assert fakes[0].count("GetBatch") + fakes[2].count("GetBatch") == 11


async def test_none_there_is_an_error_that_names_one(api: Api, fakes: list[FakePolybatch]) -> None:
    for fake in fakes:
        fake.stop()
    with pytest.raises(Unavailable) as caught:
        await api.call("get_batch", BATCH)
    assert any(fake.address in caught.value.message for fake in fakes)
    assert "cannot be reached" in caught.value.message


async def test_a_watch_goes_on_at_another_replica(api: Api, fakes: list[FakePolybatch]) -> None:
    watch = asyncio.create_task(api.items("watch", BATCH))

    def first_watched() -> FakePolybatch:
        return next(fake for fake in fakes if fake.count("WatchBatch"))

    waits = [asyncio.to_thread(fake.watching.wait, 10) for fake in fakes]
    await asyncio.wait(map(asyncio.ensure_future, waits), return_when=asyncio.FIRST_COMPLETED)
    stopped = first_watched()
    for fake in fakes:
        fake.publish(snapshot(BATCH, 2, "COMPLETED", succeeded=100))
        if fake is not stopped:
            fake.watching.set()
    stopped.stop()
    stopped.watching.set()
    seen = await asyncio.wait_for(watch, 10)
    assert [batch.revision for batch in seen] == [1, 2]


async def test_a_stopping_replica_is_left_at_once(api: Api, fakes: list[FakePolybatch]) -> None:
    for fake in fakes:
        fake.faults["GetBatch"].append(Fault(reason="SERVER_STOPPING"))
    await api.call("get_batch", BATCH)
    assert [wait > 0 for _, wait in api.retries] == [False, True, True]
    assert [fake.count("GetBatch") for fake in fakes].count(1) == 2


def replicas(clock: Clock, *addresses: str) -> Replicas[str]:
    return Replicas("gateway", addresses, str.upper, clock=clock, first=0)


def fail(turn: Turn[str], code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
    turn.failed(call(code, "away"))


def test_rests_grow_with_failures_and_end_with_an_answer() -> None:
    clock = Clock()
    group = replicas(clock, "a", "b")
    assert [group.turn().channel for _ in range(3)] == ["A", "B", "A"]
    for rest in (1.0, 2.0, 4.0, 8.0, 10.0, 10.0):
        away = next(turn for turn in (group.turn(), group.turn()) if turn.address == "b")
        fail(away)
        fail(away)  # Another call that was under way.
        clock.now += rest - 0.1
        assert {group.turn().address for _ in range(4)} == {"a"}
        clock.now += 0.2
    away = next(turn for turn in (group.turn(), group.turn()) if turn.address == "b")
    away.answered()
    fail(away)
    clock.now += 1.1
    assert {group.turn().address for _ in range(4)} == {"a", "b"}


def test_where_all_rest_the_first_to_be_back_is_asked() -> None:
    clock = Clock()
    group = replicas(clock, "a", "b", "c")
    for _ in range(3):
        fail(group.turn())
        clock.now += 0.1
    assert [group.turn().address for _ in range(2)] == ["a", "a"]


def test_an_answer_is_no_absence_whatever_it_says() -> None:
    group = replicas(Clock(), "a", "b")
    for code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.DEADLINE_EXCEEDED):
        fail(group.turn(), code)
    assert [group.turn().address for _ in range(2)] == ["a", "b"]


def test_clients_begin_anywhere() -> None:
    begun = Counter(Replicas("gateway", "abc", str).turn().address for _ in range(300))
    assert set(begun) == set("abc")


def test_lists_of_addresses() -> None:
    connection = Connection.resolve(
        gateway="grpcs://one.example:1, grpcs://two.example:2,one.example:1",
        collector="localhost:3",
        environ=KEY,
    )
    assert connection.gateway == "one.example:1,two.example:2"
    assert list(connection.addresses("gateway")) == ["one.example:1", "two.example:2"]
    assert list(connection.addresses("collector")) == ["localhost:3"]
    assert connection.tls
    local = Connection.resolve(gateway="localhost:1,127.0.0.1:2", environ=KEY)
    assert not local.tls
    assert Connection.resolve(gateway="localhost:1,far.example:2", environ=KEY).tls


@pytest.mark.parametrize(
    ("gateway", "by_health"),
    [
        ("localhost:1", False),
        ("127.0.0.1:1", False),
        ("10.1.2.3:1", False),
        ("[fd00::1]:1", False),
        ("unix:/tmp/socket", False),
        ("gateway:1", True),
        ("dns:///gateway.example:1", True),
        ("10.1.2.3:1,10.1.2.4:1", True),
    ],
)
def test_health_is_watched_where_there_may_be_replicas(gateway: str, by_health: bool) -> None:
    connection = Connection.resolve(gateway=gateway, environ=KEY)
    for address in connection.addresses("gateway"):
        options = dict(connection.channel_options(address))
        assert ("healthCheckConfig" in str(options.get("grpc.service_config"))) is by_health


def test_unready_is_told_from_unreachable() -> None:
    words = "connections to all backends failing; last error: ipv4:127.0.0.1:1: backend unhealthy"
    error = translate(call(grpc.StatusCode.UNAVAILABLE, words), "gateway", "gw:1")
    assert (error.reason, error.code) == ("NOT_SERVING", "UNAVAILABLE")
    assert error.message == "gateway at gw:1 is there, but not ready"
    words = (
        "connections to all backends failing; last error: UNKNOWN: ipv4:127.0.0.1:1: "
        "Failed to connect to remote host: Connection refused"
    )
    error = translate(call(grpc.StatusCode.UNAVAILABLE, words), "gateway", "gw:1")
    assert error.message == "gateway at gw:1: cannot be reached: Connection refused"


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("Stream removed", "the connection broke"),
        (
            "Stream removed (address=ipv4:10.0.0.1:50051 (Pending writes failed due to stream "
            "closure (sendmsg: Broken pipe (32))))",
            "the connection broke: Broken pipe",
        ),
    ],
)
def test_a_connection_that_breaks_is_told_without_the_words_of_grpc(words: str, cause: str) -> None:
    error = translate(call(grpc.StatusCode.UNAVAILABLE, words), "gateway", "gw:1")
    assert (error.cause, error.message) == (cause, f"gateway at gw:1: {cause}")


def test_a_stop_in_order_is_no_reason_to_wait() -> None:
    waits = Backoff(RetryPolicy(first_wait=1), clock=Clock(), jitter=lambda low, high: high)
    stopping = failure()
    stopping.reason = "SERVER_STOPPING"
    assert waits.wait_before_retry(stopping) == 0
    assert waits.wait_before_retry(stopping) == 2
