"""Families of batches: who retries whom, what all of it costs, and that no two choose at once."""

from __future__ import annotations

import asyncio

from sqlalchemy import update
from sqlmodel import col

from core.failpoints import Failpoint
from core.ledger import Batch, FamilyChanged, FileGone, Ledger, NewRetry, Settlement, Upload
from core.ledger.states import BatchState
from tests.support.ledger.rows import batch_row, file_row, make_file, new_shard


async def new_retry(ledger: Ledger, parent: Batch, name: str) -> NewRetry:
    """What a gateway has made when it is about to record a retry."""
    ancestors = await ledger.families.ancestors(parent)
    upload = await ledger.files.begin_upload(parent.account_id, f"retry-{name}")
    assert isinstance(upload, Upload)
    file = file_row(account_id=parent.account_id, upload_id=upload.upload_id, line_count=1)
    return NewRetry(file, [each.id for each in ancestors], ancestors[0].retries)


async def record(ledger: Ledger, retry: NewRetry) -> Batch | FamilyChanged | FileGone:
    child = batch_row(retry.file, parent_id=retry.ancestors[-1], total=1)
    made = await ledger.batches.create(child, retry=retry)
    assert isinstance(made, Batch | FamilyChanged | FileGone)
    return made


async def ended(ledger: Ledger) -> Batch:
    made = await ledger.batches.create(batch_row(await make_file(ledger), total=10))
    assert isinstance(made, Batch)
    return await cost(ledger, made, 100)


async def cost(ledger: Ledger, batch: Batch, nanos: int) -> Batch:
    async with ledger._database.write(Failpoint.BATCH_END) as session:
        await session.exec(
            update(Batch)
            .where(col(Batch.id) == batch.id)
            .values(cost_nanos=nanos, state=BatchState.COMPLETED)
        )
    return await fresh(ledger, batch)


async def fresh(ledger: Ledger, batch: Batch) -> Batch:
    found = await ledger.batches.get(batch.id)
    assert found is not None
    return found


async def test_a_family_over_generations(ledger: Ledger) -> None:
    parent = await ended(ledger)
    other = await ledger.batches.create(
        batch_row(await make_file(ledger, upload="upload-2"), total=10)
    )
    children = []
    for name, nanos in (("a", 7), ("b", 20)):
        child = await record(ledger, await new_retry(ledger, await fresh(ledger, parent), name))
        assert isinstance(child, Batch)
        children.append(await cost(ledger, child, nanos))
    grandchild = await record(ledger, await new_retry(ledger, children[0], "c"))
    assert isinstance(grandchild, Batch)
    await cost(ledger, grandchild, 3)
    first, second = [await fresh(ledger, each) for each in children]
    parent_now = await fresh(ledger, parent)
    family = [parent.id, first.id, second.id, grandchild.id]
    assert [each.id for each in await ledger.families.members(parent.id)] == family
    assert [each.id for each in await ledger.families.members(first.id)] == [family[1], family[3]]
    ancestors = await ledger.families.ancestors(grandchild)
    assert [each.id for each in ancestors] == [parent.id, first.id, grandchild.id]
    assert (parent_now.retries, first.retries, second.retries) == (3, 1, 0)
    assert parent_now.revision == parent.revision + 3
    facts = await ledger.families.facts([parent_now, first, second, other])  # type: ignore[list-item]
    assert set(facts) == {parent.id, first.id}
    assert list(facts[parent.id].child_ids) == [first.id, second.id]
    assert (facts[parent.id].cost_nanos, facts[first.id].cost_nanos) == (130, 10)
    stored = await ledger.files.get_input(grandchild)
    assert stored is not None, "recorded together"


async def test_of_retries_that_were_chosen_at_once_one_is_recorded(ledger: Ledger) -> None:
    parent = await ended(ledger)
    several = [await new_retry(ledger, parent, str(number)) for number in range(3)]
    made = await asyncio.gather(*(record(ledger, retry) for retry in several))
    [child] = [each for each in made if isinstance(each, Batch)]
    assert sum(isinstance(each, FamilyChanged) for each in made) == 2
    assert (await fresh(ledger, parent)).retries == 1
    # One of the child was chosen before another one of the parent was made: they share lines.
    of_child = await new_retry(ledger, child, "of-child")
    assert isinstance(
        await record(ledger, await new_retry(ledger, await fresh(ledger, parent), "of-parent")),
        Batch,
    )
    assert isinstance(await record(ledger, of_child), FamilyChanged)


async def test_a_file_that_was_swept_makes_no_retry(ledger: Ledger) -> None:
    parent = await ended(ledger)
    retry = await new_retry(ledger, parent, "swept")
    await ledger.files.forget_upload(parent.account_id, retry.file.upload_id)
    assert isinstance(await record(ledger, retry), FileGone)


async def test_each_way_of_settling_tells_its_revision(ledger: Ledger) -> None:
    made = await ledger.batches.create(batch_row(await make_file(ledger), total=30))
    assert isinstance(made, Batch)
    planned = await ledger.batches.plan(
        made.id, [new_shard(made, number, lines=10) for number in range(3)]
    )
    assert isinstance(planned, Batch)
    first, second, _ = await ledger.shards.of_batch(made.id)
    settled = await ledger.shards.settle(first, Settlement.filled(10, "refused", "no"))
    assert isinstance(settled, Batch)
    successor = second.successor("shard_next", lines=4, round_number=1, due_at=second.due_at)
    await ledger.batches.cancel(made.id)
    again = await ledger.shards.settle(
        second, Settlement(6, 0, retried=4, results_prefix="p"), [successor]
    )
    assert isinstance(again, Batch)
    stopped = await ledger.batches.settle_queued(made.id)
    assert isinstance(stopped, Batch)
    revisions = [each.settled_revision for each in await ledger.shards.of_batch(made.id)]
    assert revisions == [settled.revision, again.revision, stopped.revision, again.revision]
