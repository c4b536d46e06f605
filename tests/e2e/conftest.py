"""One suite for all end-to-end tests; those that break it restart what they broke.

It knows every kind of provider, so that few tests need a suite of their own: each start of one
costs more than most of what is tested.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core.ledger import Batch, BatchState, Ledger, Shard, ShardState
from tests.support.e2e.direct_server import PROVIDERS, Server
from tests.support.e2e.ledger import in_ledger
from tests.support.e2e.stories import PROVIDERS as SANDBOXED
from tests.support.e2e.suite import INSTANT, Suite, running_suite, wait_for
from tests.support.ledger.money import rows
from tests.support.stores.process import free_port


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith("tests/e2e/"):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Who stands for every provider that the configuration alone knows."""
    server = Server(free_port(), tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shared_suite(
    tmp_path_factory: pytest.TempPathFactory, shared_server: Server
) -> Iterator[Suite]:
    folder = tmp_path_factory.mktemp("suite")
    providers = folder / "providers.toml"
    providers.write_text(PROVIDERS.format(url=shared_server.url))
    with running_suite(
        folder,
        POLYBATCH_PROVIDERS_FILE=str(providers),
        PAID_API_KEY="paid-key",
        ACME_API_KEY="acme-key",
        MISTRAL_API_KEY="mistral-key",
        GROQ_API_KEY="",
        POLYBATCH_RUN_LEASE="3",
        POLYBATCH_WEB_LISTEN="127.0.0.1:0",
    ) as suite:
        yield suite


@pytest.fixture
def server(shared_server: Server) -> Server:
    """The server of configured providers, which has forgotten everything."""
    shared_server.reset()
    return shared_server


@pytest.fixture
def suite(shared_suite: Suite) -> Suite:
    """The shared suite with a sandbox that has forgotten everything, and nobody asks it for more.

    What an earlier test has left ends first, at a provider or on its way there: sent or asked for
    in vain from then on, it would be billed to others, make further batches be looked at by lists,
    and take faults that are meant for others.
    """
    shared_suite.sandbox("/sandbox/config", INSTANT)
    wait_for(lambda: not for_sandbox(shared_suite), "what earlier tests left to end")
    shared_suite.reset_sandbox()
    return shared_suite


def for_sandbox(suite: Suite) -> list[str]:
    """Its batches that are still to be planned, and shards that go to the sandbox, or are there."""
    bill = suite.sandbox("/sandbox/bill")
    states = {ShardState.QUEUED, ShardState.SUBMITTING}
    if bill["lines_running"] or bill["answers_never_fetched"]:
        states |= {ShardState.SUBMITTED, ShardState.FETCHING}

    async def read(ledger: Ledger) -> list[str]:
        batches = {batch.id: batch for batch in await rows(ledger, Batch)}
        paused = {batch.id for batch in batches.values() if batch.paused_at is not None}
        return [
            *(batch.id for batch in batches.values() if batch.state == BatchState.VALIDATING),
            *(
                shard.id
                for shard in await rows(ledger, Shard)
                if shard.state in states
                and shard.given_up_at is None
                and shard.provider in SANDBOXED
                and shard.batch_id not in paused
                and not shard.waits_for_funds
            ),
        ]

    return in_ledger(suite, read)
