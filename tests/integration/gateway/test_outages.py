"""What the gateway says and does while something that it stands on is away."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]
from polybatch.v1 import batches_pb2

from core.ledger import BatchState, LedgerUnavailable
from core.pipeline import outages
from core.serving import ApiError, StartupError
from core.settings import ProviderAccess
from services.gateway.service import BATCH_SERVICE, FILE_SERVICE, serve
from tests.support.forked.python import python
from tests.support.gateway.nats import Nats
from tests.support.gateway.running import (
    Caller,
    MakeSettings,
    StartGateway,
    lines,
    open_channel,
    wait_for_health,
)
from tests.support.ledger.rows import reread


async def test_it_serves_only_while_the_bus_answers(
    start_gateway: StartGateway, own_nats: Nats
) -> None:
    gateway = await start_gateway(nats_url=own_nats.url)
    for service in ("", FILE_SERVICE, BATCH_SERVICE):
        found = await gateway.health.Check(health_pb2.HealthCheckRequest(service=service))
        assert found.status == health_pb2.HealthCheckResponse.SERVING
    own_nats.kill()
    await gateway.health_becomes(False)
    own_nats.start()
    await gateway.health_becomes(True)


async def test_a_batch_is_made_while_the_bus_is_away(
    start_gateway: StartGateway, own_nats: Nats
) -> None:
    gateway = await start_gateway(nats_url=own_nats.url)
    file_id = (await gateway.upload(lines(1))).file.id
    own_nats.kill()
    batch = await asyncio.wait_for(gateway.create(file_id, request_id="r1"), 20)
    assert batch.state == batches_pb2.BATCH_STATE_VALIDATING
    cancelled = await asyncio.wait_for(gateway.cancel(batch.id), 20)
    assert cancelled.state == batches_pb2.BATCH_STATE_CANCELLING
    # The sweep finds it: it is due.
    row = await reread(gateway.ledger, batch)
    assert row.state == BatchState.CANCELLING
    own_nats.start()
    await gateway.health_becomes(True)


async def test_no_start_without_a_bus(make_settings: MakeSettings) -> None:
    with pytest.raises(StartupError, match="POLYBATCH_NATS_URL"):
        await serve(make_settings(nats_url=""), ProviderAccess(), asyncio.Event())


def test_a_ledger_that_is_away() -> None:
    refusal = LedgerUnavailable("ConnectionRefusedError: db.internal refused")
    with pytest.raises(ApiError) as caught, outages():
        raise refusal
    assert (caught.value.code, caught.value.reason) == (
        grpc.StatusCode.UNAVAILABLE,
        "LEDGER_UNAVAILABLE",
    )
    assert caught.value.retry_after is not None
    assert "db.internal" not in str(caught.value)


async def test_the_process_starts_serves_and_stops(make_settings: MakeSettings) -> None:
    settings = make_settings()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("POLYBATCH_")},
        "POLYBATCH_DATA_DIR": str(settings.data_dir),
        "POLYBATCH_NATS_URL": settings.nats_url,
        "POLYBATCH_GATEWAY_LISTEN": settings.gateway_listen,
        "POLYBATCH_GATEWAY_METRICS_LISTEN": "off",
    }
    process = await asyncio.create_subprocess_exec(
        *python("-m", "services.gateway"),
        cwd=Path(__file__).parents[3],
        env=environment,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with open_channel(settings.gateway_listen) as channel:
            await wait_for_health(channel, health_pb2.HealthCheckResponse.SERVING)
            secret = settings.api_key_file.read_text().strip()
            file = (await Caller(channel, secret).upload(lines(10), filename="in.jsonl")).file
        process.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(process.communicate(), 20)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert process.returncode == 0
    text = log.decode()
    assert file.id in text
    assert secret not in text
    assert "Hi" not in text
    assert "metrics_listening" not in text, "POLYBATCH_GATEWAY_METRICS_LISTEN is off"


@pytest.mark.parametrize(
    ("away", "said"),
    [
        ({"POLYBATCH_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, "ledger_not_ready"),
        ({"POLYBATCH_NATS_URL": "nats://127.0.0.1:1"}, "bus_not_ready"),
    ],
)
async def test_a_stop_is_heeded_while_it_waits_for_what_it_stands_on(
    make_settings: MakeSettings, away: dict[str, str], said: str
) -> None:
    settings = make_settings()
    process = await asyncio.create_subprocess_exec(
        *python("-m", "services.gateway"),
        cwd=Path(__file__).parents[3],
        env={
            **{name: value for name, value in os.environ.items() if "POLYBATCH_" not in name},
            "POLYBATCH_DATA_DIR": str(settings.data_dir),
            "POLYBATCH_NATS_URL": settings.nats_url,
            **away,
        },
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while said.encode() not in (line := await process.stderr.readline()):
            assert line, "it ended"
        process.send_signal(signal.SIGTERM)
        text = (await process.stderr.read()).decode()
        assert await process.wait() == 0
    assert "not_started" in text
    assert "Traceback" not in text
