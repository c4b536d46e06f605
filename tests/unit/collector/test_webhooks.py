"""Delivering webhooks: signed as receivers verify it, for a day, once an attempt, never lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from openai import InvalidWebhookSignatureError, OpenAI
from standardwebhooks import Webhook

from core.ledger import (
    Batch,
    DeliveryState,
    File,
    Ledger,
    WebhookAttempt,
    WebhookDeliveries,
    WebhookDelivery,
    WebhookEndpoint,
    new_id,
    now,
)
from core.webhooks import Gate, Sender, new_secret
from services.collector.webhooks import WebhookDeliverer
from tests.support.ledger.rows import make_file, new_batch
from tests.support.webhooks.receiver import HANG, RESET, Call, Receiver, plain, receiving

ACCOUNT = "acct_1"
TIMEOUT = 20.0
OPENAI = OpenAI(api_key="unused", base_url="http://127.0.0.1:9")


class Clock:
    """The ledger's, which a test sets."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return now() + self.ahead


class Hooks:
    """A ledger with endpoints, and what delivers from it."""

    def __init__(self, ledger: Ledger, file: File, clock: Clock) -> None:
        self.ledger = ledger
        self.file = file
        self.clock = clock
        self.deliveries = WebhookDeliveries(ledger._database, clock=clock)
        self.deliverer = self.open_deliverer()

    def open_deliverer(self, ledger: Ledger | None = None, **options: Any) -> WebhookDeliverer:
        deliveries = ledger.webhook_deliveries if ledger else self.deliveries
        sender = Sender(Gate(allow_private=True), **{"timeout": TIMEOUT, **options})
        return WebhookDeliverer(deliveries, sender, timeout=TIMEOUT)

    async def endpoint(self, url: str, *event_types: str, **fields: Any) -> WebhookEndpoint:
        made = await self.ledger.webhook_endpoints.create(
            WebhookEndpoint(
                **{"id": new_id("webhook"), "account_id": ACCOUNT, "url": url} | fields,
                event_types=list(event_types),
                secret=new_secret(),
                created_at=now(),
                updated_at=now(),
            )
        )
        assert isinstance(made, WebhookEndpoint)
        return made

    async def fail_a_batch(self, **fields: Any) -> Batch:
        """Make a batch, and end it as failed: "batch.failed"."""
        batch = new_batch(self.file)
        batch.sqlmodel_update(fields)
        await self.ledger.batches.create(batch)
        failed = await self.ledger.batches.fail(batch.id, "code", "message")
        assert isinstance(failed, Batch)
        return failed

    async def shown(self) -> tuple[WebhookDelivery, list[WebhookAttempt]]:
        """The only delivery, and its attempts, newest first."""
        (delivery,) = await self.deliveries.page(ACCOUNT, 10)
        return delivery, (await self.deliveries.attempts([delivery.id])).get(delivery.id, [])


@pytest.fixture
async def hooks(ledger: Ledger) -> Hooks:
    return Hooks(ledger, await make_file(ledger, ACCOUNT), Clock())


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as opened:
        yield opened


def verified(call: Call, secret: str) -> Any:
    """The event, verified by OpenAI's SDK and by the scheme's own library."""
    event = OPENAI.webhooks.unwrap(call.body, call.headers, secret=secret)
    assert Webhook(secret).verify(call.body, call.headers) == json.loads(call.body)
    return event


async def test_an_event_is_verified_by_openai_and_by_standardwebhooks(
    hooks: Hooks, receiver: Receiver
) -> None:
    endpoint = await hooks.endpoint(receiver.url)
    batch = await hooks.fail_a_batch()
    assert await hooks.deliverer.once() == 1
    (call,) = receiver.calls
    event = verified(call, endpoint.secret)
    assert (event.type, event.data.id, event.object) == ("batch.failed", batch.id, "event")
    assert batch.failed_at is not None
    assert abs(event.created_at - batch.failed_at.timestamp()) <= 1
    assert event.id == call.headers["webhook-id"]
    assert call.headers["content-type"] == "application/json"
    with pytest.raises(InvalidWebhookSignatureError):
        OPENAI.webhooks.unwrap(call.body, call.headers, secret=new_secret())
    delivery, (attempt,) = await hooks.shown()
    assert (delivery.state, delivery.batch_id) == (DeliveryState.DELIVERED, batch.id)
    assert (attempt.status, attempt.error) == (200, "")
    assert attempt.seconds is not None
    assert await hooks.deliverer.once() == 0, "once"


