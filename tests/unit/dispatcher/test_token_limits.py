"""Shards over a token limit: cut when a piece can go; a line over it costs only itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from polybatch.v1.events_pb2 import WorkItem

from core.batchfile import INDEX, ResultFile
from core.blobs import BlobStore
from core.bus import Ack, Delivery, Snooze
from core.ledger import Ledger, Shard, ShardState, now
from core.pipeline import EventPublisher, PauseWatch, ProviderKeys, Runtime
from core.providers import Accepted, Refused, known_providers
from core.settings import ProviderAccess, Settings
from services.dispatcher.cutting import lines_within, weigh
from services.dispatcher.fair_scheduler import FairScheduler
from services.dispatcher.sharding import plan_shards
from services.dispatcher.submit import Submitter
from tests.support.input_files import chat, store
from tests.support.ledger.rows import create
from tests.support.media import data_url, png
from tests.support.prices import cost_limit
from tests.support.publishers import Silent
from tests.unit.dispatcher.test_submit_step import Scripted

MODEL = "openai/gpt-4.1"
DELIVERY = Delivery(1, now())
WORDS = "some words and then a few more "


def line(number: int, text: str, **extra: Any) -> bytes:
    return chat(number, MODEL, **extra, messages=[{"role": "user", "content": text}])


class Stand:
    """A dispatcher with one batch over a scripted provider."""

    def __init__(self, ledger: Ledger, blobs: BlobStore, folder: Path, limits: str) -> None:
        access = ProviderAccess.model_validate({"openai_api_key": "k"})
        self.providers: dict[str, Any] = dict(known_providers(access, Settings()).open())
        self.provider = self.providers["openai"] = Scripted(self.providers["openai"])
        settings = Settings(data_dir=folder, provider_timeout=60.0, enqueued_token_limits=limits)
        publisher = cast("EventPublisher", Silent())
        runtime = Runtime(settings, ledger, blobs, cast("Any", None), publisher)
        self.ledger, self.blobs = ledger, blobs
        self.submitter = Submitter(
            runtime,
            self.providers,
            {},
            FairScheduler(runtime),
            {},
            ProviderKeys({}, recheck=0.0),
            cost_limit(runtime),
            PauseWatch(runtime.ledger),
        )

    async def plan(self, lines: Sequence[bytes], *, checked: bool = False) -> None:
        """`checked`: by the providers' own checks, too, which weigh what is no text."""
        batch, file = await store(self.blobs, list(lines), lenient=False if checked else None)
        await self.ledger.files.finish_upload(file)
        made = await create(self.ledger, batch)
        self.batch_id = made.id
        shards = await plan_shards(batch, file, self.blobs, self.providers)
        await self.ledger.batches.plan(made.id, shards)

    async def handle(self, shard: Shard) -> Ack | Snooze:
        item = WorkItem(batch_id=self.batch_id, shard_id=shard.id)
        return await self.submitter.handle(item, DELIVERY)

    async def shards(self, *states: ShardState) -> list[Shard]:
        found = await self.ledger.shards.of_batch(self.batch_id)
        return [shard for shard in found if not states or shard.state in states]

    async def only(self, *states: ShardState) -> Shard:
        [shard] = await self.shards(*states)
        return shard

    async def lines(self, shard: Shard) -> list[int]:
        records = await self.blobs.get(shard.lines_key)
        return [record[2] for record in INDEX.iter_unpack(records)]

    async def failures(self, shard: Shard) -> list[tuple[int, dict[str, Any]]]:
        results = await ResultFile.open(self.blobs, shard.results_prefix)
        return [
            (found.line, json.loads(found.raw))
            async for group in results.lines()
            for found in group
        ]


def make(ledger: Ledger, blobs: BlobStore, tmp_path: Path, limits: str = "") -> Stand:
    return Stand(ledger, blobs, tmp_path, limits)


