"""Cases: the results, and what the encoder refuses."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

from core.providers.conformance.bench import CHAT, Bench, Nonconformity, Shard, check
from core.providers.conformance.stand import Answer, Call, Cut, Fate, Garbage
from core.providers.contract import (
    LineRejected,
    Outcome,
    Provider,
    ProviderRejected,
    ProviderUnavailable,
    RemoteBatch,
    ResultLine,
    parse_custom_id,
)

_LINES = 200


async def every_line_is_answered_once(bench: Bench) -> None:
    provider, shard, batch = await _ended(bench, lines=_LINES)
    check(batch.ended_as == "completed", f"it was completed: {batch}")
    check(batch.total in (0, _LINES), f"there were {_LINES} lines: {batch}")
    check(batch.finished in (0, _LINES), f"all lines were run: {batch}")
    lines = await bench.read(provider, batch)
    ids = [line.custom_id for line in lines]
    check(sorted(ids) == sorted(shard.words), "each line has to be answered, and once")
    check(ids != list(shard.words), "the stand-in has to mix up the order of the results")
    for line in lines:
        _check_success(line, shard.words[line.custom_id])


async def lines_that_fail(bench: Bench) -> None:
    fates = [Fate.FAILS, Fate.FAILS_FOR_NOW, Fate.SUCCEEDS]
    provider, shard, batch = await _ended(bench, lines=3, fates=fates)
    check(batch.ended_as == "completed", f"failed lines do not fail the batch: {batch}")
    lines = {line.custom_id: line for line in await bench.read(provider, batch)}
    check(lines.keys() == shard.words.keys(), "failed lines are answered too")
    wanted = [Outcome.FAILED, Outcome.RETRYABLE, Outcome.SUCCEEDED]
    found = [lines[custom_id].outcome for custom_id in shard.words]
    check(found == wanted, f"expected {wanted}, got {found}")
    for line in (each for each in lines.values() if each.outcome is not Outcome.SUCCEEDED):
        error: Any = json.loads(line.error or b"null")
        match error:
            case {"code": str(code), "message": str(message)} if code and message:
                continue
        raise Nonconformity(f"a failed line has an error with a code and a message: {line}")


async def results_that_break_off(bench: Bench) -> None:
    provider, shard, batch = await _ended(bench, lines=_LINES)
    await bench.stand.trouble(Call.RESULTS, Cut(3000), times=1)
    try:
        partial = await bench.read(provider, batch)
    except ProviderUnavailable:
        partial = []
    else:
        raise Nonconformity(f"{len(partial)} lines of {_LINES}, and nobody said that more exist")
    lines = await bench.read(provider, batch)
    check({line.custom_id for line in lines} == shard.words.keys(), "read again, all are there")


async def results_of_garbage(bench: Bench) -> None:
    provider, _, batch = await _ended(bench)
    await bench.stand.trouble(Call.RESULTS, Garbage(), times=1)
    try:
        lines = await bench.read(provider, batch)
    except ProviderUnavailable:
        return
    check(not lines, f"a page of HTML has no results: {lines}")


async def results_that_cannot_be_had_now(bench: Bench) -> None:
    provider, _, batch = await _ended(bench)
    await bench.stand.trouble(Call.RESULTS, Answer(503), times=100)
    try:
        lines = await bench.read(provider, batch)
    except ProviderUnavailable:
        return
    raise Nonconformity(f"expected ProviderUnavailable, got {len(lines)} lines")


async def results_that_are_refused(bench: Bench) -> None:
    provider, _, batch = await _ended(bench)
    await bench.stand.trouble(Call.RESULTS, Answer(401), times=100)
    try:
        lines = await bench.read(provider, batch)
    except ProviderRejected:
        return
    raise Nonconformity(f"expected ProviderRejected, got {len(lines)} lines")


async def a_reader_that_stops_early(bench: Bench) -> None:
    provider, shard, batch = await _ended(bench, lines=_LINES)
    async with aclosing(provider.results(batch)) as groups:
        group = await anext(groups)
        check(bool(group), "a group of lines has lines")
    lines = await bench.read(provider, batch)
    check({line.custom_id for line in lines} == shard.words.keys(), "read again, all are there")


async def requests_that_cannot_be_sent(bench: Bench) -> None:
    provider = bench.open()
    model = bench.stand.model
    for url, body in (("/v1/nothing", b'{"model":"m"}'), (CHAT, b'{"model":')):
        try:
            line = provider.encode_line("shard_1-t-1", url, model, body)
        except LineRejected as error:
            check(bool(error.field and error.reason and error.message), f"not explained: {error!r}")
        else:
            raise Nonconformity(f"expected LineRejected for {body!r} to {url}, got {line!r}")


async def the_longest_custom_id(bench: Bench) -> None:
    provider = bench.open()
    content = {"role": "user", "content": "a\nb"}
    body = {"model": bench.stand.model, "messages": [content], "max_tokens": 10}
    line, _ = provider.encode_line(
        "shard_" + "x" * 46 + "-t-12345678", CHAT, bench.stand.model, json.dumps(body).encode()
    )
    check(b"\n" not in line, "an encoded line is one line")
    check(isinstance(json.loads(line), dict), "an encoded line is a JSON object")
    check(CHAT in provider.limits.endpoints, "an endpoint that is encoded is not among the limits")
    check(provider.limits.max_lines > 0 and provider.limits.max_bytes > 0, "limits are missing")


async def _ended(
    bench: Bench, *, lines: int = 3, fates: list[Fate] | None = None
) -> tuple[Provider, Shard, RemoteBatch]:
    provider = bench.open()
    shard = bench.shard(provider, lines=lines, fates=fates or ())
    accepted = await bench.accepted(provider, shard)
    return provider, shard, await bench.ended(provider, accepted.remote_id)


def _check_success(line: ResultLine, words: str) -> None:
    check(line.outcome is Outcome.SUCCEEDED, f"expected a success, got {line}")
    check(line.error is None, f"a success has no error: {line}")
    check(parse_custom_id(line.custom_id) is not None, f"not our id: {line.custom_id}")
    check(line.usage.input > 0 and line.usage.output > 0, f"the tokens are missing: {line.usage}")
    response: Any = json.loads(line.response or b"{}")
    match response:
        case {
            "status_code": 200,
            "request_id": str(),
            "body": {
                "object": "chat.completion",
                "choices": [{"message": {"role": "assistant", "content": str(text)}}],
                "usage": {"prompt_tokens": int(), "completion_tokens": int()},
            },
        }:
            check(words in text, f"the answer to another question: {words!r}, {text!r}")
        case _:
            raise Nonconformity(f"not a chat completion: {response}")
