"""The stream of an upload: sent, and continued after a break."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from polybatch._operations.calls import Caller
from polybatch._operations.pieces import CHUNK_BYTES
from polybatch._operations.sources import TAIL_CHECK_BYTES, Progress, Source
from polybatch._transport import methods
from polybatch._transport.methods import Method
from polybatch.errors import (
    Conflict,
    DataError,
    InvalidRequest,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    PolybatchError,
)
from polybatch.v1 import files_pb2

# Field 2 (chunk) of UploadFileRequest and of SubmitBatchRequest, length-delimited.
# Written by hand: the generated code would copy every chunk twice more.
_CHUNK_TAG = b"\x12"
# Field 3 (finish) of both: true.
FINISH = b"\x18\x01"

# Both transports hold less than this back while there is no connection.
_SURELY_ARRIVING = 8 * CHUNK_BYTES

# Nothing of the stream was taken, so there is nothing to ask; a call more would only be
# refused as well.
_REFUSED_UNREAD = frozenset({"REQUEST_RATE_LIMIT", "OPEN_UPLOADS_LIMIT"})


class UploadStream:
    """An upload on its way: however many streams it takes.

    `doubted`: one of them was sent whole and broke, so that what it asked for may have been done.
    """

    def __init__(
        self,
        caller: Caller,
        method: Method,
        source: Source,
        upload_id: str,
        spec: Callable[[int], bytes],
        progress: Progress | None,
    ) -> None:
        self._caller = caller
        self._method = method
        self._source = source
        self._upload_id = upload_id
        self._spec = spec
        self._progress = progress
        self._attempts = caller.attempts(method.server)
        self._committed = 0
        self._complete = False
        self._whole = False
        self.doubted = False

    async def run(self, *, resume: bool) -> Any:
        """Sends everything, however many streams it takes, and returns the reply."""
        attempts = self._attempts
        if resume:
            await self._go_to(await self._ask_committed())
        while True:
            before = self._committed

            async def more_is_committed(before: int = before) -> bool:
                return await self._ask_committed() > before

            try:
                reply = await self._send(before)
            except PolybatchError as error:
                self.doubted |= self._whole and not refuses_batch(error)
                misplaced = error.reason == "WRITE_OFFSET_MISMATCH"
                if not misplaced:
                    await attempts.pause(error, got_through=more_is_committed)
                if error.reason in _REFUSED_UNREAD:
                    await self._go_to(before)
                    continue
                committed = await self._ask_committed()
                if committed > before:
                    attempts.progress()
                elif misplaced and committed == before:
                    await attempts.pause(error)
                await self._go_to(committed)
            else:
                attempts.progress()
                return reply

    async def _go_to(self, committed: int) -> None:
        self._source.rewind(committed)
        if self._complete and await self._source.read():
            raise DataError(
                f"the service took the upload for complete after {committed} bytes; more follow.",
                reason="UPLOAD_TRUNCATED",
                next_step="upload it again; cancel what was made of the part.",
            )

    async def _send(self, offset: int) -> Any:
        self._whole = False
        stream = self._caller.transport.upload(self._method)
        try:
            if await stream.write(self._spec(offset)):
                await self._send_chunks(stream.write, offset)
            reply = await stream.finish()
        finally:
            stream.cancel()
        if self._progress is not None and self._source.total is not None:
            self._progress(self._source.total, self._source.total)
        return reply

    async def _send_chunks(self, write: Callable[[bytes], Any], offset: int) -> None:
        sent = offset
        ask_at = TAIL_CHECK_BYTES
        self._report(sent)
        while chunk := await self._source.read():
            if not await write(framed(chunk)):
                return
            sent += len(chunk)
            self._report(sent)
            if sent - offset > _SURELY_ARRIVING:
                self._attempts.arriving()
            if self._source.unconfirmed >= ask_at:
                self._source.confirm(await self._ask_committed())
                ask_at = self._source.unconfirmed + TAIL_CHECK_BYTES
        if self._source.total not in (None, sent):
            # Of a part that is finished a batch would be made.
            raise DataError(
                f"of {self._source.total} bytes, {sent} could be read.",
                reason="UPLOAD_INCOMPLETE",
                next_step="was the file changed meanwhile? Upload it again.",
            )
        self._whole = True
        await write(FINISH)

    def _report(self, sent: int) -> None:
        # What a stream has taken may not have left this machine: whole is what was confirmed.
        if self._progress is not None and sent != self._source.total:
            self._progress(sent, self._source.total)

    async def _ask_committed(self) -> int:
        """Returns the committed size; 0 where the service knows nothing of the upload."""
        try:
            status = await status_of(self._caller, self._upload_id)
        except NotFound:
            self._committed, self._complete = 0, False
        else:
            self._committed, self._complete = status.committed_size, status.complete
        return self._committed


def refuses_batch(error: PolybatchError) -> bool:
    """Whether it says for sure that no batch was made.

    Other limits are of calls, whatever they ask: one before may have made it.
    """
    if isinstance(error, LimitExceeded):
        return error.reason == "BATCHES_LIMIT"
    return isinstance(error, InvalidRequest | Conflict | PermissionDenied | NotFound)


async def status_of(caller: Caller, upload_id: str) -> Any:
    return await caller.unary(
        methods.GET_UPLOAD_STATUS, files_pb2.GetUploadStatusRequest(upload_id=upload_id)
    )


def framed(*pieces: bytes) -> bytes:
    """The message of a stream that holds a chunk, of one or more pieces."""
    length = sum(map(len, pieces))
    varint = bytearray()
    while length > 0x7F:
        varint.append(length & 0x7F | 0x80)
        length >>= 7
    varint.append(length)
    return b"".join((_CHUNK_TAG, varint, *pieces))
