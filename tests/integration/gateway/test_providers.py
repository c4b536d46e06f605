"""ListProviders: which providers there are, their keys and limits, and what waits for them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from polybatch.v1 import providers_pb2, providers_pb2_grpc
from pydantic import SecretStr

from core.ledger import now
from core.providers import known_providers
from core.settings import ProviderAccess
from tests.support.gateway.running import CHAT, Caller, Gateway, StartGateway, lines
from tests.support.ledger.rows import shard_row

LOCAL = """
[local]
kind = "openai-direct"
base_url = "http://127.0.0.1:9/v1"
max_concurrency = 3
"""


async def providers(gateway: Gateway, caller: Caller) -> dict[str, providers_pb2.Provider]:
    stub = providers_pb2_grpc.ProviderServiceStub(gateway.channel)  # type: ignore[no-untyped-call]
    reply = await stub.ListProviders(providers_pb2.ListProvidersRequest(), metadata=caller.metadata)
    return {each.name: each for each in reply.providers}


async def test_providers_say_whether_they_can_be_used(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    path = tmp_path / "providers.toml"
    path.write_text(LOCAL)
    gateway = await start_gateway(
        providers_file=path, enqueued_token_limits="openai/gpt-4.1=900,openai/*=7000"
    )
    found = await providers(gateway, gateway)
    openai, local, gemini = found["openai"], found["local"], found["gemini"]
    assert (openai.configured, openai.key_variable) == (True, "OPENAI_API_KEY")
    assert openai.key_state == providers_pb2.KEY_STATE_UNSPECIFIED, "nobody has tried it"
    assert CHAT in openai.endpoints
    assert "gpt-4.1-mini" in openai.models
    assert openai.limits.max_lines == 50_000
    limits = {each.model: each.enqueued_tokens for each in openai.limits.token_limits}
    assert limits == {"gpt-4.1": 900, "*": 7000}
    assert (local.key_state, local.configured) == (providers_pb2.KEY_STATE_NOT_NEEDED, True)
    assert (local.limits.line_by_line, local.limits.max_concurrency) == (True, 3)
    assert (gemini.key_state, gemini.configured) == (providers_pb2.KEY_STATE_MISSING, False)
    assert not gemini.HasField("limits")


async def test_what_became_of_a_key_and_what_waits_for_it(gateway: Gateway) -> None:
    access = ProviderAccess(openai_api_key=SecretStr("sk-test"))
    credential = known_providers(access, gateway.settings).credentials["openai"]
    await gateway.ledger.keys.keep("openai", credential, code="invalid_api_key")
    await gateway.ledger.holds.keep({("openai", credential): now() + timedelta(hours=1)})
    made = await gateway.ledger.batches.get((await gateway.submit(lines(3))).id)
    assert made is not None
    shard = shard_row(made, endpoint=CHAT, line_count=3)
    await gateway.ledger.batches.plan(made.id, [shard])
    await gateway.ledger.shards.wait_for_quota(shard, "openai refuses its key", now())
    openai = (await providers(gateway, gateway))["openai"]
    assert openai.key_state == providers_pb2.KEY_STATE_REFUSED
    assert (openai.key_error, openai.HasField("key_checked_at")) == ("invalid_api_key", True)
    assert openai.HasField("held_until")
    (queue,) = openai.waiting
    assert (queue.reason, queue.line_count, queue.shard_count) == ("openai refuses its key", 3, 1)
    other = (await providers(gateway, await gateway.another_account()))["openai"]
    assert not other.waiting, "what waits is its owner's to know"
    await gateway.ledger.keys.keep("openai", credential)
    openai = (await providers(gateway, gateway))["openai"]
    assert (openai.key_state, openai.key_error) == (providers_pb2.KEY_STATE_ACCEPTED, "")
