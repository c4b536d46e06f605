"""Batches with a max cost: what of them is taken, kept and refused."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.type.money_pb2 import Money  # type: ignore[import-untyped]

from tests.integration.gateway.test_estimates import asking
from tests.support.gateway.running import Gateway, refused
from tests.support.ledger.rows import reread

LIMITED = asking("gpt-4.1", max_tokens=10)


def usd(units: int = 0, nanos: int = 0, currency: str = "USD") -> Money:
    return Money(currency_code=currency, units=units, nanos=nanos)


async def test_a_max_cost_is_kept_with_its_batch(gateway: Gateway) -> None:
    file = (await gateway.upload(LIMITED)).file
    batch = await gateway.create(file.id, max_cost=usd(1, 500_000_000), request_id="once")
    assert batch.cost.max_cost == usd(1, 500_000_000)
    row = await reread(gateway.ledger, batch)
    assert row.max_cost_nanos == 1_500_000_000
    again = await gateway.create(file.id, max_cost=usd(1, 500_000_000), request_id="once")
    assert again.id == batch.id
    other = await refused(gateway.create(file.id, max_cost=usd(2), request_id="once"))
    assert other.reason == "REQUEST_ID_REUSED"
    free = await gateway.create(file.id)
    assert not free.cost.HasField("max_cost")


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (usd(1, currency="EUR"), "USD"),
        (usd(), "more than 0"),
        (usd(-1), "more than 0"),
        (usd(1, -1), "same sign"),
        (usd(0, 1_000_000_000), "999,999,999"),
        (usd(1_000_000_001), "at most"),
    ],
)
async def test_what_is_no_max_cost(gateway: Gateway, amount: Money, expected: str) -> None:
    file = (await gateway.upload(LIMITED)).file
    failure = await refused(gateway.create(file.id, max_cost=amount))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    [(field, description)] = failure.violations
    assert field == "max_cost"
    assert expected in description


async def test_what_could_cost_any_amount_is_not_taken_with_a_max_cost(gateway: Gateway) -> None:
    unpriced = (await gateway.upload(LIMITED + asking("gpt-99", max_tokens=10))).file
    failure = await refused(gateway.create(unpriced.id, max_cost=usd(1)))
    assert failure.code == grpc.StatusCode.FAILED_PRECONDITION
    assert (failure.reason, failure.metadata["models"]) == ("UNPRICED_MODEL", "openai/gpt-99")
    assert "prices.toml" in failure.message

    searches: dict[str, Any] = {"web_search_options": {}}
    model = "gpt-4.1-mini"
    unlimited = (await gateway.upload(LIMITED + asking(model, max_tokens=9, **searches))).file
    failure = await refused(gateway.create(unlimited.id, max_cost=usd(1)))
    assert failure.reason == "OUTPUT_UNLIMITED"
    assert failure.metadata == {"models": f"openai/{model}", "lines": "1"}
    assert "max_tokens" in failure.message
    for file in (unpriced, unlimited):
        assert (await gateway.create(file.id)).id, "nothing limits what these may cost"
