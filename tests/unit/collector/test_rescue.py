"""What is not answered is called before the window closes; never what may still be answered."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from core.blobs import BlobStore
from core.ledger import CanaryState, Ledger, ShardPurpose, ShardState, now
from tests.support.input_files import chat, store
from tests.support.providers.conformance_stand import running_sandbox
from tests.support.rescue import PATIENCE, STARTED, Rescue, rescuing

MODELS = {
    "openai": "openai/gpt-4.1",
    "anthropic": "anthropic/claude-4.5-sonnet",
    "gemini": "gemini/gemini-3.8-flash",
}
EACH = [pytest.param(each, marks=() if each == "openai" else pytest.mark.long) for each in MODELS]
LINES = 30


@pytest.fixture(scope="module")
def sandbox_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as (url, _):
        yield url


def lines(provider: str, count: int = LINES, **body: Any) -> list[bytes]:
    return [chat(n, MODELS[provider], max_tokens=50, **body) for n in range(count)]


class Open:
    """Opens rescues in this test's ledger."""

    def __init__(self, ledger: Ledger, blobs: BlobStore, folder: Path, url: str) -> None:
        self._stand = (ledger, blobs, folder, url)

    async def __call__(
        self, asked: list[bytes], *, lenient: bool | None = None, **settings: Any
    ) -> AbstractAsyncContextManager[Rescue]:
        ledger, blobs, folder, url = self._stand
        made = await store(blobs, asked, lenient=lenient)
        return rescuing(ledger, blobs, folder, url, made, **settings)


@pytest.fixture
def opening(ledger: Ledger, blobs: BlobStore, tmp_path: Path, sandbox_url: str) -> Open:
    return Open(ledger, blobs, tmp_path, sandbox_url)


@pytest.fixture
async def openai(opening: Open) -> AsyncIterator[Rescue]:
    async with await opening(lines("openai")) as rescue:
        yield rescue


@pytest.mark.parametrize("provider", EACH)
async def test_what_waits_is_called_and_never_sent(opening: Open, provider: str) -> None:
    async with await opening(lines(provider)) as rescue:
        await rescue.due()
        batch = await rescue.end()
        assert (batch.succeeded, batch.rescued) == (LINES, LINES)
        bill = await rescue.bill()
        assert (bill["batches_created"], bill["uploads"]) == (0, 0)
        assert bill["providers"][provider]["calls_billed"] == LINES
        assert all(line["cost"] for line in (await rescue.lines()).values())
        await rescue.check_paid_once()
        assert rescue.publisher.kinds.count(STARTED) == 1


@pytest.mark.parametrize("provider", EACH)
async def test_only_what_was_not_run_is_called(opening: Open, provider: str) -> None:
    """Gemini names nothing of what it has not run; its counts tell."""
    async with await opening(lines(provider)) as rescue:
        await rescue.set(batch_seconds=3600)
        await rescue.send()
        await rescue.set(cancel_seconds=0.05)
        await _run_part(rescue)
        await rescue.due()
        batch = await rescue.end()
        assert batch.succeeded == LINES
        assert await rescue.called() == batch.rescued
        assert 0 < batch.rescued < LINES
        attempts = Counter(line["attempts"] for line in (await rescue.lines()).values())
        assert attempts == {1: LINES - batch.rescued, 2: batch.rescued}
        await rescue.check_paid_once()


async def _run_part(rescue: Rescue) -> None:
    """Let the providers run some of the lines, and then none for long."""
    await rescue.set(batch_seconds=5)
    async with asyncio.timeout(PATIENCE):
        while not (await rescue.bill())["lines_running"]:
            await asyncio.sleep(0.01)
            for shard in await rescue.shards():
                await rescue.providers[shard.provider].poll(shard.remote_id)
    await rescue.set(batch_seconds=1e9)


