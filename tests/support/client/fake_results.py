"""The ResultService of the fake."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
from polybatch.v1 import batches_pb2, results_pb2, results_pb2_grpc

from tests.support.client.fake_servicers import cut, page
from tests.support.client.fault import Fault

if TYPE_CHECKING:
    from tests.support.client.fake_service import FakePolybatch


class Results(results_pb2_grpc.ResultServiceServicer):
    def __init__(self, fake: FakePolybatch) -> None:
        self._fake = fake

    async def DownloadResults(self, request: Any, context: Any) -> AsyncIterator[Any]:
        fault = await self._fake.enter("DownloadResults", request, context)
        if request.batch_id in self._fake.settled:
            header, lines = self._fake.settled[request.batch_id].reply(request)
            yield results_pb2.DownloadResultsResponse(header=header)
            async for chunk in cut(lines, 0, self._fake.chunk_bytes, fault, context):
                yield results_pb2.DownloadResultsResponse(chunk=chunk)
            return
        if request.batch_id not in self._fake.results:
            snapshots = self._fake.batches.get(request.batch_id, ())
            failed = snapshots and snapshots[-1].state == batches_pb2.BATCH_STATE_FAILED
            reason = "NO_RESULTS" if failed else "BATCH_NOT_ENDED"
            await Fault(grpc.StatusCode.FAILED_PRECONDITION, "there are no results", reason).abort(
                context
            )
        everything = self._fake.results[request.batch_id]
        wanted = b"".join(
            line
            for line in everything.splitlines(keepends=True)
            if request.filter == results_pb2.RESULT_FILTER_UNSPECIFIED
            or (json.loads(line)["error"] is None)
            == (request.filter == results_pb2.RESULT_FILTER_SUCCEEDED)
        )
        digest = hashlib.sha256(everything).hexdigest()
        header = results_pb2.ResultsHeader(
            total_bytes=len(wanted),
            line_count=wanted.count(b"\n"),
            manifest=results_pb2.Manifest(
                batch_id=request.batch_id,
                input_line_count=everything.count(b"\n"),
                results_sha256=self._fake.results_digest.get(request.batch_id, digest),
                results_bytes=len(everything),
            ),
        )
        try:
            yield results_pb2.DownloadResultsResponse(header=header)
            chunk_bytes = self._fake.chunk_bytes
            async for chunk in cut(wanted, request.offset, chunk_bytes, fault, context):
                yield results_pb2.DownloadResultsResponse(chunk=chunk)
        except BaseException:
            # Cancelled while writing, it is an error of the write.
            self._fake.cancelled.set()
            raise

    async def ListFailures(self, request: Any, context: Any) -> Any:
        await self._fake.enter("ListFailures", request, context)
        failures = [
            each
            for each in self._fake.failures.get(request.batch_id, [])
            if request.cause_id in ("", each.cause_id)
        ]
        items, token = page(failures, request)
        return results_pb2.ListFailuresResponse(failures=items, next_page_token=token)

    async def ListFailureCauses(self, request: Any, context: Any) -> Any:
        await self._fake.enter("ListFailureCauses", request, context)
        found = self._fake.failure_causes.get(request.batch_id)
        return found or results_pb2.ListFailureCausesResponse()
