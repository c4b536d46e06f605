"""Adapters against a server that answers anything: only the contract's outcomes, no hang."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.responses import Response

from core.providers.anthropic.adapter import AnthropicProvider
from core.providers.contract import (
    Absent,
    Accepted,
    Found,
    OutcomeUnknown,
    Provider,
    ProviderRejected,
    ProviderUnavailable,
    Refused,
    RemoteBatch,
    RemoteState,
    Unsure,
)
from core.providers.gemini.adapter import GeminiProvider
from core.providers.openai.adapter import OpenAIProvider
from core.providers.parsing import MAX_COUNT
from tests.fuzz.budget import examples
from tests.fuzz.json_values import changed
from tests.fuzz.provider_answers import ANTHROPIC_BATCH, ERROR, GEMINI_OPERATION, OPENAI_JOB
from tests.support.providers.fake_provider import NOW, Naps, Stage, connect, make_intent

SECONDS = 20.0
"""For one example; most take milliseconds."""

ADAPTERS: dict[str, tuple[Callable[..., Provider], Any, Any]] = {
    "openai": (OpenAIProvider, OPENAI_JOB, {"data": [OPENAI_JOB], "has_more": True}),
    "anthropic": (
        AnthropicProvider,
        ANTHROPIC_BATCH,
        {"data": [ANTHROPIC_BATCH], "has_more": True},
    ),
    "gemini": (
        GeminiProvider,
        GEMINI_OPERATION,
        {"operations": [GEMINI_OPERATION], "nextPageToken": "t", "file": {"name": "files/1"}},
    ),
}
header_values = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)
header_sets = st.fixed_dictionaries(
    {},
    optional={
        "retry-after": st.one_of(header_values, st.sampled_from(["0", "1e999", "nan", "-5", "9"])),
        "retry-after-ms": header_values,
        "content-encoding": st.sampled_from(["gzip", "br", "gzip, gzip", "deflate", "x", "zstd"]),
        "content-type": header_values,
        "x-request-id": header_values,
        "location": header_values,
        "x-goog-upload-url": st.one_of(header_values, st.just("http://[::1")),
    },
)
statuses = st.one_of(
    st.just(200),
    st.just(200),
    st.sampled_from([201, 204, 301, 400, 401, 403, 404, 408, 409, 413]),
    st.sampled_from([418, 429, 500, 502, 503, 504, 529, 599]),
)


@pytest.fixture(scope="module")
def stage() -> Any:
    with Stage().open() as opened:
        yield opened


@asynccontextmanager
async def adapter_at(url: str, make: Callable[..., Provider]) -> AsyncIterator[Provider]:
    async with connect(url, Naps(), seconds=SECONDS) as http:
        yield make(http, settle=timedelta(seconds=1), now=lambda: NOW)


def answer_everything(stage: Stage, bodies: list[tuple[int, bytes, dict[str, str]]]) -> None:
    """Give the answers in turn, whatever is asked; the last one again and again."""
    fake = stage.present()

    async def handle(_request: Any) -> Response:
        status, body, headers = bodies.pop(0) if len(bodies) > 1 else bodies[0]
        return Response(body, status, headers)

    fake.handle = handle  # type: ignore[method-assign]


async def use(provider: Provider, spool: Path) -> None:
    """Every call of the contract: its documented outcomes and exceptions only."""
    outcome = await provider.submit(make_intent(), spool)
    assert isinstance(outcome, (Accepted, Refused, OutcomeUnknown))
    if isinstance(outcome, Refused):
        assert "\0" not in outcome.message
        assert outcome.enqueued_token_limit is None or outcome.enqueued_token_limit <= MAX_COUNT
    with suppress(ProviderUnavailable, ProviderRejected):
        found = await provider.find(make_intent(), frozenset())
        assert isinstance(found, (Found, Absent, Unsure))
    batch = RemoteBatch("batches/1", RemoteState.ENDED, "ended", result_sources=("files/1",))
    with suppress(ProviderUnavailable, ProviderRejected):
        batch = await provider.poll("batches/1")
        assert 0 <= batch.finished <= 4 * MAX_COUNT
        assert 0 <= batch.total <= MAX_COUNT
        assert "\0" not in batch.remote_id + batch.native_status
    with suppress(ProviderUnavailable, ProviderRejected):
        async with aclosing(provider.results(batch)) as groups:
            async for group in groups:
                assert group
    for call in (provider.cancel, provider.discard):
        with suppress(ProviderUnavailable, ProviderRejected):
            await call("batches/1")


@pytest.fixture(scope="module")
def small_spool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spool") / "spool.jsonl"
    path.write_bytes(b'{"a":1}\n')
    return path


@pytest.mark.parametrize("name", ADAPTERS)
@given(data=st.data())
@settings(
    max_examples=examples(20),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_answers_have_an_outcome_of_the_contract(
    stage: Stage, small_spool: Path, name: str, data: st.DataObject
) -> None:
    make, single, page = ADAPTERS[name]
    bodies = st.one_of(
        changed(single), changed(page), changed(page), changed(ERROR), st.binary(max_size=50)
    )
    answers = data.draw(st.lists(st.tuples(statuses, bodies, header_sets), min_size=1, max_size=6))
    answer_everything(stage, answers)

    async def run() -> None:
        async with asyncio.timeout(SECONDS), adapter_at(stage.url, make) as provider:
            await use(provider, small_spool)

    asyncio.run(run())


@pytest.mark.parametrize("name", ADAPTERS)
async def test_a_list_whose_pages_point_in_a_circle_ends(
    stage: Stage, small_spool: Path, name: str
) -> None:
    make, single, _ = ADAPTERS[name]
    fake = stage.present()
    seen = []

    async def handle(request: Any) -> Response:
        seen.append(str(request.url))
        number = len(seen) % 2
        job = dict(single, id=f"b{number}", name=f"b{number}", request_counts={}, metadata={})
        body = {
            "data": [job],
            "operations": [job],
            "files": [],
            "has_more": True,
            "nextPageToken": f"t{number}",
        }
        return Response(json.dumps(body), 200)

    fake.handle = handle  # type: ignore[method-assign]
    async with asyncio.timeout(SECONDS), adapter_at(stage.url, make) as provider:
        await provider.find(make_intent(), frozenset())
        await provider.poll_many([f"missing{n}" for n in range(1000)], NOW)
    assert len(seen) < 15


async def poll(stage: Stage, name: str, body: bytes) -> RemoteBatch:
    answer_everything(stage, [(200, body, {})])
    async with adapter_at(stage.url, ADAPTERS[name][0]) as provider:
        return await provider.poll("batches/1")


async def test_a_time_without_a_zone_is_not_in_the_documented_form(stage: Stage) -> None:
    body = json.dumps(ANTHROPIC_BATCH).replace("2026-11-23T12:00:00Z", "2026-11-23T12:00:00")
    with pytest.raises(ProviderUnavailable, match="documented form"):
        await poll(stage, "anthropic", body.encode())


async def test_counts_that_no_ledger_holds_count_as_none(stage: Stage) -> None:
    job = dict(OPENAI_JOB, status="in_progress", request_counts={"total": 2**80, "completed": -5})
    batch = await poll(stage, "openai", json.dumps(job).encode())
    assert (batch.total, batch.finished) == (0, 0)


async def test_a_nul_in_a_providers_text_does_not_reach_the_ledger(stage: Stage) -> None:
    body = json.dumps(dict(OPENAI_JOB, status="odd\0")).encode()
    assert (await poll(stage, "openai", body)).native_status == "odd\ufffd"


@pytest.mark.parametrize("limit", [",,,,", "9" * 5000])
async def test_a_limit_that_is_no_number_is_none(stage: Stage, limit: str) -> None:
    error = {"code": "token_limit_exceeded", "message": f"Limit: {limit} enqueued tokens."}
    job = dict(OPENAI_JOB, errors={"data": [error]}, request_counts=None)
    refusal = (await poll(stage, "openai", json.dumps(job).encode())).refusal
    assert refusal.enqueued_token_limit is None
