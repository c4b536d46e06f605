"""Downloads, continued at their offset after a break."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from io import BufferedWriter
from pathlib import Path
from typing import Any

from polybatch import models
from polybatch._operations.calls import Caller
from polybatch._operations.sources import Progress
from polybatch._operations.unfinished import create, naming
from polybatch._transport import methods
from polybatch._transport.methods import Method
from polybatch.errors import Conflict, DataError, PolybatchError
from polybatch.models import ResultFilter
from polybatch.problems import LineProblem
from polybatch.v1 import files_pb2, results_pb2

RESULTS_CHANGED = "RESULTS_CHANGED"
# How often in a row late answers may come while results are saved.
_NEWER_RESULTS = 3


class Downloads:
    """ResultService.DownloadResults and FileService.DownloadFile."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def results(
        self, batch_id: str, which: ResultFilter
    ) -> AsyncGenerator[models.ResultLine, None]:
        """Yields the result lines in input order."""
        stream = ResultStream(self._caller, batch_id, which)
        async with aclosing(_lines(stream.chunks())) as lines:
            async for raw in lines:
                yield models.ResultLine.parse(raw)

    async def result_chunks(
        self, batch_id: str, which: ResultFilter
    ) -> AsyncGenerator[bytes, None]:
        """Yields the bytes of the results as they come."""
        async with aclosing(ResultStream(self._caller, batch_id, which).chunks()) as chunks:
            async for chunk in chunks:
                yield chunk

    async def manifest(self, batch_id: str) -> models.Manifest:
        """Returns the manifest, which stands at the head of the results."""
        stream = ResultStream(self._caller, batch_id, ResultFilter.ALL)
        async with aclosing(stream.chunks()) as chunks:
            # The header comes before the first chunk, or alone if there is none.
            async for _ in chunks:
                break
        return models.Manifest.from_proto(stream.header.manifest)

    async def save_results(
        self, batch_id: str, path: Path, which: ResultFilter, progress: Progress | None
    ) -> models.Manifest:
        """Writes the results to a file, whole or not at all, and returns the manifest."""
        for _ in range(_NEWER_RESULTS):
            try:
                return await self._save_results(batch_id, path, which, progress)
            except Conflict as error:
                # Late answers came meanwhile: nothing of it was kept, and the newer is better.
                if error.reason != RESULTS_CHANGED:
                    raise
        return await self._save_results(batch_id, path, which, progress)

    async def _save_results(
        self, batch_id: str, path: Path, which: ResultFilter, progress: Progress | None
    ) -> models.Manifest:
        stream = ResultStream(self._caller, batch_id, which)

        def expected_digest() -> str | None:
            if which is not ResultFilter.ALL:
                return None
            digest: str = stream.header.manifest.results_sha256
            return digest or None

        await self._save(
            stream.chunks(), path, expected_digest, lambda: stream.header.total_bytes, progress
        )
        return models.Manifest.from_proto(stream.header.manifest)

    async def save_file(self, file_id: str, path: Path, progress: Progress | None) -> models.File:
        """Writes a stored file's content to a file, whole or not at all."""
        file = await self._get_file(file_id)
        await self._save(
            self._whole_file(file), path, lambda: file.sha256, lambda: file.bytes, progress
        )
        return file

    async def file_chunks(self, file_id: str) -> AsyncGenerator[bytes, None]:
        """Yields a stored file's bytes as they come."""
        async with aclosing(self._whole_file(await self._get_file(file_id))) as chunks:
            async for chunk in chunks:
                yield chunk

    async def validation_report(self, file_id: str) -> AsyncGenerator[LineProblem, None]:
        """Yields every problem of a file, in line order."""
        content = files_pb2.FILE_CONTENT_VALIDATION_REPORT
        async with aclosing(_lines(self._file_content(file_id, content, lambda _: True))) as lines:
            async for raw in lines:
                yield _report_line(raw)

    async def _get_file(self, file_id: str) -> models.File:
        request = files_pb2.GetFileRequest(file_id=file_id)
        return models.File.from_proto(await self._caller.unary(methods.GET_FILE, request))

    def _whole_file(self, file: models.File) -> AsyncGenerator[bytes, None]:
        return self._file_content(
            file.id, files_pb2.FILE_CONTENT_UNSPECIFIED, lambda count: count == file.bytes
        )

    async def _file_content(
        self, file_id: str, content: files_pb2.FileContent, complete: Callable[[int], bool]
    ) -> AsyncGenerator[bytes, None]:
        def request(offset: int) -> Any:
            return files_pb2.DownloadFileRequest(file_id=file_id, offset=offset, content=content)

        replies = _resumed(self._caller, methods.DOWNLOAD_FILE, request, complete)
        async with aclosing(replies):
            async for reply in replies:
                yield reply.chunk

    async def _save(
        self,
        chunks: AsyncGenerator[bytes, None],
        path: Path,
        expected_digest: Callable[[], str | None],
        total: Callable[[], int],
        progress: Progress | None,
    ) -> None:
        blocking = self._caller.transport.blocking
        # In the same folder, so that the last step is a rename within one file system.
        unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        digest = hashlib.sha256()
        received = 0

        def append(chunk: bytes) -> None:
            digest.update(chunk)
            file.write(chunk)

        file = await blocking(partial(_create, unfinished, path))
        try:
            with file:
                async for chunk in chunks:
                    await blocking(partial(append, chunk))
                    received += len(chunk)
                    if progress is not None:
                        progress(received, total())
                with naming(path):
                    await blocking(file.flush)
                    await blocking(lambda: os.fsync(file.fileno()))
            expected = expected_digest()
            if expected is not None and digest.hexdigest() != expected:
                raise DataError(
                    f"what came has the SHA-256 {digest.hexdigest()}, not {expected}.",
                    reason="DIGEST_MISMATCH",
                    next_step="download it again.",
                )
            unfinished.replace(path)
        finally:
            await chunks.aclose()
            unfinished.unlink(missing_ok=True)


