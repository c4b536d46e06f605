"""What is delivered to webhook endpoints: each event once for each, however often it is tried.

A delivery::

    WAITING --attempt answered 2xx--> DELIVERED
       |  ^--attempt failed, later again
       |--a day is over, answered 410, endpoint disabled--> FAILED
    DELIVERED, FAILED --resent--> WAITING

The row is written in the transaction that ends the batch. An attempt is recorded before the
call is made, under a lease: whoever dies in it leaves an attempt without an end, and the
next one comes when the lease is over. So an event comes at least once, always under one id.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from core.failpoints import Failpoint
from core.ledger.database import Database
from core.ledger.ids import new_id, new_token
from core.ledger.states import TERMINAL, BatchState
from core.ledger.tables import (
    Batch,
    DeliveryState,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    now,
)

KEPT_ATTEMPTS = 30
"""Of one delivery, the newest."""
_PATIENCE = timedelta(days=1)
_GONE = 410
TEST_BATCH = "batch_test"
"""In the place of a batch's id in sample events."""


def event_type(state: BatchState) -> str:
    """What OpenAI calls the event that a batch has come to its end, such as "batch.completed"."""
    return f"batch.{BatchState(state).value}"


EVENT_TYPES = tuple(event_type(state) for state in BatchState if state in TERMINAL)


def is_waiting() -> Any:
    """The condition of the partial index, as text: a bound value would not lead to it."""
    return sa.text(f"webhook_deliveries.state = '{DeliveryState.WAITING}'")


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that the caller has to attempt, and the endpoint as it is now."""

    delivery: WebhookDelivery
    url: str
    secrets: Sequence[str]
    """To sign with, the newest first."""


@dataclass(frozen=True, slots=True)
class Attempted:
    """How an attempt ended."""

    seconds: float
    status: int = 0
    """Of the answer; 0 where there was none."""
    error: str = ""
    """Why it failed, human-readable; empty where it did not."""


@dataclass(frozen=True, slots=True)
class EndpointDisabled:
    """Nothing is delivered there."""

    endpoint_id: str


_ENDPOINTS = select(WebhookEndpoint).where(WebhookEndpoint.account_id == sa.bindparam("account_id"))


async def add_deliveries(session: AsyncSession, batch: Batch) -> None:
    """Within the transition that ends a batch: let its account's endpoints be told of it."""
    found = await session.exec(_ENDPOINTS, params={"account_id": batch.account_id})
    kind = event_type(batch.state)
    endpoints = [endpoint for endpoint in found if endpoint.takes(kind)]
    known = {endpoint.url for endpoint in endpoints}
    for endpoint in endpoints:
        # A url that is an endpoint's as well gets the event once, as that endpoint's.
        if endpoint.for_batch_urls and batch.webhook_url in known | {""}:
            continue
        moment = now()
        session.add(
            WebhookDelivery(
                id=new_id("delivery"),
                account_id=batch.account_id,
                endpoint_id=endpoint.id,
                event_id=f"evt_{batch.id.partition('_')[2]}",
                event_type=kind,
                batch_id=batch.id,
                url=batch.webhook_url if endpoint.for_batch_urls else "",
                created_at=moment,
                give_up_at=moment + _PATIENCE,
                due_at=moment,
            )
        )


