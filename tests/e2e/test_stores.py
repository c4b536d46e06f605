"""The main job on PostgreSQL, object storage and a NATS cluster, by settings alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from polybatch import BatchState

from tests.support.e2e.inputs import chat, check_answers, write
from tests.support.e2e.suite import ROOT, Suite, launch, stopped_after
from tests.support.stores.nats_cluster import NatsCluster, running_cluster
from tests.support.stores.object_storage import ObjectStorage, running_object_storage
from tests.support.stores.postgres import PostgresServer, running_postgres

pytestmark = pytest.mark.long

COUNT = 3000


@dataclass
class Stores:
    """What the suite stands on here; all of it may be killed."""

    database: PostgresServer
    blobs: ObjectStorage
    cluster: NatsCluster


@pytest.fixture(scope="module")
def stores(postgres_server: PostgresServer, object_storage: ObjectStorage) -> Iterator[Stores]:
    """Servers of their own; skipped where the shared ones are."""
    with (
        running_postgres() as database,
        running_object_storage() as blobs,
        running_cluster() as cluster,
    ):
        yield Stores(database, blobs, cluster)


@pytest.fixture(scope="module")
def running(stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    suite = launch(
        tmp_path_factory.mktemp("stores"),
        "--sandbox",
        **stores.blobs.environment,
        POLYBATCH_DATABASE_URL=stores.database.create_database(),
        POLYBATCH_BLOBS_URL=stores.blobs.create_bucket() + "/polybatch",
        POLYBATCH_NATS_URL=stores.cluster.url,
    )
    with stopped_after(suite):
        yield suite


@pytest.fixture
def suite(running: Suite) -> Suite:
    """The suite with a sandbox that has forgotten everything."""
    running.reset_sandbox()
    return running


def test_the_example_by_the_command_line(suite: Suite, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    done = suite.cli("submit", "examples/chat-mixed.jsonl", "-o", str(out))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["custom_id"] for line in lines] == [f"request-{n}" for n in range(1, 5)]
    assert all(line["error"] is None for line in lines)
    # Nothing is kept on this machine but the first key and spools.
    assert not (suite.data_dir / "ledger.sqlite3").exists()
    assert not (suite.data_dir / "blobs").exists()
    assert not (suite.data_dir / "nats").exists()


@pytest.mark.timeout(240)
def test_whatever_dies_each_line_is_answered_and_paid_once(
    suite: Suite, stores: Stores, tmp_path: Path
) -> None:
    suite.reset_sandbox(batch_seconds=1)
    path = write(tmp_path / "killed.jsonl", (chat(n) for n in range(COUNT)))
    with suite.client() as client:
        batches = [client.submit(path).id]
        for service in ("dispatcher", "collector", "gateway"):
            suite.kill(service)
        batches.append(client.submit(path).id)
        node = stores.cluster.nodes[0]
        for server in (stores.database, stores.blobs, node):
            server.kill()
            server.start()
        batches.append(client.submit(path).id)
        for batch_id in batches:
            assert client.wait(batch_id, timeout=180).state == BatchState.COMPLETED
            answered = check_answers(client.results(batch_id), range(COUNT))
            assert sum(line.ok for line in answered) == COUNT
    assert suite.sandbox("/sandbox/bill")["lines_billed"] == len(batches) * COUNT


def test_a_cancelled_batch_keeps_what_was_answered(suite: Suite, tmp_path: Path) -> None:
    suite.reset_sandbox(batch_seconds=600)
    path = write(tmp_path / "cancelled.jsonl", (chat(n) for n in range(20)))
    with suite.client() as client:
        batch = client.submit(path)
        for snapshot in client.watch(batch.id, timeout=60):
            if snapshot.request_counts.submitted:
                client.cancel_batch(batch.id)
                break
        assert client.wait(batch.id, timeout=60).state == BatchState.CANCELLED
        lines = list(client.results(batch.id))
        assert [line.custom_id for line in lines] == [f"line-{n}" for n in range(20)]
        file = client.upload(ROOT / "examples/embeddings.jsonl")
        whole = (ROOT / "examples/embeddings.jsonl").read_bytes()
        assert b"".join(client.files.chunks(file.id)) == whole
        client.files.delete(file.id)
