"""What single calls have in common, whoever's they are: their limits, their fates and their bill.

A call that was begun is run to its end and billed, whether or not somebody still waits for the
answer. Calls that are too many are refused and cost nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import blake2b
from math import ceil
from time import monotonic
from typing import NamedTuple

from starlette.responses import Response

from services.sandbox.kinds import Provider
from services.sandbox.plan import LAST_BILLED, Fate, marked_fate
from services.sandbox.sandbox import Sandbox

TORN = 40
"""Bytes of an answer that is garbage."""


@dataclass(slots=True)
class _Allowance:
    """Calls that may begin now, at most a second's worth."""

    calls: float = 0.0
    at: float = 0.0

    def refill(self, rate: float, now: float) -> None:
        self.calls = min(max(rate, 1.0), self.calls + (now - self.at) * rate)
        self.at = now


class Asked(NamedTuple):
    """A call that is right in itself."""

    model: str
    input_tokens: int
    output_tokens: int
    digest: int
    """Of its request, the same as of a batch's line that asks for the same."""


class SingleCalls:
    """The calls to one provider. One limit holds for all its keys together."""

    def __init__(self, sandbox: Sandbox, provider: Provider) -> None:
        self._sandbox = sandbox
        self._provider = provider
        self._allowance = _Allowance()
        self._under_way = 0
        self._number = 0

    async def take(
        self, refuse: Callable[[float], Response], run: Callable[[int], Awaitable[Response]]
    ) -> Response:
        """Answer a call. `refuse`: where it is too many, told the seconds to wait; `run`: told
        its number."""
        bill = self._sandbox.bill
        wait = self._over_limit()
        if wait is not None:
            bill.call_refused()
            return refuse(wait)
        self._under_way += 1
        self._number += 1
        bill.call_begun(self._provider, self._under_way)
        try:
            return await run(self._number)
        finally:
            self._under_way -= 1

    async def fate_of(self, raw: bytes, asked: Asked) -> Fate:
        """Run a call: what comes of it. It is billed where it went well."""
        fate = self._sandbox.faults.for_call(self._provider, asked.digest, *marked_fate(raw))
        await asyncio.sleep(self._sandbox.options.call_seconds)
        if fate <= LAST_BILLED:
            self._sandbox.bill.call_ended(self._provider, *asked)
        return fate

    def left(self) -> dict[str, str]:
        """The headers of OpenAI's form that say how many calls may still begin."""
        rate, calls = self._sandbox.options.calls_per_second, self._allowance.calls
        if not rate:
            return {}
        most = max(rate, 1.0)
        return {
            "x-ratelimit-limit-requests": str(ceil(most)),
            "x-ratelimit-remaining-requests": str(int(calls)),
            "x-ratelimit-reset-requests": f"{(most - calls) / rate * 1000:.0f}ms",
        }

    def _over_limit(self) -> float | None:
        """Seconds to wait if there are too many calls; else takes one from the allowance."""
        options = self._sandbox.options
        if options.calls_at_once and self._under_way >= options.calls_at_once:
            return options.call_retry_seconds
        rate = options.calls_per_second
        if rate:
            self._allowance.refill(rate, monotonic())
            if self._allowance.calls < 1:
                return (1 - self._allowance.calls) / rate
            self._allowance.calls -= 1
        return None


def digest_of_request(raw: bytes) -> int:
    """As the checks of batches have it of a line's request."""
    return int.from_bytes(blake2b(raw, digest_size=8).digest(), "little")
