"""ResultService: what became of the lines of a batch, once it has ended or so far.

In: a batch's id, a filter, where to go on. Out: its lines as they are stored, or why lines failed.
What can go wrong: it has not ended and not a part was asked for; its results were deleted; late
answers have changed them under a download (RESULTS_CHANGED).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import grpc
from polybatch.v1 import results_pb2, results_pb2_grpc

from core.batchfile import AT_END, Failure, ResultFile, read_failure
from core.blobs import BlobMissing, BlobStore
from core.ledger import Batch, Ledger, ResultsGone, now
from core.metrics import DOWNLOAD_BYTES
from core.pipeline import outages
from core.serving import ApiError, current_principal
from core.serving.paging import page_size
from services.collector.failure_causes import FailureCauses
from services.collector.family_results import FamilyResults
from services.collector.partial_results import PartialResults, Span, chunks_of, span_of

_CHUNK_BYTES = 256 * 1024
# Lines for one page of failures: of a cause that few lines have, a page may have none.
_LOOKED_AT = 50_000
_FILTERS = {
    results_pb2.RESULT_FILTER_UNSPECIFIED: None,
    results_pb2.RESULT_FILTER_SUCCEEDED: True,
    results_pb2.RESULT_FILTER_FAILED: False,
}
_RECORD, _LINE = "record", "line"


class ResultService(results_pb2_grpc.ResultServiceServicer):
    """Serves polybatch.v1.ResultService."""

    def __init__(self, ledger: Ledger, blobs: BlobStore) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._partial = PartialResults(ledger, blobs)
        self._families = FamilyResults(ledger, blobs)
        self._causes = FailureCauses(ledger)

    async def DownloadResults(
        self,
        request: results_pb2.DownloadResultsRequest,
        context: grpc.aio.ServicerContext[
            results_pb2.DownloadResultsRequest, results_pb2.DownloadResultsResponse
        ],
    ) -> AsyncIterator[results_pb2.DownloadResultsResponse]:
        """See protos/polybatch/v1/results.proto."""
        succeeded = _wanted(request)
        batch = await self._batch(request.batch_id, ended=not request.partial)
        _refuse_deleted(batch, succeeded=succeeded)
        if request.merged:
            async with aclosing(self._of_family(batch, request, succeeded)) as replies:
                async for reply in replies:
                    yield reply
            return
        if request.partial:
            span = span_of(request, succeeded)
            if not batch.ended or span != Span(succeeded=succeeded):
                async with aclosing(self._some(batch, span)) as replies:
                    async for reply in replies:
                        yield reply
                return
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
                    settled_line_count=results.line_count,
                    settled_until=AT_END,
                    complete_until_line=await results.last_line(),
                )
            )
            stream = results.stream(request.offset, succeeded=succeeded, chunk_bytes=_CHUNK_BYTES)
            async with aclosing(stream) as chunks:
                async for chunk in chunks:
                    yield results_pb2.DownloadResultsResponse(chunk=chunk)
                    DOWNLOAD_BYTES.labels("results").inc(len(chunk))

    async def _some(
        self, batch: Batch, span: Span
    ) -> AsyncGenerator[results_pb2.DownloadResultsResponse, None]:
        """The lines of a batch that were settled in some span."""
        async with self._read(batch):
            batch, span, extent = await self._partial.extent(batch, span)
            yield results_pb2.DownloadResultsResponse(
                header=results_pb2.ResultsHeader(
                    line_count=extent.lines,
                    results_revision=batch.results_revision,
                    incomplete=not batch.ended,
                    settled_line_count=extent.settled_lines,
                    settled_until=span.until,
                    complete_until_line=extent.complete_until,
                )
            )
            async with aclosing(chunks_of(self._partial.groups(batch, span))) as chunks:
                async for chunk in chunks:
                    yield results_pb2.DownloadResultsResponse(chunk=chunk)
                    DOWNLOAD_BYTES.labels("results").inc(len(chunk))

    async def _of_family(
        self,
        batch: Batch,
        request: results_pb2.DownloadResultsRequest,
        succeeded: bool | None,
    ) -> AsyncGenerator[results_pb2.DownloadResultsResponse, None]:
        """The lines of a batch, with the outcomes of its retries."""
        span = span_of(request, succeeded)
        async with self._read(batch):
            family = await self._families.members(batch)
            yield results_pb2.DownloadResultsResponse(
                header=results_pb2.ResultsHeader(
                    line_count=batch.total if succeeded is None else 0,
                    results_revision=batch.results_revision,
                    incomplete=not all(each.ended for each in family),
                    settled_line_count=batch.total,
                )
            )
            groups = self._families.groups(batch, span.after_line, succeeded)
            async with aclosing(chunks_of(groups)) as chunks:
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
        batch = await self._batch(request.batch_id, ended=not request.partial)
        _refuse_deleted(batch, succeeded=False)
        kind, first, revision = _decode_token(request.page_token)
        if request.partial and (kind == _LINE or not (kind or batch.ended)):
            return await self._settled_failures(request, batch, first, revision)
        if kind == _LINE:
            raise _wrong_token()
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
                                _RECORD, found.number, batch.results_revision
                            )
                            return page
                        failure = read_failure(found.raw)
                        cause = failure.cause(providers).id
                        if not request.cause_id or request.cause_id == cause:
                            page.failures.append(line_failure(found.line, failure, cause))
            return page

    async def _settled_failures(
        self,
        request: results_pb2.ListFailuresRequest,
        batch: Batch,
        after_line: int,
        until: int,
    ) -> results_pb2.ListFailuresResponse:
        """A page of those that were settled when the first page was asked for."""
        until = until or batch.revision
        size = page_size(request.page_size)
        providers = await self._causes.providers(batch)
        page = results_pb2.ListFailuresResponse()
        span = Span(until=until, after_line=after_line, succeeded=False)
        looked_at, last = 0, after_line
        with outages():
            async with aclosing(self._partial.groups(batch, span)) as groups:
                async for group in groups:
                    for line, _, raw in group:
                        looked_at += 1
                        if len(page.failures) == size or looked_at > _LOOKED_AT:
                            page.next_page_token = _encode_token(_LINE, last, until)
                            return page
                        last = line
                        failure = read_failure(raw)
                        cause = failure.cause(providers).id
                        if not request.cause_id or request.cause_id == cause:
                            page.failures.append(line_failure(line, failure, cause))
        return page

    async def ListFailureCauses(
        self,
        request: results_pb2.ListFailureCausesRequest,
        context: grpc.aio.ServicerContext[
            results_pb2.ListFailureCausesRequest, results_pb2.ListFailureCausesResponse
        ],
    ) -> results_pb2.ListFailureCausesResponse:
        """See protos/polybatch/v1/results.proto."""
        batch = await self._batch(request.batch_id, ended=not request.partial)
        if not batch.ended:
            span = Span(until=batch.revision, succeeded=False)
            with outages():
                async with aclosing(self._partial.lines(batch, span)) as lines:
                    return await self._causes.group(batch, lines)
        _refuse_deleted(batch, succeeded=False)
        async with (
            self._opened(batch) as results,
            aclosing(results.lines(succeeded=False)) as groups,
        ):
            return await self._causes.group(batch, groups)

    @asynccontextmanager
    async def _opened(self, batch: Batch) -> AsyncIterator[ResultFile]:
        """The result file of a batch as it was read; it goes where late answers come."""
        async with self._read(batch):
            results = await ResultFile.open(self._blobs, batch.results_prefix)
            if results.line_count != batch.total:
                raise BlobMissing("the results are gone", key=batch.results_prefix)
            yield results

    @asynccontextmanager
    async def _read(self, batch: Batch) -> AsyncIterator[None]:
        """Tell why results of a batch, as it was read, are gone that go within the block."""
        with outages():
            try:
                yield
            except BlobMissing as error:
                fresh = await self._ledger.batches.get(batch.id, batch.account_id)
                if fresh is None:
                    raise _not_found(batch.id) from error
                _refuse_deleted(fresh, succeeded=None)
                if fresh.results_prefix == batch.results_prefix:
                    raise
                raise _results_changed(fresh) from error

    async def _batch(self, batch_id: str, *, ended: bool) -> Batch:
        """A batch that has results. `ended`: refuse one that has not."""
        with outages():
            batch = await self._ledger.batches.get(batch_id, current_principal().account_id)
        if batch is None:
            raise _not_found(batch_id)
        if ended and not batch.ended:
            raise ApiError.failed_precondition(
                "BATCH_NOT_ENDED", f"The batch is {batch.state}; watch it to its end first."
            )
        if batch.ended and not batch.results_prefix:
            _refuse_deleted(batch, succeeded=None)
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


def _not_found(batch_id: str) -> ApiError:
    return ApiError.not_found("BATCH_NOT_FOUND", f"There is no batch {batch_id!r} in this account.")


def _refuse_deleted(batch: Batch, *, succeeded: bool | None) -> None:
    """Raise RESULTS_DELETED where results that are asked for are gone; `succeeded` None: all."""
    asked = {
        None: ResultsGone.ALL,
        True: ResultsGone.SUCCEEDED,
        False: ResultsGone.FAILED,
    }[succeeded]
    gone = ResultsGone(batch.results_gone) & asked
    if not gone:
        return
    what = {
        ResultsGone.ALL: "The results of the batch",
        ResultsGone.SUCCEEDED: "The lines that succeeded",
        ResultsGone.FAILED: "The lines that did not succeed",
    }[gone]
    expired = batch.results_expire_at is not None and batch.results_expire_at <= now()
    why = (
        f", as they were kept until {batch.results_expire_at:%Y-%m-%d %H:%M} UTC" if expired else ""
    )
    raise ApiError.failed_precondition(
        "RESULTS_DELETED", f"{what} are deleted{why}: run its lines again if you need them."
    )


def _results_changed(batch: Batch) -> ApiError:
    return ApiError.failed_precondition(
        "RESULTS_CHANGED",
        "Late answers have come, and the results have a newer revision: begin again.",
        metadata={"results_revision": str(batch.results_revision)},
    )


def _wanted(request: results_pb2.DownloadResultsRequest) -> bool | None:
    """The outcome that a request asks for; None: any. Raises INVALID_FIELD."""
    if request.filter not in _FILTERS:
        raise ApiError.invalid_argument(
            "INVALID_FIELD",
            "The filter is not one of ResultFilter.",
            violations=[("filter", f"{request.filter} is unknown")],
        )
    return _FILTERS[request.filter]


def _encode_token(kind: str, number: int, revision: int) -> str:
    return base64.urlsafe_b64encode(f"{kind}:{number}:{revision}".encode()).decode()


def _decode_token(token: str) -> tuple[str, int, int]:
    """The kind of what is counted, where to go on, and the revision that it is of.

    _RECORD: number of a record, revision of the results; _LINE: last line of the input that was
    listed, revision of the batch.
    """
    if not token:
        return "", 0, 0
    try:
        text = base64.b64decode(token, altchars=b"-_", validate=True).decode()
        kind, number, revision = text.split(":")
        digits = f"{number}{revision}"
        if kind in (_RECORD, _LINE) and digits.isascii() and digits.isdigit():
            return kind, int(number), int(revision)
    except (ValueError, binascii.Error):
        pass
    raise _wrong_token()


def _wrong_token() -> ApiError:
    return ApiError.invalid_argument(
        "PAGE_TOKEN_INVALID", "The page token was not made by this service."
    )
