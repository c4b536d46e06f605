"""The real gateway on SQLite, local blobs and a real nats-server; plain stubs as its client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from core.settings import Settings
from tests.support.gateway.nats import Nats
from tests.support.gateway.running import (
    SEGMENT,
    Gateway,
    MakeSettings,
    StartGateway,
    running_gateway,
)
from tests.support.stores.process import free_port


@pytest.fixture
def make_settings(tmp_path: Path, shared_nats: Nats) -> MakeSettings:
    """Settings of a gateway on a free port; all of one test share one data folder."""

    def make(**changes: Any) -> Settings:
        values = {
            "data_dir": tmp_path / "data",
            "nats_url": shared_nats.url,
            "gateway_listen": f"127.0.0.1:{free_port()}",
            "gateway_metrics_listen": "",
            "segment_bytes": SEGMENT,
            "shutdown_grace": 0.2,
        }
        return Settings(**(values | changes))

    return make


@pytest.fixture
async def start_gateway(make_settings: MakeSettings) -> AsyncIterator[StartGateway]:
    """Starts gateways with changed settings; `keys` names the providers that have one."""
    async with AsyncExitStack() as stack:

        async def start(keys: tuple[str, ...] = ("openai", "anthropic"), **changes: Any) -> Gateway:
            return await stack.enter_async_context(running_gateway(make_settings(**changes), keys))

        yield start


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> Gateway:
    return await start_gateway()
