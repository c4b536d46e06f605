"""What holds for all tests: which run together, and servers that a session shares.

Each test gets a place of its own at a shared server.
"""

from __future__ import annotations

import gc
import os
import signal
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy.engine import make_url
from xdist.scheduler import LoadFileScheduling

from core.blobs import BlobStore
from core.ledger import Ledger, database, schema
from core.tracing import spans
from tests.support.gateway.nats import Nats, running_nats
from tests.support.ledger.statements import compiled_once
from tests.support.stores.object_storage import ObjectStorage, running_object_storage
from tests.support.stores.postgres import PostgresServer, running_postgres
from tests.support.stores.process import ServerMissing

Server = TypeVar("Server")

# What hundreds of files of tests import is no garbage: searching it was a fifth of the time.
gc.disable()

# A shell that starts `make test &` has its children ignore Ctrl-C, which theirs would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in each run, so that a failure can be repeated; `make fuzz` tries others,
# and `make test-long` all of what `make test` tries some of.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.register_profile(
    "some", hypothesis.settings.get_profile("repeatable"), max_examples=20
)
hypothesis.settings.register_profile("fuzz", deadline=None, print_blob=True)
FACTOR = os.environ.get("POLYBATCH_FUZZ_FACTOR")
hypothesis.settings.load_profile(
    "some" if not FACTOR else "repeatable" if FACTOR == "1" else "fuzz"
)


E2E = "tests/e2e"
BROWSER = "tests/browser"
A_THOUSAND_BATCHES = "tests/unit/dispatcher/test_stop_loss.py"


def pytest_collection_finish() -> None:
    """Leave what was imported out of every search for garbage, and search less often.

    As the services do (core/serving/memory.py): it took a tenth of the tests' time.
    """
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(10_000, 10, 10)


# These start suites of their own.
APART = (
    *("credits_at_once", "full_disk", "late_answers", "outages", "provider_outages", "replicas"),
    *("secrets", "secured", "stores", "traces"),
)


class OneSuite(LoadFileScheduling):
    """A file's tests run in one worker, and all that use the one suite in the same one.

    That suite is the costliest thing to start. (pytest-xdist's own groups, `--dist loadgroup`,
    come to nothing with this pytest.)
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder, _, name = file.rpartition("/test_")
        shared = folder == E2E and name.removesuffix(".py") not in APART
        return folder if shared or folder == BROWSER else file

    def _assign_work_unit(self, node: Any) -> None:
        # What takes longest begins first, so that nobody waits for it in the end.
        for scope in (A_THOUSAND_BATCHES, E2E):
            if scope in self.workqueue:
                self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneSuite | None:
    # This process collects nothing.
    gc.enable()
    return OneSuite(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session", autouse=True)
def migrated_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A new SQLite ledger of this process is a copy of one that the migrations made.

    They take a tenth of a second, and hundreds of tests begin with a new ledger. Ledgers that
    hold something, PostgreSQL's, and those of other processes are migrated as ever.
    """
    template = tmp_path_factory.mktemp("template") / "ledger.sqlite3"
    migrate = schema.upgrade
    migrate(f"sqlite+aiosqlite:///{template}")
    with closing(sqlite3.connect(template)) as made:
        made.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    one_at_a_time = threading.Lock()

    def upgrade(url: str) -> None:
        path = make_url(url).database if url.startswith("sqlite") else None
        with one_at_a_time:
            if path is None or not is_empty(path):
                migrate(url)
                return
            with (
                closing(sqlite3.connect(template)) as source,
                closing(sqlite3.connect(path)) as new,
            ):
                source.backup(new)

    with compiled_once(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "upgrade", upgrade)
        yield


def is_empty(path: str) -> bool:
    with closing(sqlite3.connect(path)) as ledger:
        return not ledger.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


def started(stack: ExitStack, server: AbstractContextManager[Server]) -> Server:
    """Start a server; where it is missing the test is skipped, or fails on CI."""
    try:
        return stack.enter_context(server)
    except ServerMissing as missing:
        if os.environ.get("CI"):
            pytest.fail(f"{missing} (CI must have it)", pytrace=False)
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running PostgreSQL. A test that stops it starts a server of its own instead."""
    with ExitStack() as stack:
        yield started(stack, running_postgres())


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """The URL of an empty database."""
    return postgres_server.create_database()


@pytest.fixture(scope="session")
def object_storage() -> Iterator[ObjectStorage]:
    """A running S3-compatible server. A test that stops it starts one of its own instead."""
    with ExitStack() as stack:
        yield started(stack, running_object_storage())


@pytest.fixture
def s3_url(object_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket, with AWS's variables set for it."""
    for name, value in object_storage.environment.items():
        monkeypatch.setenv(name, value)
    return object_storage.create_bucket()


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """An empty ledger on SQLite."""
    opened = await Ledger.open(f"sqlite+aiosqlite:///{tmp_path / 'ledger.sqlite3'}")
    yield opened
    await opened.close()


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    """An empty folder of blobs."""
    return BlobStore.open((tmp_path / "blobs").as_uri())


@pytest.fixture(scope="session")
def shared_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    """A nats-server that holds what other tests left there."""
    with running_nats(tmp_path_factory.mktemp("nats")) as nats:
        yield nats


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[Nats]:
    """One that the test may kill."""
    with running_nats(tmp_path / "own") as nats:
        yield nats


@pytest.fixture
def written() -> Iterator[InMemorySpanExporter]:
    """The spans that the test leaves."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans.use(provider.get_tracer("test"))
    yield exporter
    spans.use(None)
    provider.shutdown()
