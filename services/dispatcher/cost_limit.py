"""Of the submit step: what a shard's lines can cost, and how many of them may go.

In: a shard that is to be sent, or run. Out: what it will cost, for the attempt; or that it waits
for what is in flight, or how many lines fit; and lines that could pass their batch's max cost by
themselves end with `cost_limit`. Nothing is read where nothing limits spending. What can go wrong:
the store is away (BlobUnavailable: the item comes back).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from core.batchfile import (
    INDEX,
    Request,
    ResultWriter,
    answer_line,
    decode_request,
    error_json,
    read_listed,
)
from core.batchfile.result_lines import COST_LIMIT
from core.blobs import BlobStore, StoredFile
from core.failpoints import Failpoint
from core.ledger import (
    Batch,
    Figures,
    File,
    Ledger,
    Room,
    Settlement,
    Shard,
    ShardPurpose,
    new_token,
    usd,
)
from core.pipeline import BatchPrices, PricedModel, Reckoner
from services.dispatcher.cutting import successor, weights_of


@dataclass(frozen=True, slots=True)
class Waits:
    """Until something of its batch that is in flight has settled."""

    figures: Figures
    room: Room


@dataclass(frozen=True, slots=True)
class Cut:
    """Only so many of its lines may go; the rest waits for what they leave."""

    fitting: int
    first: Figures
    """Of these lines."""
    rest: Figures
    room: Room


@dataclass(frozen=True, slots=True)
class Parted:
    """Lines of it are never sent, and the others are in a new shard: how it is settled."""

    settlement: Settlement
    left: list[Shard]


class CostLimit:
    """Reckons shards where anything limits spending."""

    def __init__(
        self,
        ledger: Ledger,
        blobs: BlobStore,
        prices: BatchPrices,
        *,
        assumed_output: int,
        segment_bytes: int,
    ) -> None:
        """`assumed_output`: tokens of an answer of which nothing is known."""
        self._ledger = ledger
        self._blobs = blobs
        self._prices = prices
        self._assumed_output = assumed_output
        self._segment_bytes = segment_bytes
        # One shard at a time: it is CPU-bound.
        self._reading = asyncio.Lock()

    async def look(
        self, shard: Shard, batch: Batch, file: File, remote_model: Callable[[str], str]
    ) -> Figures | Waits | Cut | Parted:
        """Whether a queued shard may go. `remote_model`: of its provider.

        What was reckoned once is kept with the shard, as its lines and their prices stay. They
        are read again only where nothing is in flight that could still leave room for all.
        """
        limits = await self._ledger.stop_loss.limits(batch.id)
        if not limits.limited:
            return Figures()
        room = limits.room
        figures = Figures(shard.expected_nanos, shard.at_most_nanos)
        if figures.at_most_nanos:
            if room is None or figures.at_most_nanos <= room.free:
                return figures
            if room.in_flight:
                return Waits(figures, room)
        prefix = f"batches/{batch.id}/shards/{shard.id}/results/{new_token()}"
        lines = _Lines(
            shard,
            batch,
            room,
            reckoner=await self._reckoner(shard, batch, file, remote_model),
            prices=await self._prices_of(shard, batch, file),
            writer=ResultWriter(
                self._blobs,
                prefix,
                point=Failpoint.SHARD_REJECTS,
                segment_bytes=self._segment_bytes,
            ),
        )
        data = await StoredFile.open(self._blobs, f"{file.prefix}/data")
        listed = read_listed(data, self._blobs, shard.lines_key, shard.line_count)
        async with self._reading, aclosing(listed) as groups:
            async for group in groups:
                for record, raw in group:
                    await lines.add(record, raw)
        if lines.refused:
            return await self._part(shard, file, lines, prefix)
        if room is None or lines.figures.at_most_nanos <= room.free:
            return lines.figures
        if room.in_flight:
            return Waits(lines.figures, room)
        return Cut(lines.fitting, lines.first, lines.left, room)

    async def _prices_of(
        self, shard: Shard, batch: Batch, file: File
    ) -> Sequence[Mapping[int, PricedModel]]:
        """Of which the dearest counts: lines of a batch may come to be rescued."""
        if shard.purpose == ShardPurpose.RESCUE:
            return [await self._prices.of(batch, file, rescued=True)]
        found = [await self._prices.of(batch, file)]
        rescue = await self._prices.rescue_prices(batch, file, shard.provider)
        return found if rescue is None else [*found, rescue]

    async def _reckoner(
        self, shard: Shard, batch: Batch, file: File, remote_model: Callable[[str], str]
    ) -> Reckoner:
        models = {
            (shard.provider, group["model"], remote_model(group["model"]))
            for group in file.groups
            if group["provider"] == shard.provider
        }
        return await Reckoner.load(
            self._ledger, batch.account_id, sorted(models), assumed_output=self._assumed_output
        )

    async def _part(self, shard: Shard, file: File, lines: _Lines, prefix: str) -> Parted:
        await lines.writer.close()
        settlement = Settlement(
            0,
            lines.refused,
            withheld=lines.refused,
            retried=shard.line_count - lines.refused,
            results_prefix=prefix,
        )
        if not lines.rest:
            return Parted(settlement, [])
        rest = bytes(lines.rest)
        weights = await weights_of(shard, rest, file, self._blobs)
        left = await successor(shard, rest, weights, self._blobs)
        left.expected_nanos, left.at_most_nanos = lines.figures
        return Parted(settlement, [left])


class _Lines:
    """The lines of one shard, taken in one after the other."""

    def __init__(
        self,
        shard: Shard,
        batch: Batch,
        room: Room | None,
        *,
        reckoner: Reckoner,
        prices: Sequence[Mapping[int, PricedModel]],
        writer: ResultWriter,
    ) -> None:
        self._shard = shard
        self._batch = batch
        self._room = room
        self._reckoner = reckoner
        self._models = prices[0]
        self._prices = prices
        self._expected = self._at_most = 0
        self.writer = writer
        self.fitting = 0
        """How many lines fit, from the first on."""
        self.first = Figures()
        """Of these."""
        self.refused = 0
        self.rest = bytearray()
        """Index records of the lines that are not refused."""

    @property
    def figures(self) -> Figures:
        """Of the lines that are not refused."""
        return Figures(self._expected, self._at_most)

    @property
    def left(self) -> Figures:
        """Of the others."""
        first = self.first
        return Figures(self._expected - first.expected_nanos, self._at_most - first.at_most_nanos)

    async def add(self, record: tuple[int, ...], raw: bytes) -> None:
        """Reckon a line, and refuse it where it could pass the max cost by itself."""
        request = decode_request(raw)
        model = self._models[record[3]]
        expected, at_most = self._cost(record[3], model.name, request, len(raw))
        room = self._room
        if room is not None and (at_most is None or at_most > room.left):
            await self._refuse(record[2], request.custom_id, model.name, at_most, room)
            return
        self._expected += expected
        # What no one limits runs only where its batch has no max cost.
        self._at_most += expected if at_most is None else at_most
        if room is None or self._at_most <= room.free:
            self.fitting += 1
            self.first = self.figures
        self.rest += INDEX.pack(*record)

    def _cost(self, group: int, model: str, request: Request, size: int) -> tuple[int, int | None]:
        """Expected, and at the most; None: not limited, or there is a price that nobody knows."""
        found = [models[group].price for models in self._prices]
        prices = [price for price in found if price is not None]
        if not prices:
            return 0, None
        estimate = self._reckoner.line(
            self._shard.provider, model, request.url, request.body, size=size
        )
        # The first price is that of the calls that a provider without batches gets.
        rescue = self._shard.purpose == ShardPurpose.RESCUE
        costs = [
            self._reckoner.cost(price, estimate, rescued=rescue or number > 0)
            for number, price in enumerate(prices)
        ]
        bounds = [at_most for _, at_most in costs if at_most is not None]
        known = len(bounds) == len(found)
        return max(expected for expected, _ in costs), max(bounds) if known else None

    async def _refuse(
        self, line: int, custom_id: str, model: str, at_most: int | None, room: Room
    ) -> None:
        answer = answer_line(
            self._batch.id,
            line,
            custom_id,
            None,
            error_json(COST_LIMIT, _refusal(at_most, room)),
            model=model,
            attempts=self._shard.round,
        )
        await self.writer.append(line, answer, succeeded=False)
        self.refused += 1


def _refusal(at_most: int | None, room: Room) -> str:
    left = (
        f"{usd(max(room.left, 0))} of the {usd(room.max_cost)} USD that the batch may cost "
        "(max_cost) were left"
    )
    again = "It was not sent. To have it run, submit it again"
    if at_most is None:
        return (
            f"Nobody knows what this line can cost at the most, and {left}. {again} with "
            "max_tokens, of a model with a price."
        )
    return (
        f"This line can cost up to {usd(at_most)} USD, and {left}. {again} with a higher max_cost, "
        "or a lower max_tokens."
    )
