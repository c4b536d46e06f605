"""HTTP with a provider: what is repeated, what is not, and what an answer means.

Five kinds of exchange, each with its own rule:

- repeatable calls (reads, cancels, deletes) and uploads: tried again a few times with
  back-off, then ProviderUnavailable; a clear no is ProviderRejected;
- creates: sent once, and the answer is the reply's body, Refused or OutcomeUnknown;
- downloads: streamed; tried again where they fail before their first byte, and
  ProviderUnavailable when they break later;
- plain exchanges: sent once, and the reply is the caller's to judge, as is the pace.

A Retry-After is obeyed by every call with the same key, whatever its kind: a short one is
waited for, of a long one it is said how long it is (core.providers.http.holds). So is the pause
between two probes of a provider that answers no call (core.providers.http.outages).
Keys travel in headers only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import msgspec

from core.failpoints import Failpoint, writing
from core.providers.contract import OutcomeUnknown, ProviderUnavailable, Refused
from core.providers.http.call_metrics import Broken, HeldBack, NotSent
from core.providers.http.heeding import HeedingTransport
from core.providers.http.holds import CredentialHold
from core.providers.http.pacing import Pacing
from core.providers.http.replies import Answers
from core.providers.http.resumable import ResumableUpload
from core.providers.http.retries import Patience
from core.providers.http.transport import Reply, Transport, path_of, same_origin
from core.providers.http.upload_tries import UploadTries

T = TypeVar("T")

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
_UNREACHABLE = "unreachable"


class ProviderHttp:
    """One provider's HTTP client. Safe for concurrent use by many tasks.

    `base_url` without a trailing slash; `headers` carry the key, which is also named as
    `secret` so that no text that leaves this class contains it, unless it is as short as a
    word (see Answers); `timeout` in seconds for one whole exchange (a download: for each wait
    for bytes); `provider`: its slug, for the metrics; `connections`: how many are opened at
    most, and kept; `hold`: until when the provider wants no call with this key (Opening.hold).
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
        hold: CredentialHold | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.timeout = timeout
        self._answers = Answers(secret)
        self.say = self._answers.say
        hold = hold or CredentialHold.alone()
        self._pacing = Pacing(hold, self.say, sleep)
        self._sleep = sleep
        self._transport = HeedingTransport(
            Transport(headers, provider=provider, timeout=timeout, connections=connections),
            hold,
            self._answers.hide,
        )

    async def close(self) -> None:
        """Close the connections. May be called twice."""
        await self._transport.close()

    @property
    def _held_back(self) -> str:
        """The code of a call that was not made."""
        return _UNREACHABLE if self._pacing.away else _HELD_BACK

    def deadline(self) -> float:
        """The end of an exchange that begins now, in the event loop's time."""
        return _now() + self.timeout

    def surely_since(self, moment: datetime) -> datetime:
        """The moment, or as much earlier as the provider's clock is behind ours.

        What is created from a moment of ours on may bear a time before it there.
        """
        return moment - timedelta(seconds=max(self._transport.ahead, 0.0))

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

        return await self._repeat(f"{method} {path}", send, read)

    async def upload(
        self,
        path: str,
        fields: Mapping[str, str],
        filename: str,
        file: Path,
        read: Callable[[bytes], T],
        tries: UploadTries,
    ) -> T:
        """Send a file as multipart form data, the fields before it. Repeatable.

        `read` as of `call`; `tries` learns what may be left behind. Raises
        ProviderUnavailable, ProviderRejected.
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

            where = f"POST {path}"
            return await self._repeat(where, lambda: tries.make(send), tries.reading(read))

    async def upload_resumable(
        self,
        path: str,
        about: bytes,
        file: Path,
        media_type: str,
        read: Callable[[bytes], T],
        tries: UploadTries,
    ) -> T:
        """Send a file by Google's resumable protocol, in one piece. Repeatable.

        `about`: JSON that describes the file; the rest as of `upload`. Raises
        ProviderUnavailable, ProviderRejected.
        """
        where = f"POST {path}"

        async def post(url: str, content: bytes | Path, headers: Mapping[str, str]) -> Reply:
            deadline = self.deadline()
            if isinstance(content, Path):
                with writing(Failpoint.PROVIDER_UPLOAD):
                    return await self._transport.send_file(
                        url, content, kind="upload", deadline=deadline, headers=headers
                    )
            return await self._transport.send(
                "POST",
                url,
                kind="upload",
                deadline=deadline,
                content=content,
                headers={**_JSON, **headers},
            )

        upload = ResumableUpload(
            self.base_url + path,
            about,
            file,
            media_type,
            post=post,
            wait=lambda: self._pacing.wait(where),
            tries=tries,
        )
        return await self._repeat(where, upload.send, tries.reading(read))

    async def create(
        self,
        path: str,
        content: bytes | Path,
        *,
        deadline: float,
        gate: Callable[[], Awaitable[None]],
    ) -> bytes | Refused | OutcomeUnknown:
        """POST JSON once, from memory or streamed from a file. Gives the 2xx reply's body.

        OutcomeUnknown wherever the provider may have acted: time-outs, broken connections, a 5xx
        without the provider's own error body. `deadline`: in the event loop's time. `gate`
        is asked last; what it raises comes out, and nothing was sent.
        """
        where = f"POST {path}"
        url = self.base_url + path
        try:
            waited_for = await self._pacing.wait(where)
        except ProviderUnavailable as error:
            return Refused(self._held_back, str(error), True, error.retry_after)
        await gate()
        if self._pacing.became_longer(waited_for):
            # Another call was told so meanwhile. Nothing may wait behind the gate.
            why = self._pacing.not_sent(where)
            return Refused(self._held_back, why, True, self._pacing.left)
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
            return Refused(_UNREACHABLE, self.say(where, str(error)), transient=True)
        except Broken as error:
            return OutcomeUnknown(self.say(where, str(error)))
        if not reply.ok:
            return self._answers.of_create(where, reply)
        return without_nul(self._answers.hidden_body(reply.body))

    async def exchange(self, path: str, content: bytes, headers: Mapping[str, str]) -> Reply:
        """POST JSON once; gives the reply whatever its status, without the key should it be
        quoted there: the reply becomes a user's result. Raises HeldBack, NotSent, Broken.

        It never waits: whoever makes it has just made sure that it may.
        """
        if self._pacing.left:
            raise HeldBack(self._pacing.not_sent(f"POST {path}"), self._pacing.left)
        self._pacing.begin()
        with writing(Failpoint.PROVIDER_CALL):
            reply = await self._transport.send(
                "POST",
                self.base_url + path,
                kind="run",
                deadline=self.deadline(),
                content=content,
                headers={**_JSON, **headers},
            )
        return self._answers.hidden(reply)

    async def download(self, url: str) -> AsyncGenerator[bytes, None]:
        """Stream the body of a GET. `url`: absolute, or a path under the base URL.

        Repeated like any read until the first bytes have come. Raises ProviderUnavailable,
        also in the middle; ProviderRejected.
        """
        absolute = url if "://" in url else self.base_url + url
        where = f"GET {path_of(absolute)}"
        patience = Patience(where, self._sleep)
        while True:
            await self._pacing.wait(where)
            begun = False
            try:
                async with aclosing(self._streamed(where, absolute)) as chunks:
                    async for chunk in chunks:
                        begun = True
                        yield chunk
                return
            except ProviderUnavailable as failure:
                if begun:
                    raise
                await patience.after(failure)

    async def _streamed(self, where: str, url: str) -> AsyncGenerator[bytes, None]:
        try:
            with writing(Failpoint.PROVIDER_DOWNLOAD):
                async with self._transport.stream(url) as body:
                    if isinstance(body, Reply):
                        raise self._answers.rejection(where, body)
                    end = _now() + LONGEST_DOWNLOAD
                    async with aclosing(self._answers.hidden_chunks(body)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                            if _now() > end:
                                raise Broken(f"it did not end within {LONGEST_DOWNLOAD:.0f} s")
        except Broken as error:
            raise ProviderUnavailable(self.say(where, str(error))) from None

    async def _repeat(
        self,
        where: str,
        send: Callable[[], Awaitable[Reply]],
        read: Callable[[bytes], T],
    ) -> T:
        patience = Patience(where, self._sleep)
        while True:
            await self._pacing.wait(where)
            try:
                reply = await send()
            except (NotSent, Broken) as error:
                await patience.after(ProviderUnavailable(self.say(where, str(error))))
                continue
            if reply.ok:
                return self._decode(where, reply, read)
            await patience.after(self._answers.rejection(where, reply))

    def _decode(self, where: str, reply: Reply, read: Callable[[bytes], T]) -> T:
        try:
            return read(without_nul(self._answers.hidden_body(reply.body)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            text = self.say(where, "the answer is not in the documented form", reply)
            raise ProviderUnavailable(text) from None


def without_nul(body: bytes) -> bytes:
    """JSON whose texts hold no U+0000: they go into the ledger, and PostgreSQL keeps none."""
    return body.replace(b"\\u0000", b"\\ufffd")


def _now() -> float:
    return asyncio.get_running_loop().time()
