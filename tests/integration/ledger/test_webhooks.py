"""Webhook endpoints and deliveries: written with the end of a batch, once, and claimed by one."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from core.ledger import (
    Attempted,
    Batch,
    BatchState,
    Claimed,
    DeliveryState,
    EndpointDisabled,
    Ledger,
    Limit,
    OverLimit,
    Stale,
    WebhookEndpoint,
    WebhookExists,
    new_id,
    now,
)
from tests.support.ledger.rows import make_batch, make_file, new_batch

LEASE = timedelta(minutes=1)
URL = "https://example.com/webhooks"


async def add_endpoint(
    ledger: Ledger, url: str = URL, *event_types: str, account: str = "acct_a"
) -> WebhookEndpoint:
    made = await ledger.webhook_endpoints.create(
        WebhookEndpoint(
            id=new_id("webhook"),
            account_id=account,
            url=url,
            event_types=list(event_types),
            secret="whsec_YWJj",
            created_at=now(),
            updated_at=now(),
        )
    )
    assert isinstance(made, WebhookEndpoint)
    return made


async def fail_a_batch(ledger: Ledger, webhook_url: str = "", upload: str = "upload-1") -> Batch:
    batch = new_batch(await make_file(ledger, upload=upload))
    batch.webhook_url = webhook_url
    await ledger.batches.create(batch)
    failed = await ledger.batches.fail(batch.id, "code", "message")
    assert isinstance(failed, Batch)
    return failed


async def told(ledger: Ledger, batch: Batch) -> dict[str, str]:
    """Endpoint to url of a batch's deliveries; an empty url is the endpoint's."""
    page = await ledger.webhook_deliveries.page(batch.account_id, 100, batch_id=batch.id)
    return {each.endpoint_id: each.url for each in page}


async def test_the_end_of_a_batch_tells_each_endpoint_once(ledger: Ledger) -> None:
    endpoint = await add_endpoint(ledger)
    failures = await add_endpoint(ledger, f"{URL}/failures", "batch.failed")
    other = await add_endpoint(ledger, URL, account="acct_b")
    batch, shards = await make_batch(ledger)
    for shard in shards:
        await ledger.batches.cancel(batch.id)
        await ledger.batches.settle_queued(shard.batch_id)
    await ledger.batches.start_finalizing(batch.id, "t", LEASE)
    assert await told(ledger, batch) == {}, "it has not ended"
    ends = await asyncio.gather(
        *(
            ledger.batches.end(batch.id, BatchState.CANCELLED, "p", succeeded=0, failed=10)
            for _ in range(3)
        )
    )
    assert sum(isinstance(each, Stale) for each in ends) == 2
    assert await told(ledger, batch) == {endpoint.id: ""}
    (delivery,) = await ledger.webhook_deliveries.page("acct_a", 10)
    assert (delivery.event_type, delivery.state) == ("batch.cancelled", DeliveryState.WAITING)
    failed = await fail_a_batch(ledger)
    assert await told(ledger, failed) == {endpoint.id: "", failures.id: ""}
    assert not await ledger.webhook_deliveries.page("acct_b", 10, endpoint_id=other.id)
    assert not await ledger.webhook_deliveries.page("acct_b", 10, endpoint_id=endpoint.id)
    ids = {each.event_id for each in await ledger.webhook_deliveries.page("acct_a", 10)}
    assert len(ids) == 2, "one event has one id, whoever is told"


async def test_a_batchs_own_url_is_told_by_the_endpoint_for_such_urls(ledger: Ledger) -> None:
    own = f"{URL}/own"
    endpoints = ledger.webhook_endpoints
    assert not await endpoints.can_sign("acct_a", own)
    assert await told(ledger, await fail_a_batch(ledger, own)) == {}, "nothing signs it"
    signing = await add_endpoint(ledger, "")
    assert await endpoints.can_sign("acct_a", own)
    assert not await endpoints.can_sign("acct_b", own)
    assert await told(ledger, await fail_a_batch(ledger, own)) == {signing.id: own}
    assert await told(ledger, await fail_a_batch(ledger)) == {}
    endpoint = await add_endpoint(ledger)
    both = {signing.id: own, endpoint.id: ""}
    assert await told(ledger, await fail_a_batch(ledger, own)) == both
    # It would come twice to one receiver, which knows one of the secrets.
    assert await told(ledger, await fail_a_batch(ledger, URL)) == {endpoint.id: ""}
    await endpoints.delete("acct_a", signing.id)
    assert await endpoints.can_sign("acct_a", URL)


async def test_a_delivery_is_claimed_by_one_at_a_time(ledger: Ledger) -> None:
    await add_endpoint(ledger)
    await fail_a_batch(ledger)
    deliveries = ledger.webhook_deliveries
    ((delivery_id, endpoint_id),) = await deliveries.due(10)
    assert await deliveries.due(10, busy=[endpoint_id]) == []
    claims = await asyncio.gather(*(deliveries.claim(delivery_id, LEASE) for _ in range(4)))
    (claimed,) = [each for each in claims if each is not None]
    assert (claimed.url, claimed.secrets) == (URL, ["whsec_YWJj"])
    assert await deliveries.due(10) == []
    state = await deliveries.finish(claimed, Attempted(0.5, 500, "answered 500"), timedelta())
    assert state == DeliveryState.WAITING
    again = await deliveries.claim(delivery_id, LEASE)
    assert again is not None
    # The first one comes once more, as after a pause of its process: it has no say any more.
    assert await deliveries.finish(claimed, Attempted(9, 200), timedelta()) is None
    assert await deliveries.finish(again, Attempted(0.1, 204), LEASE) == DeliveryState.DELIVERED
    assert await deliveries.claim(delivery_id, LEASE) is None
    newest, first = (await deliveries.attempts([delivery_id]))[delivery_id]
    assert (newest.number, newest.status, newest.error) == (2, 204, "")
    assert (first.number, first.seconds) == (1, 9)


async def test_endpoints_that_are_disabled_or_deleted_meanwhile(ledger: Ledger) -> None:
    endpoints, deliveries = ledger.webhook_endpoints, ledger.webhook_deliveries
    endpoint = await add_endpoint(ledger)
    batch = await fail_a_batch(ledger)
    ((delivery_id, _),) = await deliveries.due(10)
    await endpoints.update("acct_a", endpoint.id, disabled_at=now(), disabled_reason="mine")
    assert await told(ledger, await fail_a_batch(ledger)) == {}
    assert await deliveries.claim(delivery_id, LEASE) is None
    ((failed),) = await deliveries.page("acct_a", 10, batch_id=batch.id)
    assert (failed.state, failed.ended_at is not None) == (DeliveryState.FAILED, True)
    assert await deliveries.resend("acct_a", delivery_id) == EndpointDisabled(endpoint.id)
    await endpoints.update("acct_a", endpoint.id, disabled_at=None, disabled_reason="")
    assert await deliveries.resend("acct_b", delivery_id) is None
    assert await deliveries.resend("acct_a", delivery_id)
    claimed = await deliveries.claim(delivery_id, LEASE)
    assert isinstance(claimed, Claimed)
    assert not await endpoints.delete("acct_b", endpoint.id)
    assert await endpoints.delete("acct_a", endpoint.id)
    assert await deliveries.finish(claimed, Attempted(1, 200), LEASE) is None
    assert await deliveries.page("acct_a", 10) == []
    assert await deliveries.attempts([delivery_id]) == {}


async def test_one_endpoint_a_url_and_so_many_an_account(ledger: Ledger) -> None:
    endpoints = ledger.webhook_endpoints
    first, second = await add_endpoint(ledger), await add_endpoint(ledger, f"{URL}/2")
    twin = WebhookEndpoint(**first.model_dump() | {"id": new_id("webhook")})
    assert await endpoints.create(twin) == WebhookExists(first.id)
    changed = await endpoints.update("acct_a", second.id, url=URL)
    assert changed == WebhookExists(first.id)
    twin.url = f"{URL}/3"
    assert await endpoints.create(twin, limit=2) == OverLimit(Limit.WEBHOOKS, 2, 2)
    assert [each.id for each in await endpoints.list("acct_a")] == [first.id, second.id]
    assert await endpoints.list("acct_b") == []
    assert await endpoints.get("acct_b", first.id) is None
    rotated = await endpoints.rotate("acct_b", first.id, "whsec_eA==", revoke_previous=True)
    assert rotated is None


async def test_pages_and_old_attempts(ledger: Ledger) -> None:
    await add_endpoint(ledger)
    deliveries = ledger.webhook_deliveries
    for number in range(5):
        await fail_a_batch(ledger, upload=f"upload-{number}")
    everything = await deliveries.page("acct_a", 100)
    last = everything[2]
    assert await deliveries.page("acct_a", 100, (last.created_at, last.id)) == everything[3:]
    delivery_id = everything[0].id
    for _ in range(35):
        claimed = await deliveries.claim(delivery_id, LEASE)
        assert claimed is not None
        await deliveries.finish(claimed, Attempted(0, 500, "answered 500"), timedelta())
    kept = (await deliveries.attempts([delivery_id]))[delivery_id]
    assert [each.number for each in kept] == list(range(35, 5, -1))


async def test_what_waits_is_counted(ledger: Ledger) -> None:
    async def waiting() -> tuple[int, bool]:
        found = (await ledger.statistics.take(grace=LEASE)).webhooks
        return found.deliveries, found.overdue > 0

    assert await waiting() == (0, False)
    await add_endpoint(ledger)
    await fail_a_batch(ledger)
    assert await waiting() == (1, True)
    ((delivery_id, _),) = await ledger.webhook_deliveries.due(10)
    await ledger.webhook_deliveries.claim(delivery_id, LEASE)
    assert await waiting() == (1, False)
