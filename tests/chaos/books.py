"""Whether the money of a schedule adds up: the ledger's books, the lines, the sandbox's bill."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from polybatch import BatchState

from core.ledger import Ledger
from core.prices.rates import NANO, Price
from core.prices.snapshot import read_snapshot
from core.prices.usage import Usage
from core.settings import Settings
from tests.chaos.cluster import Cluster, wait_for
from tests.chaos.jobs import Job
from tests.support.ledger.money import check_books

_SECONDS = 20.0
"""Late answers may come home, and be charged, between two looks at the books."""


def judge_books(cluster: Cluster, made: Sequence[Job]) -> list[str]:
    """What does not add up once all batches of a schedule have ended.

    Postings, shards, usage and batches have the same sums, and nothing is held any more. The
    lines of a batch that completed cost what the batch does. All of them cost what the sandbox's
    bill comes to at the batches' own prices, to the nano-dollar; less, where a batch was
    stopped or an answer got lost on its way: what was run then is not known to anybody here.
    """
    found: list[str] = []

    def agree() -> bool:
        found[:] = asyncio.run(_judge(cluster, made))
        return not found

    try:
        wait_for(agree, "the books to add up", _SECONDS)
    except AssertionError:
        return found
    return []


async def _judge(cluster: Cluster, made: Sequence[Job]) -> list[str]:
    settings = Settings(data_dir=cluster.data_dir)
    url = cluster.environment.get("POLYBATCH_DATABASE_URL") or settings.effective_database_url
    ledger = await Ledger.open(url)
    try:
        await check_books(ledger, ended=True)
        ids = [job.batch.id for job in made if job.batch is not None]
        batches = {batch.id: batch for batch in await ledger.batches.get_many(ids)}
        families = await ledger.families.facts([*batches.values()])
        costs = {
            batch.id: families[batch.id].cost_nanos if batch.retries else batch.cost_nanos
            for batch in batches.values()
        }
        prices = [await ledger.batches.prices(batch_id) for batch_id in ids]
    except AssertionError as error:
        return [f"the books do not add up: {error}"]
    finally:
        await ledger.close()
    return [*_of_lines(made, costs), *_of_bill(cluster, made, costs, prices)]


def _of_lines(made: Sequence[Job], costs: Mapping[str, int]) -> Iterator[str]:
    for job in made:
        if job.batch is None or job.ends != {BatchState.COMPLETED}:
            continue
        lines = sum((answer.cost or Decimal(0) for answer in job.answers), Decimal(0)) * NANO
        cost = costs[job.batch.id]
        if lines != cost:
            yield f"{job.name} cost {cost} nano-dollars, its lines {lines}"


def _of_bill(
    cluster: Cluster,
    made: Sequence[Job],
    costs: Mapping[str, int],
    prices: Sequence[str | None],
) -> Iterator[str]:
    known: dict[tuple[str, str, str], Price] = {}
    for stored in prices:
        for price in read_snapshot(stored).prices if stored else ():
            if isinstance(price, Price):
                known[price.provider, price.model, price.processing.value] = price
    billed = 0
    with urllib.request.urlopen(f"{cluster.quick}/sandbox/bill/lines", timeout=10) as answer:
        for line in map(json.loads, answer):
            # A server of one's own has no price.
            if price := known.get((line["provider"], line["model"], line["processing"])):
                usage = Usage(input=line["input_tokens"], output=line["output_tokens"])
                billed += price.cost(usage)
    charged = sum(costs.values())
    whole = all(job.ends == {BatchState.COMPLETED} for job in made)
    lost = sum(job.count("result_missing", ("openai", "anthropic", "gemini")) for job in made)
    if charged > billed or (whole and not lost and charged != billed):
        yield f"{charged} nano-dollars were charged, the providers' bill is {billed}"
