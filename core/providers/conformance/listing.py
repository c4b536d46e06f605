"""Cases: many batches are looked at through the provider's list."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from core.providers.conformance.bench import Bench, Nonconformity, check
from core.providers.conformance.stand import Answer, Call
from core.providers.contract import Provider, ProviderRejected, ProviderUnavailable

_OVER_A_PAGE = 103
_HOUR = timedelta(hours=1)


async def many_are_seen_at_once(bench: Bench) -> None:
    await bench.stand.pace(batch_seconds=0)
    provider = bench.open()
    begun = datetime.now(UTC)
    done = (await _created(bench, provider, 1))[0]
    ended = await bench.ended(provider, done)
    await bench.stand.pace(batch_seconds=3600)
    running = await _created(bench, provider, 3)
    await bench.until(provider, running[0], lambda batch: batch.total > 0)
    listed = await provider.poll_many([done, *running], begun)
    check(listed.batches.keys() == {done, *running}, f"all are listed: {listed}")
    check(listed.pages == 1, f"one page shows them all: {listed.pages}")
    check(listed.batches[done] == ended, f"it has ended: {listed.batches[done]}, {ended}")
    alone = await provider.poll(running[0])
    check(listed.batches[running[0]] == alone, f"listed as alone: {listed.batches}, {alone}")


async def what_the_list_does_not_show(bench: Bench) -> None:
    await bench.stand.pace(batch_seconds=3600)
    provider = bench.open()
    begun = datetime.now(UTC)
    shown, asked = await _created(bench, provider, 2)
    listed = await provider.poll_many([asked, "batches/of-nobody"], begun)
    check(listed.batches.keys() == {asked}, f"only what was asked for: {listed}, {shown}")
    await bench.stand.hide()
    listed = await provider.poll_many([asked], begun - _HOUR)
    check(not listed.batches, f"what is hidden is missing: {listed}")


async def more_than_a_page(bench: Bench) -> None:
    # They end at once: not every provider lets so many run.
    await bench.stand.pace(batch_seconds=0)
    provider = bench.open()
    begun = datetime.now(UTC)
    created = await _created(bench, provider, _OVER_A_PAGE)
    listed = await provider.poll_many(created, begun)
    check(listed.batches.keys() == set(created), "all are listed, on whichever page")
    check(listed.pages == 2, f"two pages show them all: {listed.pages}")
    newest = await provider.poll_many(created[-10:], begun)
    check(newest.pages == 1, "no page is read beyond the last that was asked for")


async def a_list_that_cannot_be_read(bench: Bench) -> None:
    await bench.stand.pace(batch_seconds=3600)
    provider = bench.open()
    begun = datetime.now(UTC)
    created = await _created(bench, provider, 1)
    for status, expected in ((503, ProviderUnavailable), (403, ProviderRejected)):
        await bench.stand.trouble(Call.LIST, Answer(status), times=100)
        try:
            listed = await provider.poll_many(created, begun)
        except expected:
            await bench.stand.trouble(Call.LIST, Answer(status), times=0)
            continue
        raise Nonconformity(f"a list that is answered {status} shows {listed}")


async def _created(bench: Bench, provider: Provider, count: int) -> list[str]:
    return [
        (await bench.accepted(provider, bench.shard(provider, lines=1))).remote_id
        for _ in range(count)
    ]