@pytest.mark.parametrize("provider", EACH)
async def test_a_provider_that_answers_after_all(opening: Open, provider: str) -> None:
    async with await opening(lines(provider)) as rescue:
        await rescue.set(batch_seconds=3600)
        await rescue.send()
        await rescue.set(cancel_race=True)
        await rescue.due()
        batch = await rescue.end()
        assert (batch.succeeded, batch.rescued) == (LINES, 0)
        assert await rescue.called() == 0
        await rescue.check_paid_once()


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 404}, {"kind": "not_found"}])
async def test_a_cancel_that_does_not_come_through(openai: Rescue, fault: dict[str, Any]) -> None:
    """Nothing is called for as long as it is refused, or lost."""
    await openai.set(batch_seconds=3600)
    await openai.send()
    await openai.set(faults=[{**fault, "calls": ["cancel"]}])
    await openai.due()
    for _ in range(3):
        await openai.look()
        await openai.step()
    assert await openai.called() == 0
    assert [shard.state for shard in await openai.shards()] == [ShardState.SUBMITTED]
    # It runs to its end after all.
    await openai.set(batch_seconds=0)
    batch = await openai.end()
    assert (batch.succeeded, batch.rescued) == (LINES, 0)
    await openai.check_paid_once()


async def test_a_cancel_that_the_window_does_not_wait_for(opening: Open) -> None:
    """The lines expire, as they may be answered; what comes later is merged as ever."""
    async with await opening(lines("openai"), stop_grace=0) as rescue:
        await rescue.set(batch_seconds=3600, cancel_seconds=3600)
        await rescue.send()
        await rescue.due()
        await rescue.look()
        await rescue.step()
        assert [shard.remote_status for shard in await rescue.shards()] == ["cancelling"]
        await rescue.change(expires_at=now() - timedelta(seconds=1))
        await rescue.look()
        await rescue.look()
        batch = await rescue.batch()
        assert (batch.expired, batch.awaited, batch.rescued) == (LINES, LINES, 0)
        # It ends, with nothing run: these lines are not called any more.
        await rescue.set(cancel_seconds=0)
        async with asyncio.timeout(PATIENCE):
            while any(shard.state != ShardState.SETTLED for shard in await rescue.shards()):
                await rescue.step()
                await rescue.ledger.shards.take_overdue((await rescue.shards())[0], now())
        assert await rescue.called() == 0
        batch = await rescue.batch()
        assert (batch.shard_count, batch.rescued) == (1, 0)


@pytest.mark.parametrize("provider", ["openai", "gemini"])
async def test_what_was_run_and_lost_is_not_called(opening: Open, provider: str) -> None:
    """One line has been run and is in no file: it may have been paid for, and so may others that
    a provider does not name."""
    asked = lines(provider)
    asked[0] = chat(0, MODELS[provider], max_tokens=50, user="[[sandbox:lost]]")
    if provider == "gemini":
        asked[0] = (
            asked[0]
            .replace(b'"user": "[[sandbox:lost]]", ', b"")
            .replace(b'"q0"', b'"[[sandbox:lost]]"')
        )
    async with await opening(asked) as rescue:
        await rescue.set(batch_seconds=3600)
        await rescue.send()
        await _run_part(rescue)
        await rescue.due()
        batch = await rescue.end()
        found = await rescue.lines()
        assert found["c0"]["error"]["code"] == "result_missing"
        codes = Counter((line["error"] or {"code": "ok"})["code"] for line in found.values())
        if provider == "openai":
            assert codes == {"ok": LINES - 1, "result_missing": 1}
        else:
            assert (await rescue.called(), batch.rescued) == (0, 0)
            assert set(codes) == {"ok", "result_missing"} or set(codes) == {"result_missing"}
        assert (await rescue.bill())["extra_billings"] == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"paused_at": now()},
        {"halt_code": "failure_limit"},
        {"canary_state": CanaryState.RUNNING},
    ],
    ids=["paused", "halted", "canary"],
)
async def test_no_rescue_while_nothing_is_to_be_sent(
    openai: Rescue, changes: dict[str, Any]
) -> None:
    await openai.due(**changes)
    assert await openai.look() is not None
    assert (await openai.batch()).rescue_started_at is None
    assert [shard.purpose for shard in await openai.shards()] == [ShardPurpose.NONE]
    await openai.change(paused_at=None, halt_code="", canary_state=CanaryState.NONE)
    batch = await openai.end()
    assert batch.rescued == LINES


async def test_a_cancelled_batch_is_not_rescued(openai: Rescue) -> None:
    await openai.ledger.batches.cancel(openai.batch_id)
    await openai.due()
    batch = await openai.end()
    assert (batch.cancelled, batch.rescue_started_at) == (LINES, None)


