"""Two gateways and more collectors on PostgreSQL, and one prepaid account: whoever asks whom,
nothing is spent that was not granted."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest
from polybatch import AsyncClient, Batch, BatchState, Funding, PolybatchError

from core.ledger import Ledger
from tests.support.e2e.fleet import running_fleet
from tests.support.e2e.inputs import write
from tests.support.e2e.stories import ask
from tests.support.ledger.money import check_books
from tests.support.stores.postgres import PostgresServer

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

BATCHES = 200
LINES = 1


async def test_half_of_the_batches_are_paid_for(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    path = write(tmp_path / "lines.jsonl", [ask(n, ("openai",)) for n in range(LINES)])
    with running_fleet(tmp_path / "fleet", postgres_server) as fleet:
        fleet.reset_sandbox(batch_seconds=3600)
        ready = fleet.ready
        addresses = {"gateway": ready["gateway"], "collector": ready["collector"]}
        files = [machine.data_dir / "operator-key" for machine in fleet.machines]
        [key_file] = [path for path in files if path.exists()]
        key = fleet.new_key("prepaid")
        async with (
            AsyncClient(api_key=key, **addresses) as client,
            AsyncClient(api_key_file=key_file, **addresses) as operators,
        ):
            file = await client.upload(path)
            expected = (await client.estimate(file)).total.expected
            assert expected is not None
            # As POLYBATCH_RESERVE_FACTOR is 1.25; each reservation is rounded up to a nano-dollar.
            granted = BATCHES // 2 * (expected * Decimal("1.25") + Decimal("1e-9"))
            granted = granted.quantize(Decimal("1e-9"))
            await operators.accounts.update("prepaid", funding=Funding.PREPAID)
            await operators.accounts.grant("prepaid", granted)

            async def make(number: int) -> Batch | PolybatchError:
                try:
                    return await client.create_batch(file.id, request_id=f"batch-{number}")
                except PolybatchError as error:
                    return error

            made = await asyncio.gather(*(make(number) for number in range(BATCHES)))
            running = [each for each in made if isinstance(each, Batch)]
            refused = [each for each in made if isinstance(each, PolybatchError)]
            assert (len(running), len(refused)) == (BATCHES // 2, BATCHES // 2)
            for error in refused:
                assert error.reason == "INSUFFICIENT_CREDITS"
                assert "ask the operator to grant" in str(error)
            account = await operators.accounts.get("prepaid")
            assert account.balance == granted
            assert 0 <= account.free < expected

            await operators.accounts.grant("prepaid", granted)
            again = await asyncio.gather(*(make(number) for number in range(BATCHES)))
            batches = {each.id for each in again if isinstance(each, Batch)}
            assert len(batches) == BATCHES, "each once, and those of before among them"
            assert {each.id for each in running} <= batches
            fleet.sandbox("/sandbox/config", {"batch_seconds": 0.2})
            ended = await asyncio.gather(*(client.wait(each, timeout=600) for each in batches))
            assert {each.state for each in ended} == {BatchState.COMPLETED}
            assert {each.request_counts.succeeded for each in ended} == {LINES}
            cost = sum((each.cost.so_far for each in ended if each.cost), Decimal(0))
            account = await operators.accounts.get("prepaid")
            assert (account.balance, account.reserved) == (2 * granted - cost, 0)
            assert cost > 0
        ledger = await Ledger.open(fleet.environment["POLYBATCH_DATABASE_URL"])
        try:
            await check_books(ledger, ended=True)
        finally:
            await ledger.close()
