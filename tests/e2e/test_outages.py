"""NATS or the database is away in the middle of batches: services wait, and go on after it."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from polybatch import BatchState, Unavailable

from tests.conftest import started
from tests.support.e2e.inputs import chat, write
from tests.support.e2e.suite import Suite, running_suite, wait_for
from tests.support.gateway.nats import Nats, running_nats
from tests.support.stores.postgres import PostgresServer, running_postgres

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        bool(os.environ.get("POLYBATCH_TEST_FLEET")),
        reason="these have servers of their own to stop",
    ),
]

SERVICES = ("gateway", "collector", "dispatcher")
LINES = 400


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with ExitStack() as stack:
        yield started(stack, running_postgres())


@pytest.fixture(scope="module")
def own_suite(
    tmp_path_factory: pytest.TempPathFactory, nats: Nats, postgres: PostgresServer
) -> Iterator[Suite]:
    """A suite that neither starts its NATS nor its database: they are the tests' to stop."""
    with running_suite(
        tmp_path_factory.mktemp("outages"),
        POLYBATCH_NATS_URL=nats.url,
        POLYBATCH_DATABASE_URL=postgres.create_database(),
        # Longer than any outage here: nothing may look like a provider's fault.
        POLYBATCH_PROVIDER_TIMEOUT="20",
        POLYBATCH_SUBMIT_LEASE="30",
    ) as suite:
        yield suite


@pytest.fixture
def suite(own_suite: Suite) -> Iterator[Suite]:
    """All is there before the test, and after it the processes are those of before."""
    serving(own_suite, True)
    own_suite.reset_sandbox(batch_seconds=1)
    before = own_suite.ready["pids"]
    yield own_suite
    serving(own_suite, True)
    assert own_suite.ready["pids"] == before, "no service has died of it"


@contextmanager
def standing_still(suite: Suite, name: str) -> Iterator[None]:
    """One of the suite's processes does nothing for the length of the block."""
    pid = suite.ready["pids"][name]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def serving(suite: Suite, expected: bool) -> None:
    """Wait until the health of all three services says so."""

    def says(address: str) -> bool:
        with grpc.insecure_channel(address) as channel:
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(), timeout=5
                )
            except grpc.RpcError:
                return False
        status = health_pb2.HealthCheckResponse
        return answer.status == (status.SERVING if expected else status.NOT_SERVING)

    for name in SERVICES:
        wait_for(lambda n=name: says(suite.ready[n]), f"{name} to say {expected}", 60)


@pytest.mark.timeout(180)
def test_batches_go_on_after_nats_was_away_and_lost_its_store(
    suite: Suite, nats: Nats, tmp_path: Path
) -> None:
    """With its store kept it is no different, see tests/integration/bus/test_outages.py."""
    path = write(tmp_path / "requests.jsonl", (chat(n) for n in range(LINES)))
    with suite.client() as client:
        before = client.submit(path)
        nats.kill()
        serving(suite, False)
        # The ledger is the truth: all but the work itself goes on.
        meanwhile = client.submit(path)
        assert client.get_batch(meanwhile.id).state == BatchState.VALIDATING
        cancelled = client.submit(path)
        assert client.cancel_batch(cancelled.id).state == BatchState.CANCELLING
        shutil.rmtree(nats.embedded.store_dir)
        nats.start()
        assert client.wait(cancelled.id, timeout=100).state == BatchState.CANCELLED
        suite.check_complete(client, LINES, before.id, meanwhile.id)


@pytest.mark.timeout(180)
def test_batches_go_on_after_the_database_was_away(
    suite: Suite, postgres: PostgresServer, tmp_path: Path
) -> None:
    path = write(tmp_path / "requests.jsonl", (chat(n) for n in range(LINES)))
    with suite.client() as client:
        batch = client.submit(path)
        postgres.kill()
        serving(suite, False)
        with suite.client(patient=False) as other:
            for call in (
                lambda: other.get_batch(batch.id),
                lambda: other.submit(path),
                lambda: next(iter(other.watch(batch.id))),
                lambda: list(other.results(batch.id)),
            ):
                with pytest.raises(Unavailable) as caught:
                    call()
                assert caught.value.reason == "LEDGER_UNAVAILABLE"
                assert caught.value.retry_after
                assert str(postgres.port) not in str(caught.value)
        postgres.start()
        suite.check_complete(client, LINES, batch.id)


@pytest.mark.timeout(180)
def test_an_answer_that_comes_while_the_database_is_away_is_not_lost(
    suite: Suite, postgres: PostgresServer, tmp_path: Path
) -> None:
    """The provider has created the batch, and nothing can be written down."""
    path = write(tmp_path / "requests.jsonl", (chat(n) for n in range(LINES)))
    slow = {"kind": "slow", "method": "POST", "path": "/batches$", "delay": 5}
    suite.sandbox("/sandbox/config", {"faults": [slow]})
    unrecorded = suite.logged("dispatcher", "submission_not_recorded")
    reconciled = suite.logged("dispatcher", "shard_reconciled")
    with suite.client() as client:
        batch = client.submit(path)
        wait_for(
            lambda: suite.sandbox("/sandbox/bill")["batches_created"] == 2, "both to be created"
        )
        # However long the database takes to stop: no answer comes before.
        with standing_still(suite, "sandbox"):
            postgres.stop()
        wait_for(
            lambda: suite.logged("dispatcher", "submission_not_recorded") >= unrecorded + 2,
            "both answers to come",
        )
        postgres.start()
        suite.check_complete(client, LINES, batch.id)
    bill = suite.sandbox("/sandbox/bill")
    assert bill["batches_created"] == 2
    # Whoever heard the answer remembers it: nobody has to ask the provider what became of it.
    assert suite.logged("dispatcher", "shard_reconciled") == reconciled


@pytest.mark.timeout(180)
def test_services_that_start_meanwhile_wait(
    own_suite: Suite, nats: Nats, postgres: PostgresServer, tmp_path: Path
) -> None:
    suite = own_suite
    serving(suite, True)
    suite.reset_sandbox(batch_seconds=1)
    path = write(tmp_path / "requests.jsonl", (chat(n) for n in range(LINES)))
    with suite.client() as client:
        batch = client.submit(path)
        nats.kill()
        postgres.stop()
        waits = {name: suite.logged(name, "ledger_not_ready") for name in SERVICES}
        for name in SERVICES:
            os.kill(suite.ready["pids"][name], signal.SIGKILL)
        for name, count in waits.items():
            wait_for(lambda n=name, c=count: suite.logged(n, "ledger_not_ready") > c, name)
        postgres.start()
        for name in SERVICES:
            wait_for(lambda n=name: suite.logged(n, "bus_not_ready") > 0, name)
        nats.start()
        serving(suite, True)
        suite.check_complete(client, LINES, batch.id)
