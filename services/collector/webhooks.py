"""Delivering webhooks: each due row of the ledger is one call of its receiver.

In: the rows that the end of a batch has left (core/ledger/webhook_deliveries.py). Out: signed
POSTs, each recorded before and after. What can go wrong: the receiver does not take it (again
later, for a day), this process dies in a call (again when the lease is over, under the same id),
the ledger is away (nothing begins; what was under way is repeated).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import structlog

from core.backoff import backoff
from core.ledger import Attempted, Claimed, DeliveryState, LedgerUnavailable, WebhookDeliveries, now
from core.metrics import WEBHOOK_SECONDS
from core.webhooks import Message, NoAnswer, Sender

log = structlog.get_logger()

_LOOK_EVERY = 1.0
"""Seconds between two looks for what is due, while nothing is."""
_CONCURRENCY = 32
_PER_ENDPOINT = 4
"""Calls at a time: a receiver that hangs does not hold up those of others."""
_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 7200.0
"""Some twenty attempts in a day, a dozen of them in the first three hours."""
_LEASE_BEYOND_TIMEOUT = 5.0
_OUTCOMES = {
    DeliveryState.DELIVERED: "delivered",
    DeliveryState.WAITING: "retried",
    DeliveryState.FAILED: "failed",
    None: "lost",
}


class WebhookDeliverer:
    """Runs until its service stops. Any number of replicas share the work."""

    def __init__(self, deliveries: WebhookDeliveries, sender: Sender, *, timeout: float) -> None:
        """`timeout`: seconds that `sender` takes for one call at the most."""
        self._deliveries = deliveries
        self._sender = sender
        self._lease = timedelta(seconds=timeout + _LEASE_BEYOND_TIMEOUT)
        self._calls: dict[asyncio.Task[None], str] = {}
        """With the endpoint of each."""
        for outcome in _OUTCOMES.values():
            # The alert that nothing was delivered compares with a count that has to be there.
            WEBHOOK_SECONDS.labels(outcome)

    async def run(self, stop: asyncio.Event, *, grace: float) -> None:
        """Deliver what is due until `stop` is set; then give calls `grace` seconds to end."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                if not await self._begin_or_log():
                    await asyncio.wait(
                        [stopping, *self._calls],
                        timeout=_LOOK_EVERY,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
            if self._calls:
                await asyncio.wait(self._calls, timeout=grace)
        finally:
            calls = [stopping, *self._calls]
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    async def once(self) -> int:
        """Attempt all that is due, and wait for it. Returns the number of calls."""
        made = 0
        while begun := await self._begin():
            made += begun
            await asyncio.gather(*self._calls)
        return made

    async def _begin_or_log(self) -> int:
        try:
            return await self._begin()
        except LedgerUnavailable as error:
            log.warning("webhooks_not_read", cause=str(error))
            return 0

    async def _begin(self) -> int:
        """Begin calls as far as there are places. Returns how many."""
        free = _CONCURRENCY - len(self._calls)
        if not free:
            return 0
        running = Counter(self._calls.values())
        busy = [endpoint for endpoint, calls in running.items() if calls >= _PER_ENDPOINT]
        begun = 0
        for delivery_id, endpoint_id in await self._deliveries.due(free, busy=busy):
            if running[endpoint_id] >= _PER_ENDPOINT:
                continue
            claimed = await self._deliveries.claim(delivery_id, self._lease)
            if claimed is None:
                continue
            running[endpoint_id] += 1
            begun += 1
            call = asyncio.create_task(self._deliver(claimed))
            self._calls[call] = endpoint_id
            call.add_done_callback(self._ended)
        return begun

    def _ended(self, call: asyncio.Task[None]) -> None:
        del self._calls[call]
        if not call.cancelled() and (error := call.exception()) is not None:
            # Its attempt stays without an end, and is made again when the lease is over.
            log.error("webhook_attempt_broke", exc_info=error)

    async def _deliver(self, claimed: Claimed) -> None:
        attempted = await self._call(claimed)
        delivery = claimed.delivery
        pause = backoff(_FIRST_PAUSE, delivery.failures + 1, _LONGEST_PAUSE, spread=True)
        try:
            state = await self._deliveries.finish(claimed, attempted, timedelta(seconds=pause))
        except LedgerUnavailable as error:
            log.warning("webhook_not_recorded", delivery_id=delivery.id, cause=str(error))
            return
        outcome = _OUTCOMES[state]
        WEBHOOK_SECONDS.labels(outcome).observe(attempted.seconds)
        log.info(
            "webhook_attempted",
            delivery_id=delivery.id,
            endpoint_id=delivery.endpoint_id,
            batch_id=delivery.batch_id,
            attempt=delivery.attempts,
            outcome=outcome,
            status=attempted.status,
            error=attempted.error,
        )

    async def _call(self, claimed: Claimed) -> Attempted:
        delivery = claimed.delivery
        message = Message(
            delivery.event_id, delivery.event_type, delivery.created_at, delivery.batch_id
        )
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            answer = await self._sender.post(
                claimed.url, message.headers(claimed.secrets, now()), message.body()
            )
        except NoAnswer as error:
            return Attempted(loop.time() - began, error=str(error))
        return Attempted(loop.time() - began, answer.status, answer.error)
