"""One suite for all end-to-end tests; those that break it restart what they broke.

It knows every kind of provider, so that few tests need a suite of their own: each start of one
costs more than most of what is tested.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.e2e.direct_server import PROVIDERS, Server, free_port
from tests.support.e2e.suite import Suite, running_suite


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
    """The shared suite with a sandbox that has forgotten everything."""
    shared_suite.reset_sandbox()
    return shared_suite
