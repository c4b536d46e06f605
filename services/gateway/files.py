"""FileService of polybatch.v1: uploads, downloads and the rest of a file's life."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
import structlog
from polybatch.v1 import files_pb2, files_pb2_grpc

from core.batchfile import Found, Problem, problems_so_far
from core.blobs import BlobMissing, BlobStore, StoredFile
from core.ledger import File, FileInUse, Ledger
from core.metrics import DOWNLOAD_BYTES
from core.pipeline import outages
from core.pipeline.messages import file_message
from core.serving import ApiError, current_principal
from core.serving.paging import cut_page, page_size, parse_page_token
from services.gateway.discard import discard_upload, upload_prefix
from services.gateway.file_refusals import file_not_found
from services.gateway.framing import parse_chunk, parse_expires, parse_part, parse_spec
from services.gateway.parts import Parts
from services.gateway.shielding import uninterrupted
from services.gateway.stream import MessageStream
from services.gateway.upload import Uploads
from services.gateway.upload_spec import Spec, parse_expiry

log = structlog.get_logger()

Context = grpc.aio.ServicerContext[Any, Any]

# Under the size of a gRPC frame's buffer of 1 MiB, the message's own bytes included.
_DOWNLOAD_CHUNK_BYTES = (1 << 20) - 1024


class FileServicer(files_pb2_grpc.FileServiceServicer):
    """Answers as the comments in files.proto say."""

    def __init__(
        self,
        ledger: Ledger,
        blobs: BlobStore,
        uploads: Uploads,
        parts: Parts,
        *,
        idle_timeout: float,
    ) -> None:
        self._parts = parts
        self._ledger = ledger
        self._blobs = blobs
        self._uploads = uploads
        self._idle_timeout = idle_timeout

    async def UploadFile(
        self, messages: AsyncIterator[bytes], _context: Context
    ) -> files_pb2.UploadFileResponse:
        """Takes the messages as they came; see services.gateway.framing."""
        account_id = current_principal().account_id
        async with MessageStream(messages, idle_timeout=self._idle_timeout) as stream:
            first = parse_spec(await stream.next() or b"", files_pb2.UploadFileRequest)
            if first.spec.part_of:
                return await self._take_part(account_id, first.spec, stream)
            spec = Spec.parse(first.spec)
            chunks = _Chunks(stream, self._parts, account_id, spec.upload_id)
            with outages():
                try:
                    async with aclosing(chunks):
                        finished = await self._uploads.receive(
                            account_id, spec, chunks.next, lambda: chunks.expires_seconds
                        )
                except BaseException:
                    if chunks.had_parts:
                        await uninterrupted(self._parts.reopen(account_id, spec.upload_id))
                    raise
                if chunks.had_parts:
                    await self._parts.discard(account_id, spec.upload_id)
        return files_pb2.UploadFileResponse(
            file=file_message(finished.file),
            problems=[problem_message(problem) for problem in finished.problems],
        )

    async def _take_part(
        self, account_id: str, spec: files_pb2.UploadSpec, stream: MessageStream
    ) -> files_pb2.UploadFileResponse:
        async def next_chunk() -> bytes | None:
            return parse_chunk(await stream.next(), files_pb2.UploadFileRequest)

        with outages():
            await self._parts.receive(account_id, spec.part_of, spec.upload_id, next_chunk)
        return files_pb2.UploadFileResponse()

    async def BeginUpload(
        self, request: files_pb2.BeginUploadRequest, _context: Context
    ) -> files_pb2.UploadStatus:
        with outages():
            file = await self._parts.begin(current_principal().account_id, request.upload_id)
        if file is not None:
            return _finished_status(file)
        return files_pb2.UploadStatus(upload_id=request.upload_id)

    async def DeleteUpload(
        self, request: files_pb2.DeleteUploadRequest, _context: Context
    ) -> files_pb2.DeleteUploadResponse:
        account_id = current_principal().account_id
        with outages():
            await self._parts.delete(account_id, request.upload_id)
        log.info("upload_deleted", account_id=account_id, upload_id=request.upload_id)
        return files_pb2.DeleteUploadResponse()

    async def GetUploadStatus(
        self, request: files_pb2.GetUploadStatusRequest, _context: Context
    ) -> files_pb2.UploadStatus:
        account_id = current_principal().account_id
        with outages():
            found = await self._ledger.files.find_upload(account_id, request.upload_id)
            if isinstance(found, File):
                return _finished_status(found)
            committed, problems = 0, Found()
            if found is not None and not found.discarded:
                prefix = upload_prefix(account_id, found.upload_id)
                committed = (await StoredFile.open(self._blobs, f"{prefix}/data")).size
                problems = await problems_so_far(self._blobs, prefix)
        if not committed and not problems.count:
            raise ApiError.not_found(
                "UPLOAD_NOT_FOUND", "nothing is committed under this upload id: start at 0"
            )
        return files_pb2.UploadStatus(
            upload_id=request.upload_id,
            committed_size=committed,
            problems=[problem_message(each) for each in problems.first],
            problem_count=problems.count,
        )

    async def DownloadFile(
        self, request: files_pb2.DownloadFileRequest, _context: Context
    ) -> AsyncGenerator[files_pb2.DownloadFileResponse, None]:
        with outages():
            file = await self._get(request.file_id)
            report = request.content == files_pb2.FILE_CONTENT_VALIDATION_REPORT
            content = await StoredFile.open(
                self._blobs, f"{file.prefix}/{'report' if report else 'data'}"
            )
            # A file's row goes before its blobs: while it is there, none of them was missing.
            await self._get(request.file_id)
            if not 0 <= request.offset <= content.size:
                raise ApiError.out_of_range(
                    "OFFSET_OUT_OF_RANGE",
                    f"the offset {request.offset} is outside of 0 to {content.size}",
                    metadata={"size": str(content.size)},
                )
            try:
                async with aclosing(
                    content.stream(request.offset, chunk_bytes=_DOWNLOAD_CHUNK_BYTES)
                ) as chunks:
                    async for chunk in chunks:
                        yield files_pb2.DownloadFileResponse(chunk=chunk)
                        DOWNLOAD_BYTES.labels("report" if report else "input").inc(len(chunk))
            except BlobMissing as error:
                # Deleted while it was being read.
                raise file_not_found(request.file_id) from error

    async def GetFile(self, request: files_pb2.GetFileRequest, _context: Context) -> files_pb2.File:
        with outages():
            return file_message(await self._get(request.file_id))

    async def ListFiles(
        self, request: files_pb2.ListFilesRequest, _context: Context
    ) -> files_pb2.ListFilesResponse:
        size = page_size(request.page_size)
        after = parse_page_token(request.page_token)
        with outages():
            files = await self._ledger.files.page(
                current_principal().account_id, size + 1, after, oldest_first=request.oldest_first
            )
        shown, token = cut_page(files, size)
        return files_pb2.ListFilesResponse(
            files=[file_message(file) for file in shown], next_page_token=token
        )

    async def DeleteFile(
        self, request: files_pb2.DeleteFileRequest, _context: Context
    ) -> files_pb2.DeleteFileResponse:
        account_id = current_principal().account_id
        with outages():
            deleted = await self._ledger.files.delete(account_id, request.file_id)
            if deleted is None:
                raise file_not_found(request.file_id)
            if isinstance(deleted, FileInUse):
                raise _in_use(deleted)
            await discard_upload(self._ledger, self._blobs, account_id, deleted.upload_id)
        log.info("file_deleted", account_id=account_id, file_id=deleted.id)
        return files_pb2.DeleteFileResponse()

    async def _get(self, file_id: str) -> File:
        file = await self._ledger.files.get(current_principal().account_id, file_id)
        if file is None:
            raise file_not_found(file_id)
        return file


class _Chunks:
    """The bytes of an upload's stream, with those of the parts that it names in their places."""

    def __init__(
        self, stream: MessageStream, parts: Parts, account_id: str, upload_id: str
    ) -> None:
        self.had_parts = False
        self.expires_seconds: float | None = None
        self._stream = stream
        self._parts = parts
        self._owner = (account_id, upload_id)
        self._part: AsyncGenerator[bytes, None] | None = None

    async def next(self) -> bytes | None:
        """The next bytes; None at the end. Raises as parse_chunk, and PART_NOT_FOUND."""
        while True:
            if self._part is not None:
                if (chunk := await anext(self._part, None)) is not None:
                    return chunk
                self._part = None
            message = await self._stream.next()
            if (expires := parse_expires(message)) is not None:
                self.expires_seconds = parse_expiry(expires)
                continue
            name = parse_part(message)
            if name is None:
                return parse_chunk(message, files_pb2.UploadFileRequest)
            self.had_parts = True
            self._part = self._parts.stream(*self._owner, name)

    async def aclose(self) -> None:
        """Let go of a part that is being read."""
        if self._part is not None:
            await self._part.aclose()


def _finished_status(file: File) -> files_pb2.UploadStatus:
    return files_pb2.UploadStatus(
        upload_id=file.upload_id, committed_size=file.bytes, complete=True, file_id=file.id
    )


def problem_message(problem: Problem) -> files_pb2.LineProblem:
    """A problem as clients see it."""
    return files_pb2.LineProblem(
        lenient=problem.lenient,
        line=problem.line,
        custom_id=problem.custom_id,
        field=problem.field,
        reason=problem.reason,
        message=problem.message,
    )


def _in_use(file: FileInUse) -> ApiError:
    metadata = {"batch_id": file.batch_id}
    if file.until is None:
        return ApiError.failed_precondition(
            "FILE_IN_USE",
            f"the batch {file.batch_id} reads the file: wait for its end or cancel it",
            metadata=metadata,
        )
    return ApiError.failed_precondition(
        "LATE_ANSWERS_AWAITED",
        f"a provider may still answer lines of the batch {file.batch_id}, until "
        f"{file.until:%Y-%m-%d}: delete the file after that",
        metadata=metadata | {"awaited_until": file.until.isoformat()},
    )
