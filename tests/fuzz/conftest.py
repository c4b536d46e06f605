"""One gateway and one collector for all tests here: they have to outlive every attack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from core.settings import Settings
from tests.fuzz.suite_thread import SuiteThread
from tests.support.gateway.nats import Nats, running_nats
from tests.support.stores.process import free_port


@pytest.fixture(scope="session")
def hostile_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    with running_nats(tmp_path_factory.mktemp("hostile-nats")) as nats:
        yield nats


@pytest.fixture(scope="session")
def make_hostile_settings(hostile_nats: Nats, tmp_path_factory: pytest.TempPathFactory) -> Any:
    def make(**changes: Any) -> Settings:
        values: dict[str, Any] = {
            "data_dir": tmp_path_factory.mktemp("hostile"),
            "nats_url": hostile_nats.url,
            "gateway_listen": f"127.0.0.1:{free_port()}",
            "collector_listen": f"127.0.0.1:{free_port()}",
            "gateway_metrics_listen": "",
            "collector_metrics_listen": "",
            "segment_bytes": 64 * 1024,
            "max_line_bytes": 256 * 1024,
            "watch_heartbeat": 0.1,
            "shutdown_grace": 0.2,
        }
        return Settings(**(values | changes))

    return make


@pytest.fixture(scope="module")
def suite(make_hostile_settings: Any) -> Iterator[SuiteThread]:
    """Of each file by itself: what it logs would be in the output of other files' tests."""
    with SuiteThread(make_hostile_settings()).open() as running:
        yield running
