"""Cases: uploaded inputs are deleted when they have served, and never before."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from core.providers.conformance.bench import Bench, Nonconformity, check
from core.providers.conformance.stand import Answer, Call, LostAnswer
from core.providers.contract import (
    Absent,
    Accepted,
    Found,
    OutcomeUnknown,
    Provider,
    ProviderRejected,
    ProviderUnavailable,
    Refused,
    RemoteState,
    Upload,
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


async def a_refused_create_keeps_its_upload(bench: Bench) -> None:
    for status in (429, 503, 400):
        await bench.stand.trouble(Call.CREATE, Answer(status), times=1)
        provider = bench.open()
        shard = bench.shard(provider)
        kept = await bench.stand.uploads()
        seen: list[Upload] = []

        async def gate(upload: Upload, seen: list[Upload] = seen) -> None:
            seen.append(upload)

        outcome = await provider.submit(shard.intent, shard.spool, gate=gate)
        if isinstance(outcome, OutcomeUnknown):
            # Then the gate has named it.
            outcome = Refused("", "", True, upload=seen[0])
        check(isinstance(outcome, Refused), f"a {status} is no success: {outcome}")
        assert isinstance(outcome, Refused)
        upload = outcome.upload
        check(bool(upload.remote_file_id), "an upload that nobody knows is never used again")
        check(seen == [upload], f"the gate has to be told of the upload: {seen}")
        check(not upload.orphans, "it was uploaded once, and answered")
        check(await bench.stand.uploads() == kept + 1, "it may be needed for the next attempt")
        again = replace(shard.intent, token=f"{shard.intent.token}b", file_token=shard.intent.token)
        accepted = await provider.submit(again, upload)
        check(isinstance(accepted, Accepted), f"the upload is there: {accepted}")
        assert isinstance(accepted, Accepted)
        check(accepted.remote_file_id == upload.remote_file_id, "it is the one that was kept")
        check(await bench.stand.uploads() == kept + 1, "it is uploaded once")
        batch = await bench.ended(provider, accepted.remote_id)
        ids = {line.custom_id for line in await bench.read(provider, batch)}
        check(ids == shard.words.keys(), "the lines are those that were uploaded")


async def a_kept_upload_that_is_gone(bench: Bench) -> None:
    await bench.stand.trouble(Call.CREATE, Answer(429), times=1)
    provider = bench.open()
    shard = bench.shard(provider)
    outcome = await provider.submit(shard.intent, shard.spool)
    assert isinstance(outcome, Refused)
    await provider.discard(outcome.upload.remote_file_id)
    again = replace(shard.intent, token=f"{shard.intent.token}b", file_token=shard.intent.token)
    refused = await provider.submit(again, outcome.upload)
    if isinstance(refused, Accepted):
        # Some look at the input only after they have taken the batch.
        final = (RemoteState.ENDED, RemoteState.FAILED)
        batch = await bench.until(provider, refused.remote_id, lambda batch: batch.state in final)
        check(batch.refusal is not None, f"there was nothing to run: {batch}")
        assert batch.refusal is not None
        refused = batch.refusal
    check(isinstance(refused, Refused), f"there is no such file: {refused}")
    assert isinstance(refused, Refused)
    check(refused.transient and refused.input_lost, f"it has to be uploaded anew: {refused}")


async def attempts_with_one_upload_are_told_apart(bench: Bench) -> None:
    await bench.stand.trouble(Call.CREATE, Answer(429), times=1)
    provider = bench.open()
    shard = bench.shard(provider)
    first = await provider.submit(shard.intent, shard.spool)
    assert isinstance(first, Refused)
    again = replace(shard.intent, token=f"{shard.intent.token}b", file_token=shard.intent.token)
    found = await provider.find(again, frozenset(), quiet_since=_long_ago())
    check(isinstance(found, Absent), f"no create has come about: {found}")
    await bench.stand.trouble(Call.CREATE, LostAnswer(), times=1)
    outcome = await provider.submit(again, first.upload)
    check(isinstance(outcome, OutcomeUnknown), f"the answer was lost: {outcome}")
    found = await provider.find(again, frozenset(), quiet_since=_long_ago())
    check(isinstance(found, Found), f"it was created: {found}")


async def uploads_that_nobody_knows_are_found_by_name(bench: Bench) -> None:
    provider = bench.open()
    other = bench.shard(provider)
    await bench.accepted(provider, other)
    await bench.stand.trouble(Call.UPLOAD, LostAnswer(), times=1)
    shard = bench.shard(provider)
    seen: list[Upload] = []

    async def gate(upload: Upload) -> None:
        seen.append(upload)

    outcome = await provider.submit(shard.intent, shard.spool, gate=gate)
    check(isinstance(outcome, Accepted), f"an upload may be repeated: {outcome}")
    left = await bench.stand.uploads()
    check(seen[0].orphans == (left > 2), f"{left - 1} uploads, of which it says {seen[0]}")
    check(await provider.discard_all(shard.intent.shard_id, _long_ago()) == left - 1, "all go")
    check(await bench.stand.uploads() == 1, "that of another shard stays")
    check(await provider.discard_all(shard.intent.shard_id, _long_ago()) == 0, "they are gone")


def _long_ago() -> datetime:
    return datetime.now(UTC) - timedelta(hours=1)


async def an_adopted_batch_names_its_input(bench: Bench) -> None:
    await bench.stand.trouble(Call.CREATE, LostAnswer(), times=1)
    provider = bench.open()
    shard = bench.shard(provider)
    outcome = await provider.submit(shard.intent, shard.spool)
    check(isinstance(outcome, OutcomeUnknown), f"the answer was lost: {outcome}")
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
