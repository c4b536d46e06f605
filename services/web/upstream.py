"""Gateway and collector as the HTTP API calls them: shared channels, each caller's own key."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]
from polybatch.connection import Connection
from polybatch.errors import PolybatchError
from polybatch.models import ResultFilter
from polybatch.retry import RetryPolicy
from polybatch.v1 import results_pb2
from starlette.requests import Request

from core.serving.server import is_local
from core.serving.tls_settings import ProbeTls, probe_tls
from core.settings import Settings
from services.web.client_parts import (
    AioTransport,
    Caller,
    Conversions,
    Downloads,
    Method,
    ResultStream,
    Server,
    methods,
)
from services.web.errors import HttpError

log = structlog.get_logger()

# A replica that is being replaced, not more: the SDKs try again by themselves.
_POLICY = RetryPolicy(give_up_after=3.0, call_timeout=30.0)
_HEALTH_SECONDS = 2.0
_NO_KEY = "no-key"


@dataclass(frozen=True)
class OwnConnection(Connection):
    """The way to services that run with this machine's own certificate.

    That certificate is the proof, as when the supervisor asks for their health: no authority
    has to be named, and the address need not be one that it holds for.
    """

    own: ProbeTls | None = None

    def channel_credentials(self) -> grpc.ChannelCredentials | None:
        """See Connection."""
        return super().channel_credentials() if self.own is None else self.own.credentials()[0]

    def channel_options(self, address: str) -> Sequence[tuple[str, int | str]]:
        """See Connection."""
        options = super().channel_options(address)
        return options if self.own is None else (*options, *self.own.credentials()[1])


def find_services(settings: Settings) -> OwnConnection:
    """Where they are, by the client's own variables. Raises ConfigurationError, StartupError."""
    found = Connection.resolve(api_key=_NO_KEY)
    addresses = f"{found.gateway},{found.collector}".split(",")
    # Beside them on one machine the address is none that a certificate need hold for.
    beside = all(is_local(address) for address in addresses)
    own = probe_tls(settings) if beside or not os.environ.get("POLYBATCH_TLS_CA") else None
    return OwnConnection(
        gateway=found.gateway,
        collector=found.collector,
        api_key=found.api_key,
        tls=found.tls or own is not None,
        tls_ca=found.tls_ca,
        tls_client_cert=found.tls_client_cert,
        tls_client_key=found.tls_client_key,
        own=own,
    )


class Engine:
    """Calls with the key of one caller. Every method raises PolybatchError."""

    def __init__(self, transport: AioTransport) -> None:
        self.transport = transport
        self._caller = Caller(transport, _POLICY, _note_retry, _note_back)

    async def call(self, method: Method, request: Any, *, patience: float | None = None) -> Any:
        """One request, one reply; again for a moment where a replica is away.

        `patience`: seconds instead of that moment.
        """
        caller = self._caller
        if patience is not None:
            policy = replace(_POLICY, give_up_after=patience)
            caller = Caller(self.transport, policy, _note_retry, _note_back)
        return await caller.unary(method, request)

    @property
    def downloads(self) -> Downloads:
        """Downloads that go on where they broke."""
        return Downloads(self._caller)

    @property
    def conversions(self) -> Conversions:
        """Lines from one API's form into another's."""
        return Conversions(self._caller)

    async def settled(
        self, batch_id: str, which: ResultFilter, after: int
    ) -> AsyncGenerator[results_pb2.DownloadResultsResponse, None]:
        """What is settled of a batch, ended or not, as the collector sends it: a header first.

        `after`: only what was settled after this, `settled_until` of an earlier header.
        """
        request = results_pb2.DownloadResultsRequest(
            batch_id=batch_id, filter=which.to_proto(), partial=True, settled_after=after
        )
        stream = self.transport.replies(methods.DOWNLOAD_RESULTS, request)
        try:
            while (reply := await stream.read()) is not None:
                yield reply
        finally:
            stream.cancel()

    def results(self, batch_id: str, which: ResultFilter) -> ResultStream:
        """The same of results: a header, then its bytes."""
        return ResultStream(self._caller, batch_id, which)


class Upstream:
    """The channels; one for the whole process. `transport`: them, without a key."""

    def __init__(self, connection: Connection) -> None:
        self.transport = AioTransport(connection)

    def engine(self, request: Request) -> Engine:
        """For who sent a request. Raises HttpError (401) where it brings no key."""
        return Engine(self.transport.with_key(key_of(request)))

    async def serving(self, server: Server) -> bool:
        """Whether one of a server's replicas says that it serves."""
        check = Method(
            server,
            "/grpc.health.v1.Health/Check",
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = await self.transport.unary(
                check, health_pb2.HealthCheckRequest(), _HEALTH_SECONDS
            )
        except PolybatchError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def close(self) -> None:
        """Close the channels."""
        await self.transport.close()


def key_of(request: Request) -> str:
    """The caller's key: a bearer token, or `x-api-key`. Raises HttpError (401)."""
    key = request.headers.get("x-api-key", "").strip()
    if not key:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        key = token.strip() if scheme.lower() == "bearer" else ""
    if not key:
        raise HttpError(
            401,
            "You did not provide an API key: send it as 'Authorization: Bearer KEY' "
            "or 'x-api-key: KEY'.",
        )
    # What gRPC's metadata can carry; no key has anything else.
    if not (key.isascii() and key.isprintable()):
        raise HttpError(401, "The API key is not valid.", "invalid_api_key")
    return key


def _note_retry(error: PolybatchError, wait: float) -> None:
    log.debug("call_repeated", server=error.server, reason=error.reason, wait=wait)


def _note_back(server: str) -> None:
    log.debug("server_is_back", server=server)
