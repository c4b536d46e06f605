"""A file on its way to the gateway: one stream of UploadFile, fed as the bytes come."""

from __future__ import annotations

import asyncio
from typing import Any

from google.protobuf.duration_pb2 import Duration
from polybatch.v1 import files_pb2

from services.web.client_parts import FINISH, framed, methods
from services.web.upstream import Engine

# A message costs about as much as its bytes from here on; each upload holds three times as much.
_MESSAGE_BYTES = 256 * 1024
_MOST_PIECES = 4096
# The gateway ends a stream that is silent: what trickles in is not held back.
_FLUSH_SECONDS = 5.0


class FileUpload:
    """One upload, ended with the block if `finish` was not reached. Raises PolybatchError."""

    def __init__(self, engine: Engine, spec: files_pb2.UploadSpec) -> None:
        """`spec`: sent before the first bytes; until then its filename may be filled in."""
        self._stream = engine.transport.upload(methods.UPLOAD_FILE)
        self._spec = spec
        self._begun = False
        self._open = True
        self._pieces: list[bytes] = []
        self._held = 0
        self._flush_at = 0.0

    async def __aenter__(self) -> FileUpload:
        return self

    async def __aexit__(self, *_raised: object) -> None:
        self._stream.cancel()

    async def write(self, piece: bytes) -> bool:
        """Send the next bytes. False: the gateway wants no more, and `finish` says why."""
        if len(piece) > _MESSAGE_BYTES:
            cuts = range(0, len(piece), _MESSAGE_BYTES)
            return all([await self.write(piece[at : at + _MESSAGE_BYTES]) for at in cuts])
        if not self._held:
            self._flush_at = asyncio.get_running_loop().time() + _FLUSH_SECONDS
        self._pieces.append(piece)
        self._held += len(piece)
        # Many small pieces would take more room than their bytes.
        full = self._held >= _MESSAGE_BYTES or len(self._pieces) >= _MOST_PIECES
        if full or asyncio.get_running_loop().time() > self._flush_at:
            await self._flush()
        return self._open

    async def append(self, part: str) -> bool:
        """Have the gateway take the bytes of a part that it has. Returns as `write`."""
        await self._flush()
        await self._send(files_pb2.UploadFileRequest(part=part).SerializeToString())
        return self._open

    async def expire(self, seconds: int) -> None:
        """Have the file deleted so long after it is made."""
        await self._flush()
        message = files_pb2.UploadFileRequest(expires_after=Duration(seconds=seconds))
        await self._send(message.SerializeToString())

    async def finish(self) -> Any:
        """Say that this was all; returns the UploadFileResponse."""
        await self._flush()
        await self._send(FINISH)
        return await self._stream.finish()

    async def _flush(self) -> None:
        if not self._begun:
            self._begun = True
            await self._send(files_pb2.UploadFileRequest(spec=self._spec).SerializeToString())
        if self._held:
            message = framed(*self._pieces)
            self._pieces.clear()
            self._held = 0
            await self._send(message)

    async def _send(self, message: bytes) -> None:
        if self._open:
            self._open = await self._stream.write(message)
