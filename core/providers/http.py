"""HTTP with a provider: what is repeated, what is not, and what an answer means.

Five kinds of exchange, each with its own rule:

- repeatable calls (reads, cancels, deletes) and uploads: tried again a few times with
  back-off, then ProviderUnavailable; a clear no is ProviderRejected;
- creates: sent once, and the answer is the reply's body, Refused or Unknown;
- downloads: streamed; ProviderUnavailable when they break;
- plain exchanges: sent once, and the reply is the caller's to judge, as is the pace.

A Retry-After is obeyed by all calls of its kind, not only by the one that was told.
Keys travel in headers only.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from core.failpoints import Failpoint, writing
from core.providers.contract import (
    Gate,
    ProviderRejected,
    ProviderUnavailable,
    Refused,
    Unknown,
)
from core.providers.exchange import Broken, NotSent
from core.providers.faults import is_access, is_passing
from core.providers.transport import (
    Reply,
    Transport,
    moved_to,
    path_of,
    same_origin,
)

log = structlog.get_logger()

T = TypeVar("T")

MAX_MESSAGE_CHARS = 1000

ATTEMPTS = 3
FIRST_DELAY = 0.5
LONGEST_DELAY = 8.0
"""A Retry-After beyond this is handed to the caller, who can wait without holding on."""
LONGEST_HOLD = 600.0
"""A Retry-After beyond this holds back only the call that was told."""

_POINTS = {
    "GET": Failpoint.PROVIDER_ASK,
    "POST": Failpoint.PROVIDER_CANCEL,
    "DELETE": Failpoint.PROVIDER_DELETE,
}
LONGEST_DOWNLOAD = 6 * 3600.0
"""A download that takes longer is broken off: each wait for bytes is bounded by the timeout,
but a body that trickles, or never ends, would hold its place for ever."""

_JSON = {"content-type": "application/json"}
_KINDS = {"GET": "read", "POST": "cancel", "DELETE": "delete"}
_HELD_BACK = "rate_limit_exceeded"


class ProviderHttp:
    """One provider's HTTP client. Safe for concurrent use by many tasks.

    `base_url` without a trailing slash; `headers` carry the key, which is also named as
    `secret` so that no text that leaves this class contains it; `timeout` in seconds for
    one whole exchange (a download: for each wait for bytes); `provider`: its slug, for the
    metrics; `connections`: how many are opened at most, and kept.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        secret: str,
        timeout: float,
        provider: str = "unnamed",
        connections: int | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.timeout = timeout
        self._secret = secret
        self._sleep = sleep
        self._transport = Transport(
            headers, provider=provider, timeout=timeout, connections=connections
        )
        self._held: dict[str, float] = {}
        """Kind of call to the time until which the provider wants none."""

    async def close(self) -> None:
        """Close the connections. May be called twice."""
        await self._transport.close()

    def deadline(self) -> float:
        """The end of an exchange that begins now, in the event loop's time."""
        return _now() + self.timeout

    async def pause(self, seconds: float) -> None:
        """Wait between two looks at the provider."""
        await self._sleep(seconds)

    def own(self, url: str) -> bool:
        """Whether a URL that the provider named lies on the provider's own host."""
        return same_origin(url, self.base_url)

    async def call(
        self,
        method: str,
        path: str,
        read: Callable[[bytes], T],
        *,
        params: Mapping[str, str | int] | None = None,
    ) -> T:
        """Make a repeatable call. Raises ProviderUnavailable, ProviderRejected.

        `read` makes something of the answer's body; raises msgspec.DecodeError.
        """

        async def send() -> Reply:
            with writing(_POINTS[method]):
                return await self._transport.send(
                    method,
                    self.base_url + path,
                    kind=_KINDS[method],
                    deadline=self.deadline(),
                    params=params,
                )

        return await self._repeat(f"{method} {path}", method, send, read)

    async def upload(
        self,
        path: str,
        fields: Mapping[str, str],
        filename: str,
        file: Path,
        read: Callable[[bytes], T],
    ) -> T:
        """Send a file as multipart form data, the fields before it. Repeatable.

        `read` as of `call`. Raises ProviderUnavailable, ProviderRejected.
        """
        with file.open("rb") as content:

            async def send() -> Reply:
                content.seek(0)
                with writing(Failpoint.PROVIDER_UPLOAD):
                    return await self._transport.send(
                        "POST",
                        self.base_url + path,
                        kind="upload",
                        deadline=self.deadline(),
                        data=dict(fields),
                        files={"file": (filename, content, "application/jsonl")},
                    )

            return await self._repeat(f"POST {path}", "upload", send, read)

    async def upload_resumable(
        self, path: str, about: bytes, file: Path, media_type: str, read: Callable[[bytes], T]
    ) -> T:
        """Send a file by Google's resumable protocol, in one piece. Repeatable.

        `about`: JSON that describes the file; `read` as of `call`. Raises
        ProviderUnavailable, ProviderRejected.
        """
        start = {
            "x-goog-upload-protocol": "resumable",
            "x-goog-upload-command": "start",
            "x-goog-upload-header-content-length": str(os.stat(file).st_size),
            "x-goog-upload-header-content-type": media_type,
        }
        finish = {"x-goog-upload-command": "upload, finalize", "x-goog-upload-offset": "0"}

        async def send() -> Reply:
            started = await self._transport.send(
                "POST",
                self.base_url + path,
                kind="upload",
                deadline=self.deadline(),
                content=about,
                headers=_JSON | start,
            )
            address = started.headers.get("x-goog-upload-url")
            if not started.ok:
                return started
            if not address:
                raise Broken("the answer names no address to upload to")
            try:
                # At the host that we were told to talk to, whichever the answer names.
                address = moved_to(address, self.base_url)
            except ValueError as error:
                raise Broken(f"the address to upload to is none: {error}") from None
            with writing(Failpoint.PROVIDER_UPLOAD):
                return await self._transport.send_file(
                    address, file, kind="upload", deadline=self.deadline(), headers=finish
                )

        return await self._repeat(f"POST {path}", "upload", send, read)

    async def create(
        self, path: str, content: bytes | Path, *, deadline: float, gate: Gate
    ) -> bytes | Refused | Unknown:
        """POST JSON once, from memory or streamed from a file. Gives the 2xx reply's body.

        Unknown wherever the provider may have acted: time-outs, broken connections, a 5xx
        without the provider's own error body. `deadline`: in the event loop's time. `gate`
        is asked last; what it raises comes out, and nothing was sent.
        """
        where = f"POST {path}"
        url = self.base_url + path
        try:
            await self._hold_back(where, "create")
        except ProviderUnavailable as error:
            return Refused(_HELD_BACK, str(error), True, error.retry_after)
        await gate()
        try:
            with writing(Failpoint.PROVIDER_CREATE):
                if isinstance(content, Path):
                    reply = await self._transport.send_file(
                        url, content, kind="create", deadline=deadline, headers=_JSON
                    )
                else:
                    reply = await self._transport.send(
                        "POST",
                        url,
                        kind="create",
                        deadline=deadline,
                        content=content,
                        headers=_JSON,
                    )
        except NotSent as error:
            return Refused("unreachable", self.say(where, str(error)), passing=True)
        except Broken as error:
            return Unknown(self.say(where, str(error)))
        self._heed("create", reply)
        return without_nul(reply.body) if reply.ok else self._classify_create(where, reply)

    async def exchange(self, path: str, content: bytes, headers: Mapping[str, str]) -> Reply:
        """POST JSON once; gives the reply whatever its status, without the key should it be
        quoted there: the reply becomes a user's result. Raises NotSent, Broken."""
        with writing(Failpoint.PROVIDER_CALL):
            reply = await self._transport.send(
                "POST",
                self.base_url + path,
                kind="run",
                deadline=self.deadline(),
                content=content,
                headers={**_JSON, **headers},
            )
        return self._hidden(reply)

    async def download(self, url: str) -> AsyncGenerator[bytes, None]:
        """Stream the body of a GET. `url`: absolute, or a path under the base URL.

        Raises ProviderUnavailable, also in the middle; ProviderRejected.
        """
        absolute = url if "://" in url else self.base_url + url
        where = f"GET {path_of(absolute)}"
        await self._hold_back(where, "download")
        try:
            with writing(Failpoint.PROVIDER_DOWNLOAD):
                async with self._transport.stream(absolute) as body:
                    if isinstance(body, Reply):
                        self._heed("download", body)
                        raise self._rejection(where, body)
                    end = _now() + LONGEST_DOWNLOAD
                    async for chunk in body:
                        yield chunk
                        if _now() > end:
                            raise Broken(f"it did not end within {LONGEST_DOWNLOAD:.0f} s")
        except Broken as error:
            raise ProviderUnavailable(self.say(where, str(error))) from None

    async def _repeat(
        self,
        where: str,
        kind: str,
        send: Callable[[], Awaitable[Reply]],
        read: Callable[[bytes], T],
    ) -> T:
        delay = FIRST_DELAY
        for attempt in range(1, ATTEMPTS + 1):
            await self._hold_back(where, kind)
            try:
                reply = await send()
                if reply.ok:
                    return self._decode(where, reply, read)
                self._heed(kind, reply)
                failure = self._rejection(where, reply)
            except (NotSent, Broken) as error:
                failure = ProviderUnavailable(self.say(where, str(error)))
            if isinstance(failure, ProviderRejected) or attempt == ATTEMPTS:
                raise failure
            if failure.retry_after is None:
                # Spread: many tasks that failed together should not come back together.
                wait = delay * random.uniform(0.5, 1.0)
                delay = min(2 * delay, LONGEST_DELAY)
                await self._sleep(wait)
            elif failure.retry_after > LONGEST_DELAY:
                raise failure
            log.info("provider_call_repeated", call=where, attempt=attempt)
        raise AssertionError("unreachable")

    def _heed(self, kind: str, reply: Reply) -> None:
        """Remember how long the provider wants no more calls of a kind."""
        if not reply.ok and reply.retry_after is not None and reply.retry_after <= LONGEST_HOLD:
            until = _now() + reply.retry_after
            self._held[kind] = max(self._held.get(kind, 0.0), until)

    async def _hold_back(self, where: str, kind: str) -> None:
        """Wait as long as the provider wants no calls of a kind.

        Raises ProviderUnavailable if that is too long to hold on.
        """
        wait = self._held.get(kind, 0.0) - _now()
        if wait <= 0:
            self._held.pop(kind, None)
        elif wait > LONGEST_DELAY:
            text = self.say(where, f"not sent: the provider asked to wait, {wait:.0f} s more")
            raise ProviderUnavailable(text, wait)
        else:
            # Spread, for those who wait are many.
            await self._sleep(wait * random.uniform(1.0, 1.1))

    def _decode(self, where: str, reply: Reply, read: Callable[[bytes], T]) -> T:
        try:
            return read(without_nul(reply.body))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            text = self.say(where, "the answer is not in the documented form", reply)
            raise ProviderUnavailable(text) from None

    def _classify_create(self, where: str, reply: Reply) -> Refused | Unknown:
        error = reply.error
        text = self.say(where, error.message or f"status {reply.status}", reply)
        timed_out = reply.status in (408, 504) or error.code == "timeout_error"
        if timed_out or (reply.status >= 500 and not error.documented):
            return Unknown(text)
        passing = is_passing(reply.status, error.code)
        return Refused(
            error.code or f"http_{reply.status}",
            text,
            passing,
            reply.retry_after,
            access=is_access(reply.status, error.code),
        )

    def _rejection(self, where: str, reply: Reply) -> ProviderUnavailable | ProviderRejected:
        error = reply.error
        text = self.say(where, error.message or f"status {reply.status}", reply)
        # A conflict over a cancel (it has ended already) does not pass by trying again.
        if is_passing(reply.status) and reply.status != 409:
            return ProviderUnavailable(text, reply.retry_after)
        return ProviderRejected(error.code or f"http_{reply.status}", text, reply.status)

    def say(self, where: str, what: str, reply: Reply | None = None) -> str:
        """What happened in an exchange, for people: short, and without the key."""
        text = self._hide(f"{where}: {what}").replace("\0", "\ufffd")
        if len(text) > MAX_MESSAGE_CHARS:
            text = text[:MAX_MESSAGE_CHARS] + "…"
        if reply is not None and reply.request_id:
            text += f" (request id {self._hide(reply.request_id[:100])})"
        return text

    def _hidden(self, reply: Reply) -> Reply:
        if not self._secret:
            return reply
        secret = self._secret.encode()
        return replace(
            reply,
            body=reply.body.replace(secret, b"***") if secret in reply.body else reply.body,
            headers={name: self._hide(value) for name, value in reply.headers.items()},
        )

    def _hide(self, text: str) -> str:
        return text.replace(self._secret, "***") if self._secret else text


def without_nul(body: bytes) -> bytes:
    """JSON whose texts hold no U+0000: they go into the ledger, and PostgreSQL keeps none."""
    return body.replace(b"\\u0000", b"\\ufffd")


def _now() -> float:
    return asyncio.get_running_loop().time()
