"""Batches of accounts and keys that may not spend all they like."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
from polybatch.v1 import accounts_pb2, batches_pb2

from core.ledger import now
from tests.integration.gateway.test_estimates import asking
from tests.support.collector.ending import end
from tests.support.gateway.accounts import Holder, holder, nanos, operator, usd
from tests.support.gateway.running import Gateway, StartGateway, line, refused

PREPAID = accounts_pb2.FUNDING_PREPAID
PRICES = """
[[price]]
provider = "openai"
model = "gpt-4.1"
processing = "batch"
input = 0
output = 1000
"""
"""An answer of 500 tokens, as one is expected to be, costs half a dollar."""


@pytest.fixture
async def gateway(start_gateway: StartGateway, tmp_path: Path) -> Gateway:
    (tmp_path / "own.toml").write_text(PRICES)
    return await start_gateway(prices_file=tmp_path / "own.toml", reserve_factor=1.5)


async def prepaid(gateway: Gateway, dollars: float) -> Holder:
    caller = await holder(gateway)
    everybody = operator(gateway)
    await everybody.call("UpdateAccount", account="team", funding=PREPAID, update_mask=["funding"])
    if dollars:
        await grant(gateway, dollars, "first")
    return caller


async def grant(gateway: Gateway, dollars: float, request_id: str) -> None:
    await operator(gateway).call(
        "GrantCredits", account="team", amount=usd(dollars), request_id=request_id
    )


async def test_a_batch_reserves_more_than_it_should_cost(gateway: Gateway) -> None:
    caller = await prepaid(gateway, 1.40)
    file = (await caller.upload(line())).file
    batch = await caller.create(file.id, request_id="once")
    assert (await caller.create(file.id, request_id="once")).id == batch.id
    assert nanos(batch.cost.reserved) == 750_000_000
    account = await operator(gateway).call("GetAccount", account="team")
    assert (nanos(account.reserved), nanos(account.free)) == (750_000_000, 650_000_000)
    for call in (caller.create(file.id), caller.submit(line())):
        failure = await refused(call)
        assert failure.code == grpc.StatusCode.FAILED_PRECONDITION
        assert failure.reason == "INSUFFICIENT_CREDITS"
        assert failure.metadata == {"needed": "0.75", "reserved": "0.75", "free": "0.65"}
        assert "has to reserve 0.75 USD" in failure.message
        assert "ask the operator to grant 0.1 USD" in failure.message
    await grant(gateway, 0.10, "more")
    assert nanos((await caller.create(file.id)).cost.reserved) == 750_000_000


async def test_a_batch_reserves_no_more_than_its_max_cost(gateway: Gateway) -> None:
    caller = await prepaid(gateway, 0.60)
    file = (await caller.upload(asking("gpt-4.1", max_tokens=600))).file
    assert (await refused(caller.create(file.id))).reason == "INSUFFICIENT_CREDITS"
    batch = await caller.create(file.id, max_cost=usd(0.60))
    assert nanos(batch.cost.reserved) == 600_000_000


async def test_a_retry_reserves_like_any_batch(gateway: Gateway) -> None:
    caller = await prepaid(gateway, 1.40)
    file = (await caller.upload(line())).file
    parent = await caller.create(file.id)
    await end(gateway.ledger, gateway.blobs, parent.id, {1: "server_error"})
    await caller.create(file.id)
    request = batches_pb2.RetryBatchRequest(batch_id=parent.id)
    failure = await refused(caller.batches.RetryBatch(request, metadata=caller.metadata))
    assert failure.reason == "INSUFFICIENT_CREDITS"
    assert len(await gateway.ledger.families.members(parent.id)) == 1
    later = now() + timedelta(hours=1)
    assert not await gateway.ledger.files.stale_uploads(later, 10), "nothing of it is left"
    await grant(gateway, 0.10, "more")
    child = await caller.batches.RetryBatch(request, metadata=caller.metadata)
    assert nanos(child.cost.reserved) == 750_000_000


@pytest.mark.parametrize("owner", ["key", "account"])
@pytest.mark.parametrize(
    ("period", "wait"),
    [
        (accounts_pb2.BUDGET_PERIOD_MONTH, "wait for the next month (UTC), "),
        (accounts_pb2.BUDGET_PERIOD_TOTAL, ": have the budget raised"),
    ],
)
async def test_a_batch_must_fit_in_the_budget(
    gateway: Gateway, owner: str, period: Any, wait: str
) -> None:
    caller = await holder(gateway)
    budget = accounts_pb2.Budget(amount=usd(1), period=period)
    everybody = operator(gateway)
    if owner == "key":
        key = accounts_pb2.Key(id=caller.key_id, budget=budget)
        await everybody.call("UpdateKey", key=key, update_mask=["budget"])
    else:
        await everybody.call("UpdateAccount", account="team", budget=budget, update_mask=["budget"])
    file = (await caller.upload(line())).file
    assert nanos((await caller.create(file.id)).cost.reserved) == 750_000_000
    failure = await refused(caller.create(file.id))
    assert (failure.code, failure.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "BUDGET_EXCEEDED",
    )
    assert failure.metadata["owner"] == owner
    assert Decimal(failure.metadata["left"]) == Decimal("0.25")
    assert f"of the {owner}'s budget" in failure.message
    assert wait in failure.message


async def test_what_has_no_price_is_refused_where_spending_is_limited(gateway: Gateway) -> None:
    body = {"model": "gpt-unheard-of", "messages": [{"role": "user", "content": "Hi"}]}
    free = await holder(gateway, "others")
    assert not (await free.submit(line(body=body))).cost.HasField("reserved")
    caller = await prepaid(gateway, 100)
    failure = await refused(caller.submit(line(body=body)))
    assert (failure.code, failure.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "UNPRICED_MODEL",
    )
    assert failure.metadata == {"models": "openai/gpt-unheard-of"}
    assert 'add to prices.toml: [[price]] with provider = "openai"' in failure.message
