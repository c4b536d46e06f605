"""Providers that answer no call and do not say for how long: who calls then, and how often."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import pytest
from starlette.responses import JSONResponse, Response

from core.providers import (
    CredentialHold,
    Hold,
    Holds,
    OutcomeUnknown,
    ProviderRejected,
    ProviderUnavailable,
    Refused,
)
from core.providers.http.call_metrics import Broken, HeldBack, NotSent
from core.providers.http.client import ProviderHttp
from core.providers.http.outages import FEWEST, FIRST_PAUSE, LONGEST_PAUSE, Outage
from core.providers.http.upload_tries import UploadTries
from tests.support.providers.calls import KINDS, create, make
from tests.support.providers.fake_provider import (
    KEY,
    FakeProvider,
    Naps,
    breaking,
    connect,
    error,
    unused_url,
)

HOUR = 3600.0
CAUSES = {"refused": "status 503", "broken": "ProtocolError", "unreachable": "ConnectError"}


class Clock:
    """That of holds, which naps put forward."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at

    async def nap(self, seconds: float) -> None:
        self.at += seconds


def fail(hold: CredentialHold, times: int) -> None:
    for _ in range(times):
        hold.failed(hold.moment, "status 503")


def away(clock: Clock) -> tuple[Holds, CredentialHold]:
    """A key whose calls have just failed often enough."""
    holds = Holds(clock)
    hold = holds.of("acme", "k")
    fail(hold, FEWEST)
    return holds, hold


def test_failures_in_a_row_hold_all_calls_of_the_key_back() -> None:
    holds = Holds(Clock())
    hold = holds.of("acme", "k")
    fail(hold, FEWEST - 1)
    hold.answered()
    fail(hold, FEWEST - 1)
    assert not hold.left, "an answer in between is an answer"
    fail(hold, 1)
    assert (hold.left, hold.away) == (FIRST_PAUSE, True)
    assert not holds.of("acme", "other").left
    assert str(hold) == (
        "every call has failed since 1970-01-01 00:16:40 UTC (status 503); one at a time is "
        "tried, at most a minute after the other"
    )


def test_each_probe_that_fails_doubles_the_pause_up_to_a_minute() -> None:
    clock = Clock()
    _, hold = away(clock)
    began, pauses = clock.at, []
    for _ in range(9):
        pauses.append(hold.left)
        clock.at += hold.left
        assert not hold.left
        hold.probe()
        assert hold.left == pauses[-1], "while it is under way no other call is made"
        # Calls that began before there was a pause end late; they tell nothing new.
        hold.failed(began, "no answer")
        assert hold.left == pauses[-1]
        hold.failed(clock.at, "status 503")
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert pauses[-1] == LONGEST_PAUSE
    hold.answered()
    assert not hold.left
    clock.at += 1.0
    fail(hold, FEWEST)
    assert hold.left == FIRST_PAUSE


def test_processes_share_an_outage_its_probes_and_its_end() -> None:
    clock = Clock()
    one, other = Holds(clock), Holds(clock)
    told: list[Hold] = []

    def tell(hold: Hold) -> None:
        told.append(hold)
        # As the bus does it: to the one who told it, too.
        for each in (one, other):
            each.learn(hold)

    one.on_told = other.on_told = tell
    here, there = one.of("acme", "k"), other.of("acme", "k")
    fail(here, FEWEST)
    assert not there.left, "it may be the other one's connection alone"
    fail(there, 1)
    assert there.left == FIRST_PAUSE
    assert there.away
    clock.at += FIRST_PAUSE
    there.probe()
    assert here.left == FIRST_PAUSE, "one probe at a time, whoever makes it"
    there.failed(clock.at, "no answer")
    assert here.left == there.left == 2 * FIRST_PAUSE
    assert "no answer" in str(here)
    clock.at += there.left
    here.probe()
    here.answered()
    assert not there.left
    other.learn(told[-2])
    assert not there.left, "what comes late is no news"
    assert not any(hold.asked_for for hold in told)


def test_a_process_that_alone_does_not_reach_the_provider_stops_no_other() -> None:
    clock = Clock()
    one, other = Holds(clock), Holds(clock)
    told: list[Hold] = []
    one.on_told, other.on_told = other.learn, told.append
    here, there = one.of("acme", "k"), other.of("acme", "k")
    fail(here, FEWEST)
    for _ in range(10):
        clock.at += here.left
        here.probe()
        here.failed(clock.at, "not reached")
        assert not there.left
        there.probe()
        there.answered()
    assert here.left == LONGEST_PAUSE
    assert told == [], "nor is it told to try again and again"


def test_an_answer_does_not_end_what_the_provider_has_asked_for() -> None:
    clock = Clock()
    _, hold = away(clock)
    hold.note(30.0)
    assert not hold.away
    assert "asked for no call before" in str(hold)
    hold.answered()
    assert hold.left == 30.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trouble", CAUSES)
