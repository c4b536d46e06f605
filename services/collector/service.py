"""The collector: polls, fetches, assembles, and serves status and results."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc
import structlog
from polybatch.v1 import (
    results_pb2,
    results_pb2_grpc,
    status_pb2,
    status_pb2_grpc,
)

from core.bus import Consumer, Handler, Step
from core.ledger import Batch, BatchState, ShardState, now
from core.pipeline import (
    Adapters,
    Backfill,
    BatchPrices,
    FilePrices,
    LateShards,
    Readiness,
    RemoteFileCleanup,
    Runtime,
    Settler,
    Sweep,
    Watched,
    count_from_zero,
    find_prices,
    find_providers,
    open_runtime,
    outage_retry,
    sharing,
    telemetry,
)
from core.pipeline.authentication import authenticator
from core.prices.table import PriceTable
from core.providers import KnownProviders, Registry
from core.serving import ConcurrencyLimits, GrpcServer
from core.serving.tls_settings import tls_files
from core.settings import ProviderAccess, Settings
from core.webhooks import Gate, Sender
from services.collector.assemble import Assembler
from services.collector.bad_lines import BadLineIsolation
from services.collector.fetch import Fetcher
from services.collector.hub import Hub
from services.collector.poll import Poller
from services.collector.rescue import Rescuer
from services.collector.results import ResultService
from services.collector.status import StatusService
from services.collector.stop import Stopper
from services.collector.webhooks import WebhookDeliverer

log = structlog.get_logger()

STATUS_SERVICE = status_pb2.DESCRIPTOR.services_by_name["StatusService"].full_name
RESULT_SERVICE = results_pb2.DESCRIPTOR.services_by_name["ResultService"].full_name

_POLL_CONCURRENCY = 32
_STOP_CONCURRENCY = 8
_ASSEMBLE_CONCURRENCY = 2


async def serve(settings: Settings, access: ProviderAccess, stop: asyncio.Event) -> None:
    """Run until `stop` is set; then finish what is under way, or hand it back."""
    known = find_providers(access, settings)
    async with (
        open_runtime(settings, "collector", stop, disk_reserve=settings.work_reserve) as runtime,
        telemetry(runtime, "collector", settings.collector_metrics_listen, ledger=True),
        sharing(runtime, known.holds),
    ):
        providers = known.open()
        count_from_zero(known.usable)
        log.debug("providers_configured", providers=sorted(providers))
        table = PriceTable(find_prices(settings), settings.effective_prices_file.name)
        of_files = FilePrices(table, known, Adapters(known), runtime.ledger)
        backfill = Backfill(runtime.ledger, of_files)
        prices = BatchPrices(runtime.ledger, of_files, backfill)
        heartbeat = settings.watch_heartbeat
        hub = Hub(runtime.ledger, runtime.bus, recheck=heartbeat, heartbeat=heartbeat)
        server = GrpcServer(
            settings.collector_listen,
            name="collector",
            authenticate=authenticator(runtime.ledger.accounts),
            register=lambda grpc_server: register(grpc_server, runtime, hub),
            tls=tls_files(settings),
            limits=ConcurrencyLimits.of(settings),
            revoked=runtime.ledger.accounts.revoked,
            revoked_within=settings.key_recheck,
            calls_per_second=settings.account_requests_per_second,
        )
        sweep = Sweep(
            runtime,
            shards=[
                Watched((ShardState.SUBMITTED,), Step.POLL),
                Watched((ShardState.FETCHING,), Step.FETCH),
            ],
            batches=step_of_waiting_batch,
            late=True,
        )
        webhooks = WebhookDeliverer(
            runtime.ledger.webhook_deliveries,
            Sender(
                Gate(allow_private=settings.webhook_allow_private),
                timeout=settings.webhook_timeout,
            ),
            timeout=settings.webhook_timeout,
        )
        await server.start()
        consumers = await start_consumers(runtime, providers, known, prices)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(sweep.run(stop))
                tasks.create_task(backfill.run(stop))
                tasks.create_task(hub.run(server.draining))
                tasks.create_task(webhooks.run(stop, grace=settings.shutdown_grace))
                tasks.create_task(Readiness(server, runtime.checks()).run(stop))
                await stop.wait()
                await leave(server, consumers, settings)
        finally:
            await leave(server, consumers, settings)
            await asyncio.gather(*(provider.close() for provider in providers.values()))


async def leave(server: GrpcServer, consumers: Sequence[Consumer], settings: Settings) -> None:
    """Hand work back and send the callers elsewhere. Can be called twice."""
    await asyncio.gather(
        server.stop(settings.shutdown_grace, drain_delay=settings.drain_delay),
        *(consumer.stop() for consumer in consumers),
    )


async def start_consumers(
    runtime: Runtime, providers: Registry, known: KnownProviders, prices: BatchPrices
) -> list[Consumer]:
    """Begin to work on the collector's steps."""
    settings = runtime.settings
    settler = Settler(runtime)
    late = LateShards(runtime, providers)
    poller = Poller(
        runtime,
        providers,
        settler,
        BadLineIsolation(runtime, settler),
        late,
        known.credentials,
        known.key_variables,
    )
    fetcher = Fetcher(runtime, providers, settler, late, prices, known.call_endpoints)
    rescuer = Rescuer(runtime, poller, known.call_endpoints, known.line_by_line)
    stopper = Stopper(runtime, poller, late, rescuer)
    assembler = Assembler(runtime)
    remote_files = RemoteFileCleanup(runtime, providers)
    handlers: list[tuple[Step, Handler, int]] = [
        (Step.POLL, poller.handle, _POLL_CONCURRENCY),
        (Step.FETCH, fetcher.handle, settings.fetch_concurrency),
        (Step.STOP, remote_files.clearing(stopper.handle), _STOP_CONCURRENCY),
        (Step.ASSEMBLE, remote_files.clearing(assembler.handle), _ASSEMBLE_CONCURRENCY),
    ]
    return [
        await runtime.bus.consume(
            step,
            outage_retry(runtime, handler),
            concurrency=concurrency,
            stop_grace=settings.shutdown_grace,
        )
        for step, handler, concurrency in handlers
    ]


def register(server: grpc.aio.Server, runtime: Runtime, hub: Hub) -> Sequence[str]:
    """Add the public services."""
    heartbeat = runtime.settings.watch_heartbeat
    status = StatusService(runtime.ledger, hub, heartbeat=heartbeat)
    results = ResultService(runtime.ledger, runtime.blobs)
    status_pb2_grpc.add_StatusServiceServicer_to_server(status, server)  # type: ignore[no-untyped-call]
    results_pb2_grpc.add_ResultServiceServicer_to_server(results, server)  # type: ignore[no-untyped-call]
    # In the place of the generated handlers: these two give messages serialized already.
    server.add_registered_method_handlers(
        STATUS_SERVICE,
        {
            "WatchBatch": grpc.unary_stream_rpc_method_handler(
                status.WatchBatch, status_pb2.WatchBatchRequest.FromString
            ),
            "WatchBatches": grpc.unary_stream_rpc_method_handler(
                status.WatchBatches, status_pb2.WatchBatchesRequest.FromString
            ),
        },
    )
    return [STATUS_SERVICE, RESULT_SERVICE]


def step_of_waiting_batch(batch: Batch) -> Step | None:
    """What an overdue batch waits for from the collector."""
    if batch.all_settled:
        return Step.ASSEMBLE
    if batch.stop:
        return Step.STOP
    if batch.state == BatchState.IN_PROGRESS and batch.alarm_at <= now():
        return Step.STOP
    return None
