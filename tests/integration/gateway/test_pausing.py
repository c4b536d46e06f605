"""Pausing and resuming batches and providers, as the protos say."""

from __future__ import annotations

from datetime import UTC

import grpc
from polybatch.v1 import batches_pb2, providers_pb2, providers_pb2_grpc

from core.ledger import Scope, Shard, ShardState, now
from tests.support.gateway.running import CHAT, Caller, Gateway, lines, refused
from tests.support.ledger.rows import shard_row


async def pause(caller: Caller, batch_id: str) -> batches_pb2.Batch:
    request = batches_pb2.PauseBatchRequest(batch_id=batch_id)
    return await caller.batches.PauseBatch(request, metadata=caller.metadata)


async def resume(caller: Caller, batch_id: str) -> batches_pb2.Batch:
    request = batches_pb2.ResumeBatchRequest(batch_id=batch_id)
    return await caller.batches.ResumeBatch(request, metadata=caller.metadata)


def providers(gateway: Gateway) -> providers_pb2_grpc.ProviderServiceStub:
    return providers_pb2_grpc.ProviderServiceStub(gateway.channel)  # type: ignore[no-untyped-call]


async def planned(gateway: Gateway) -> Shard:
    """A queued shard of a new batch."""
    made = await gateway.ledger.batches.get((await gateway.submit(lines(3))).id)
    assert made is not None
    shard = shard_row(made, endpoint=CHAT, line_count=3)
    await gateway.ledger.batches.plan(made.id, [shard])
    return shard


async def test_a_batch_is_paused_and_resumed_as_often_as_one_likes(gateway: Gateway) -> None:
    shard = await planned(gateway)
    began = now()
    first = await pause(gateway, shard.batch_id)
    again = await pause(gateway, shard.batch_id)
    assert (again.paused_at, again.revision) == (first.paused_at, first.revision)
    assert first.paused_at.ToDatetime(tzinfo=UTC) >= began.replace(microsecond=0)
    assert first.paused_by == first.key_id != ""
    assert first.waiting_reason.startswith(f"paused: by {first.key_id} since ")
    resumed = await resume(gateway, shard.batch_id)
    assert not resumed.HasField("paused_at")
    assert (resumed.paused_by, resumed.waiting_reason) == ("", "")
    assert (await resume(gateway, shard.batch_id)).revision == resumed.revision


async def test_a_pause_is_its_owners_and_comes_before_the_end(gateway: Gateway) -> None:
    shard = await planned(gateway)
    stranger = await gateway.another_account()
    failure = await refused(pause(stranger, shard.batch_id))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "BATCH_NOT_FOUND")
    made = await gateway.ledger.batches.get((await gateway.submit(lines(2))).id)
    assert made is not None
    await gateway.ledger.batches.fail(made.id, "no", "no")
    for call in (pause, resume):
        failure = await refused(call(gateway, made.id))
        assert failure.code == grpc.StatusCode.FAILED_PRECONDITION
        assert failure.reason == "BATCH_ENDED"


async def test_a_provider_is_paused_by_operators(gateway: Gateway) -> None:
    shard = await planned(gateway)
    stub, asked = providers(gateway), providers_pb2.PauseProviderRequest(name="openai")
    failure = await refused(stub.PauseProvider(asked, metadata=gateway.metadata))
    assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")
    operator = await gateway.another_account("ops", Scope.OPERATOR)
    unknown = providers_pb2.PauseProviderRequest(name="opnai")
    failure = await refused(stub.PauseProvider(unknown, metadata=operator.metadata))
    assert failure.reason == "PROVIDER_NOT_FOUND"
    assert "openai" in failure.message, "it says which there are"

    paused = await stub.PauseProvider(asked, metadata=operator.metadata)
    assert paused.HasField("paused_at")
    again = await stub.PauseProvider(asked, metadata=operator.metadata)
    assert (again.paused_at, again.paused_by) == (paused.paused_at, paused.paused_by)
    # Whoever lists them sees it, whatever the key.
    listed = await stub.ListProviders(
        providers_pb2.ListProvidersRequest(), metadata=gateway.metadata
    )
    shown = {each.name: each for each in listed.providers}
    assert shown["openai"].paused_at == paused.paused_at
    assert not shown["anthropic"].HasField("paused_at")
    await gateway.ledger.pauses.hold(shard)
    resumed = await stub.ResumeProvider(
        providers_pb2.ResumeProviderRequest(name="openai"), metadata=operator.metadata
    )
    assert not resumed.HasField("paused_at")
    held = await gateway.ledger.shards.get(shard.id)
    assert held is not None
    assert held.state == ShardState.QUEUED
