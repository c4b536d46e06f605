"""What holds for all tests: which run together, and servers that a session shares.

Each test gets a place of its own at a shared server.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

import hypothesis
import pytest

from tests.stores.object_storage import ObjectStorage, running_object_storage
from tests.stores.postgres import PostgresServer, running_postgres
from tests.stores.process import ServerMissing

Server = TypeVar("Server")

# A shell that starts `make test &` has its children ignore Ctrl-C, which theirs would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in each run, so that a failure can be repeated; `make fuzz` tries others.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.register_profile("fuzz", deadline=None, print_blob=True)
hypothesis.settings.load_profile(
    "fuzz" if os.environ.get("POLYBATCH_FUZZ_FACTOR") else "repeatable"
)


# Before pytest-xdist looks for the groups.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests run in one worker, for what they share; so do those of the one suite.

    That of all end-to-end tests is the costliest thing to start: tests of several files that
    use it follow each other.
    """
    for item in items:
        fixtures: Sequence[str] = getattr(item, "fixturenames", ())
        group = "the shared suite" if "shared_suite" in fixtures else item.nodeid.split("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))


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
