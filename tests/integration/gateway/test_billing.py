"""Which key a batch is billed to, and what that key may use."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import pytest
from polybatch.v1 import batches_pb2, files_pb2

from core.ledger import Scope
from tests.support.gateway.accounts import Holder, holder
from tests.support.gateway.running import SEGMENT, Gateway, line, refused


def ask(provider: str, model: str, custom_id: str = "a") -> bytes:
    body = json.loads(line())["body"] | {"model": model, "max_tokens": 9}
    return line(custom_id, provider=provider, body=body) + b"\n"


MIXED = ask("openai", "openai/gpt-4.1", "a") + ask("anthropic", "anthropic/claude-4.5-sonnet", "b")


async def test_a_batch_is_billed_to_the_key_that_made_it(gateway: Gateway) -> None:
    caller = await holder(gateway)
    batch = await caller.submit(line())
    assert batch.key_id == caller.key_id
    colleague = await holder(gateway)
    assert (await colleague.get_batch(batch.id)).key_id == caller.key_id, "all are of one account"


async def test_a_batch_for_another_key(gateway: Gateway) -> None:
    boss, ci = await holder(gateway, scope=Scope.ACCOUNT), await holder(gateway)
    stranger, ended = await holder(gateway, "others"), await holder(gateway)
    await gateway.ledger.accounts.revoke_key(ended.key_id)
    file = (await boss.upload(line())).file
    batch = await boss.create(file.id, key_id=ci.key_id, request_id="once")
    assert batch.key_id == ci.key_id
    assert (await boss.create(file.id, key_id=ci.key_id, request_id="once")).id == batch.id
    reused = await refused(boss.create(file.id, request_id="once"))
    assert reused.reason == "REQUEST_ID_REUSED"
    for key_id in (stranger.key_id, ended.key_id, "key_none"):
        for call in (boss.create(file.id, key_id=key_id), boss.submit(line(), key_id=key_id)):
            failure = await refused(call)
            assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "KEY_NOT_FOUND")
    failure = await refused(ci.submit(line(), upload_id="upload-1", key_id=boss.key_id))
    assert failure.reason == "SCOPE_MISSING"
    assert not await ci.committed("upload-1"), "it is said before anything is sent"
    assert (await ci.create(file.id, key_id=ci.key_id)).key_id == ci.key_id


@pytest.mark.parametrize(
    ("limits", "reason", "said", "metadata"),
    [
        (
            {"allowed_providers": ["openai", "gemini"]},
            "PROVIDER_NOT_ALLOWED",
            "provider anthropic, which lines of the file ask for: it may use openai, gemini",
            {"providers": "anthropic", "allowed": "openai,gemini"},
        ),
        (
            {"allowed_models": ["gpt-4*", "claude-opus*"]},
            "MODEL_NOT_ALLOWED",
            "model anthropic/claude-4.5-sonnet, which",
            {"models": "anthropic/claude-4.5-sonnet", "allowed": "gpt-4*,claude-opus*"},
        ),
        (
            {"allowed_models": ["gpt-4.1-mini", "claude-sonnet-4-5*"]},
            "MODEL_NOT_ALLOWED",
            "model openai/gpt-4.1, which",
            {"models": "openai/gpt-4.1"},
        ),
        ({"allowed_providers": ["openai", "anthropic"]}, "", "", {}),
        # By the name in the line, the provider's id, and both together; capitals do not count.
        ({"allowed_models": ["OpenAI/gpt-4.?", "anthropic/claude-4.5-sonnet"]}, "", "", {}),
        ({"allowed_models": ["GPT-4.1", "claude-sonnet-4-5-[0-9]*"]}, "", "", {}),
        ({"allowed_models": ["openai/*", "anthropic/claude-sonnet-4-5-20250929"]}, "", "", {}),
    ],
)
async def test_what_a_key_may_use(
    gateway: Gateway, limits: dict[str, Any], reason: str, said: str, metadata: dict[str, str]
) -> None:
    caller = await holder(gateway, name="ci", **limits)
    if not reason:
        assert (await caller.submit(MIXED)).key_id == caller.key_id
        return
    file = (await caller.upload(MIXED)).file
    for call in (caller.create(file.id), caller.submit(MIXED)):
        failure = await refused(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, reason)
        assert f"the key 'ci' may not use the {said}" in failure.message
        assert failure.metadata.items() >= {**metadata, "key_id": caller.key_id}.items()
        assert failure.metadata["file_id"]


async def test_only_lines_that_would_be_sent_count(gateway: Gateway) -> None:
    caller = await holder(gateway, allowed_models=["gpt-4.1"])
    lossy = json.loads(line("c", provider="anthropic"))
    lossy["body"] |= {"model": "anthropic/claude-haiku-4-5", "max_tokens": 9}
    lossy["body"]["frequency_penalty"] = 1
    content = line() + b"\n" + json.dumps(lossy).encode() + b"\n"
    assert await caller.submit(content, skip_invalid_lines=True)
    failure = await refused(caller.submit(content, lenient_translation=True))
    assert failure.reason == "MODEL_NOT_ALLOWED"


async def test_a_change_holds_from_the_next_batch_on(gateway: Gateway) -> None:
    boss, ci = await holder(gateway, scope=Scope.ACCOUNT), await holder(gateway)
    file = (await ci.upload(line())).file

    async def allow(caller: Holder, *models: str) -> None:
        await caller.call(
            "UpdateKey",
            key={"id": ci.key_id, "allowed_models": models},
            update_mask=["allowed_models"],
        )

    assert (await ci.create(file.id)).key_id == ci.key_id
    await allow(boss, "claude-*")
    assert (await refused(ci.create(file.id))).reason == "MODEL_NOT_ALLOWED"
    assert (await refused(boss.create(file.id, key_id=ci.key_id))).reason == "MODEL_NOT_ALLOWED"
    await allow(boss)
    assert (await ci.create(file.id)).key_id == ci.key_id


async def test_a_change_holds_for_an_upload_that_is_under_way(gateway: Gateway) -> None:
    boss, ci = await holder(gateway, scope=Scope.ACCOUNT), await holder(gateway)
    content = line(size=2 * SEGMENT)
    kind = batches_pb2.SubmitBatchRequest
    stream = ci.batches.SubmitBatch(metadata=ci.metadata)
    spec = kind.Spec(upload=files_pb2.UploadSpec(upload_id="upload-1"))
    await stream.write(kind(spec=spec))
    await stream.write(kind(chunk=content[: SEGMENT * 3 // 2]))
    async with asyncio.timeout(20):
        # It is open for sure once a segment is committed.
        while not await ci.committed("upload-1"):
            pass
    key = {"id": ci.key_id, "allowed_providers": ["anthropic"]}
    await boss.call("UpdateKey", key=key, update_mask=["allowed_providers"])
    await stream.write(kind(chunk=content[SEGMENT * 3 // 2 :]))
    await stream.write(kind(finish=True))
    assert (await refused(stream)).reason == "PROVIDER_NOT_ALLOWED"
