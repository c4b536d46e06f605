"""Cases: uploaded inputs are deleted when they have served, and never before."""

from __future__ import annotations

import asyncio

from core.providers.conformance.bench import Bench, Nonconformity, check
from core.providers.conformance.stand import Answer, Call, LostAnswer
from core.providers.contract import (
    Found,
    Provider,
    ProviderRejected,
    ProviderUnavailable,
    Refused,
    Unknown,
)

_LINES = 200


async def inputs_are_discarded(bench: Bench) -> None:
    provider = bench.open()
    shard = bench.shard(provider, lines=_LINES)
    accepted = await bench.accepted(provider, shard)
    check(bool(accepted.remote_file_id), "an upload that nobody knows is never deleted")
    batch = await bench.ended(provider, accepted.remote_id)
    check(await bench.stand.uploads() == 1, "the input is kept until somebody discards it")
    await provider.discard(accepted.remote_file_id)
    check(await bench.stand.uploads() == 0, "a discarded input is deleted")
    # Asked a second time, after a crash or a lost answer, it is gone already.
    await provider.discard(accepted.remote_file_id)
    lines = await bench.read(provider, batch)
    check({line.custom_id for line in lines} == shard.words.keys(), "the results are still there")


async def a_discard_that_is_refused(bench: Bench) -> None:
    provider, file_id = await _uploaded(bench)
    await bench.stand.trouble(Call.DISCARD, Answer(401), times=100)
    error = await _refused(provider, file_id)
    check(isinstance(error, ProviderRejected), f"a refusal has to be told: {error!r}")


async def a_discard_that_fails_for_now(bench: Bench) -> None:
    provider, file_id = await _uploaded(bench)
    await bench.stand.trouble(Call.DISCARD, Answer(503), times=100)
    error = await _refused(provider, file_id)
    check(isinstance(error, ProviderUnavailable), f"an overload passes: {error!r}")
    await bench.stand.trouble(Call.DISCARD, Answer(503), times=0)
    await bench.stand.trouble(Call.DISCARD, LostAnswer(), times=1)
    await provider.discard(file_id)
    check(await bench.stand.uploads() == 0, "a discarded input is deleted")


async def nothing_is_left_of_a_refused_create(bench: Bench) -> None:
    await bench.stand.trouble(Call.CREATE, Answer(400), times=1)
    provider = bench.open()
    shard = bench.shard(provider)
    outcome = await provider.submit(shard.intent, shard.spool)
    check(isinstance(outcome, Refused), f"a 400 is a refusal: {outcome}")
    check(await bench.stand.uploads() == 0, "nobody else knows the upload of a refused create")


async def an_adopted_batch_names_its_input(bench: Bench) -> None:
    await bench.stand.trouble(Call.CREATE, LostAnswer(), times=1)
    provider = bench.open()
    shard = bench.shard(provider)
    outcome = await provider.submit(shard.intent, shard.spool)
    check(isinstance(outcome, Unknown), f"the answer was lost: {outcome}")
    found = await provider.find(shard.intent, frozenset())
    check(isinstance(found, Found), f"it was created: {found}")
    assert isinstance(found, Found)
    await bench.ended(provider, found.remote_id)
    check(bool(found.remote_file_id), "an upload that nobody knows is never deleted")
    await provider.discard(found.remote_file_id)
    check(await bench.stand.uploads() == 0, "a discarded input is deleted")


async def _uploaded(bench: Bench) -> tuple[Provider, str]:
    provider = bench.open()
    accepted = await bench.accepted(provider, bench.shard(provider))
    await bench.ended(provider, accepted.remote_id)
    return provider, accepted.remote_file_id


async def _refused(provider: Provider, file_id: str) -> ProviderUnavailable | ProviderRejected:
    try:
        async with asyncio.timeout(10):
            await provider.discard(file_id)
    except (ProviderUnavailable, ProviderRejected) as error:
        return error
    raise Nonconformity("the input was not deleted, and nobody said so")
