"""One HTTP exchange: the only module that imports httpx2.

What matters of a failed exchange is whether the provider can have seen the request:
NotSent says that it cannot, Broken that it may have. Redirects are not followed: they
could carry the key to another host.
"""

from __future__ import annotations

import asyncio
import functools
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from time import time
from typing import Any

import httpx2

from core.providers.http.call_metrics import Broken, Exchange, NotSent, measured
from core.providers.http.decoding import ACCEPTED, BadEncoding, unpacked
from core.providers.provider_errors import (
    ErrorAnswer,
    http_date,
    parse_retry_after,
    read_error,
)

MAX_ERROR_BYTES = 64 * 1024
MAX_REPLY_BYTES = 32 * 1024 * 1024

CONNECT_TIMEOUT = 10.0
KEEPALIVE_SECONDS = 2.0
"""Short of the 5 s after which many servers drop an idle connection: a create that meets
a connection just dropped has an unknown outcome."""

# Each piece waits for its turn in the event loop, behind what translates the next file.
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. `body` is cut at MAX_ERROR_BYTES when the status is not 2xx."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    error: ErrorAnswer
    """What the body says, if the status is not 2xx."""
    retry_after: float | None
    """Seconds, from the headers or the body."""

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    @property
    def request_id(self) -> str:
        """The provider's id of the exchange; empty if it gives none."""
        names = ("x-request-id", "request-id", "apim-request-id")
        return next((self.headers[name] for name in names if name in self.headers), "")


_BEFORE_SENDING = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.InvalidURL,
)


@functools.cache
def trusted() -> ssl.SSLContext:
    """Who is trusted under TLS, as SSL_CERT_FILE, SSL_CERT_DIR or the system says.

    One for all providers of the process: to read the certificates takes a twentieth of a
    second and a megabyte, and httpx2 would do it for each client. What a connection needs of
    its own, the server's name, is not in it.
    """
    return httpx2.create_ssl_context()


def _no_cookies() -> CookieJar:
    """A jar that stays empty.

    What is in front of a provider sets cookies, and no API asks for them back: one that ties
    calls to a server would outlive that server, and one that is no ASCII lets no call be made.
    """
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))


class Transport:
    """Connections to one provider; `headers` go with every request. Times in seconds."""

    def __init__(
        self,
        headers: Mapping[str, str],
        *,
        provider: str,
        timeout: float,
        connections: int | None = None,
    ) -> None:
        """`provider`: its slug, for the metrics. `connections`: so many are opened at most,
        and kept; None: no limit."""
        self._provider = provider
        self._timeout = timeout
        self.ahead = 0.0
        """Seconds that our clock is ahead of the provider's, as its latest answer has it; less
        than nothing where it is behind."""
        self._client = httpx2.AsyncClient(
            headers={**headers, "accept-encoding": ACCEPTED},
            timeout=httpx2.Timeout(timeout, connect=min(CONNECT_TIMEOUT, timeout)),
            limits=httpx2.Limits(
                max_connections=connections,
                max_keepalive_connections=connections,
                keepalive_expiry=KEEPALIVE_SECONDS,
            ),
            follow_redirects=False,
            cookies=_no_cookies(),
            verify=trusted(),
        )

    async def close(self) -> None:
        """Close the connections. May be called twice."""
        await self._client.aclose()

    async def send(
        self, method: str, url: str, *, kind: str, deadline: float, **parts: Any
    ) -> Reply:
        """Make one exchange; `deadline` in the event loop's time, `parts` as httpx2 has them.

        `kind`: of call, for the metrics. Raises NotSent, Broken.
        """
        with measured(self._provider, kind) as exchange:
            return await self._send(method, url, exchange, deadline=deadline, **parts)

    async def _send(
        self, method: str, url: str, exchange: Exchange, *, deadline: float, **parts: Any
    ) -> Reply:
        try:
            request = self._client.build_request(method, url, **parts)
            exchange.sent = _length(request.headers)
            async with asyncio.timeout_at(deadline), self._opened(request) as response:
                exchange.status = response.status_code
                reply = await _read(response)
                exchange.received = len(reply.body)
                return reply
        except _BEFORE_SENDING as error:
            raise NotSent(_describe(error)) from None
        except (httpx2.HTTPError, BadEncoding) as error:
            raise Broken(_describe(error)) from None
        except TimeoutError:
            raise Broken("no answer in time") from None

    async def send_file(
        self, url: str, file: Path, *, kind: str, deadline: float, headers: Mapping[str, str]
    ) -> Reply:
        """POST a file's bytes as the body, streamed. Raises NotSent, Broken."""

        async def chunks() -> AsyncGenerator[bytes, None]:
            while chunk := await asyncio.to_thread(opened.read, _CHUNK_BYTES):
                yield chunk

        with file.open("rb") as opened:
            length = str(os.fstat(opened.fileno()).st_size)
            return await self.send(
                "POST",
                url,
                kind=kind,
                deadline=deadline,
                content=chunks(),
                headers={**headers, "content-length": length},
            )

    @asynccontextmanager
    async def stream(self, url: str) -> AsyncGenerator[Reply | AsyncIterator[bytes], None]:
        """GET a body piece by piece; gives the Reply instead if its status is not 2xx.

        The head, and a Reply, have to come within the timeout; of a body, each piece.
        Raises Broken, also in the middle.
        """
        with measured(self._provider, "download") as exchange:
            try:
                request = self._client.build_request("GET", url)
                deadline = asyncio.get_running_loop().time() + self._timeout
                async with AsyncExitStack() as stack:
                    async with asyncio.timeout_at(deadline):
                        response = await stack.enter_async_context(self._opened(request))
                        exchange.status = response.status_code
                        ok = 200 <= response.status_code < 300
                        reply = None if ok else await _read(response)
                    if reply is None:
                        pieces = aclosing(_counted(response, exchange))
                        yield await stack.enter_async_context(pieces)
                    else:
                        yield reply
            except (httpx2.HTTPError, httpx2.InvalidURL, BadEncoding) as error:
                raise Broken(_describe(error)) from None
            except TimeoutError:
                raise Broken("no answer in time") from None

    @asynccontextmanager
    async def _opened(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Response, None]:
        response = await self._client.send(request, stream=True)
        there = http_date(response.headers.get("date", ""))
        if there is not None:
            self.ahead = time() - there
        try:
            yield response
        finally:
            await response.aclose()


