"""Uploads, alone or with the making of a batch, continued after a break."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from polybatch import models
from polybatch._operations.calls import Caller
from polybatch._operations.sources import Progress, Source, UploadInput, open_source
from polybatch._operations.upload_stream import UploadStream, refuses_batch, status_of
from polybatch._transport import methods
from polybatch.errors import DataError, InvalidLines, NotFound, PolybatchError
from polybatch.v1 import batches_pb2, files_pb2

EstimateObserver = Callable[["models.BatchEstimate"], None]
"""Called with what a batch will cost before it is made; what it raises keeps it from being made."""


@dataclass(frozen=True, slots=True)
class Naming:
    """What an upload says of the file, and of what its lines leave out; None: nothing."""

    filename: str | None = None
    provider: str | None = None
    model: str | None = None
    expires_after: timedelta | None = None
    """How long the file is kept; None: for ever."""

    def spec(self, name: str, upload_id: str, offset: int) -> files_pb2.UploadSpec:
        """The first message of a stream; `name`: that of the source itself."""
        return files_pb2.UploadSpec(
            filename=_sendable(self.filename if self.filename is not None else name),
            upload_id=upload_id,
            write_offset=offset,
            default_provider=self.provider or "",
            default_model=self.model or "",
            expires_after=self.expires_after,
        )


def _sendable(filename: str) -> str:
    # A name on disk is bytes: those that are no UTF-8, as an archive of old Windows unpacks to,
    # are in Python what protobuf refuses.
    return filename.encode(errors="surrogateescape").decode(errors="replace")


class Uploads:
    """FileService.UploadFile and BatchService.SubmitBatch."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def upload(
        self,
        content: UploadInput,
        naming: Naming,
        *,
        upload_id: str | None,
        progress: Progress | None,
    ) -> models.File:
        """Uploads and returns the file, with the first problems of bad lines."""
        name, source = self._open(content)
        return await self._upload(name, source, naming, upload_id, progress)

    async def _upload(
        self,
        name: str,
        source: Source,
        naming: Naming,
        upload_id: str | None,
        progress: Progress | None,
    ) -> models.File:
        own_id = upload_id or new_upload_id()

        def spec(offset: int) -> bytes:
            upload = naming.spec(name, own_id, offset)
            serialized: bytes = files_pb2.UploadFileRequest(spec=upload).SerializeToString()
            return serialized

        try:
            reply = await UploadStream(
                self._caller, methods.UPLOAD_FILE, source, own_id, spec, progress
            ).run(resume=upload_id is not None)
        finally:
            source.close()
        if source.total is not None and reply.file.bytes != source.total:
            raise DataError(
                f"the service has {reply.file.bytes} bytes of {source.total}.",
                reason="UPLOAD_INCOMPLETE",
                next_step="was the file changed meanwhile? Upload it again.",
            )
        return models.File.from_proto(reply.file, reply.problems)

    async def submit(
        self,
        content: UploadInput,
        batch: Any,
        naming: Naming,
        *,
        upload_id: str | None,
        request_id: str | None,
        progress: Progress | None,
        on_estimate: EstimateObserver | None,
    ) -> models.Batch:
        """Uploads and makes a batch of it; `batch` is a CreateBatchRequest.

        With `on_estimate` in two calls, the estimate between them. `upload_id` continues an
        upload, as does a `request_id` that was used before with the same content. What can be
        read only once is uploaded anew; the service then compares.
        """
        name, source = self._open(content)
        try:
            if upload_id is None and request_id is not None and (own := await source.digest()):
                # Of all of it: what other content had committed is not continued.
                parts = (request_id, own, naming.provider or "", naming.model or "")
                upload_id = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        except BaseException:
            source.close()
            raise
        if on_estimate is not None:
            file = await self._upload(name, source, naming, upload_id, progress)
            try:
                made = await self._create(file, batch, on_estimate)
            except PolybatchError as error:
                # Of an upload that was continued, an earlier batch may be.
                if upload_id is None:
                    error.metadata = {"file_id": file.id, **error.metadata}
                raise
            if upload_id is None and made.input_file_id != file.id:
                await self._delete(file.id)
            return models.Batch.from_proto(made)
        own_id = upload_id or new_upload_id()

        def spec(offset: int) -> bytes:
            message = batches_pb2.SubmitBatchRequest(
                spec=batches_pb2.SubmitBatchRequest.Spec(
                    upload=naming.spec(name, own_id, offset),
                    batch=batch,
                )
            )
            serialized: bytes = message.SerializeToString()
            return serialized

        stream = UploadStream(self._caller, methods.SUBMIT_BATCH, source, own_id, spec, progress)
        try:
            reply = await stream.run(resume=upload_id is not None)
        except PolybatchError as error:
            # Of an upload that was continued, an earlier batch may be.
            if upload_id is None and not stream.doubted and refuses_batch(error):
                await self._delete_refused(own_id, error)
            raise
        finally:
            source.close()
        if upload_id is None and request_id is not None:
            await self._delete_copy(own_id, reply.input_file_id)
        return models.Batch.from_proto(reply)

    async def _create(self, file: models.File, batch: Any, on_estimate: EstimateObserver) -> Any:
        unfit = file.invalid_line_count
        if batch.lenient_translation:
            unfit -= file.lenient_line_count
        # A batch that will be refused costs nothing.
        if not unfit or batch.skip_invalid_lines:
            request = batches_pb2.EstimateBatchRequest(
                input_file_id=file.id, lenient_translation=batch.lenient_translation
            )
            reply = await self._caller.unary(methods.ESTIMATE_BATCH, request)
            on_estimate(models.BatchEstimate.from_proto(reply))
        batch.input_file_id = file.id
        return await self._caller.unary(methods.CREATE_BATCH, batch)

    async def _delete_copy(self, upload_id: str, read_by_batch: str) -> None:
        """Deletes what was uploaded for a batch that was there already, with the same content."""
        with suppress(NotFound):
            file_id = (await status_of(self._caller, upload_id)).file_id
            if file_id and file_id != read_by_batch:
                await self._delete(file_id)

    async def _delete_refused(self, upload_id: str, refusal: PolybatchError) -> None:
        """Deletes what was uploaded for a batch that was refused, and names it where it cannot."""
        if isinstance(refusal, InvalidLines):
            # It names the file, whose validation report is there to be read.
            return
        metadata = dict(refusal.metadata)
        try:
            # Not found: refused before anything of it was kept.
            with suppress(NotFound):
                if file_id := (await status_of(self._caller, upload_id)).file_id:
                    metadata["file_id"] = file_id
                    await self._delete(file_id)
            metadata.pop("file_id", None)
        except PolybatchError as error:
            refusal.add_note(f"What was uploaded for it could not be deleted: {error}")
        refusal.metadata = metadata

    async def _delete(self, file_id: str) -> None:
        # Not found: somebody, or a first attempt whose reply was lost, has deleted it.
        with suppress(NotFound):
            request = files_pb2.DeleteFileRequest(file_id=file_id)
            await self._caller.unary(methods.DELETE_FILE, request)

    async def status(self, upload_id: str) -> models.UploadStatus:
        """Returns how far an upload has come. NotFound where nothing is committed."""
        return models.UploadStatus.from_proto(await status_of(self._caller, upload_id))

    def _open(self, content: UploadInput) -> tuple[str, Source]:
        source, name = open_source(content, self._caller.transport.blocking)
        return name, source


def new_upload_id() -> str:
    """Returns a random upload id of the form that the service asks for."""
    return secrets.token_urlsafe(18)