class WebhookDeliveries:
    """Deliveries of all accounts. Reads for callers name the account that asks."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime] = now) -> None:
        self._database = database
        self._clock = clock

    async def due(self, limit: int, *, busy: Collection[str] = ()) -> list[tuple[str, str]]:
        """(id, endpoint id) of what is to be attempted now, longest waiting first.

        `busy`: endpoints that are left out.
        """
        async with self._database.read() as session:
            found = await session.exec(
                select(WebhookDelivery.id, WebhookDelivery.endpoint_id)
                .where(
                    is_waiting(),
                    col(WebhookDelivery.due_at) <= self._clock(),
                    col(WebhookDelivery.endpoint_id).not_in(busy),
                )
                .order_by(col(WebhookDelivery.due_at))
                .limit(limit)
            )
            return [(delivery_id, endpoint_id) for delivery_id, endpoint_id in found]

    async def claim(self, delivery_id: str, lease: timedelta) -> Claimed | None:
        """Begin an attempt, which nobody else then does before the lease is over.

        None: somebody else was faster, or there is nothing to deliver any more.
        """
        async with self._database.write(Failpoint.WEBHOOK_CLAIM) as session:
            delivery = await self._lock(session, delivery_id)
            moment = self._clock()
            if (
                delivery is None
                or delivery.state != DeliveryState.WAITING
                or delivery.due_at > moment
            ):
                return None
            session.add(delivery)
            endpoint = await session.get(WebhookEndpoint, delivery.endpoint_id)
            if endpoint is None:
                # Deleted while the batch ended.
                await session.delete(delivery)
                return None
            lost = bool(delivery.holder)
            if endpoint.disabled_at is not None or (lost and moment > delivery.give_up_at):
                delivery.state, delivery.ended_at = DeliveryState.FAILED, moment
                return None
            delivery.attempts += 1
            delivery.holder = new_token()
            delivery.due_at = moment + lease
            session.add(
                WebhookAttempt(delivery_id=delivery_id, number=delivery.attempts, started_at=moment)
            )
            await session.exec(
                sa.delete(WebhookAttempt).where(
                    col(WebhookAttempt.delivery_id) == delivery_id,
                    col(WebhookAttempt.number) <= delivery.attempts - KEPT_ATTEMPTS,
                )
            )
        return Claimed(delivery, delivery.url or endpoint.url, endpoint.secrets(moment))

    async def finish(
        self, claimed: Claimed, attempted: Attempted, pause: timedelta
    ) -> DeliveryState | None:
        """Record how an attempt ended. Returns the delivery's state.

        `pause`: until it is tried again, if it failed and its time is not over by then. None: it
        is somebody else's by now, or gone.
        """
        delivery_id, held = claimed.delivery.id, claimed.delivery
        async with self._database.write(Failpoint.WEBHOOK_FINISH) as session:
            delivery = await self._lock(session, delivery_id)
            await session.exec(
                update(WebhookAttempt)
                .where(
                    col(WebhookAttempt.delivery_id) == delivery_id,
                    col(WebhookAttempt.number) == held.attempts,
                )
                .values(seconds=attempted.seconds, status=attempted.status, error=attempted.error)
            )
            if delivery is None or delivery.holder != held.holder:
                return None
            session.add(delivery)
            delivery.holder = ""
            moment = self._clock()
            gone = attempted.status == _GONE
            if not attempted.error:
                delivery.state, delivery.ended_at = DeliveryState.DELIVERED, moment
            elif gone or moment + pause > delivery.give_up_at:
                delivery.state, delivery.ended_at = DeliveryState.FAILED, moment
            else:
                delivery.failures += 1
                delivery.due_at = moment + pause
            # Of a batch's own url it says nothing about those of other batches.
            if gone and not delivery.url:
                await session.exec(
                    update(WebhookEndpoint)
                    .where(
                        col(WebhookEndpoint.id) == delivery.endpoint_id,
                        col(WebhookEndpoint.disabled_at).is_(None),
                    )
                    .values(disabled_at=moment, disabled_reason=attempted.error)
                )
            return DeliveryState(delivery.state)

    async def add_test(
        self, account_id: str, endpoint_id: str, event_type: str
    ) -> WebhookDelivery | EndpointDisabled | None:
        """A sample event, to be attempted once; None where the account has no such endpoint."""
        async with self._database.write(Failpoint.WEBHOOK_TEST) as session:
            endpoint = await session.get(WebhookEndpoint, endpoint_id)
            if endpoint is None or endpoint.account_id != account_id:
                return None
            if endpoint.disabled_at is not None:
                return EndpointDisabled(endpoint.id)
            moment = self._clock()
            own_id = new_id("delivery")
            delivery = WebhookDelivery(
                id=own_id,
                account_id=account_id,
                endpoint_id=endpoint_id,
                event_id=f"evt_{own_id.partition('_')[2]}",
                event_type=event_type,
                batch_id=TEST_BATCH,
                created_at=moment,
                give_up_at=moment,
                due_at=moment,
            )
            session.add(delivery)
        return delivery

    async def resend(
        self, account_id: str, delivery_id: str
    ) -> WebhookDelivery | EndpointDisabled | None:
        """Let it be attempted now, and for another day; None where the account has no such one."""
        async with self._database.write(Failpoint.WEBHOOK_RESEND) as session:
            delivery = await self._lock(session, delivery_id)
            if delivery is None or delivery.account_id != account_id:
                return None
            endpoint = await session.get(WebhookEndpoint, delivery.endpoint_id)
            if endpoint is None:
                return None
            if endpoint.disabled_at is not None:
                return EndpointDisabled(endpoint.id)
            session.add(delivery)
            moment = self._clock()
            delivery.state, delivery.ended_at, delivery.holder = DeliveryState.WAITING, None, ""
            delivery.failures = 0
            delivery.due_at, delivery.give_up_at = moment, moment + _PATIENCE
        return delivery

    async def page(
        self,
        account_id: str,
        size: int,
        after: tuple[datetime, str] | None = None,
        *,
        endpoint_id: str = "",
        batch_id: str = "",
        state: DeliveryState | None = None,
    ) -> list[WebhookDelivery]:
        """Deliveries newest first, from behind the (created_at, id) of the last one seen."""
        query = select(WebhookDelivery).where(WebhookDelivery.account_id == account_id)
        if endpoint_id:
            query = query.where(WebhookDelivery.endpoint_id == endpoint_id)
        if batch_id:
            query = query.where(WebhookDelivery.batch_id == batch_id)
        if state is not None:
            query = query.where(WebhookDelivery.state == state)
        created_at, own_id = col(WebhookDelivery.created_at), col(WebhookDelivery.id)
        if after is not None:
            query = query.where(sa.tuple_(created_at, own_id) < sa.tuple_(*map(sa.literal, after)))
        async with self._database.read() as session:
            query = query.order_by(created_at.desc(), own_id.desc()).limit(size)
            return list(await session.exec(query))

    async def attempts(self, delivery_ids: Collection[str]) -> dict[str, list[WebhookAttempt]]:
        """The attempts of deliveries by their id, newest first."""
        async with self._database.read() as session:
            found = await session.exec(
                select(WebhookAttempt)
                .where(col(WebhookAttempt.delivery_id).in_(delivery_ids))
                .order_by(col(WebhookAttempt.number).desc())
            )
            by_delivery: dict[str, list[WebhookAttempt]] = {}
            for attempt in found:
                by_delivery.setdefault(attempt.delivery_id, []).append(attempt)
            return by_delivery

    async def _lock(self, session: AsyncSession, delivery_id: str) -> WebhookDelivery | None:
        return await session.get(
            WebhookDelivery, delivery_id, with_for_update=not self._database.is_sqlite
        )