async def _counted(response: httpx2.Response, exchange: Exchange) -> AsyncGenerator[bytes, None]:
    async with aclosing(_pieces(response)) as pieces:
        async for piece in pieces:
            exchange.received += len(piece)
            yield piece


def _length(headers: Mapping[str, str]) -> int:
    length = headers.get("content-length", "")
    return int(length) if length.isdecimal() else 0


def _pieces(response: httpx2.Response) -> AsyncGenerator[bytes, None]:
    coding = ",".join(response.headers.get_list("content-encoding"))
    return unpacked(response.aiter_raw(), coding)


async def _read(response: httpx2.Response) -> Reply:
    ok = 200 <= response.status_code < 300
    limit = MAX_REPLY_BYTES if ok else MAX_ERROR_BYTES
    body = bytearray()
    try:
        async with aclosing(_pieces(response)) as chunks:
            async for chunk in chunks:
                body += chunk[: limit - len(body)]
                if len(body) >= limit:
                    break
    except (httpx2.HTTPError, BadEncoding):
        # The status alone says what became of the call; only an answer that is needed
        # in whole makes this a broken exchange.
        if ok:
            raise
    error = ErrorAnswer() if ok else read_error(bytes(body))
    retry_after = parse_retry_after(response.headers, now=time())
    return Reply(
        status=response.status_code,
        body=bytes(body),
        headers=response.headers,
        error=error,
        retry_after=error.retry_after if retry_after is None else retry_after,
    )


def same_origin(url: str, base: str) -> bool:
    """Whether two URLs have scheme, host and port in common."""
    try:
        one, other = httpx2.URL(url), httpx2.URL(base)
    except httpx2.InvalidURL:
        return False
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)


def moved_to(url: str, base: str) -> str:
    """The URL at the scheme, host and port of another one. Raises ValueError if it is none."""
    try:
        target, origin = httpx2.URL(url), httpx2.URL(base)
        moved = target.copy_with(scheme=origin.scheme, host=origin.host, port=origin.port)
    except httpx2.InvalidURL as error:
        raise ValueError(str(error)) from None
    return str(moved)


def path_of(url: str) -> str:
    """The path of a URL: what of it may be shown."""
    try:
        return httpx2.URL(url).path
    except httpx2.InvalidURL:
        return "?"


def _describe(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()
