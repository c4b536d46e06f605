"""Batches with a rescue: what is taken, kept, shown and reserved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from polybatch.v1 import accounts_pb2

from core.prices.rates import Processing
from core.prices.snapshot import read_snapshot
from tests.integration.gateway.test_estimates import asking, estimated
from tests.support.gateway.accounts import holder, nanos, operator, usd
from tests.support.gateway.running import Gateway, StartGateway, refused

HOUR = Duration(seconds=3600)
OWN = """
[local]
kind = "openai-direct"
base_url = "http://127.0.0.1:9/v1"

[acme]
kind = "openai-compatible"
base_url = "http://127.0.0.1:9/v1"
api_key_env = "ACME_API_KEY"
endpoints = ["/v1/chat/completions"]
real_time = false
"""
PRICES = """
[[price]]
provider = "openai"
model = "gpt-4.1"
processing = "batch"
input = 0
output = 1000

[[price]]
provider = "openai"
model = "gpt-4.1"
processing = "real_time"
input = 0
output = 2000

[[price]]
provider = "openai"
model = "gpt-9"
processing = "batch"
input = 1
output = 1
"""
"""An answer of 500 tokens, as one is expected to be, costs half a dollar, and one in real time."""


@pytest.fixture
async def gateway(
    start_gateway: StartGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Gateway:
    (tmp_path / "own.toml").write_text(PRICES)
    (tmp_path / "providers.toml").write_text(OWN)
    monkeypatch.setenv("ACME_API_KEY", "acme-key")
    return await start_gateway(
        prices_file=tmp_path / "own.toml",
        providers_file=tmp_path / "providers.toml",
        assumed_output_tokens=500,
        reserve_factor=1.5,
    )


async def test_a_rescue_is_kept_with_its_batch(gateway: Gateway) -> None:
    file = (await gateway.upload(asking("gpt-4.1", max_tokens=1000))).file
    batch = await gateway.create(file.id, rescue_before=HOUR, request_id="once")
    assert batch.rescue_before == HOUR
    assert (nanos(batch.cost.expected), nanos(batch.cost.at_most)) == (5 * 10**8, 2 * 10**9)
    row = await gateway.ledger.batches.get(batch.id)
    assert row is not None
    assert row.rescue_seconds == 3600
    stored = await gateway.ledger.batches.prices(batch.id)
    assert stored is not None
    assert {each.processing for each in read_snapshot(stored).prices} == set(Processing)
    assert (await gateway.create(file.id, rescue_before=HOUR, request_id="once")).id == batch.id
    other = await refused(gateway.create(file.id, request_id="once"))
    assert other.reason == "REQUEST_ID_REUSED"
    assert "another rescue_before" in other.message
    usual = await gateway.create(file.id)
    assert not usual.HasField("rescue_before")
    assert nanos(usual.cost.at_most) == 10**9


@pytest.mark.parametrize(
    "wrong", [Duration(), Duration(seconds=-1), Duration(seconds=86_400), Duration(seconds=10**9)]
)
async def test_what_is_no_rescue(gateway: Gateway, wrong: Duration) -> None:
    file = (await gateway.upload(asking("gpt-4.1"))).file
    failure = await refused(gateway.create(file.id, rescue_before=wrong))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert failure.violations == [
        ("rescue_before", "more than 0, and less than the completion window")
    ]


async def test_credits_are_reserved_for_the_dearer_price(gateway: Gateway) -> None:
    caller = await holder(gateway)
    funding: Any = {"funding": accounts_pb2.FUNDING_PREPAID, "update_mask": ["funding"]}
    await operator(gateway).call("UpdateAccount", account="team", **funding)
    await operator(gateway).call(
        "GrantCredits", account="team", amount=usd(1.6), request_id="first"
    )
    file = (await caller.upload(asking("gpt-4.1"))).file
    batch = await caller.create(file.id, rescue_before=HOUR)
    assert nanos(batch.cost.reserved) == 1_500_000_000
    failure = await refused(caller.create(file.id))
    assert failure.metadata["needed"] == "0.75"


async def test_a_max_cost_needs_both_prices(gateway: Gateway) -> None:
    file = (await gateway.upload(asking("gpt-9", max_tokens=10))).file
    assert (await gateway.create(file.id, max_cost=usd(1))).id
    failure = await refused(gateway.create(file.id, max_cost=usd(1), rescue_before=HOUR))
    assert failure.reason == "UNPRICED_MODEL"
    assert "has no price in real time" in failure.message
    assert (await gateway.create(file.id, rescue_before=HOUR)).id, "nothing limits what it costs"


async def test_an_estimate_tells_what_can_be_rescued(gateway: Gateway) -> None:
    asked = (
        asking("gpt-4.1")
        + asking("claude-opus-4-8", provider="anthropic")
        + asking("llama", provider="local")
        + asking("m", provider="acme")
    )
    found = await estimated(gateway, (await gateway.upload(asked)).file.id)
    assert {each.provider: each.rescuable for each in found.models} == {
        "openai": True,
        "anthropic": True,
        "local": False,
        "acme": False,
    }
