"""HTTP with a provider: the only module that imports httpx2.

Three kinds of exchange, each with its own rule:

- repeatable calls (reads, cancels, uploads): tried again a few times with back-off, then
  ProviderUnavailable; a clear no is ProviderRejected;
- creates: sent once, and the answer is the reply's body, Refused or Unknown;
- downloads: streamed; ProviderUnavailable when they break.

Keys travel in headers only. Redirects are not followed: they could carry the key to
another host.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import time
from typing import TypeVar

import httpx2
import msgspec
import structlog

from core.providers.contract import ProviderRejected, ProviderUnavailable, Refused, Unknown

log = structlog.get_logger()

T = TypeVar("T")

MAX_ERROR_BYTES = 64 * 1024
MAX_REPLY_BYTES = 32 * 1024 * 1024
MAX_MESSAGE_CHARS = 1000

CONNECT_TIMEOUT = 10.0
KEEPALIVE_SECONDS = 2.0
"""Short of the 5 s after which many servers drop an idle connection: a create that meets
a connection just dropped has an unknown outcome."""

ATTEMPTS = 3
FIRST_DELAY = 0.5
LONGEST_DELAY = 8.0
"""A Retry-After beyond this is handed to the caller, who can wait without holding on."""

PASSING_STATUSES = frozenset({408, 409, 425, 429})
PASSING_CODES = frozenset(
    {
        "api_error",
        "billing_error",
        "billing_hard_limit_reached",
        "insufficient_quota",
        "overloaded_error",
        "rate_limit_error",
        "rate_limit_exceeded",
        "request_timeout",
        "server_error",
        "timeout_error",
        "token_limit_exceeded",
        "too_many_tasks",
    }
)


def is_passing(status: int, code: str = "") -> bool:
    """Whether the same request may fare better later, by HTTP status or error code."""
    return status in PASSING_STATUSES or status >= 500 or code in PASSING_CODES


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. `body` is cut at MAX_ERROR_BYTES when the status is not 2xx."""

    status: int
    body: bytes
    retry_after: float | None
    request_id: str

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300


class _ErrorDetail(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    code: str | int | None = None


class _ErrorBody(msgspec.Struct):
    """{"error": {...}}: the envelope of OpenAI and of Anthropic alike."""

    error: _ErrorDetail


_error_body = msgspec.json.Decoder(_ErrorBody)


class _NotSent(Exception):
    """No connection came about: the provider has seen nothing."""


class _Broken(Exception):
    """The exchange broke off; the provider may have acted on it."""


_BEFORE_SENDING = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.InvalidURL,
)