async def test_a_line_over_the_operators_limit_is_reported_at_once(
    ledger: Ledger, blobs: BlobStore, tmp_path: Path
) -> None:
    stand = make(ledger, blobs, tmp_path, "openai/*=1000")
    await stand.plan([line(1, "hi"), line(2, WORDS * 1000), line(3, "hi"), line(4, "hi")])
    await stand.handle(await stand.only())
    settled = await stand.only(ShardState.SETTLED)
    assert (settled.failed, settled.retried) == (1, 3)
    [(number, failure)] = await stand.failures(settled)
    assert number == 2
    assert failure["custom_id"] == "c2"
    assert failure["error"]["code"] == "token_limit_exceeded"
    assert "about 10,4" in failure["error"]["message"]
    assert "1,000" in failure["error"]["message"]
    rest = await stand.only(ShardState.QUEUED)
    assert await stand.lines(rest) == [1, 3, 4]
    await stand.handle(rest)
    assert (await stand.only(ShardState.SUBMITTED)).line_count == 3


async def test_a_line_that_may_be_over_the_limit_is_sent_alone(
    ledger: Ledger, blobs: BlobStore, tmp_path: Path
) -> None:
    """The estimate says so, but it may be wrong; and a picture is not a text."""
    stand = make(ledger, blobs, tmp_path, "openai/*=1000")
    picture = [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 50_000}}]
    await stand.plan([line(1, WORDS * 130), line(2, cast("Any", picture))])
    await stand.handle(await stand.only())
    first, second = await stand.shards(ShardState.QUEUED)
    await stand.handle(first)
    assert (await stand.only(ShardState.SUBMITTED)).id == first.id
    await stand.handle(second)
    assert (await stand.only(ShardState.QUEUED)).waits_for_quota


async def test_a_line_that_is_refused_alone_is_reported(
    ledger: Ledger, blobs: BlobStore, tmp_path: Path
) -> None:
    stand = make(ledger, blobs, tmp_path)
    await stand.plan([line(1, WORDS * 400)])
    stand.provider.outcome = Refused(
        "token_limit_exceeded", "too much", transient=True, enqueued_token_limit=3000
    )
    outcome = await stand.handle(await stand.only())
    assert isinstance(outcome, Snooze), "one refusal, then its turn comes again"
    await due(stand, await stand.only())
    await stand.handle(await stand.only())
    settled = await stand.only(ShardState.SETTLED)
    [(_, failure)] = await stand.failures(settled)
    assert failure["error"]["code"] == "token_limit_exceeded"
    assert "3,000" in failure["error"]["message"]
    assert len(stand.provider.created) == 1


@pytest.mark.parametrize("stated", [None, 10, 90_000])
async def test_a_line_that_others_tokens_keep_out_waits(
    ledger: Ledger, blobs: BlobStore, tmp_path: Path, stated: int | None
) -> None:
    stand = make(ledger, blobs, tmp_path)
    await stand.plan([line(1, WORDS * 400)])
    stand.provider.outcome = Refused(
        "token_limit_exceeded", "too much", transient=True, enqueued_token_limit=stated
    )
    for _ in range(3):
        shard = await stand.only()
        await due(stand, shard)
        await stand.handle(shard)
    shard = await stand.only()
    assert (shard.state, shard.token_refusals) == (ShardState.QUEUED, 3)
    stand.provider.outcome = Accepted("remote_1")
    await due(stand, shard)
    await stand.handle(shard)
    assert (await stand.only()).state == ShardState.SUBMITTED


async def test_a_shard_is_cut_only_when_a_piece_can_go(
    ledger: Ledger, blobs: BlobStore, tmp_path: Path
) -> None:
    stand = make(ledger, blobs, tmp_path, "openai/*=40000")
    # By length, not by number: the long lines come first.
    texts = [WORDS * (200 if n < 20 else 10) for n in range(60)]
    await stand.plan([line(n, text) for n, text in enumerate(texts)])
    await stand.handle(await stand.only())
    first, rest = await stand.shards(ShardState.QUEUED)
    assert first.line_count < 15
    assert first.line_count + rest.line_count == 60
    assert first.byte_count > 50_000
    await stand.handle(first)
    await stand.handle(rest)
    second = min(await stand.shards(ShardState.QUEUED), key=lambda shard: shard.ordinal)
    await stand.handle(second)
    waiting = await stand.shards(ShardState.QUEUED)
    for shard in waiting:
        await stand.handle(shard)
    assert len(await stand.shards(ShardState.QUEUED)) == len(waiting), "nothing is cut in advance"


