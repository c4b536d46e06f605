"""Cases: a batch is created once or not at all, and what is not known is found out."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from core.providers.conformance.bench import Bench, Shard, check
from core.providers.conformance.stand import (
    Answer,
    Call,
    Cut,
    Dropped,
    Garbage,
    LostAnswer,
    Stalled,
    Trouble,
)
from core.providers.contract import (
    Absent,
    Accepted,
    FindOutcome,
    Found,
    NotOurs,
    OutcomeUnknown,
    Provider,
    Refused,
    SubmitOutcome,
    Unsure,
    Upload,
)

_LONGEST_MESSAGE = 4000


async def one_batch_is_created(bench: Bench) -> None:
    provider = bench.open()
    await bench.accepted(provider, bench.shard(provider))
    check(await bench.stand.created() == 1, "one submit has to create one batch")


async def a_gate_that_stays_closed(bench: Bench) -> None:
    async def closed(_upload: Upload) -> None:
        raise NotOurs("taken back")

    provider = bench.open()
    shard = bench.shard(provider)
    try:
        outcome = await provider.submit(shard.intent, shard.spool, gate=closed)
    except NotOurs:
        outcome = None
    check(outcome is None, f"what the gate raises has to come out: {outcome}")
    check(await bench.stand.created() == 0, "behind a closed gate nothing may be created")


async def a_gate_that_opens(bench: Bench) -> None:
    seen: list[int] = []

    async def looking(_upload: Upload) -> None:
        seen.append(await bench.stand.created())

    provider = bench.open()
    shard = bench.shard(provider)
    outcome = await provider.submit(shard.intent, shard.spool, gate=looking)
    check(isinstance(outcome, Accepted), f"the gate was open: {outcome}")
    check(seen == [0], f"the gate has to be asked once, before the create: {seen}")


async def a_refusal_that_passes(bench: Bench) -> None:
    outcome = await _submit(bench, Answer(429, retry_after=7))
    check(isinstance(outcome, Refused) and outcome.transient, f"a 429 passes: {outcome}")
    assert isinstance(outcome, Refused)
    check(outcome.retry_after == 7, f"the provider asked for 7 seconds: {outcome}")
    check(await bench.stand.created() == 0, "a refused create must not be repeated")


async def a_refusal_for_good(bench: Bench) -> None:
    outcome = await _submit(bench, Answer(400))
    check(isinstance(outcome, Refused) and not outcome.transient, f"a 400 is final: {outcome}")
    check(await bench.stand.created() == 0, "a refused create must not be repeated")


async def an_overload(bench: Bench) -> None:
    outcome = await _submit(bench, Answer(503))
    clear = isinstance(outcome, OutcomeUnknown) or (
        isinstance(outcome, Refused) and outcome.transient
    )
    check(clear, f"an overload passes, or leaves it open: {outcome}")
    check(await bench.stand.created() == 0, "a create that failed must not be repeated")


async def a_lost_answer(bench: Bench) -> None:
    await _unknown_but_found(bench, LostAnswer())


async def an_answer_that_breaks_off(bench: Bench) -> None:
    await _unknown_but_found(bench, Cut(20))


async def an_answer_that_does_not_come_in_time(bench: Bench) -> None:
    async with asyncio.timeout(10):
        await _unknown_but_found(bench, Stalled(30), patience=1.0)


async def a_create_that_never_arrived(bench: Bench) -> None:
    await _unknown_and_absent(bench, Dropped())


async def an_answer_of_garbage(bench: Bench) -> None:
    await _unknown_and_absent(bench, Garbage())


async def absence_is_doubted_at_first(bench: Bench) -> None:
    provider, shard, outcome = await _submitted(bench, Dropped(), settle=60.0)
    check(isinstance(outcome, OutcomeUnknown), f"a create without an answer is unknown: {outcome}")
    found = await provider.find(shard.intent, frozenset(), quiet_since=datetime.now(UTC))
    check(isinstance(found, Unsure), f"a new batch may show late: {found}")
    assert isinstance(found, Unsure)
    wait = found.retry_after
    check(wait is not None and 50 < wait <= 61, f"60 seconds to settle: {found}")
    long_ago = datetime.now(UTC) - timedelta(seconds=90)
    found = await provider.find(shard.intent, frozenset(), quiet_since=long_ago)
    check(isinstance(found, Absent), f"the time to settle is over: {found}")


async def batches_are_told_apart(bench: Bench) -> None:
    provider = bench.open()
    first, second, third = (bench.shard(provider) for _ in range(3))
    await bench.stand.trouble(Call.CREATE, LostAnswer(), times=2)
    for shard in (first, second):
        outcome = await provider.submit(shard.intent, shard.spool)
        check(isinstance(outcome, OutcomeUnknown), f"the answer was lost: {outcome}")
    found = [await _find(provider, shard) for shard in (first, second)]
    ids = {each.remote_id for each in found if isinstance(each, Found)}
    check(len(ids) == 2, f"two batches exist, each with its own intent: {found}")
    absent = await _find(provider, third)
    check(isinstance(absent, Absent), f"nothing was sent of the third: {absent}")


async def an_upload_that_fails(bench: Bench) -> None:
    await bench.stand.trouble(Call.UPLOAD, Answer(500), times=100)
    provider = bench.open()
    shard = bench.shard(provider)
    outcome = await provider.submit(shard.intent, shard.spool)
    check(
        isinstance(outcome, Refused) and outcome.transient,
        f"without an upload nothing can have been created: {outcome}",
    )
    check(await bench.stand.created() == 0, "there is nothing to create a batch of")


async def an_upload_that_is_refused(bench: Bench) -> None:
    await bench.stand.trouble(Call.UPLOAD, Answer(400), times=1)
    provider = bench.open()
    shard = bench.shard(provider)
    outcome = await provider.submit(shard.intent, shard.spool)
    check(
        isinstance(outcome, Refused) and not outcome.transient,
        f"a refused upload is refused for good: {outcome}",
    )


async def an_upload_that_is_sent_again(bench: Bench) -> None:
    await bench.stand.trouble(Call.UPLOAD, LostAnswer(), times=1)
    provider = bench.open()
    await bench.accepted(provider, bench.shard(provider))
    check(await bench.stand.created() == 1, "an upload may be repeated, a create may not")


async def a_huge_error(bench: Bench) -> None:
    outcome = await _submit(bench, Answer(500, padding=20_000_000))
    check(isinstance(outcome, Refused | OutcomeUnknown), f"an error is no success: {outcome}")
    assert isinstance(outcome, Refused | OutcomeUnknown)
    check(len(outcome.message) < _LONGEST_MESSAGE, "the message is not cut")


async def _submit(bench: Bench, trouble: Trouble) -> SubmitOutcome:
    _, _, outcome = await _submitted(bench, trouble)
    return outcome


async def _submitted(
    bench: Bench, trouble: Trouble, *, patience: float = 10.0, settle: float = 0.0
) -> tuple[Provider, Shard, SubmitOutcome]:
    await bench.stand.trouble(Call.CREATE, trouble, times=1)
    provider = bench.open(timeout=patience, settle=settle)
    shard = bench.shard(provider)
    outcome = await provider.submit(shard.intent, shard.spool)
    check(not isinstance(outcome, Accepted), f"nobody said that it was created: {outcome}")
    return provider, shard, outcome


async def _find(provider: Provider, shard: Shard) -> FindOutcome:
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    return await provider.find(shard.intent, frozenset(), quiet_since=long_ago)


async def _unknown_but_found(bench: Bench, trouble: Trouble, *, patience: float = 10.0) -> None:
    provider, shard, outcome = await _submitted(bench, trouble, patience=patience)
    check(isinstance(outcome, OutcomeUnknown), f"it may have been created: {outcome}")
    found = await _find(provider, shard)
    check(isinstance(found, Found), f"it was created: {found}")
    assert isinstance(found, Found)
    batch = await provider.poll(found.remote_id)
    check(batch.remote_id == found.remote_id, f"another batch was polled: {batch}")
    check(await bench.stand.created() == 1, "an unclear create must not be repeated")


async def _unknown_and_absent(bench: Bench, trouble: Trouble) -> None:
    provider, shard, outcome = await _submitted(bench, trouble)
    check(isinstance(outcome, OutcomeUnknown), f"it may have been created: {outcome}")
    found = await _find(provider, shard)
    check(isinstance(found, Absent), f"nothing was created: {found}")
    check(await bench.stand.created() == 0, "an unclear create must not be repeated")