async def test_its_time_is_waited_for(openai: Rescue) -> None:
    found = await openai.look()
    assert found is not None
    assert found.delay == 600, "it sleeps so long at a time"
    await openai.change(rescue_seconds=3600 - 5)
    found = await openai.look()
    assert found is not None
    assert 0 < found.delay <= 5


async def test_a_create_of_which_nobody_knows_is_looked_up_first(openai: Rescue) -> None:
    await openai.set(
        batch_seconds=3600,
        faults=[{"kind": "reset_after", "calls": ["create"], "count": 1}],
    )
    await openai.step(ShardState.QUEUED)
    (shard,) = await openai.shards()
    assert shard.state == ShardState.SUBMITTING
    await openai.due()
    await openai.look()
    assert [each.state for each in await openai.shards()] == [ShardState.SUBMITTING]
    assert await openai.called() == 0
    batch = await openai.end()
    assert (batch.succeeded, batch.rescued) == (LINES, LINES)
    assert (await openai.bill())["batches_created"] == 1
    await openai.check_paid_once()


async def test_looks_of_several_replicas_start_it_once(openai: Rescue) -> None:
    await openai.due()
    await asyncio.gather(*(openai.look() for _ in range(4)))
    assert openai.publisher.kinds.count(STARTED) == 1
    batch = await openai.end()
    assert (batch.shard_count, batch.rescued) == (1, LINES)


async def test_lines_without_real_time_calls_expire_and_say_so(
    opening: Open, tmp_path: Path, sandbox_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "providers.toml"
    path.write_text(
        f'[acme]\nkind = "openai-compatible"\nbase_url = "{sandbox_url}/v1"\n'
        'api_key_env = "ACME_API_KEY"\nendpoints = ["/v1/chat/completions"]\nreal_time = false\n'
    )
    monkeypatch.setenv("ACME_API_KEY", "k")
    async with await opening(lines("openai", 4), providers_file=path) as rescue:
        assert "acme" not in rescue.known.call_endpoints
        await rescue.change(endpoint="/v1/images/edits")
        await rescue.due()
        await rescue.look()
        batch = await rescue.batch()
        assert batch.rescue_started_at is not None
        assert batch.waiting_reason.startswith("not rescued: 4 lines at openai")
        assert STARTED not in rescue.publisher.kinds
        assert [shard.purpose for shard in await rescue.shards()] == [ShardPurpose.NONE]


async def test_what_a_lenient_translation_leaves_out_is_told(opening: Open) -> None:
    asked = lines("anthropic", 2, logit_bias={"1": 2})
    async with await opening(asked, lenient=True) as rescue:
        await rescue.due()
        await rescue.end()
        dropped = [line["dropped"] for line in (await rescue.lines()).values()]
        assert dropped == [["body.logit_bias"]] * 2
        assert await rescue.called() == 2


async def test_a_rescue_never_passes_the_max_cost(openai: Rescue) -> None:
    """Each line can cost some 700 micro-dollars in real time, and costs 110."""
    await openai.change(max_cost_nanos=1_200_000)
    await openai.due()
    batch = await openai.end()
    codes = Counter(
        (line["error"] or {"code": "ok"})["code"] for line in (await openai.lines()).values()
    )
    assert codes["ok"] == batch.rescued == await openai.called() > 0
    assert codes["cost_limit"] == LINES - batch.rescued > 0
    assert 0 < batch.cost_nanos <= 1_200_000
    await openai.check_paid_once()


async def test_lines_at_a_provider_count_with_what_they_may_come_to_cost(openai: Rescue) -> None:
    await openai.set(batch_seconds=3600)
    await openai.change(max_cost_nanos=10**9)
    await openai.send()
    (sent,) = await openai.shards()
    await openai.due()
    async with asyncio.timeout(PATIENCE):
        while len(shards := await openai.shards()) == 1:
            await openai.look()
            await openai.step(ShardState.FETCHING)
    await openai.step(ShardState.QUEUED)
    _, called = await openai.shards()
    assert called.purpose == ShardPurpose.RESCUE
    assert called.at_most_nanos == sent.at_most_nanos > 0
    assert len(shards) == 2
