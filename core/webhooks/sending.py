"""One call of a receiver.

Straight over httpcore2, which lets the connection be made to an address that was checked, follows
no redirects, and takes neither proxies nor credentials from the environment.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import httpcore2

from core.failpoints import Failpoint, writing
from core.webhooks.addresses import AddressNotAllowed

_MAX_READ = 16 * 1024
"""Bytes of an answer's body that are read before the connection is closed: it is thrown away, and
read at all so that a receiver that is not done writing sees no reset."""
_READ_SECONDS = 1.0
"""For that."""


_BROKEN = (httpcore2.NetworkError, httpcore2.ProtocolError, OSError)
"""OSError: what TLS says of a record that it cannot read comes as it is."""


class NoAnswer(Exception):
    """The receiver was not called, or did not answer. The message is human-readable, without
    the url."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver answered."""

    status: int

    @property
    def ok(self) -> bool:
        """Whether it has taken the event."""
        return 200 <= self.status < 300

    @property
    def error(self) -> str:
        """Why it has not, human-readable; empty if it has."""
        if self.ok:
            return ""
        if 300 <= self.status < 400:
            return f"answered {self.status}: redirects are not followed, name the url it leads to"
        return f"answered {self.status}"


class Sender:
    """Makes calls, each on a connection of its own."""

    def __init__(
        self,
        network: httpcore2.AsyncNetworkBackend,
        *,
        timeout: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`timeout`: seconds for one call in all. `tls`: which authorities are trusted; None:
        the system's, or those of SSL_CERT_FILE."""
        self._timeout = timeout
        self._network = network
        self._tls = tls or httpcore2.default_ssl_context()

    async def post(self, url: str, headers: Mapping[str, str], body: str) -> Answer:
        """POST a body. Raises NoAnswer."""
        try:
            with writing(Failpoint.WEBHOOK_CALL):
                return await self._post(url, headers, body)
        except TimeoutError:
            raise NoAnswer(f"no answer within {self._timeout:g} s") from None
        except AddressNotAllowed as error:
            raise NoAnswer(str(error)) from None
        except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
            raise NoAnswer(f"no connection: {_reason(error)}") from None
        except (httpcore2.TimeoutException, httpcore2.UnsupportedProtocol, *_BROKEN) as error:
            raise NoAnswer(f"the connection broke: {_reason(error)}") from None

    async def _post(self, url: str, headers: Mapping[str, str], body: str) -> Answer:
        answer: Answer | None = None
        try:
            async with (
                asyncio.timeout(self._timeout) as limit,
                httpcore2.AsyncConnectionPool(
                    ssl_context=self._tls,
                    network_backend=self._network,
                    max_keepalive_connections=0,
                ) as pool,
                pool.stream("POST", url, headers=list(headers.items()), content=body.encode()) as r,
            ):
                answer = Answer(r.status)
                limit.reschedule(asyncio.get_running_loop().time() + _READ_SECONDS)
                left = _MAX_READ
                async for piece in r.aiter_stream():
                    left -= len(piece)
                    if left <= 0:
                        break
        except (TimeoutError, *_BROKEN):
            # Once the status is there, it says all that there is to know.
            if answer is None:
                raise
        return answer


def _reason(error: BaseException) -> str:
    """Of what lies below: certificates and sockets say it there."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not valid ({cause.verify_message})"
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused"
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__
