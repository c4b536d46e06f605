"""Who may not spend more, or not on this model: the answers that the vendors' SDKs know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from polybatch.v1 import accounts_pb2

from tests.integration.web.conftest import StartWeb, Web
from tests.support.gateway.accounts import Holder, holder, operator, usd
from tests.support.gateway.running import line

PRICES = """
[[price]]
provider = "openai"
model = "gpt-4.1"
processing = "batch"
input = 0
output = 1000

[[price]]
provider = "anthropic"
model = "claude-sonnet-4-5"
processing = "batch"
input = 0
output = 1000
"""
PREPAID = accounts_pb2.FUNDING_PREPAID
MESSAGES = "/anthropic/v1/messages/batches"
REQUEST = {
    "custom_id": "a",
    "params": {
        "model": "claude-sonnet-4-5",
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": "Hi"}],
    },
}


@pytest.fixture
async def web(start_web: StartWeb, tmp_path: Path) -> Web:
    (tmp_path / "own.toml").write_text(PRICES)
    return await start_web(prices_file=tmp_path / "own.toml")


async def create(web: Web, caller: Holder, body: dict[str, Any] | None = None) -> Any:
    """What /v1/batches answers to this caller."""
    file = (await caller.upload(line(body=body) if body else line())).file
    asked = {
        "input_file_id": file.id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    async with web.with_key(caller.secret) as client:
        return await client.post("/v1/batches", json=asked)


async def test_who_has_spent_all(web: Web) -> None:
    caller = await holder(web.gateway)
    everybody = operator(web.gateway)
    await everybody.call("UpdateAccount", account="team", funding=PREPAID, update_mask=["funding"])
    answer = await create(web, caller)
    assert answer.status_code == 429
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
    assert "of the account's credits" in error["message"]
    # Waiting alone does not help.
    assert answer.headers["x-should-retry"] == "false"
    async with web.with_key(caller.secret) as client:
        answer = await client.post(MESSAGES, json={"requests": [REQUEST]})
        assert (answer.status_code, answer.json()["error"]["type"]) == (402, "billing_error")
        # Of what was sent to Anthropic's API nothing is kept.
        [file] = (await client.get("/v1/files")).json()["data"]
        assert file["filename"] != "requests.jsonl"
        assert (await client.get("/v1/batches")).json()["data"] == []


async def test_who_is_over_the_budget(web: Web) -> None:
    caller = await holder(web.gateway)
    budget = accounts_pb2.Budget(amount=usd(0.01), period=accounts_pb2.BUDGET_PERIOD_TOTAL)
    key = accounts_pb2.Key(id=caller.key_id, budget=budget)
    await operator(web.gateway).call("UpdateKey", key=key, update_mask=["budget"])
    answer = await create(web, caller)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "insufficient_quota")
    body = {"model": "gpt-unheard-of", "messages": [{"role": "user", "content": "Hi"}]}
    unpriced = await create(web, caller, body)
    assert (unpriced.status_code, unpriced.json()["error"]["code"]) == (400, "unpriced_model")


async def test_a_model_that_the_key_may_not_use(web: Web) -> None:
    answer = await create(web, await holder(web.gateway, allowed_models=["gpt-5*"]))
    assert answer.status_code == 403
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "model_not_found")
