"""Cases: what is told of a batch under way, and how it is ended."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta

from core.providers.conformance.bench import Bench, Nonconformity, check
from core.providers.conformance.stand import (
    Answer,
    Call,
    Cut,
    Garbage,
    LostAnswer,
    Trouble,
    UnknownStatus,
)
from core.providers.contract import (
    Outcome,
    Provider,
    ProviderRejected,
    ProviderUnavailable,
    RemoteBatch,
    RemoteState,
    ResultLine,
)

_LINES = 200


async def a_batch_that_is_not_known_yet(bench: Bench) -> None:
    provider, remote_id = await _running(bench)
    await bench.stand.hide()
    error = await _fails(provider.poll(remote_id))
    check(isinstance(error, ProviderRejected), f"an unknown batch is rejected: {error!r}")
    assert isinstance(error, ProviderRejected)
    check(error.status == 404, f"the status of an unknown batch is 404: {error.status}")


async def a_state_that_nobody_knows(bench: Bench) -> None:
    provider, remote_id = await _running(bench)
    await bench.stand.trouble(Call.POLL, UnknownStatus(), times=1)
    batch = await provider.poll(remote_id)
    check(batch.state is RemoteState.RUNNING, f"an unknown state is no end: {batch}")
    check(bool(batch.native_status), "the provider's own word for the state is missing")


async def polls_that_fail_once(bench: Bench) -> None:
    provider, remote_id = await _running(bench)
    troubles: list[Trouble] = [Answer(500), LostAnswer(), Cut(20), Answer(429, retry_after=0)]
    for trouble in troubles:
        await bench.stand.trouble(Call.POLL, trouble, times=1)
        batch = await provider.poll(remote_id)
        check(batch.remote_id == remote_id, f"another batch was polled: {batch}")


async def polls_that_keep_failing(bench: Bench) -> None:
    provider, remote_id = await _running(bench)
    await bench.stand.trouble(Call.POLL, Answer(503), times=100)
    error = await _fails(provider.poll(remote_id))
    check(isinstance(error, ProviderUnavailable), f"an overload passes: {error!r}")


async def a_poll_that_brings_garbage(bench: Bench) -> None:
    provider, remote_id = await _running(bench)
    await bench.stand.trouble(Call.POLL, Garbage(), times=1)
    try:
        batch = await provider.poll(remote_id)
    except ProviderUnavailable:
        return
    check(batch.state is RemoteState.RUNNING, f"nobody said that it has ended: {batch}")


async def a_poll_that_is_refused(bench: Bench) -> None:
    provider, remote_id = await _running(bench)
    await bench.stand.trouble(Call.POLL, Answer(403), times=1)
    error = await _fails(provider.poll(remote_id))
    check(isinstance(error, ProviderRejected), f"a 403 does not pass: {error!r}")


async def a_rate_limit(bench: Bench) -> None:
    provider, remote_id = await _running(bench)
    await bench.stand.trouble(Call.POLL, Answer(429, retry_after=60), times=1)
    error = await _fails(provider.poll(remote_id))
    check(isinstance(error, ProviderUnavailable), f"a rate limit passes: {error!r}")
    assert isinstance(error, ProviderUnavailable)
    wait = error.retry_after
    check(wait is not None and 50 < wait <= 60, f"the provider asked for 60 seconds: {wait}")


async def a_huge_error_to_a_poll(bench: Bench) -> None:
    provider, remote_id = await _running(bench)
    await bench.stand.trouble(Call.POLL, Answer(400, padding=20_000_000), times=1)
    error = await _fails(provider.poll(remote_id))
    check(len(str(error)) < 4000, "the message is not cut")


async def a_cancelled_batch_keeps_what_was_run(bench: Bench) -> None:
    provider, remote_id = await _running(bench, lines=_LINES)
    await bench.stand.run_some()
    await provider.cancel(remote_id)
    batch = await bench.ended(provider, remote_id)
    check(batch.ended_as == "cancelled", f"it was cancelled: {batch}")
    lines = await bench.read(provider, batch)
    succeeded = _outcomes(lines, Outcome.SUCCEEDED)
    check(0 < succeeded < _LINES, f"some lines were run, not all: {succeeded} of {_LINES}")
    _none_is_left_open(batch, lines, Outcome.CANCELLED)
    await provider.cancel(remote_id)


async def a_cancel_whose_answer_is_lost(bench: Bench) -> None:
    provider, remote_id = await _running(bench)
    await bench.stand.trouble(Call.CANCEL, LostAnswer(), times=1)
    await provider.cancel(remote_id)
    batch = await bench.ended(provider, remote_id)
    check(batch.ended_as == "cancelled", f"it was cancelled: {batch}")


async def a_cancel_that_comes_too_late(bench: Bench) -> None:
    provider = bench.open()
    accepted = await bench.accepted(provider, bench.shard(provider))
    await bench.ended(provider, accepted.remote_id)
    await provider.cancel(accepted.remote_id)
    batch = await bench.ended(provider, accepted.remote_id)
    check(batch.ended_as == "completed", f"it had been completed: {batch}")


async def an_expired_batch(bench: Bench) -> None:
    provider, remote_id = await _running(bench, lines=_LINES)
    await bench.stand.run_some()
    await bench.stand.expire()
    batch = await bench.ended(provider, remote_id)
    check(batch.ended_as == "expired", f"its window was closed: {batch}")
    lines = await bench.read(provider, batch)
    check(_outcomes(lines, Outcome.SUCCEEDED) < _LINES, "not all lines were run")
    _none_is_left_open(batch, lines, Outcome.EXPIRED)


async def the_key_is_never_told(bench: Bench) -> None:
    key = bench.stand.key
    for status in (400, 500):
        for call in sorted(bench.stand.calls):
            await bench.stand.pace(batch_seconds=0)
            provider = bench.open()
            done = await bench.accepted(provider, bench.shard(provider))
            batch = await bench.ended(provider, done.remote_id)
            await bench.stand.pace(batch_seconds=3600)
            shard = bench.shard(provider)
            await bench.stand.trouble(call, Answer(status, tells_key=True), times=100)
            attempts: list[Awaitable[object]] = [
                provider.submit(shard.intent, shard.spool),
                provider.find(shard.intent, frozenset()),
                provider.poll(done.remote_id),
                provider.poll_many([done.remote_id], datetime.now(UTC) - timedelta(hours=1)),
                bench.read(provider, batch),
                provider.cancel(done.remote_id),
            ]
            if done.remote_file_id:
                attempts.append(provider.discard(done.remote_file_id))
            for attempt in attempts:
                check(key not in await _said(attempt), f"a {status} to {call} tells the key")
            await bench.stand.trouble(call, Answer(status), times=0)


async def _running(bench: Bench, *, lines: int = 3) -> tuple[Provider, str]:
    await bench.stand.pace(batch_seconds=3600)
    provider = bench.open()
    accepted = await bench.accepted(provider, bench.shard(provider, lines=lines))
    return provider, accepted.remote_id


async def _fails(call: Awaitable[object]) -> ProviderUnavailable | ProviderRejected:
    try:
        async with asyncio.timeout(10):
            result = await call
    except (ProviderUnavailable, ProviderRejected) as error:
        return error
    raise Nonconformity(f"expected an error, got {result!r}")


async def _said(attempt: Awaitable[object]) -> str:
    """All that can be read of what came of a call."""
    try:
        return repr(await attempt)
    except (ProviderUnavailable, ProviderRejected) as error:
        return repr(vars(error)) + "".join(traceback.format_exception(error))


def _outcomes(lines: list[ResultLine], outcome: Outcome) -> int:
    return sum(line.outcome is outcome for line in lines)


def _none_is_left_open(batch: RemoteBatch, lines: list[ResultLine], rest: Outcome) -> None:
    """Lines that were never run are told to be so, one by one or all together, or are left out."""
    strange = [each for each in lines if each.outcome not in (Outcome.SUCCEEDED, rest)]
    check(not strange, f"no line went wrong: {strange[:1]}")
    check(batch.unanswered in (None, rest), f"what is left was never run: {batch}")
    ids = [line.custom_id for line in lines]
    check(len(ids) == len(set(ids)), "a line was answered twice")