async def test_after_a_rotation_both_secrets_are_valid_for_a_day(
    hooks: Hooks, receiver: Receiver
) -> None:
    endpoint = await hooks.endpoint(receiver.url)
    secret = new_secret()
    await hooks.ledger.webhook_endpoints.rotate(ACCOUNT, endpoint.id, secret, revoke_previous=False)
    await hooks.fail_a_batch()
    await hooks.deliverer.once()
    assert verified(receiver.calls[-1], endpoint.secret) == verified(receiver.calls[-1], secret)
    hooks.clock.ahead = timedelta(days=1, seconds=1)
    await hooks.fail_a_batch()
    await hooks.deliverer.once()
    verified(receiver.calls[-1], secret)
    with pytest.raises(InvalidWebhookSignatureError):
        verified(receiver.calls[-1], endpoint.secret)


async def test_a_leaked_secret_ends_at_once(hooks: Hooks, receiver: Receiver) -> None:
    endpoint = await hooks.endpoint(receiver.url)
    await hooks.ledger.webhook_endpoints.rotate(
        ACCOUNT, endpoint.id, new_secret(), revoke_previous=True
    )
    await hooks.fail_a_batch()
    await hooks.deliverer.once()
    with pytest.raises(InvalidWebhookSignatureError):
        verified(receiver.calls[-1], endpoint.secret)


async def test_what_is_not_taken_is_tried_for_a_day_with_growing_pauses(
    hooks: Hooks, receiver: Receiver
) -> None:
    await hooks.endpoint(receiver.url)
    await hooks.fail_a_batch()
    pauses = []
    while True:
        receiver.answers += [500]
        assert await hooks.deliverer.once() == 1
        delivery, (latest, *_) = await hooks.shown()
        assert (latest.status, latest.error) == (500, "answered 500")
        if delivery.state == DeliveryState.FAILED:
            break
        pauses.append(delivery.due_at - hooks.clock())
        hooks.clock.ahead += pauses[-1]
    assert len({call.headers["webhook-id"] for call in receiver.calls}) == 1
    assert timedelta(hours=20) < sum(pauses, timedelta()) <= timedelta(days=1)
    assert pauses[0] < timedelta(seconds=10)
    assert timedelta(hours=1.5) <= max(pauses) <= timedelta(hours=2.5)
    assert 15 <= len(receiver.calls) == delivery.attempts <= 30
    hooks.clock.ahead += timedelta(days=1)
    assert await hooks.deliverer.once() == 0, "given up"

    # Somebody has mended the receiver.
    await hooks.deliveries.resend(ACCOUNT, delivery.id)
    assert await hooks.deliverer.once() == 1
    resent, _ = await hooks.shown()
    assert resent.state == DeliveryState.DELIVERED
    assert len({call.headers["webhook-id"] for call in receiver.calls}) == 1


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        (plain(302, "location: http://127.0.0.1:1/"), 302, "redirects are not followed"),
        (RESET, 0, "the connection broke"),
        (HANG, 0, "no answer within"),
        (plain(404), 404, "answered 404"),
    ],
)
async def test_failures_are_told_without_what_the_receiver_wrote(
    hooks: Hooks, receiver: Receiver, answer: Any, status: int, error: str
) -> None:
    await hooks.endpoint(receiver.url)
    await hooks.fail_a_batch()
    receiver.answers.append(answer)
    assert await hooks.open_deliverer(timeout=0.3 if answer == HANG else TIMEOUT).once() == 1
    delivery, (attempt,) = await hooks.shown()
    assert delivery.state == DeliveryState.WAITING
    assert attempt.status == status
    assert error in attempt.error
    assert "secret" not in attempt.error


async def test_a_sample_is_tried_once(hooks: Hooks, receiver: Receiver) -> None:
    endpoint = await hooks.endpoint(receiver.url, "batch.completed")
    receiver.answers.append(503)
    await hooks.deliveries.add_test(ACCOUNT, endpoint.id, "batch.expired")
    assert await hooks.deliverer.once() == 1
    delivery, (attempt,) = await hooks.shown()
    assert (delivery.state, attempt.status) == (DeliveryState.FAILED, 503)
    event = verified(receiver.calls[0], endpoint.secret)
    assert (event.type, event.data.id) == ("batch.expired", "batch_test")