def _create(unfinished: Path, path: Path) -> BufferedWriter:
    # A rename would put a file in the place of a device or a pipe.
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "exists and is not a regular file", str(path))
    return create(unfinished, path)


class ResultStream:
    """One download of results: its header, once it has come, and its bytes."""

    def __init__(self, caller: Caller, batch_id: str, which: ResultFilter) -> None:
        self._caller = caller
        self._batch_id = batch_id
        self._which = which
        self.header: Any = None

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yields the bytes, exactly as many as the header announces."""
        replies = _resumed(self._caller, methods.DOWNLOAD_RESULTS, self._request, self._complete)
        async with aclosing(replies):
            async for reply in replies:
                if reply.WhichOneof("payload") == "header":
                    self.header = reply.header
                elif self.header is None:
                    raise DataError("the results came without a header.", reason="HEADER_MISSING")
                else:
                    yield reply.chunk

    def _complete(self, received: int) -> bool:
        return self.header is not None and bool(received == self.header.total_bytes)

    def _request(self, offset: int) -> Any:
        return results_pb2.DownloadResultsRequest(
            batch_id=self._batch_id,
            filter=self._which.to_proto(),
            offset=offset,
            # Of two revisions nothing can be put together.
            results_revision=self.header.results_revision if self.header and offset else 0,
        )


async def _resumed(
    caller: Caller,
    method: Method,
    request: Callable[[int], Any],
    complete: Callable[[int], bool],
) -> AsyncGenerator[Any, None]:
    """Yields the replies of a download, again from the offset reached after a break.

    An OK before `complete(bytes received)` counts as a break too.
    """
    attempts = caller.attempts(method.server)
    received = 0
    while True:
        stream = caller.transport.replies(method, request(received))
        try:
            while (reply := await stream.read()) is not None:
                # A header alone is none: a server that always breaks after it is given up.
                if reply.chunk:
                    attempts.progress()
                    received += len(reply.chunk)
                yield reply
            if complete(received):
                return
            raise stream.ended_early("the download")
        except PolybatchError as error:
            await attempts.pause(error)
        finally:
            stream.cancel()


async def _lines(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yields lines without their newlines; a line may span any number of chunks."""
    begun: list[bytes] = []
    try:
        async for chunk in chunks:
            *whole, rest = chunk.split(b"\n")
            for line in whole:
                if begun:
                    begun.append(line)
                    line = b"".join(begun)
                    begun.clear()
                if line:
                    yield line
            if rest:
                begun.append(rest)
        if begun:
            yield b"".join(begun)
    finally:
        await chunks.aclose()


def _report_line(raw: bytes) -> LineProblem:
    """A line of a validation report. DataError if it is none."""
    try:
        entry = json.loads(raw)
        return LineProblem(
            line=int(entry["line"]),
            custom_id=str(entry.get("custom_id") or ""),
            field=str(entry.get("field") or ""),
            reason=str(entry["reason"]),
            message=str(entry["message"]),
            severity=str(entry.get("severity", "error")),
            lenient=bool(entry.get("lenient", False)),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"a line of the validation report cannot be read ({error!r}).",
            reason="REPORT_UNREADABLE",
        ) from error
