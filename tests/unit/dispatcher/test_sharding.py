"""Cutting lines into shards within every limit, and the spool that is sent."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from core.batchfile import INDEX, LineOutcome, ResultFile, read_lines
from core.blobs import BlobStore, StoredFile
from core.ledger import Batch, File, Shard, ShardState
from core.providers import Provider, known_providers
from core.settings import ProviderAccess, Settings
from services.dispatcher.request_file import Overfull, Written, write_request_file
from services.dispatcher.sharding import ProviderMissing, plan_shards
from tests.support.input_files import chat, store

OPENAI, CLAUDE = "openai/gpt-4.1", "anthropic/claude-4.5-sonnet"


@pytest.fixture
def providers() -> dict[str, Provider]:
    access = ProviderAccess.model_validate({"openai_api_key": "k", "anthropic_api_key": "k"})
    return known_providers(access, Settings()).open()


def limit(provider: Provider, **changes: Any) -> None:
    provider.limits = dataclasses.replace(provider.limits, **changes)


def embedding(number: int, inputs: int) -> bytes:
    line = {
        "custom_id": f"c{number}",
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {"model": "openai/text-embedding-3-small", "input": ["text"] * inputs},
    }
    return json.dumps(line).encode()


async def lines_of(blobs: BlobStore, shard: Shard) -> list[int]:
    return [record[2] for record in INDEX.iter_unpack(await blobs.get(shard.lines_key))]


async def test_shards_hold_one_provider_and_where_wanted_one_model(
    blobs: BlobStore, providers: dict[str, Provider]
) -> None:
    models = [OPENAI, CLAUDE, "openai/gpt-4.1-nano", "anthropic/claude-4.5-haiku"]
    batch, file = await store(blobs, [chat(n, models[n % 4]) for n in range(12)])
    shards = await plan_shards(batch, file, blobs, providers)
    found = [[shard.provider, await lines_of(blobs, shard)] for shard in shards]
    assert sorted(found) == [
        ["anthropic", [2, 4, 6, 8, 10, 12]],
        ["openai", [1, 5, 9]],
        ["openai", [3, 7, 11]],
    ]


async def test_limits_cut_more_shards_and_every_line_is_in_one(
    blobs: BlobStore, providers: dict[str, Provider]
) -> None:
    limit(providers["openai"], max_lines=10)
    limit(providers["anthropic"], max_bytes=2000)
    batch, file = await store(blobs, [chat(n, (OPENAI, CLAUDE)[n % 2]) for n in range(100)])
    shards = await plan_shards(batch, file, blobs, providers)
    assert [shard.ordinal for shard in shards] == list(range(len(shards)))
    assert all(s.line_count <= 10 for s in shards if s.provider == "openai")
    assert all(s.byte_count <= 2000 for s in shards if s.provider == "anthropic")
    lines = [line for shard in shards for line in await lines_of(blobs, shard)]
    assert sorted(lines) == list(range(1, 101))


async def test_planned_twice_the_same_comes_out(
    blobs: BlobStore, providers: dict[str, Provider]
) -> None:
    limit(providers["openai"], max_lines=3)
    batch, file = await store(blobs, [chat(n, OPENAI) for n in range(10)])
    first, second = [await plan_shards(batch, file, blobs, providers) for _ in range(2)]
    assert [shard.id for shard in first] == [shard.id for shard in second]
    assert len({shard.id for shard in first}) == 4


async def test_a_provider_without_access_is_named(
    blobs: BlobStore, providers: dict[str, Provider]
) -> None:
    batch, file = await store(blobs, [chat(1, CLAUDE)])
    del providers["anthropic"]
    with pytest.raises(ProviderMissing) as caught:
        await plan_shards(batch, file, blobs, providers)
    assert caught.value.provider == "anthropic"


async def spool(
    path: Path, blobs: BlobStore, batch: Batch, file: File, shard: Shard, provider: Provider
) -> Written | Overfull:
    return await write_request_file(
        path,
        batch=batch,
        shard=shard,
        file=file,
        token="tok",
        provider=provider,
        blobs=blobs,
        segment_bytes=1 << 20,
    )


async def test_the_spool_carries_our_ids_and_the_provider_s_model(
    tmp_path: Path, blobs: BlobStore, providers: dict[str, Provider]
) -> None:
    batch, file = await store(blobs, [chat(n, (OPENAI, CLAUDE)[n % 2]) for n in range(4)])
    for shard in await plan_shards(batch, file, blobs, providers):
        path = tmp_path / shard.id
        spooled = await spool(path, blobs, batch, file, shard, providers[shard.provider])
        assert isinstance(spooled, Written)
        assert (spooled.lines, spooled.size) == (2, path.stat().st_size)
        numbers = await lines_of(blobs, shard)
        if shard.provider == "openai":
            sent = [json.loads(line) for line in path.read_text().splitlines()]
            assert {line["body"]["model"] for line in sent} == {"gpt-4.1"}
        else:
            sent = json.loads(path.read_text())["requests"]
            assert {line["params"]["max_tokens"] for line in sent} != {None}
        assert [line["custom_id"] for line in sent] == [f"{shard.id}-tok-{n}" for n in numbers]


async def test_a_spool_over_the_limit_says_how_much_fits(
    tmp_path: Path, blobs: BlobStore, providers: dict[str, Provider]
) -> None:
    batch, file = await store(blobs, [embedding(n, inputs=40) for n in range(10)])
    openai = providers["openai"]
    [shard] = await plan_shards(batch, file, blobs, providers)
    limit(openai, max_embedding_inputs=100)
    outcome = await spool(tmp_path / "spool", blobs, batch, file, shard, openai)
    assert outcome == Overfull(fitting=2)
    limit(openai, max_embedding_inputs=None, max_bytes=600)
    outcome = await spool(tmp_path / "spool", blobs, batch, file, shard, openai)
    assert isinstance(outcome, Overfull)
    assert 0 < outcome.fitting < 10


async def test_the_items_of_a_response_are_no_inputs_of_embeddings(
    tmp_path: Path, blobs: BlobStore, providers: dict[str, Provider]
) -> None:
    body = {"model": "openai/gpt-4.1", "input": [{"role": "user", "content": "hi"}] * 40}
    line = {"custom_id": "c", "method": "POST", "url": "/v1/responses", "body": body}
    batch, file = await store(blobs, [json.dumps(line | {"custom_id": n}).encode() for n in "abc"])
    openai = providers["openai"]
    [shard] = await plan_shards(batch, file, blobs, providers)
    limit(openai, max_embedding_inputs=50)
    outcome = await spool(tmp_path / "spool", blobs, batch, file, shard, openai)
    assert isinstance(outcome, Written)


async def test_a_line_that_cannot_be_translated_costs_only_itself(
    tmp_path: Path, blobs: BlobStore, providers: dict[str, Provider]
) -> None:
    batch, file = await store(blobs, [chat(1, CLAUDE), chat(2, CLAUDE, n=3), chat(3, CLAUDE)])
    [shard] = await plan_shards(batch, file, blobs, providers)
    spooled = await spool(tmp_path / "spool", blobs, batch, file, shard, providers["anthropic"])
    assert isinstance(spooled, Written)
    assert (spooled.lines, spooled.rejected) == (2, 1)
    rejects = await ResultFile.open(blobs, spooled.rejects_prefix)
    [[reject]] = [group async for group in rejects.lines()]
    answer = json.loads(reject.raw)
    assert (reject.line, reject.outcome, answer["custom_id"]) == (2, LineOutcome.FAILED, "c2")
    assert "body.n" in answer["error"]["message"]


LENIENT_LINES = [
    chat(1, CLAUDE),
    chat(2, CLAUDE, n=3, seed=1, verbosity="low"),
    chat(3, CLAUDE, stop=5),
    chat(4, CLAUDE, seed=1),
    chat(5, OPENAI, n=3, seed=1),
]


@pytest.mark.parametrize(("lenient", "planned"), [(False, [1, 4]), (True, [1, 2, 4])])
async def test_only_a_lenient_batch_takes_lines_that_lose_something(
    blobs: BlobStore, providers: dict[str, Provider], lenient: bool, planned: list[int]
) -> None:
    batch, file = await store(blobs, LENIENT_LINES, lenient=lenient)
    shards = await plan_shards(batch, file, blobs, providers)
    lines = {shard.provider: await lines_of(blobs, shard) for shard in shards}
    assert lines == {"anthropic": planned, "openai": [5]}


async def test_a_provider_without_lines_for_the_batch_need_not_be_there(
    blobs: BlobStore, providers: dict[str, Provider]
) -> None:
    del providers["anthropic"]
    lines = [chat(1, OPENAI), chat(2, CLAUDE, n=3)]
    batch, file = await store(blobs, lines, lenient=False)
    [shard] = await plan_shards(batch, file, blobs, providers)
    assert await lines_of(blobs, shard) == [1]
    batch.lenient_translation = True
    with pytest.raises(ProviderMissing):
        await plan_shards(batch, file, blobs, providers)


async def test_what_a_lenient_batch_leaves_out_is_stored_by_line(
    tmp_path: Path, blobs: BlobStore, providers: dict[str, Provider]
) -> None:
    batch, file = await store(blobs, LENIENT_LINES, lenient=True)
    dropped = {}
    for shard in await plan_shards(batch, file, blobs, providers):
        path = tmp_path / shard.id
        spooled = await spool(path, blobs, batch, file, shard, providers[shard.provider])
        assert isinstance(spooled, Written)
        assert spooled.rejected == 0
        stored = await ResultFile.open(blobs, shard.dropped_prefix("tok"))
        async for group in stored.lines():
            dropped |= {each.line: json.loads(each.raw) for each in group}
    assert dropped == {
        2: ["body.n", "body.seed", "body.verbosity"],
        4: ["body.seed"],
    }


async def test_a_strict_batch_stores_nothing_beside_its_lines(
    tmp_path: Path, blobs: BlobStore, providers: dict[str, Provider]
) -> None:
    batch, file = await store(blobs, [chat(1, CLAUDE, seed=1)], lenient=False)
    [shard] = await plan_shards(batch, file, blobs, providers)
    await spool(tmp_path / "spool", blobs, batch, file, shard, providers["anthropic"])
    assert await blobs.list(shard.dropped_prefix("tok")) == []


async def test_line_lists_point_at_the_lines(
    blobs: BlobStore, providers: dict[str, Provider]
) -> None:
    lines = [chat(n, (OPENAI, CLAUDE)[n % 2]) for n in range(20)]
    batch, file = await store(blobs, lines)
    data = await StoredFile.open(blobs, f"{file.prefix}/data")
    for shard in await plan_shards(batch, file, blobs, providers):
        assert shard.state == ShardState.QUEUED
        async for group in read_lines(data, await blobs.get(shard.lines_key)):
            assert all(raw == lines[line - 1] for line, raw in group)
