"""The gateway and the collector in a thread of their own, and callers that send bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Thread
from typing import Any, TypeVar

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from polybatch.v1 import results_pb2
from pydantic import SecretStr

from core.batchfile import ResultWriter
from core.blobs import BlobStore
from core.failpoints import Failpoint
from core.ledger import Batch, BatchState, Ledger, new_id, now
from core.settings import ProviderAccess, Settings
from services.collector.service import serve as serve_collector
from services.gateway.service import serve as serve_gateway
from tests.support.ledger.rows import create

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds until a call counts as hanging; most take milliseconds."""
OPERATORS = "the operator's"
"""Stands for that key."""


@dataclass
class Ended:
    """How a call ended."""

    code: grpc.StatusCode
    message: str = ""
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    retry_after: float | None = None
    responses: list[bytes] = field(default_factory=list)


class SuiteThread:
    """Runs both services on one event loop, beside the test's own thread."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = Thread(target=self._run, name="suite")
        self._failure: BaseException | None = None

    def run(self, make: Callable[[], Any]) -> Any:
        """Run a coroutine on the services' loop."""
        future: Future[Any] = asyncio.run_coroutine_threadsafe(make(), self.loop)
        return future.result(PATIENCE)

    @contextmanager
    def open(self) -> Iterator[SuiteThread]:
        self._thread.start()
        try:
            with (
                grpc.insecure_channel(self.settings.gateway_listen) as gateway,
                grpc.insecure_channel(self.settings.collector_listen) as collector,
            ):
                try:
                    for channel in (gateway, collector):
                        self._await_health(channel)
                except grpc.RpcError:
                    if self._failure is not None:
                        raise self._failure from None
                    raise
                self.gateway, self.collector = gateway, collector
                yield self
        finally:
            if not self.loop.is_closed():
                self.loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(PATIENCE)
            assert not self._thread.is_alive()
            if self._failure is not None:
                raise self._failure

    def _await_health(self, channel: grpc.Channel) -> None:
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=PATIENCE
        )
        for update in watch:
            if update.status == health_pb2.HealthCheckResponse.SERVING:
                break
        watch.cancel()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._serve())
        except BaseException as error:  # noqa: BLE001 - for the test's own thread to raise
            self._failure = error
        finally:
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()

    async def _serve(self) -> None:
        access = ProviderAccess(openai_api_key=SecretStr("sk-test"))
        # SQLite changes to write-ahead logging only while nobody else is there.
        ledger = await Ledger.open(self.settings.effective_database_url)
        await ledger.accounts.any_key()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(serve_gateway(self.settings, access, self._stop))
                tasks.create_task(serve_collector(self.settings, access, self._stop))
        finally:
            await ledger.close()

    @property
    def secret(self) -> str:
        """The operator's key, which may call everything."""
        return self.settings.operator_key_file.read_text().strip()

    def call(
        self, method: str, *messages: bytes, at_most: int = 10_000, key: str | None = OPERATORS
    ) -> Ended:
        """Call any method with any bytes; of a stream of answers, take `at_most`.

        `key`: None for none.
        """
        service, name = method.strip("/").split("/")
        channel = self.collector if service in _AT_COLLECTOR else self.gateway
        brought = self.secret if key == OPERATORS else key
        metadata = [("authorization", f"Bearer {brought}")] if brought is not None else []
        kinds = (name in _TAKES_STREAM, name in _GIVES_STREAM)
        multi = {
            (False, False): channel.unary_unary,
            (True, False): channel.stream_unary,
            (False, True): channel.unary_stream,
            (True, True): channel.stream_stream,
        }[kinds](method)
        request: Any = iter(messages) if kinds[0] else messages[0]
        try:
            call = multi(request, metadata=metadata, timeout=PATIENCE)
            if not kinds[1]:
                return Ended(grpc.StatusCode.OK, responses=[call])
            found = []
            for response in call:
                found.append(response)
                if len(found) == at_most:
                    call.cancel()
                    break
            return Ended(grpc.StatusCode.OK, responses=found)
        except grpc.RpcError as error:
            return ended(error)


_AT_COLLECTOR = ("polybatch.v1.ResultService", "polybatch.v1.StatusService")
_TAKES_STREAM = ("UploadFile", "SubmitBatch", "ConvertLines")
_GIVES_STREAM = (
    *("DownloadFile", "DownloadResults", "WatchBatch", "WatchBatches"),
    "ConvertLines",
)


def ended(error: Any) -> Ended:
    """What a failed call said."""
    found = Ended(error.code(), error.details() or "")
    for name, value in error.trailing_metadata() or ():
        if name != "grpc-status-details-bin":
            continue
        for detail in status_pb2.Status.FromString(value).details:
            info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                found.reason, found.metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(retry):
                found.retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    return found


async def ended_batch(settings: Settings, account_id: str, file_id: str, answers: bytes) -> str:
    """Record a batch that has ended with these result lines; returns its id."""
    blobs = BlobStore.open(settings.effective_blobs_url)
    ledger = await Ledger.open(settings.effective_database_url)
    try:
        batch_id = new_id("batch")
        prefix = f"batches/{batch_id}/results/made"
        writer = ResultWriter(
            blobs, prefix, point=Failpoint.UPLOAD_DATA, segment_bytes=settings.segment_bytes
        )
        lines = answers.splitlines()
        for number, line in enumerate(lines, 1):
            await writer.append(number, line, succeeded=number % 2 == 0)
        await writer.close()
        manifest = results_pb2.Manifest(batch_id=batch_id, input_line_count=len(lines))
        await blobs.put(
            f"{prefix}/manifest", manifest.SerializeToString(), point=Failpoint.UPLOAD_DATA
        )
        moment, later = now(), now() + timedelta(days=1)
        await create(
            ledger,
            Batch(
                id=batch_id,
                account_id=account_id,
                input_file_id=file_id,
                endpoint="/v1/chat/completions",
                state=BatchState.COMPLETED,
                results_prefix=prefix,
                total=len(lines),
                succeeded=len(lines) // 2,
                failed=len(lines) - len(lines) // 2,
                created_at=moment,
                completed_at=moment,
                expires_at=later,
                due_at=later,
            ),
        )
        return batch_id
    finally:
        await ledger.close()


async def account_of(settings: Settings, secret: str) -> str:
    """The account of the first key."""
    ledger = await Ledger.open(settings.effective_database_url)
    try:
        key = await ledger.accounts.authenticate(secret)
        assert key is not None
        return key.account_id
    finally:
        await ledger.close()
