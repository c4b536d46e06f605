"""WebhookService at a running gateway, by plain stubs, by both clients and by the command."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from datetime import timedelta
from typing import Any

import grpc
import pytest
from polybatch import AsyncClient, Client, Conflict, NotFound, WebhookDeliveryState
from polybatch.cli import main
from polybatch.v1 import webhooks_pb2, webhooks_pb2_grpc

from core.ledger import Attempted, Batch, Scope
from tests.support.gateway.running import Caller, Gateway, StartGateway, lines, refused

URL = "https://example.com/webhooks"
LEASE = timedelta(minutes=1)
DISABLED = {"endpoint": {"disabled": True}, "update_mask": ["disabled"]}


_uploads = itertools.count()


class Service:
    """WebhookService as one caller."""

    def __init__(self, gateway: Gateway, caller: Caller | None = None) -> None:
        self._stub = webhooks_pb2_grpc.WebhookServiceStub(gateway.channel)  # type: ignore[no-untyped-call]
        self._metadata = (caller or gateway).metadata

    async def __call__(self, rpc: str, **fields: Any) -> Any:
        request = getattr(webhooks_pb2, f"{rpc}Request")(**fields)
        return await getattr(self._stub, rpc)(request, metadata=self._metadata)

    async def create(self, url: str = URL, **fields: Any) -> Any:
        return await self("CreateWebhookEndpoint", url=url, **fields)

    async def list(self) -> list[Any]:
        return list((await self("ListWebhookEndpoints")).endpoints)


async def end_a_batch(gateway: Gateway, **order: Any) -> Batch:
    made = await gateway.submit(lines(1), upload_id=f"upload-{next(_uploads)}", **order)
    failed = await gateway.ledger.batches.fail(made.id, "code", "message")
    assert isinstance(failed, Batch)
    return failed


async def test_a_secret_is_shown_once(gateway: Gateway) -> None:
    service = Service(gateway)
    made = await service.create(event_types=["batch.failed"], description="mine")
    assert made.secret.startswith("whsec_")
    assert made.endpoint.secret_hint.endswith(made.secret.rstrip("=")[-4:])
    (shown,) = await service.list()
    assert shown == made.endpoint
    assert made.secret not in str(shown)
    assert await service("GetWebhookEndpoint", endpoint_id=shown.id) == shown
    rotated = await service("RotateWebhookSecret", endpoint_id=shown.id)
    assert rotated.secret not in ("", made.secret)
    assert rotated.endpoint.HasField("previous_secret_expires_at")
    revoked = await service("RotateWebhookSecret", endpoint_id=shown.id, revoke_previous=True)
    assert not revoked.endpoint.HasField("previous_secret_expires_at")


async def test_what_is_wrong_with_a_url_is_said_of_its_field(gateway: Gateway) -> None:
    service = Service(gateway)
    for url, expected in (
        ("http://example.com/", "begins with https://"),
        ("https://user:pw@example.com/", "without a user name"),
        ("https://example.com/#x", "without a fragment"),
        ("https://10.0.0.1/", "not of this machine or a private network"),
        ("https://example.com/" + "x" * 2048, "at most 2,048 characters"),
    ):
        failure = await refused(service.create(url))
        assert (failure.code, failure.reason) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_FIELD",
        )
        ((field, description),) = failure.violations
        assert field == "url"
        assert expected in description
        assert failure.message.startswith(f"url: expected {description}")
        failure = await refused(gateway.submit(lines(1), webhook_url=url))
        assert [field for field, _ in failure.violations] == ["webhook_url"]
    for fields, field, expected in (
        ({"event_types": ["batch.done"]}, "event_types", "any of batch."),
        ({"description": "x" * 513}, "description", "at most"),
        ({"for_batch_urls": True}, "url", "none together with for_batch_urls"),
    ):
        failure = await refused(service.create(**fields))
        assert [each for each, _ in failure.violations] == [field]
        assert failure.message.startswith(f"{field}: expected {expected}")
    assert await service.list() == []


async def test_private_addresses_where_the_service_allows_them(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(webhook_allow_private=True, account_webhooks=1)
    service = Service(gateway)
    made = await service.create("http://localhost:8000/hooks")
    failure = await refused(service.create())
    assert (failure.reason, failure.metadata["limit"]) == ("WEBHOOKS_LIMIT", "1")
    failure = await refused(service.create("http://localhost:8000/hooks"))
    assert failure.reason == "WEBHOOK_EXISTS"
    assert failure.metadata["endpoint_id"] == made.endpoint.id


async def test_fields_are_changed_by_name(gateway: Gateway) -> None:
    service = Service(gateway)
    made = (await service.create(description="before")).endpoint

    async def update(**fields: Any) -> Any:
        fields["endpoint"] = {"id": made.id, **fields.get("endpoint", {})}
        return await service("UpdateWebhookEndpoint", **fields)

    changed = await update(
        endpoint={"description": "ignored", "event_types": ["batch.expired"]},
        update_mask=["event_types"],
    )
    assert (changed.description, changed.event_types) == ("before", ["batch.expired"])
    disabled = await update(**DISABLED)
    assert (disabled.disabled, bool(disabled.disabled_reason)) == (True, True)
    enabled = await update(update_mask=["disabled"])
    assert (enabled.disabled, enabled.disabled_reason) == (False, "")
    for fields, field in (
        ({}, "update_mask"),
        ({"update_mask": ["secret"]}, "update_mask"),
        ({"endpoint": {"url": "x"}, "update_mask": ["url"]}, "endpoint.url"),
    ):
        assert [each for each, _ in (await refused(update(**fields))).violations] == [field]


async def test_a_batchs_own_url_needs_a_secret_and_counts_for_its_request_id(
    gateway: Gateway,
) -> None:
    service = Service(gateway)
    order = {"webhook_url": f"{URL}/own", "request_id": "r1"}
    failure = await refused(gateway.submit(lines(1), upload_id="upload-u1", **order))
    assert failure.reason == "WEBHOOK_SECRET_MISSING"
    assert await gateway.committed("upload-u1") == 0, "before anything was sent for nothing"
    file_id = (await gateway.upload(lines(1))).file.id
    failure = await refused(gateway.create(file_id, webhook_url=URL))
    assert (failure.reason, failure.metadata["file_id"]) == ("WEBHOOK_SECRET_MISSING", file_id)
    signing = (await service.create("", for_batch_urls=True)).endpoint
    batch = await gateway.submit(lines(1), upload_id="upload-u1", **order)
    assert batch.webhook_url == f"{URL}/own"
    assert (await gateway.submit(lines(1), upload_id="upload-u1", **order)).id == batch.id
    await service("DeleteWebhookEndpoint", endpoint_id=signing.id)
    assert (await gateway.submit(lines(1), upload_id="upload-u1", **order)).id == batch.id
    signing = (await service.create("", for_batch_urls=True)).endpoint
    other = order | {"webhook_url": URL}
    failure = await refused(gateway.submit(lines(1), upload_id="upload-u1", **other))
    assert failure.reason == "REQUEST_ID_REUSED"
    await gateway.ledger.batches.fail(batch.id, "code", "message")
    (delivery,) = (await service("ListWebhookDeliveries", batch_id=batch.id)).deliveries
    assert (delivery.endpoint_id, delivery.url) == (signing.id, f"{URL}/own")
    failure = await refused(service("TestWebhookEndpoint", endpoint_id=signing.id))
    assert failure.reason == "WEBHOOK_WITHOUT_URL"


async def test_a_file_that_fails_at_once_is_told_of(gateway: Gateway) -> None:
    service = Service(gateway)
    await service.create(event_types=["batch.failed"])
    file = (await gateway.upload(b"{\n")).file
    batch = await gateway.create(file.id, keep_refused=True)
    (delivery,) = (await service("ListWebhookDeliveries")).deliveries
    assert (delivery.batch_id, delivery.event_type) == (batch.id, "batch.failed")


async def test_accounts_see_nothing_of_each_other(gateway: Gateway) -> None:
    manager = await gateway.another_account(scope=Scope.ACCOUNT)
    mine, other = Service(gateway), Service(gateway, manager)
    batches_only = Service(gateway, await gateway.another_account())
    made = (await mine.create()).endpoint
    await end_a_batch(gateway)
    (delivery,) = (await mine("ListWebhookDeliveries")).deliveries
    assert await other.list() == []
    assert not (await other("ListWebhookDeliveries", endpoint_id=made.id)).deliveries
    for rpc, fields in (
        ("GetWebhookEndpoint", {"endpoint_id": made.id}),
        ("RotateWebhookSecret", {"endpoint_id": made.id}),
        ("TestWebhookEndpoint", {"endpoint_id": made.id}),
        ("DeleteWebhookEndpoint", {"endpoint_id": made.id}),
        ("UpdateWebhookEndpoint", {"endpoint": {"id": made.id}, "update_mask": ["disabled"]}),
        ("ResendWebhookDelivery", {"delivery_id": delivery.id}),
    ):
        assert (await refused(other(rpc, **fields))).code == grpc.StatusCode.NOT_FOUND
        if rpc != "GetWebhookEndpoint":
            assert (await refused(batches_only(rpc, **fields))).reason == "SCOPE_MISSING"
    assert (await refused(batches_only.create())).reason == "SCOPE_MISSING"
    assert (await other.create()).endpoint.id != made.id, "the url is free in another account"


async def test_deliveries_are_listed_with_their_attempts_and_sent_again(gateway: Gateway) -> None:
    service, deliveries = Service(gateway), gateway.ledger.webhook_deliveries
    endpoint = (await service.create()).endpoint
    for _ in range(3):
        await end_a_batch(gateway)
    ((first, _), *_) = await deliveries.due(10)
    claimed = await deliveries.claim(first, LEASE)
    assert claimed is not None
    await deliveries.finish(claimed, Attempted(1.5, 503, "answered 503"), timedelta(days=2))
    page = await service("ListWebhookDeliveries", page_size=2)
    rest = await service("ListWebhookDeliveries", page_token=page.next_page_token)
    assert [len(page.deliveries), len(rest.deliveries)] == [2, 1]
    (failed,) = rest.deliveries
    assert (failed.id, failed.url, failed.event_type) == (first, URL, "batch.failed")
    assert failed.state == webhooks_pb2.WEBHOOK_DELIVERY_STATE_FAILED
    (attempt,) = failed.attempts
    assert (attempt.status, attempt.error) == (503, "answered 503")
    assert attempt.duration.ToTimedelta() == timedelta(seconds=1.5)
    waiting = await service(
        "ListWebhookDeliveries", state=webhooks_pb2.WEBHOOK_DELIVERY_STATE_WAITING
    )
    assert len(waiting.deliveries) == 2
    resent = await service("ResendWebhookDelivery", delivery_id=first)
    assert resent.state == webhooks_pb2.WEBHOOK_DELIVERY_STATE_WAITING
    assert (resent.event_id, resent.attempt_count) == (failed.event_id, 1)
    await service("UpdateWebhookEndpoint", endpoint={"id": endpoint.id} | DISABLED["endpoint"],
                  update_mask=["disabled"])  # fmt: skip
    for rpc, fields in (
        ("ResendWebhookDelivery", {"delivery_id": first}),
        ("TestWebhookEndpoint", {"endpoint_id": endpoint.id}),
    ):
        assert (await refused(service(rpc, **fields))).reason == "WEBHOOK_DISABLED"
    failure = await refused(
        service("TestWebhookEndpoint", endpoint_id=endpoint.id, event_type="batch.done")
    )
    assert [field for field, _ in failure.violations] == ["event_type"]
    assert (await refused(service("ListWebhookDeliveries", state=9))).reason == "INVALID_FIELD"


async def test_both_clients_and_the_command(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = gateway.settings.gateway_listen
    key = gateway.settings.api_key_file.read_text().strip()
    options = {"gateway": address, "collector": address, "api_key": key, "wait": 0}
    async with AsyncClient(**options) as client:
        made = await client.webhooks.create(URL, event_types=["batch.failed"])
        assert made.secret
        assert made.secret not in repr(made)
        with pytest.raises(Conflict):
            await client.webhooks.create(URL)
        rotated = await client.webhooks.rotate_secret(made.id)
        assert rotated.secret != made.secret
        changed = await client.webhooks.update(made.id, event_types=[], description="all")
        assert (changed.event_types, changed.description) == ((), "all")
        batch = await end_a_batch(gateway)
        (delivery,) = [each async for each in client.webhooks.deliveries(batch_id=batch.id)]
        assert delivery.state is WebhookDeliveryState.WAITING
        sample = await client.webhooks.test(made.id, "batch.expired")
        assert (sample.event_type, sample.batch_id) == ("batch.expired", "batch_test")
        await client.webhooks.delete(made.id)
        with pytest.raises(NotFound, match="polybatch webhooks list"):
            await client.webhooks.get(made.id)

    def blocking() -> None:
        with Client(**options) as client:
            made = client.webhooks.create(for_batch_urls=True)
            assert client.webhooks.get(made.id).secret is None
            assert [each.id for each in client.webhooks.list()] == [made.id]
            file = client.upload(lines(1))
            batch = client.create_batch(file, webhook_url=f"{URL}/own")
            assert client.get_batch(batch.id).webhook_url == batch.webhook_url == f"{URL}/own"
            with pytest.raises(Conflict, match="submit a batch"):
                client.webhooks.test(made.id)
            assert client.webhooks.update(made.id, disabled=True).disabled
            client.webhooks.delete(made.id)

    await asyncio.to_thread(blocking)

    monkeypatch.setenv("POLYBATCH_GATEWAY", address)
    monkeypatch.setenv("POLYBATCH_COLLECTOR", address)
    monkeypatch.setenv("POLYBATCH_API_KEY", key)

    notes = ""

    async def command(*words: str) -> str:
        nonlocal notes
        code = await asyncio.to_thread(main, ["webhooks", *words, "--wait", "0"])
        printed = capsys.readouterr()
        assert not code, printed.err
        notes = printed.err
        # The gateway is in this process, and logs there too.
        lines = printed.out.splitlines(keepends=True)
        return "".join(line for line in lines if not re.match(r"\d{4}-[-\d]+ [:\d]+ \[", line))

    created = json.loads(await command("create", URL, "--event", "batch.failed", "--json"))
    assert created["secret"].startswith("whsec_")
    batch = await end_a_batch(gateway)
    assert created["secret"] not in (listed := await command("list"))
    assert URL in listed
    rotated = await command("rotate", "last")
    assert "whsec_" in rotated
    assert "valid too until" in rotated
    row = await command("deliveries", "--batch", batch.id, "--state", "waiting")
    assert "batch.failed" in row
    (delivery,) = await gateway.ledger.webhook_deliveries.page(batch.account_id, 1)
    assert (await command("test", "last")).endswith(" waiting\n")
    assert (await command("resend", delivery.id)) == f"{delivery.id} waiting\n"
    (advice,) = re.findall("see what comes of it: polybatch webhooks (.*)", notes)
    assert delivery.id in await command(*advice.split())
    assert await command("resend", delivery.id[-8:]) == f"{delivery.id} waiting\n"
    assert "disabled by" in await command("update", created["id"][8:], "--disable")
    assert await command("delete", created["id"]) == f"{created['id']} deleted\n"
    assert await command("list") == ""