async def test_410_disables_the_endpoint(hooks: Hooks, receiver: Receiver) -> None:
    endpoint = await hooks.endpoint(receiver.url)
    receiver.answers.append(410)
    await hooks.fail_a_batch()
    await hooks.deliverer.once()
    delivery, _ = await hooks.shown()
    assert delivery.state == DeliveryState.FAILED
    disabled = await hooks.ledger.webhook_endpoints.get(ACCOUNT, endpoint.id)
    assert (disabled.disabled_at is not None, disabled.disabled_reason) == (True, "answered 410")
    await hooks.fail_a_batch()
    assert await hooks.deliverer.once() == 0


async def test_410_of_one_batchs_url_says_nothing_of_others(
    hooks: Hooks, receiver: Receiver
) -> None:
    await hooks.endpoint("")
    receiver.answers.append(410)
    for expected in (DeliveryState.FAILED, DeliveryState.DELIVERED):
        await hooks.fail_a_batch(webhook_url=receiver.url)
        assert await hooks.deliverer.once() == 1
        newest, *_ = await hooks.deliveries.page(ACCOUNT, 10)
        assert newest.state == expected


@pytest.mark.long
async def test_two_collectors_make_each_attempt_once(
    hooks: Hooks, receiver: Receiver, tmp_path: Path
) -> None:
    await hooks.endpoint(receiver.url)
    batches = [await hooks.fail_a_batch() for _ in range(20)]
    receiver.answers += [503] * 5
    other = await Ledger.open(f"sqlite+aiosqlite:///{tmp_path / 'ledger.sqlite3'}")
    try:
        deliverers = [hooks.deliverer, hooks.open_deliverer(other)]
        assert sum(await asyncio.gather(*(each.once() for each in deliverers))) == len(batches)
    finally:
        await other.close()
    told = [json.loads(call.body)["data"]["id"] for call in receiver.calls]
    assert sorted(told) == sorted(batch.id for batch in batches)
    states = [each.state for each in await hooks.deliveries.page(ACCOUNT, 100)]
    assert (states.count("waiting"), states.count("delivered")) == (5, 15)


async def test_an_attempt_whose_maker_died_is_made_again_under_the_same_id(
    hooks: Hooks, receiver: Receiver
) -> None:
    await hooks.endpoint(receiver.url)
    await hooks.fail_a_batch()
    ((delivery_id, _),) = await hooks.deliveries.due(10)
    lost = await hooks.deliveries.claim(delivery_id, timedelta(seconds=TIMEOUT))
    assert lost is not None
    assert await hooks.deliverer.once() == 0, "somebody may be at it"
    hooks.clock.ahead += timedelta(seconds=TIMEOUT + 1)
    assert await hooks.deliverer.once() == 1
    delivery, (second, first) = await hooks.shown()
    assert delivery.state == DeliveryState.DELIVERED
    assert (first.number, first.seconds, first.status) == (1, None, 0)
    assert (second.number, second.status) == (2, 200)
    assert receiver.calls[0].headers["webhook-id"] == lost.delivery.event_id


async def test_attempts_that_are_lost_again_and_again_end_with_the_day(
    hooks: Hooks, receiver: Receiver
) -> None:
    await hooks.endpoint(receiver.url)
    await hooks.fail_a_batch()
    ((delivery_id, _),) = await hooks.deliveries.due(10)
    while await hooks.deliveries.claim(delivery_id, timedelta(hours=7)):
        hooks.clock.ahead += timedelta(hours=7, seconds=1)
    delivery, attempts = await hooks.shown()
    assert (delivery.state, len(attempts)) == (DeliveryState.FAILED, 4)
    assert not receiver.calls


async def test_a_receiver_that_hangs_holds_up_nobody_else(hooks: Hooks) -> None:
    stop = asyncio.Event()
    async with receiving() as hanging, receiving() as receiver:
        hanging.answers += [HANG] * 60
        slow = await hooks.endpoint(hanging.url)
        for _ in range(40):
            await hooks.fail_a_batch()
        await hooks.endpoint(receiver.url)
        await hooks.fail_a_batch()
        running = asyncio.create_task(hooks.deliverer.run(stop, grace=0))
        async with asyncio.timeout(TIMEOUT):
            await receiver.called.wait()
        stop.set()
        async with asyncio.timeout(TIMEOUT):
            await running
    # What was broken off comes again when its lease is over.
    waiting = await hooks.deliveries.page(
        ACCOUNT, 100, endpoint_id=slow.id, state=DeliveryState.WAITING
    )
    assert len(waiting) == 41
    assert sum(each.attempts for each in waiting) < 41
