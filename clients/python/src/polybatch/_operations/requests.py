"""The short calls: one request and one reply, and the pages of listings."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Iterable, Mapping
from datetime import date, timedelta
from typing import Any, cast

from polybatch import models
from polybatch._operations.calls import Caller
from polybatch._transport import methods
from polybatch._transport.methods import Method
from polybatch.errors import NotFound
from polybatch.models import ResultFilter
from polybatch.models.money import USD, to_money
from polybatch.models.steering import BatchPriority
from polybatch.v1 import batches_pb2, files_pb2, prices_pb2, providers_pb2, results_pb2

_RETRY_SECONDS = 900.0
"""Millions of lines are chosen and copied; a gateway that is gone is noticed all the same."""


def batch_request(
    *,
    input_file_id: str = "",
    completion_window: timedelta | None,
    metadata: Mapping[str, str] | None,
    skip_invalid_lines: bool,
    lenient: bool,
    fail_fast: bool,
    request_id: str | None,
    max_cost: USD | None,
    key_id: str | None,
    webhook_url: str | None = None,
    name: str | None = None,
    results_retention: timedelta | None = None,
    reuse_answers: timedelta | None = None,
    rescue_before: timedelta | None = None,
    priority: BatchPriority = BatchPriority.NORMAL,
    canary_lines: int = 0,
    canary_max_failure_rate: float | None = None,
    max_failure_rate: float | None = None,
) -> Any:
    """Returns a CreateBatchRequest. It is always repeatable: its id is random if not given.

    ValueError for an empty id, which would make a batch more each time.
    """
    if request_id == "":
        raise ValueError("request_id is empty: give the id, or None for a random one")
    return batches_pb2.CreateBatchRequest(
        input_file_id=input_file_id,
        request_id=request_id or secrets.token_urlsafe(18),
        completion_window=completion_window,
        metadata=dict(metadata or {}),
        skip_invalid_lines=skip_invalid_lines,
        lenient_translation=lenient,
        fail_fast=fail_fast,
        max_cost=None if max_cost is None else to_money(max_cost, "max_cost"),
        key_id=key_id or "",
        webhook_url=webhook_url or "",
        name=name or "",
        results_retention=results_retention,
        reuse_answers=reuse_answers,
        rescue_before=rescue_before,
        priority=priority.to_proto(),
        canary_lines=canary_lines,
        canary_max_failure_rate=canary_max_failure_rate,
        max_failure_rate=max_failure_rate,
    )


def retry_request(
    batch_id: str,
    *,
    codes: Iterable[str],
    cause_ids: Iterable[str],
    completion_window: timedelta | None,
    max_cost: USD | None,
    name: str,
    request_id: str | None,
) -> Any:
    """Returns a RetryBatchRequest, repeatable as a CreateBatchRequest is."""
    if request_id == "":
        raise ValueError("request_id is empty: give the id, or None for a random one")
    return batches_pb2.RetryBatchRequest(
        batch_id=batch_id,
        request_id=request_id or secrets.token_urlsafe(18),
        codes=codes,
        cause_ids=cause_ids,
        completion_window=completion_window,
        max_cost=None if max_cost is None else to_money(max_cost, "max_cost"),
        name=name,
    )


class Requests:
    """Batches, files and failures, as they are now."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def create_batch(self, request: Any) -> models.Batch:
        """BatchService.CreateBatch."""
        return models.Batch.from_proto(await self._caller.unary(methods.CREATE_BATCH, request))

    async def estimate(self, file_id: str, *, lenient: bool) -> models.BatchEstimate:
        """BatchService.EstimateBatch."""
        request = batches_pb2.EstimateBatchRequest(
            input_file_id=file_id, lenient_translation=lenient
        )
        return models.BatchEstimate.from_proto(
            await self._caller.unary(methods.ESTIMATE_BATCH, request)
        )

    async def get_batch(self, batch_id: str) -> models.Batch:
        """BatchService.GetBatch."""
        request = batches_pb2.GetBatchRequest(batch_id=batch_id)
        return models.Batch.from_proto(await self._caller.unary(methods.GET_BATCH, request))

    async def providers(self) -> list[models.Provider]:
        """ProviderService.ListProviders."""
        request = providers_pb2.ListProvidersRequest()
        reply = await self._caller.unary(methods.LIST_PROVIDERS, request)
        return [models.Provider.from_proto(message) for message in reply.providers]

    async def prices(self, model: str, day: date | None) -> list[models.Price]:
        """PriceService.ListPrices."""
        request = prices_pb2.ListPricesRequest(model=model)
        if day is not None:
            request.day.year, request.day.month, request.day.day = day.year, day.month, day.day
        reply = await self._caller.unary(methods.LIST_PRICES, request)
        return [models.Price.from_proto(message) for message in reply.prices]

    async def cancel_batch(self, batch_id: str) -> models.Batch:
        """BatchService.CancelBatch."""
        request = batches_pb2.CancelBatchRequest(batch_id=batch_id)
        return models.Batch.from_proto(await self._caller.unary(methods.CANCEL_BATCH, request))

    async def pause_batch(self, batch_id: str) -> models.Batch:
        """BatchService.PauseBatch."""
        request = batches_pb2.PauseBatchRequest(batch_id=batch_id)
        return models.Batch.from_proto(await self._caller.unary(methods.PAUSE_BATCH, request))

    async def resume_batch(self, batch_id: str) -> models.Batch:
        """BatchService.ResumeBatch."""
        request = batches_pb2.ResumeBatchRequest(batch_id=batch_id)
        return models.Batch.from_proto(await self._caller.unary(methods.RESUME_BATCH, request))

    async def pause_provider(self, name: str) -> models.Provider:
        """ProviderService.PauseProvider."""
        request = providers_pb2.PauseProviderRequest(name=name)
        return models.Provider.from_proto(await self._caller.unary(methods.PAUSE_PROVIDER, request))

    async def resume_provider(self, name: str) -> models.Provider:
        """ProviderService.ResumeProvider."""
        request = providers_pb2.ResumeProviderRequest(name=name)
        return models.Provider.from_proto(
            await self._caller.unary(methods.RESUME_PROVIDER, request)
        )

    async def retry_batch(self, request: Any) -> models.Batch:
        """BatchService.RetryBatch."""
        reply = await self._caller.unary(methods.RETRY_BATCH, request, at_least=_RETRY_SECONDS)
        return models.Batch.from_proto(reply)

    async def delete_batch(self, batch_id: str) -> None:
        """BatchService.DeleteBatch."""
        request = batches_pb2.DeleteBatchRequest(batch_id=batch_id)
        await self._delete(methods.DELETE_BATCH, request)

    async def delete_results(self, batch_id: str, which: ResultFilter) -> models.Batch:
        """BatchService.DeleteResults."""
        kind = cast("batches_pb2.ResultsKind", which.to_proto())
        request = batches_pb2.DeleteResultsRequest(batch_id=batch_id, kind=kind)
        return models.Batch.from_proto(await self._caller.unary(methods.DELETE_RESULTS, request))

    async def list_batches(
        self, states: Iterable[models.BatchState], filter: str, page_size: int
    ) -> AsyncGenerator[models.Batch, None]:
        """BatchService.ListBatches, page after page."""
        request = batches_pb2.ListBatchesRequest(
            page_size=page_size,
            filter=filter,
            # The stubs know enum values as members, protobuf gives them as plain integers.
            states=cast("list[batches_pb2.BatchState]", [state.to_proto() for state in states]),
        )
        async for page in self._pages(methods.LIST_BATCHES, request):
            for message in page.batches:
                yield models.Batch.from_proto(message)

    async def failures(
        self, batch_id: str, page_size: int, cause_id: str, *, partial: bool
    ) -> AsyncGenerator[models.LineFailure, None]:
        """ResultService.ListFailures, page after page."""
        request = results_pb2.ListFailuresRequest(
            batch_id=batch_id, page_size=page_size, cause_id=cause_id, partial=partial
        )
        async for page in self._pages(methods.LIST_FAILURES, request):
            for message in page.failures:
                yield models.LineFailure.from_proto(message)

    async def failure_causes(self, batch_id: str, *, partial: bool) -> models.FailureCauses:
        """ResultService.ListFailureCauses."""
        request = results_pb2.ListFailureCausesRequest(batch_id=batch_id, partial=partial)
        reply = await self._caller.unary(methods.LIST_FAILURE_CAUSES, request)
        return models.FailureCauses.from_proto(reply)

    async def get_file(self, file_id: str) -> models.File:
        """FileService.GetFile."""
        request = files_pb2.GetFileRequest(file_id=file_id)
        return models.File.from_proto(await self._caller.unary(methods.GET_FILE, request))

    async def list_files(self, page_size: int) -> AsyncGenerator[models.File, None]:
        """FileService.ListFiles, page after page."""
        request = files_pb2.ListFilesRequest(page_size=page_size)
        async for page in self._pages(methods.LIST_FILES, request):
            for message in page.files:
                yield models.File.from_proto(message)

    async def delete_file(self, file_id: str) -> None:
        """FileService.DeleteFile."""
        await self._delete(methods.DELETE_FILE, files_pb2.DeleteFileRequest(file_id=file_id))

    async def _delete(self, method: Method, request: Any) -> None:
        attempts = self._caller.attempts(method.server)
        try:
            await self._caller.unary(method, request, attempts)
        except NotFound:
            # A first attempt whose reply was lost has deleted it.
            if not attempts.repeats:
                raise

    async def _pages(self, method: Method, request: Any) -> AsyncGenerator[Any, None]:
        while True:
            page = await self._caller.unary(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
