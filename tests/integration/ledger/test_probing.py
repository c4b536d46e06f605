"""A simulated provider, in virtual time: its limit is found, followed, and never chased."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from core.ledger import TOKEN_FLOOR, TokenQuota, probing

START = datetime(2026, 11, 28, tzinfo=UTC)
TICK = timedelta(seconds=1)
CHECK = timedelta(seconds=5)
"""From a create until the provider says that it is over the limit, or runs it."""


@dataclass
class Job:
    """A shard on its way."""

    number: int
    tokens: int
    ready_at: datetime
    before: int = 0
    sent_at: datetime = START
    accepted: bool = False


@dataclass
class World:
    """A provider with a limit, and one dispatcher that has learned nothing yet."""

    limit: int
    named: bool
    run: timedelta = timedelta(minutes=10)
    says: int | None = None
    """What a server that is out of order names in the place of its limit."""
    others: int = 0
    """Tokens that somebody else in the organisation has enqueued."""
    ceiling: int | None = None
    row: TokenQuota = field(default_factory=lambda: TokenQuota(provider="p", model="m"))
    now: datetime = START
    waiting: list[Job] = field(default_factory=list)
    enqueued: list[Job] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)
    peak: int = 0
    made: int = 0

    def ask(self, *tokens: int) -> None:
        for each in tokens:
            self.made += 1
            self.waiting.append(Job(self.made, each, self.now))

    @property
    def taken(self) -> int:
        return sum(job.tokens for job in self.enqueued)

    def dispatch(self) -> None:
        """What check_quota and the submit step do, for the shard whose turn it is."""
        while self.waiting:
            job = next((each for each in self.waiting if each.ready_at <= self.now), None)
            if job is None:
                return
            limit = probing.limit_of(self.row, self.ceiling)
            reach = probing.reach_of(self.row, self.ceiling, self.now)
            tokens = job.tokens
            cut = reach is not None and tokens > reach
            if cut:
                assert limit is not None
                tokens = min(tokens, probing.piece_of(limit))
            total = self.taken + tokens
            if limit is not None and self.taken and total > limit and total > (reach or 0):
                return
            if cut and tokens < job.tokens:
                place = self.waiting.index(job)
                self.made += 2
                rest = Job(self.made, job.tokens - tokens, self.now)
                job = Job(self.made - 1, tokens, self.now)
                self.waiting[place : place + 1] = [job, rest]
            self.waiting.remove(job)
            if limit is not None and total > limit and self.row.limit_tokens is not None:
                assert not self.row.probe_shard, "one probe at a time"
                probing.probe(self.row, str(job.number), total)
            job.sent_at = self.now
            self.enqueued.append(job)
            self.sent.append(tokens)

    def check(self, job: Job) -> None:
        """The provider has looked at a batch: it runs, or is over the limit."""
        there = sum(each.tokens for each in self.enqueued if each.accepted) + self.others
        if there + job.tokens <= self.limit:
            job.accepted = True
            self.peak = max(self.peak, there + job.tokens)
            if self.row.probe_shard == str(job.number):
                probing.passed(self.row, self.now)
            return
        was_probe = self.row.probe_shard == str(job.number)
        others = self.taken - job.tokens
        refusal = probing.Refusal(
            shard_id=str(job.number),
            tokens=job.tokens,
            others=others,
            accepted=sum(each.tokens for each in self.enqueued if each.accepted),
            stated=self.says if self.says is not None else self.limit if self.named else None,
            before=job.before,
        )
        probing.refused(self.row, refusal, self.now)
        self.refusals.append(job.tokens)
        self.enqueued.remove(job)
        pause = 1.0 if not job.before else 15.0 * min(2.0 ** (job.before - 1), 40)
        job.before = 0 if was_probe else job.before + 1
        job.ready_at = self.now + timedelta(seconds=pause)
        self.waiting.insert(0, job)

    def pass_time(self, span: timedelta) -> None:
        end = self.now + span
        while self.now < end and (self.waiting or self.enqueued):
            self.dispatch()
            self.now += TICK
            for job in list(self.enqueued):
                if not job.accepted and self.now - job.sent_at >= CHECK:
                    self.check(job)
                elif job.accepted and self.now - job.sent_at >= self.run:
                    self.enqueued.remove(job)
        self.now = end


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_a_raised_limit_is_found_within_minutes(named: bool, seed: int) -> None:
    world = World(limit=90_000, named=named, run=timedelta(hours=1))
    world.ask(*(random.Random(seed).randrange(10_000, 200_000) for _ in range(60)))
    world.pass_time(timedelta(minutes=30))
    assert world.peak <= 90_000
    world.limit = 2_000_000
    refused = len(world.refusals)
    minutes = 0
    while world.peak < 1_200_000:
        world.pass_time(timedelta(minutes=1))
        minutes += 1
        assert minutes <= 10
    assert len(world.refusals) - refused <= 3


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_a_steady_limit_is_used_and_hardly_asked_about(named: bool, seed: int) -> None:
    world = World(limit=500_000, named=named)
    world.ask(700_000)
    world.pass_time(timedelta(minutes=15))
    chance = random.Random(seed)
    world.ask(*(chance.randrange(20_000, 400_000) for _ in range(200)))
    learned, sent = len(world.refusals), len(world.sent)
    for _ in range(24):
        world.pass_time(timedelta(minutes=5))
        assert (world.row.limit_tokens or 0) >= 200_000, "no spiral"
    assert len(world.refusals) - learned <= 36, "probes, every few minutes"
    assert min(world.sent[sent:]) >= 20_000, "none is cut into small ones"
    done = sum(world.sent[sent:]) - sum(world.refusals[learned:])
    assert done > 0.6 * 500_000 * 12, "ten minutes a batch, for two hours"


@pytest.mark.parametrize("named", [True, False])
def test_a_flood_before_anything_is_known_is_stemmed(named: bool) -> None:
    world = World(limit=500_000, named=named)
    world.ask(*([100_000] * 100))
    world.pass_time(timedelta(minutes=2))
    assert len(world.refusals) <= 110
    assert 250_000 <= (world.row.limit_tokens or 0) <= 500_000


@pytest.mark.parametrize("seed", range(5))
def test_a_lowered_limit_is_met_by_halving(seed: int) -> None:
    world = World(limit=4_000_000, named=False, run=timedelta(minutes=1))
    chance = random.Random(seed)
    world.ask(*(chance.randrange(500_000, 900_000) for _ in range(60)))
    world.pass_time(timedelta(minutes=3))
    world.limit = 250_000
    before = len(world.refusals)
    world.pass_time(timedelta(minutes=4))
    assert (world.row.limit_tokens or 0) <= 500_000
    assert len(world.refusals) - before <= 24
    assert min(world.sent) >= probing.SMALLEST_SHARD // 2


@pytest.mark.parametrize("says", [0, 10, None])
def test_a_server_out_of_order_makes_no_small_shards(says: int | None) -> None:
    """It refuses all for a while, and names no limit or a silly one."""
    world = World(limit=0, named=False, says=says)
    world.ask(*([8_000] * 20))
    world.pass_time(timedelta(seconds=90))
    world.limit, world.says = 10_000_000, None
    world.pass_time(timedelta(minutes=30))
    assert not world.waiting
    assert min(world.sent) == 8_000
    assert (world.row.limit_tokens or TOKEN_FLOOR) >= TOKEN_FLOOR


def test_others_tokens_hold_up_only_while_they_are_there() -> None:
    world = World(limit=1_000_000, named=False, others=980_000, run=timedelta(hours=2))
    world.ask(*([60_000] * 12))
    world.pass_time(timedelta(minutes=20))
    world.others = 0
    world.pass_time(timedelta(minutes=12))
    assert not world.waiting, "all of it fits"


def test_unrelated_batches_are_not_cut_for_an_old_refusal() -> None:
    """The example: four batches after one refusal made twenty at the provider."""
    world = World(limit=4_000, named=True)
    world.ask(24_000)
    world.pass_time(timedelta(minutes=1))
    assert (world.row.limit_tokens or 0) < TOKEN_FLOOR, "it was refused at the floor"
    world.waiting.clear()
    world.enqueued.clear()
    world.limit = 1_000_000
    world.pass_time(timedelta(minutes=2))
    world.now += timedelta(minutes=2)
    sent = len(world.sent)
    world.ask(3_000, 9_000, 5_000, 12_000)
    world.pass_time(timedelta(minutes=2))
    assert world.sent[sent:] == [3_000, 9_000, 5_000, 12_000]


def test_a_small_limit_that_holds_is_obeyed() -> None:
    world = World(limit=4_000, named=True, run=timedelta(seconds=10))
    world.ask(20_000)
    world.pass_time(timedelta(minutes=5))
    assert not world.waiting
    assert len(world.refusals) <= 8


def test_the_operators_limit_is_never_probed() -> None:
    world = World(limit=1_000_000, named=True, ceiling=50_000)
    world.ask(*([12_000] * 20), 70_000)
    world.pass_time(timedelta(hours=2))
    assert not world.waiting
    assert world.peak <= 50_000
    assert not world.refusals


def test_within_the_operators_limit_a_lower_one_is_learned() -> None:
    world = World(limit=40_000, named=True, ceiling=500_000)
    world.ask(*([30_000] * 10))
    world.pass_time(timedelta(hours=3))
    assert not world.waiting
    assert world.peak <= 40_000
    assert min(world.sent) >= probing.SMALLEST_SHARD


def test_a_limit_that_nobody_has_refused_for_long_is_forgotten() -> None:
    world = World(limit=90_000, named=True, run=timedelta(hours=10))
    world.ask(100_000)
    world.pass_time(timedelta(minutes=1))
    world.now += timedelta(hours=2)
    world.limit = 100_000_000
    world.ask(*([3_000_000] * 5))
    world.pass_time(timedelta(minutes=1))
    assert world.row.limit_tokens is None
    assert world.sent[-5:] == [3_000_000] * 5, "none was cut while the first one was tried"
