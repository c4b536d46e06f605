"""The gateway: authenticates, takes files in, makes batches of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import grpc
import structlog
from polybatch.v1 import (
    accounts_pb2,
    accounts_pb2_grpc,
    batches_pb2,
    batches_pb2_grpc,
    conversion_pb2,
    conversion_pb2_grpc,
    files_pb2,
    files_pb2_grpc,
    prices_pb2,
    prices_pb2_grpc,
    providers_pb2,
    providers_pb2_grpc,
    usage_pb2,
    usage_pb2_grpc,
    webhooks_pb2,
    webhooks_pb2_grpc,
)

from core.pipeline import (
    Readiness,
    Runtime,
    WaitingForFunds,
    find_prices,
    find_providers,
    open_runtime,
    telemetry,
)
from core.pipeline.adapters import Adapters
from core.pipeline.authentication import authenticator
from core.prices.table import PriceTable
from core.providers import KnownProviders
from core.serving import ConcurrencyLimits, GrpcServer, StartupError
from core.serving.tls_settings import tls_files
from core.settings import ProviderAccess, Settings
from services.gateway.account_service import AccountServicer
from services.gateway.batches import BatchServicer
from services.gateway.billing import BilledKeys
from services.gateway.checks import upload_rules
from services.gateway.converting import ConversionServicer
from services.gateway.creating import BatchMaker
from services.gateway.discard import UploadSweep
from services.gateway.estimates import BatchEstimates
from services.gateway.estimating import Estimator
from services.gateway.files import FileServicer
from services.gateway.funding import Funding
from services.gateway.key_service import KeyServicer
from services.gateway.keys import ensure_first_key, ensure_operator_key
from services.gateway.parts import Parts
from services.gateway.prices import PriceServicer
from services.gateway.pricing import Pricing
from services.gateway.providers import ProviderServicer
from services.gateway.removal import RemovalSweep
from services.gateway.retrying import Retrier
from services.gateway.upload import Uploads
from services.gateway.upload_reservation import account_limits
from services.gateway.usage_service import UsageServicer
from services.gateway.webhooks import WebhookServicer

log = structlog.get_logger()

FILE_SERVICE = files_pb2.DESCRIPTOR.services_by_name["FileService"].full_name
PROVIDER_SERVICE = providers_pb2.DESCRIPTOR.services_by_name["ProviderService"].full_name
BATCH_SERVICE = batches_pb2.DESCRIPTOR.services_by_name["BatchService"].full_name
PRICE_SERVICE = prices_pb2.DESCRIPTOR.services_by_name["PriceService"].full_name
WEBHOOK_SERVICE = webhooks_pb2.DESCRIPTOR.services_by_name["WebhookService"].full_name
CONVERSION_SERVICE = conversion_pb2.DESCRIPTOR.services_by_name["ConversionService"].full_name
KEY_SERVICE = accounts_pb2.DESCRIPTOR.services_by_name["KeyService"].full_name
ACCOUNT_SERVICE = accounts_pb2.DESCRIPTOR.services_by_name["AccountService"].full_name
USAGE_SERVICE = usage_pb2.DESCRIPTOR.services_by_name["UsageService"].full_name


class Gateway:
    """The services of the gateway on one backbone; `register` adds them to a server."""

    def __init__(self, runtime: Runtime, providers: KnownProviders, prices: PriceTable) -> None:
        settings, ledger, blobs = runtime.settings, runtime.ledger, runtime.blobs
        if settings.default_provider and settings.default_provider not in providers.rules:
            raise StartupError(
                f"POLYBATCH_DEFAULT_PROVIDER is {settings.default_provider!r}: there is no such "
                f"provider; expected one of {', '.join(sorted(providers.rules))}"
            )
        rules = upload_rules(providers, settings.default_provider)
        uploads = Uploads(ledger, blobs, rules, settings)
        adapters = Adapters(providers)
        pricing = Pricing(prices, providers, adapters, ledger)
        estimator = Estimator(ledger, blobs, pricing, assumed_output=settings.assumed_output_tokens)
        billed_keys = BilledKeys(ledger.accounts, adapters)
        maker = BatchMaker(
            ledger,
            blobs,
            runtime.publisher,
            pricing,
            estimator,
            billed_keys,
            Funding(settings.reserve_factor),
            limits=account_limits(settings),
            missing_keys=providers.missing_keys,
            first_look=timedelta(seconds=settings.sweep_interval),
            default_retention=settings.results_retention or None,
        )
        idle_timeout = settings.upload_idle_timeout
        parts = Parts(ledger, blobs, settings)
        self._files = FileServicer(ledger, blobs, uploads, parts, idle_timeout=idle_timeout)
        self._providers = ProviderServicer(ledger, runtime.publisher, providers, adapters, settings)
        self._prices = PriceServicer(pricing)
        self._batches = BatchServicer(
            ledger,
            runtime.publisher,
            uploads,
            maker,
            BatchEstimates(ledger, blobs, estimator),
            billed_keys,
            Retrier(ledger, blobs, runtime.publisher, maker, settings),
            idle_timeout=idle_timeout,
            allow_private_webhooks=settings.webhook_allow_private,
        )
        self._webhooks = WebhookServicer(
            ledger,
            allow_private=settings.webhook_allow_private,
            limit=settings.account_webhooks,
        )
        self._conversion = ConversionServicer(settings)
        waiting = WaitingForFunds(ledger, runtime.publisher)
        self._keys = KeyServicer(ledger, providers.rules.keys(), waiting)
        self._accounts = AccountServicer(ledger, waiting)
        self._usage = UsageServicer(ledger)

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        """Add the servicers; returns the names of their services."""
        files_pb2_grpc.add_FileServiceServicer_to_server(self._files, server)  # type: ignore[no-untyped-call]
        batches_pb2_grpc.add_BatchServiceServicer_to_server(self._batches, server)  # type: ignore[no-untyped-call]
        conversion_pb2_grpc.add_ConversionServiceServicer_to_server(self._conversion, server)  # type: ignore[no-untyped-call]
        providers_pb2_grpc.add_ProviderServiceServicer_to_server(self._providers, server)  # type: ignore[no-untyped-call]
        prices_pb2_grpc.add_PriceServiceServicer_to_server(self._prices, server)  # type: ignore[no-untyped-call]
        accounts_pb2_grpc.add_KeyServiceServicer_to_server(self._keys, server)  # type: ignore[no-untyped-call]
        accounts_pb2_grpc.add_AccountServiceServicer_to_server(self._accounts, server)  # type: ignore[no-untyped-call]
        usage_pb2_grpc.add_UsageServiceServicer_to_server(self._usage, server)  # type: ignore[no-untyped-call]
        webhooks_pb2_grpc.add_WebhookServiceServicer_to_server(self._webhooks, server)  # type: ignore[no-untyped-call]
        # In the place of the generated handlers: these take messages as they came.
        server.add_registered_method_handlers(
            FILE_SERVICE,
            {
                "UploadFile": grpc.stream_unary_rpc_method_handler(
                    self._files.UploadFile,
                    response_serializer=files_pb2.UploadFileResponse.SerializeToString,
                )
            },
        )
        server.add_registered_method_handlers(
            BATCH_SERVICE,
            {
                "SubmitBatch": grpc.stream_unary_rpc_method_handler(
                    self._batches.SubmitBatch,
                    response_serializer=batches_pb2.Batch.SerializeToString,
                )
            },
        )
        server.add_registered_method_handlers(
            CONVERSION_SERVICE,
            {
                "ConvertLines": grpc.stream_stream_rpc_method_handler(
                    self._conversion.ConvertLines,
                    response_serializer=conversion_pb2.ConvertLinesResponse.SerializeToString,
                )
            },
        )
        return [
            *(FILE_SERVICE, BATCH_SERVICE, PROVIDER_SERVICE, PRICE_SERVICE, CONVERSION_SERVICE),
            *(KEY_SERVICE, ACCOUNT_SERVICE, USAGE_SERVICE, WEBHOOK_SERVICE),
        ]


async def serve(settings: Settings, access: ProviderAccess, stop: asyncio.Event) -> None:
    """Run until `stop` is set; then let running calls end, uploads so that they can resume."""
    async with (
        open_runtime(settings, "gateway", stop, disk_reserve=settings.disk_reserve) as runtime,
        telemetry(runtime, "gateway", settings.gateway_metrics_listen),
    ):
        await ensure_first_key(runtime.ledger.accounts, settings.api_key_file)
        await ensure_operator_key(runtime.ledger.accounts, settings.operator_key_file)
        providers = find_providers(access, settings)
        # By its name alone: where it lies is no business of those who ask for prices.
        prices = PriceTable(find_prices(settings), settings.effective_prices_file.name)
        log.debug("providers_without_key", providers=sorted(providers.missing_keys))
        server = GrpcServer(
            settings.gateway_listen,
            name="gateway",
            authenticate=authenticator(runtime.ledger.accounts),
            register=Gateway(runtime, providers, prices).register,
            tls=tls_files(settings),
            limits=ConcurrencyLimits.of(settings),
            revoked=runtime.ledger.accounts.revoked,
            revoked_within=settings.key_recheck,
            calls_per_second=settings.account_requests_per_second,
        )
        sweep = UploadSweep(
            runtime.ledger,
            runtime.blobs,
            retention=timedelta(seconds=settings.upload_retention),
            interval=settings.sweep_interval,
        )
        removal = RemovalSweep(runtime.ledger, runtime.blobs, interval=settings.sweep_interval)
        await server.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(Readiness(server, runtime.checks()).run(stop))
                tasks.create_task(sweep.run(stop))
                tasks.create_task(removal.run(stop))
        finally:
            await server.stop(settings.shutdown_grace, drain_delay=settings.drain_delay)
