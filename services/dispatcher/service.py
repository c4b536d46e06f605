"""The dispatcher: plans batches and submits their shards."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import grpc
import structlog

from core.bus import Step
from core.ledger import Batch, BatchState, ShardState
from core.pipeline import (
    Adapters,
    Backfill,
    BatchPrices,
    Checked,
    FilePrices,
    PauseWatch,
    ProviderKeys,
    Readiness,
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
from core.prices.table import PriceTable
from core.serving import ConcurrencyLimits, GrpcServer
from core.serving.tls_settings import tls_files
from core.settings import ProviderAccess, Settings
from services.dispatcher.cost_limit import CostLimit
from services.dispatcher.fair_scheduler import FairScheduler
from services.dispatcher.plan import Planner
from services.dispatcher.run import Runner
from services.dispatcher.submit import Submitter
from services.dispatcher.submit_order import OF_ACCOUNT, SubmitOrder

log = structlog.get_logger()

_PLAN_CONCURRENCY = 2
_KEYS_PATIENCE = 3.0
"""Seconds; a provider that is away is not waited for any longer before work begins."""


def _no_services(_server: grpc.aio.Server) -> Sequence[str]:
    return ()


async def serve(settings: Settings, access: ProviderAccess, stop: asyncio.Event) -> None:
    """Run until `stop` is set; then finish what is under way, or hand it back."""
    known = find_providers(access, settings)
    async with (
        open_runtime(settings, "dispatcher", stop, disk_reserve=settings.work_reserve) as runtime,
        telemetry(runtime, "dispatcher", settings.dispatcher_metrics_listen),
        sharing(runtime, known.holds),
    ):
        providers, direct, calls = known.open(), known.open_direct(), known.open_calls()
        count_from_zero(known.usable)
        log.info("providers_configured", providers=sorted(providers), direct=sorted(direct))
        scheduler = FairScheduler(runtime)
        planner = Planner(runtime, {**providers, **direct})
        keys = ProviderKeys(
            known.key_variables,
            recheck=settings.refused_pause,
            ledger=runtime.ledger,
            credentials=known.credentials,
        )
        table = PriceTable(find_prices(settings), settings.effective_prices_file.name)
        of_files = FilePrices(table, known, Adapters(known), runtime.ledger)
        cost_limit = CostLimit(
            runtime.ledger,
            runtime.blobs,
            BatchPrices(runtime.ledger, of_files, Backfill(runtime.ledger, of_files)),
            assumed_output=settings.assumed_output_tokens,
            segment_bytes=settings.segment_bytes,
        )
        pauses = PauseWatch(runtime.ledger)
        submitter = Submitter(
            runtime,
            providers,
            direct,
            scheduler,
            known.credentials,
            keys,
            cost_limit,
            pauses,
            calls,
            {name: known.hold(name) for name in providers},
        )
        order = SubmitOrder(
            outage_retry(runtime, submitter.handle),
            runtime.ledger.shards.get,
            partial(runtime.ledger.turns.queued, [*providers], OF_ACCOUNT),
            [*providers],
        )
        runner = Runner(runtime, {**direct, **calls}, scheduler, pauses)
        sweep = Sweep(
            runtime,
            shards=[
                Watched((ShardState.QUEUED, ShardState.SUBMITTING), Step.SUBMIT),
                Watched((ShardState.RUNNING,), Step.RUN),
            ],
            batches=step_of_new_batch,
        )
        server = GrpcServer(
            settings.dispatcher_listen,
            name="dispatcher",
            authenticate=None,
            register=_no_services,
            tls=tls_files(settings),
            limits=ConcurrencyLimits.of(settings),
        )
        grace = settings.shutdown_grace
        await server.start()
        consumers = [
            await runtime.bus.consume(
                Step.PLAN,
                outage_retry(runtime, planner.handle),
                concurrency=_PLAN_CONCURRENCY,
                stop_grace=grace,
            ),
            await runtime.bus.consume(
                Step.SUBMIT,
                outage_retry(runtime, order.handle),
                concurrency=settings.submit_concurrency,
                stop_grace=grace,
            ),
            await runtime.bus.consume(
                Step.RUN,
                outage_retry(runtime, runner.handle),
                concurrency=settings.run_concurrency,
                ack_wait=settings.run_lease,
                stop_grace=grace,
            ),
        ]
        lanes = asyncio.create_task(order.keep_lanes(settings.submit_concurrency, stop))
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(sweep.run(stop))
                with_key: list[Checked] = [
                    opened[name]
                    for opened in (providers, direct)
                    for name in opened
                    if name in known.credentials
                ]
                tried = [
                    tasks.create_task(keys.check(each)) for each in with_key if settings.check_keys
                ]
                tasks.create_task(_ready_after(tried, Readiness(server, runtime.checks()), stop))
                await stop.wait()
                for check in tried:
                    check.cancel()
        finally:
            runner.stop()
            await asyncio.gather(
                *(consumer.stop() for consumer in consumers), _end_lanes(lanes, grace)
            )
            await server.stop(grace)
            await asyncio.gather(
                *(provider.close() for provider in providers.values()),
                *(provider.close() for provider in (*direct.values(), *calls.values())),
            )


async def _end_lanes(lanes: asyncio.Task[None], grace: float) -> None:
    """As Consumer.stop ends its handlers."""
    await asyncio.wait([lanes], timeout=grace)
    lanes.cancel()
    await asyncio.gather(lanes, return_exceptions=True)


async def _ready_after(
    tried: Sequence[asyncio.Task[None]], readiness: Readiness, stop: asyncio.Event
) -> None:
    """Be ready once the keys are tried: whoever waits for it can then say which are refused."""
    if tried:
        await asyncio.wait(tried, timeout=_KEYS_PATIENCE)
    await readiness.run(stop)


def step_of_new_batch(batch: Batch) -> Step | None:
    """What an overdue batch waits for from the dispatcher."""
    unplanned = batch.shard_count == 0 and batch.state in (
        BatchState.VALIDATING,
        BatchState.CANCELLING,
    )
    return Step.PLAN if unplanned else None
