"""Google's resumable uploads: a call that gives an address, and one that sends the bytes there."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from core.providers.http.call_metrics import Broken
from core.providers.http.transport import Reply, moved_to
from core.providers.http.upload_tries import UploadTries
from core.providers.provider_errors import is_transient

_FINISH = {"x-goog-upload-command": "upload, finalize", "x-goog-upload-offset": "0"}


class ResumableUpload:
    """One file, sent in one piece.

    Where the bytes are refused for now, only they are sent again: a provider that refuses
    every second call would never get to them if each try began with the first call.
    """

    def __init__(
        self,
        url: str,
        about: bytes,
        file: Path,
        media_type: str,
        *,
        post: Callable[[str, bytes | Path, Mapping[str, str]], Awaitable[Reply]],
        wait: Callable[[], Awaitable[object]],
        tries: UploadTries,
    ) -> None:
        """`about`: JSON that describes the file; `post`: sends to a URL, with headers; `wait`:
        waits for as long as the provider wants no call."""
        self._url = url
        self._about = about
        self._file = file
        self._start = {
            "x-goog-upload-protocol": "resumable",
            "x-goog-upload-command": "start",
            "x-goog-upload-header-content-length": str(os.stat(file).st_size),
            "x-goog-upload-header-content-type": media_type,
        }
        self._post = post
        self._wait = wait
        self._tries = tries
        self._address = ""
        """Where bytes that were refused can be sent again."""

    async def send(self) -> Reply:
        """Make one try. Raises NotSent, Broken, and what `wait` raises."""
        address, self._address = self._address, ""
        goes_on = bool(address)
        if not address:
            started = await self._post(self._url, self._about, self._start)
            if not started.ok:
                return started
            address = self._named(started)
            await self._wait()
        reply = await self._tries.make(lambda: self._post(address, self._file, _FINISH))
        if reply.ok:
            return reply
        if is_transient(reply.status):
            self._address = address
        elif goes_on:
            raise Broken(f"the upload that was begun is over: status {reply.status}")
        return reply

    def _named(self, started: Reply) -> str:
        address = started.headers.get("x-goog-upload-url")
        if not address:
            raise Broken("the answer names no address to upload to")
        try:
            # At the host that we were told to talk to, whichever the answer names.
            return moved_to(address, self._url)
        except ValueError as error:
            raise Broken(f"the address to upload to is none: {error}") from None