def picture(number: int, kilobytes: int) -> bytes:
    """Of 765 tokens, whatever its bytes."""
    url = data_url(png(1024, 1024, bytes(kilobytes * 1000)), "image/png")
    part = {"type": "image_url", "image_url": {"url": url}}
    return line(number, cast("Any", [{"type": "text", "text": "What is it?"}, part]))


async def test_pictures_go_together_under_a_limit(
    ledger: Ledger, blobs: BlobStore, tmp_path: Path
) -> None:
    """As text, each would have more than the whole limit."""
    stand = make(ledger, blobs, tmp_path, "openai/*=10000")
    await stand.plan([picture(n, 100) for n in range(8)], checked=True)
    await stand.handle(await stand.only())
    shard = await stand.only(ShardState.SUBMITTED)
    assert shard.line_count == 8
    assert 8 * 765 < shard.tokens < 8 * 765 + 1500


async def test_a_shard_with_pictures_is_cut_by_their_tokens(
    ledger: Ledger, blobs: BlobStore, tmp_path: Path
) -> None:
    stand = make(ledger, blobs, tmp_path, "openai/*=20000")
    # A few large pictures among many words; and the words are the most.
    lines = [picture(n, 60) if n % 10 == 0 else line(n, WORDS * 100) for n in range(40)]
    await stand.plan(lines, checked=True)
    whole = await stand.only()
    await stand.handle(whole)
    first, rest = await stand.shards(ShardState.QUEUED)
    assert first.media_tokens + rest.media_tokens == whole.media_tokens == 4 * 765
    assert first.media_bytes + rest.media_bytes == whole.media_bytes > 300_000
    await stand.handle(first)
    sent = await stand.only(ShardState.SUBMITTED)
    assert sent.id == first.id
    assert 8000 < sent.tokens <= 10_000, "about half of the limit"


async def test_a_picture_that_is_refused_alone_says_its_tokens(
    ledger: Ledger, blobs: BlobStore, tmp_path: Path
) -> None:
    stand = make(ledger, blobs, tmp_path)
    await stand.plan([picture(1, 60)], checked=True)
    stand.provider.outcome = Refused(
        "token_limit_exceeded", "too much", transient=True, enqueued_token_limit=500
    )
    await stand.handle(await stand.only())
    await due(stand, await stand.only())
    await stand.handle(await stand.only())
    [(_, failure)] = await stand.failures(await stand.only(ShardState.SETTLED))
    assert "about 7" in failure["error"]["message"], "some 770 tokens"


async def due(stand: Stand, shard: Shard) -> None:
    """Its pause is over."""
    assert await stand.ledger.shards.unreachable(shard, "", now())


def test_cutting_goes_by_bytes() -> None:
    records = b"".join(
        INDEX.pack(0, length, number, 0, 0) for number, length in enumerate([872, 872, 1872, 10])
    )
    assert [lines_within(records, size) for size in (1, 1000, 1999, 2000, 3999, 4000, 9000)] == [
        1,
        1,
        1,
        2,
        2,
        3,
        4,
    ]


def test_only_text_is_weighed() -> None:
    body = {
        "messages": [
            {
                "content": [
                    {"type": "text", "text": "ab   \n\n  cd"},
                    {"type": "image_url", "image_url": {"url": "x" * 1000}},
                ]
            }
        ],
        "input": [[1, 2, 3]],
        "stream": False,
    }
    weighed = weigh(msgspec.json.encode(body))
    assert not weighed.only_text
    assert 12 < weighed.text < 50
    assert weigh(b'{"a": "\xc3\xa9"}').text == 2
    assert weigh(b"{").text == 0
