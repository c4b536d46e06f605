"""ResultService: the result file of a batch that has ended.

In: a batch's id, a filter, an offset. Out: its lines as they are stored. What can go wrong: it
has not ended, or late answers have changed the results under a download (RESULTS_CHANGED).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import grpc
from polybatch.v1 import results_pb2, results_pb2_grpc

from core.batchfile import Failure, ResultFile, read_failure
from core.blobs import BlobMissing, BlobStore
from core.ledger import Batch, Ledger
from core.metrics import DOWNLOAD_BYTES
from core.pipeline import outages
from core.serving import ApiError, current_principal
from core.serving.paging import page_size
from services.collector.failure_causes import FailureCauses

_CHUNK_BYTES = 256 * 1024
# Lines for one page of failures: of a cause that few lines have, a page may have none.
_LOOKED_AT = 50_000
_FILTERS = {
    results_pb2.RESULT_FILTER_UNSPECIFIED: None,
    results_pb2.RESULT_FILTER_SUCCEEDED: True,
    results_pb2.RESULT_FILTER_FAILED: False,
}


class ResultService(results_pb2_grpc.ResultServiceServicer):
    """Serves polybatch.v1.ResultService."""

    def __init__(self, ledger: Ledger, blobs: BlobStore) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._causes = FailureCauses(ledger)

    async def DownloadResults(
        self,
        request: results_pb2.DownloadResultsRequest,
        context: grpc.aio.ServicerContext[
            results_pb2.DownloadResultsRequest, results_pb2.DownloadResultsResponse
        ],
    ) -> AsyncIterator[results_pb2.DownloadResultsResponse]:
        """See protos/polybatch/v1/results.proto."""
        batch = await self._ended_batch(request.batch_id)
        if request.filter not in _FILTERS:
            raise ApiError.invalid_argument(
                "INVALID_FIELD",
                "The filter is not one of ResultFilter.",
                violations=[("filter", f"{request.filter} is unknown")],
            )
        succeeded = _FILTERS[request.filter]
        if request.results_revision not in (0, batch.results_revision):
            raise _results_changed(batch)
        async with self._opened(batch) as results:
            if succeeded is None:
                size, lines = results.size, results.line_count
            else:
                size, lines = await results.totals(succeeded=succeeded)
            if not 0 <= request.offset <= size:
                raise ApiError.out_of_range(
                    "OFFSET_OUT_OF_RANGE",
                    f"The offset {request.offset} is not in 0 to {size}.",
                    metadata={"size": str(size)},
                )
            manifest = await self._blobs.get(f"{batch.results_prefix}/manifest")
            yield results_pb2.DownloadResultsResponse(
                header=results_pb2.ResultsHeader(
                    total_bytes=size,
                    line_count=lines,
                    manifest=results_pb2.Manifest.FromString(manifest),
                    results_revision=batch.results_revision,
                )
            )
            stream = results.stream(request.offset, succeeded=succeeded, chunk_bytes=_CHUNK_BYTES)
            async with aclosing(stream) as chunks:
                async for chunk in chunks:
                    yield results_pb2.DownloadResultsResponse(chunk=chunk)
                    DOWNLOAD_BYTES.labels("results").inc(len(chunk))

    async def ListFailures(
        self,
        request: results_pb2.ListFailuresRequest,
        context: grpc.aio.ServicerContext[
            results_pb2.ListFailuresRequest, results_pb2.ListFailuresResponse
        ],
    ) -> results_pb2.ListFailuresResponse:
        """See protos/polybatch/v1/results.proto."""
        batch = await self._ended_batch(request.batch_id)
        first, revision = _decode_token(request.page_token)
        if revision not in (0, batch.results_revision):
            raise _results_changed(batch)
        size = page_size(request.page_size)
        providers = await self._causes.providers(batch)
        looked_at = 0
        async with self._opened(batch) as results:
            page = results_pb2.ListFailuresResponse()
            async with aclosing(results.lines(first, succeeded=False)) as groups:
                async for group in groups:
                    for found in group:
                        looked_at += 1
                        if len(page.failures) == size or looked_at > _LOOKED_AT:
                            page.next_page_token = _encode_token(
                                found.number, batch.results_revision
                            )
                            return page
                        failure = read_failure(found.raw)
                        cause = failure.cause(providers).id
                        if not request.cause_id or request.cause_id == cause:
                            page.failures.append(line_failure(found.line, failure, cause))
            return page

    async def ListFailureCauses(
        self,
        request: results_pb2.ListFailureCausesRequest,
        context: grpc.aio.ServicerContext[
            results_pb2.ListFailureCausesRequest, results_pb2.ListFailureCausesResponse
        ],
    ) -> results_pb2.ListFailureCausesResponse:
        """See protos/polybatch/v1/results.proto."""
        batch = await self._ended_batch(request.batch_id)
        async with (
            self._opened(batch) as results,
            aclosing(results.lines(succeeded=False)) as groups,
        ):
            return await self._causes.group(batch, groups)

    @asynccontextmanager
    async def _opened(self, batch: Batch) -> AsyncIterator[ResultFile]:
        """The result file of a batch as it was read; it goes where late answers come."""
        with outages():
            try:
                results = await ResultFile.open(self._blobs, batch.results_prefix)
                if results.line_count != batch.total:
                    raise BlobMissing("the results are gone", key=batch.results_prefix)
                yield results
            except BlobMissing as error:
                fresh = await self._ledger.batches.get(batch.id)
                if fresh is None or fresh.results_prefix == batch.results_prefix:
                    raise
                raise _results_changed(fresh) from error

    async def _ended_batch(self, batch_id: str) -> Batch:
        with outages():
            batch = await self._ledger.batches.get(batch_id, current_principal().account_id)
        if batch is None:
            raise ApiError.not_found(
                "BATCH_NOT_FOUND", f"There is no batch {batch_id!r} in this account."
            )
        if not batch.ended:
            raise ApiError.failed_precondition(
                "BATCH_NOT_ENDED", f"The batch is {batch.state}; watch it to its end first."
            )
        if not batch.results_prefix:
            raise ApiError.failed_precondition(
                "NO_RESULTS", "The batch failed before any line ran; see its errors."
            )
        return batch


def line_failure(line: int, failure: Failure, cause_id: str) -> results_pb2.LineFailure:
    """A line that did not succeed, and why."""
    return results_pb2.LineFailure(
        line=line,
        custom_id=failure.custom_id,
        code=failure.code,
        message=failure.message,
        status_code=failure.status_code,
        cause_id=cause_id,
    )


def _results_changed(batch: Batch) -> ApiError:
    return ApiError.failed_precondition(
        "RESULTS_CHANGED",
        "Late answers have come, and the results have a newer revision: begin again.",
        metadata={"results_revision": str(batch.results_revision)},
    )


def _encode_token(number: int, revision: int) -> str:
    return base64.urlsafe_b64encode(b"record:%d:%d" % (number, revision)).decode()


def _decode_token(token: str) -> tuple[int, int]:
    """Number of the record to go on with, and the revision of the results that it is of."""
    if not token:
        return 0, 0
    try:
        text = base64.b64decode(token, altchars=b"-_", validate=True).decode()
        kind, number, revision = text.split(":")
        if kind == "record" and f"{number}{revision}".isascii() and f"{number}{revision}".isdigit():
            return int(number), int(revision)
    except (ValueError, binascii.Error):
        pass
    raise ApiError.invalid_argument(
        "PAGE_TOKEN_INVALID", "The page token was not made by this service."
    )
