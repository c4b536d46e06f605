"""What has to hold once a run is at rest."""

from __future__ import annotations

from core.batchfile import ResultFile
from core.providers import Outcome
from tests.interleavings.ground import LINES
from tests.interleavings.world import World
from tests.support.ledger.money import check_books


async def broken(world: World) -> list[str]:
    """The promises that a run has broken."""
    found: list[str] = []
    truth = world.truth
    twice = {line: times for line, times in truth.billed.items() if times > 1}
    if twice:
        found.append(f"lines paid for more than once: {twice}")
    batch = await world.ledger.batches.get(world.batch_id)
    if batch is None or not batch.ended:
        return [*found, f"the batch has not ended: {batch}"]
    try:
        await check_books(world.ledger, ended=True)
    except AssertionError as error:
        found.append(f"the books do not add up: {error}")
    if batch.results_prefix:
        results = await ResultFile.open(world.ground.blobs, batch.results_prefix)
        lines = [line.line async for group in results.lines() for line in group]
        if lines != [*range(1, LINES + 1)] and lines != [*range(LINES)]:
            found.append(f"lines answered: {lines}")
    elif batch.state != "failed":
        found.append(f"no results: {batch.state}")
    succeeded = sum(
        1
        for made in truth.batches.values()
        for outcome in made.ran.values()
        if outcome is Outcome.SUCCEEDED
    )
    if not twice and batch.succeeded != succeeded:
        found.append(f"{succeeded} lines were answered well, {batch.succeeded} are in the results")
    if not twice and batch.cost_nanos != (paid := sum(truth.billed.values()) * _PRICE):
        found.append(f"{paid} nano-dollars were paid, {batch.cost_nanos} are booked")
    if truth.files and not world.left_files:
        found.append(f"files left at the provider: {truth.files}")
    return found


_PRICE = 2_000_000 * 1000 // 1_000_000