class ProviderHttp:
    """One provider's HTTP client. Safe for concurrent use by many tasks.

    `base_url` without a trailing slash; `headers` carry the key, which is also named as
    `secret` so that no text that leaves this class contains it; `timeout` in seconds for
    one whole exchange (a download: for each wait for bytes).
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        secret: str,
        timeout: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.timeout = timeout
        self._secret = secret
        self._sleep = sleep
        self._client = httpx2.AsyncClient(
            headers=dict(headers),
            timeout=httpx2.Timeout(timeout, connect=min(CONNECT_TIMEOUT, timeout)),
            limits=httpx2.Limits(keepalive_expiry=KEEPALIVE_SECONDS),
            follow_redirects=False,
        )

    async def close(self) -> None:
        """Close the connections. May be called twice."""
        await self._client.aclose()

    def deadline(self) -> float:
        """The end of an exchange that begins now, in the event loop's time."""
        return asyncio.get_running_loop().time() + self.timeout

    def own(self, url: str) -> bool:
        """Whether a URL that the provider named lies on the provider's own host."""
        try:
            named, base = httpx2.URL(url), httpx2.URL(self.base_url)
        except httpx2.InvalidURL:
            return False
        return (named.scheme, named.host, named.port) == (base.scheme, base.host, base.port)

    async def call(
        self,
        method: str,
        path: str,
        reply_type: type[T],
        *,
        params: Mapping[str, str | int] | None = None,
    ) -> T:
        """Make a repeatable call. Raises ProviderUnavailable, ProviderRejected."""

        def request() -> httpx2.Request:
            return self._client.build_request(method, self.base_url + path, params=params)

        return await self._repeat(f"{method} {path}", request, reply_type)

    async def upload(
        self, path: str, fields: Mapping[str, str], filename: str, file: Path, reply_type: type[T]
    ) -> T:
        """Send a file as multipart form data, the fields before it. Repeatable.

        Raises ProviderUnavailable, ProviderRejected.
        """
        with file.open("rb") as content:

            def request() -> httpx2.Request:
                content.seek(0)
                return self._client.build_request(
                    "POST",
                    self.base_url + path,
                    data=dict(fields),
                    files={"file": (filename, content, "application/jsonl")},
                )

            return await self._repeat(f"POST {path}", request, reply_type)

    async def create(
        self, path: str, content: bytes | Path, *, deadline: float
    ) -> bytes | Refused | Unknown:
        """POST JSON once, from memory or streamed from a file. Gives the 2xx reply's body.

        Unknown wherever the provider may have acted: time-outs, broken connections, a 5xx
        without the provider's own error body. `deadline`: in the event loop's time.
        """
        where = f"POST {path}"
        try:
            if isinstance(content, Path):
                reply = await self._send_file(where, path, content, deadline)
            else:
                reply = await self._send(
                    where,
                    self._client.build_request(
                        "POST",
                        self.base_url + path,
                        content=content,
                        headers={"content-type": "application/json"},
                    ),
                    deadline,
                )
        except _NotSent as error:
            return Refused("unreachable", str(error), passing=True)
        except _Broken as error:
            return Unknown(str(error))
        return reply.body if reply.ok else self._classify_create(where, reply)

    async def download(self, url: str) -> AsyncGenerator[bytes, None]:
        """Stream the body of a GET. `url`: absolute, or a path under the base URL.

        Raises ProviderUnavailable, also in the middle; ProviderRejected.
        """
        absolute = url if "://" in url else self.base_url + url
        where = f"GET {httpx2.URL(absolute).path}"
        try:
            async with self._client.stream("GET", absolute) as response:
                if not 200 <= response.status_code < 300:
                    raise self._rejection(where, await self._read(response))
                async for chunk in response.aiter_bytes():
                    yield chunk
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ProviderUnavailable(self._say(where, _describe(error))) from None

    async def _repeat(
        self, where: str, request: Callable[[], httpx2.Request], reply_type: type[T]
    ) -> T:
        delay = FIRST_DELAY
        for attempt in range(1, ATTEMPTS + 1):
            try:
                reply = await self._send(where, request(), self.deadline())
                if reply.ok:
                    return self._decode(where, reply, reply_type)
                failure = self._rejection(where, reply)
            except (_NotSent, _Broken) as error:
                failure = ProviderUnavailable(str(error))
            if isinstance(failure, ProviderRejected) or attempt == ATTEMPTS:
                raise failure
            wait = failure.retry_after
            if wait is None:
                # Spread: many tasks that failed together should not come back together.
                wait = delay * random.uniform(0.5, 1.0)
                delay = min(2 * delay, LONGEST_DELAY)
            elif wait > LONGEST_DELAY:
                raise failure
            log.info("provider_call_repeated", call=where, attempt=attempt, wait=round(wait, 3))
            await self._sleep(wait)
        raise AssertionError("unreachable")

    async def _send_file(self, where: str, path: str, file: Path, deadline: float) -> Reply:
        async def chunks() -> AsyncGenerator[bytes, None]:
            while chunk := await asyncio.to_thread(opened.read, 1 << 20):
                yield chunk

        with file.open("rb") as opened:
            headers = {
                "content-type": "application/json",
                "content-length": str(os.fstat(opened.fileno()).st_size),
            }
            request = self._client.build_request(
                "POST", self.base_url + path, content=chunks(), headers=headers
            )
            return await self._send(where, request, deadline)

    async def _send(self, where: str, request: httpx2.Request, deadline: float) -> Reply:
        try:
            async with asyncio.timeout_at(deadline), self._opened(request) as response:
                return await self._read(response)
        except _BEFORE_SENDING as error:
            raise _NotSent(self._say(where, _describe(error))) from None
        except httpx2.HTTPError as error:
            raise _Broken(self._say(where, _describe(error))) from None
        except TimeoutError:
            raise _Broken(self._say(where, "no answer in time")) from None

    @asynccontextmanager
    async def _opened(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Response, None]:
        response = await self._client.send(request, stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    async def _read(self, response: httpx2.Response) -> Reply:
        ok = 200 <= response.status_code < 300
        limit = MAX_REPLY_BYTES if ok else MAX_ERROR_BYTES
        body = bytearray()
        try:
            async with aclosing(response.aiter_bytes()) as chunks:
                async for chunk in chunks:
                    body += chunk[: limit - len(body)]
                    if len(body) >= limit:
                        break
        except httpx2.HTTPError:
            # The status alone says what became of the call; only an answer that is
            # needed in whole makes this a broken exchange.
            if ok:
                raise
        headers = response.headers
        return Reply(
            status=response.status_code,
            body=bytes(body),
            retry_after=parse_retry_after(headers, now=time()),
            request_id=headers.get("x-request-id") or headers.get("request-id") or "",
        )

    def _decode(self, where: str, reply: Reply, reply_type: type[T]) -> T:
        try:
            return msgspec.json.decode(reply.body, type=reply_type)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            text = self._say(where, "the answer is not in the documented form", reply)
            raise ProviderUnavailable(text) from None

    def _classify_create(self, where: str, reply: Reply) -> Refused | Unknown:
        code, message = self._error(reply)
        text = self._say(where, message or f"status {reply.status}", reply)
        timed_out = reply.status in (408, 504) or code == "timeout_error"
        if timed_out or (reply.status >= 500 and not message):
            return Unknown(text)
        return Refused(
            code or f"http_{reply.status}", text, is_passing(reply.status, code), reply.retry_after
        )

    def _rejection(self, where: str, reply: Reply) -> ProviderUnavailable | ProviderRejected:
        code, message = self._error(reply)
        text = self._say(where, message or f"status {reply.status}", reply)
        # A conflict over a cancel (it has ended already) does not pass by trying again.
        if is_passing(reply.status) and reply.status != 409:
            return ProviderUnavailable(text, reply.retry_after)
        return ProviderRejected(code or f"http_{reply.status}", text, reply.status)

    def _error(self, reply: Reply) -> tuple[str, str]:
        """Code and message of the provider's own error body; empty if there is none."""
        try:
            error = _error_body.decode(reply.body).error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return "", ""
        code = str(error.code or error.type or "")
        return code, error.message or code

    def _say(self, where: str, what: str, reply: Reply | None = None) -> str:
        text = f"{where}: {what}"
        if self._secret:
            text = text.replace(self._secret, "***")
        if len(text) > MAX_MESSAGE_CHARS:
            text = text[:MAX_MESSAGE_CHARS] + "…"
        if reply is not None and reply.request_id:
            text += f" (request id {reply.request_id[:100]})"
        return text


def _describe(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()


def parse_retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds to wait, from retry-after-ms or Retry-After (seconds or an HTTP date)."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) / scale
        except ValueError:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - now
            except (ValueError, TypeError, OverflowError):
                continue
        # NaN and infinity are floats too.
        if 0 <= seconds < 7 * 86400:
            return seconds
    return None


def clean_key(name: str, key: str) -> str:
    """An API key fit for a header. Raises ValueError that does not show the key."""
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(f"{name} is not a usable API key: expected printable ASCII, no spaces")
    return key
