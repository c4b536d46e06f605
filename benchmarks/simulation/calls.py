"""Single calls to a provider without batches, in virtual time: how many at a time, and whose.

Each dispatcher's limiter is the product's own (services.dispatcher.adaptive_concurrency), and so
is what all of them know of a Retry-After (core.providers.http.holds). Made up is the server, which
bears so many calls at a time and refuses the others.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.simulation.load import HOUR
from benchmarks.simulation.outages import Outage
from benchmarks.simulation.providers import CLOCK_STEP
from benchmarks.simulation.virtual_time import simulated_day
from core.ledger import now
from core.providers import CallLimits, Throttled
from core.providers.http.holds import CredentialHold, Hold, Holds
from services.dispatcher.adaptive_concurrency import AdaptiveConcurrencyLimiter

CAPACITY = 12
"""Calls that the server bears at a time."""
_OFFERED = 16
_DISPATCHERS = 2
_RETRY_AFTER = 5.0
_LASTS = 2 * HOUR
OUTAGES = (
    Outage(1800, 600, "unreachable"),
    Outage(3600, 300, "throttled"),
    Outage(5400, 300, "lost"),
)
SHARDS = ("huge", "huge", "small 1", "small 2", "small 3", "small 4")
"""The accounts of the shards that each dispatcher runs: of one batch two at the most."""


@dataclass(slots=True)
class Calls:
    """What became of the calls."""

    outcomes: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    """By account."""
    early: int = 0
    """Calls that came while a Retry-After held."""
    in_outages: int = 0
    """Calls that came while the server was away."""
    _under_way: int = 0
    _held_until: float = 0.0

    async def call(
        self, account: str, chance: random.Random, outages: Sequence[Outage]
    ) -> Throttled | str:
        """Make one; a text: it was lost, empty: it was answered."""
        moment = asyncio.get_running_loop().time()
        self.early += moment < self._held_until - CLOCK_STEP
        outage = next((o for o in outages if o.start <= moment < o.start + o.seconds), None)
        self.in_outages += outage is not None
        kind = outage.kind if outage else "full" if self._under_way >= CAPACITY else "answered"
        self.outcomes[kind] += 1
        self._under_way += 1
        try:
            await asyncio.sleep(chance.lognormvariate(0.7, 0.4) if kind == "answered" else 0.1)
        finally:
            self._under_way -= 1
        match kind:
            case "answered":
                self.answered[account] += 1
                return ""
            case "unreachable":
                return Throttled("nobody is there", reachable=False)
            case "lost":
                return "no answer came"
        self._held_until = asyncio.get_running_loop().time() + _RETRY_AFTER
        return Throttled("too many calls", _RETRY_AFTER)


def simulate_calls(seed: int, outages: Sequence[Outage] = OUTAGES) -> Calls:
    """Two hours, in which each account has lines without end."""
    with simulated_day(seed) as loop:
        calls = Calls()
        loop.run_until_complete(_run(calls, random.Random(seed), outages))
    return calls


async def _run(calls: Calls, chance: random.Random, outages: Sequence[Outage]) -> None:
    known = [Holds(now=lambda: now().timestamp()) for _ in range(_DISPATCHERS)]

    def tell(hold: Hold) -> None:
        for each in known:
            each.learn(hold)

    tasks = []
    for holds in known:
        holds.on_told = tell
        limiter = AdaptiveConcurrencyLimiter(CallLimits(max_concurrency=_OFFERED))
        hold = holds.of("local", "")
        for account in SHARDS:
            tasks += [
                asyncio.create_task(
                    _line_after_line(account, limiter, hold, calls, chance, outages)
                )
                for _ in range(_OFFERED)
            ]
    await asyncio.sleep(_LASTS)
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Exception):
            raise ended


async def _line_after_line(
    account: str,
    limiter: AdaptiveConcurrencyLimiter,
    hold: CredentialHold,
    calls: Calls,
    chance: random.Random,
    outages: Sequence[Outage],
) -> None:
    """As services.dispatcher.direct_lines: a place, a call, and what it says of the pace."""
    while True:
        await limiter.enter()
        began = asyncio.get_running_loop().time()
        if hold.left:
            # As ProviderHttp.exchange: another process was told so.
            limiter.refused(began, Throttled("held back", hold.left))
            continue
        hold.probe()
        moment = hold.moment
        outcome = await calls.call(account, chance, outages)
        # As HeedingTransport.
        if isinstance(outcome, Throttled):
            if outcome.retry_after is not None:
                hold.answered()
                hold.note(outcome.retry_after)
            else:
                hold.failed(moment, outcome.reason)
            limiter.refused(began, outcome)
        elif outcome:
            hold.failed(moment, outcome)
            limiter.lost(began, outcome)
        else:
            hold.answered()
            limiter.answered(began)