async def test_calls_of_every_kind_count_and_are_held_back(
    kind: str, trouble: str, fake: FakeProvider, spool: Path
) -> None:
    clock = Clock()
    hold = Holds(clock).of("acme", "k")
    for each in KINDS.values():
        fake.on(*each, Response(status_code=503))
    async with (
        breaking(read=True) as breaker,
        connect(
            {"refused": fake.url, "broken": breaker.url, "unreachable": unused_url()}[trouble],
            Naps(),
            hold=hold,
        ) as http,
        connect(fake.url, Naps(), hold=hold) as other,
    ):
        fail(hold, FEWEST - 1)
        await make_once(http, kind, spool)
        # Longer than a call waits for.
        while hold.left <= 16.0:
            clock.at += hold.left
            await make_once(http, kind, spool)
        made = len(fake.calls)
        for each in KINDS:
            outcome = await make(other, each, spool)
            assert isinstance(outcome, Refused | ProviderUnavailable | HeldBack)
            assert outcome.retry_after == pytest.approx(hold.left)
            assert "every call has failed since" in (
                outcome.message if isinstance(outcome, Refused) else str(outcome)
            )
            if isinstance(outcome, Refused):
                assert (outcome.code, outcome.transient) == ("unreachable", True)
        assert CAUSES[trouble] in str(hold)
        assert len(fake.calls) == made
        clock.at += hold.left
        # A clear no is an answer: the provider is there.
        fake.on(*KINDS[kind], error(404, "no such thing", "not_found_error"))
        await make_once(other, kind, spool)
        assert not hold.left


async def make_once(http: ProviderHttp, kind: str, spool: Path) -> None:
    """A call, whatever comes of it."""
    with suppress(ProviderRejected, NotSent, Broken):
        await make(http, kind, spool)


async def test_the_cause_does_not_tell_the_key() -> None:
    """As where a server sends the request back in the place of an answer."""
    hold = Holds(Clock()).of("acme", "k")
    told: list[Hold] = []
    hold._holds.on_told = told.append
    async with (
        breaking(read=True, answer=f"{KEY}\r\n\r\n".encode()) as breaker,
        connect(breaker.url, Naps(), hold=hold) as http,
    ):
        for _ in range(FEWEST):
            assert isinstance(await create(http), OutcomeUnknown)
    assert "***" in str(hold)
    assert KEY not in f"{hold} {told}"


async def test_an_upload_in_two_calls_is_one_probe(fake: FakeProvider, spool: Path) -> None:
    clock = Clock()
    _, hold = away(clock)
    clock.at += hold.left
    session = Response(headers={"x-goog-upload-url": f"{fake.url}/session"})
    fake.on("POST", "/upload", session)
    fake.on("POST", "/session", JSONResponse({"id": "f"}))
    naps = Naps()
    async with connect(fake.url, naps, hold=hold) as http:
        body = await http.upload_resumable("/upload", b"{}", spool, "x/y", bytes, UploadTries())
    assert (body, naps.taken) == (b'{"id":"f"}', [])


async def test_a_create_whose_turn_another_call_took_is_not_sent(fake: FakeProvider) -> None:
    clock = Clock()
    holds, hold = away(clock)
    clock.at += hold.left

    async def gate() -> None:
        probe = Outage(failures=20, cause="status 503", pause=50.0, until=clock.at + 50.0)
        holds.learn(Hold("acme", "k", probe.until, probe))

    async with connect(fake.url, Naps(), hold=hold) as http:
        outcome = await http.create("/things", b"{}", deadline=http.deadline(), gate=gate)
    assert isinstance(outcome, Refused)
    assert (outcome.code, outcome.transient, outcome.retry_after) == ("unreachable", True, 50.0)
    assert fake.calls == []


async def test_an_hour_of_it_costs_tens_of_calls_and_its_end_is_noticed(
    fake: FakeProvider, spool: Path
) -> None:
    """However many want to call, each every few seconds."""
    clock = Clock()
    random.seed(1)
    for each in KINDS.values():
        fake.on(*each, Response(status_code=503))
    hold = Holds(clock).of("acme", "k")
    connected = connect(fake.url, clock.nap, hold=hold)  # type: ignore[arg-type]
    async with connected as http:
        while clock.at < 1000.0 + HOUR:
            for kind in KINDS:
                await make_once(http, kind, spool)
            clock.at += 5.0
        assert len(fake.calls) < 100
        fake.on(*KINDS["read"], JSONResponse({"id": "1"}))
        back = clock.at
        while not isinstance(await make(http, "read", spool), bytes):
            clock.at += 1.0
        assert clock.at - back <= LONGEST_PAUSE
