"""What both clients are made of: a connection, and the operations over its transport."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from polybatch._operations.calls import (
    BackObserver,
    Caller,
    RetryObserver,
    log_back,
    log_retry,
)
from polybatch._operations.requests import Requests
from polybatch._transport import AioTransport, BlockingTransport
from polybatch.connection import Connection
from polybatch.retry import RetryPolicy

if TYPE_CHECKING:
    from polybatch._operations.accounts import AccountRequests
    from polybatch._operations.conversions import Conversions
    from polybatch._operations.downloads import Downloads
    from polybatch._operations.settled_downloads import SettledDownloads
    from polybatch._operations.uploads import Uploads
    from polybatch._operations.watches import Watches
    from polybatch._operations.webhooks import WebhookRequests


class BaseClient:
    """Takes the arguments of both clients, whose docstrings say what they mean."""

    _transport_type: ClassVar[type[BlockingTransport] | type[AioTransport]]

    def __init__(
        self,
        *,
        gateway: str | None = None,
        collector: str | None = None,
        api_key: str | None = None,
        api_key_file: str | os.PathLike[str] | None = None,
        tls: bool | None = None,
        tls_ca: str | os.PathLike[str] | None = None,
        tls_client_cert: str | os.PathLike[str] | None = None,
        tls_client_key: str | os.PathLike[str] | None = None,
        wait: float | None = None,
        retry: RetryPolicy | None = None,
        on_retry: RetryObserver = log_retry,
        on_back: BackObserver = log_back,
    ) -> None:
        self.retry: RetryPolicy = RetryPolicy.resolve(wait, retry)
        self.connection: Connection = Connection.resolve(
            gateway=gateway,
            collector=collector,
            api_key=api_key,
            api_key_file=api_key_file,
            tls=tls,
            tls_ca=tls_ca,
            tls_client_cert=tls_client_cert,
            tls_client_key=tls_client_key,
        )
        self._transport = self._transport_type(self.connection)
        self._caller = Caller(self._transport, self.retry, on_retry, on_back)
        self._requests = Requests(self._caller)

    # A program uses few of these, and a short command none: what each takes is imported with it.

    @cached_property
    def _uploads(self) -> Uploads:
        from polybatch._operations.uploads import Uploads

        return Uploads(self._caller)

    @cached_property
    def _watches(self) -> Watches:
        from polybatch._operations.watches import Watches

        return Watches(self._caller)

    @cached_property
    def _downloads(self) -> Downloads:
        from polybatch._operations.downloads import Downloads

        return Downloads(self._caller)

    @cached_property
    def _settled(self) -> SettledDownloads:
        from polybatch._operations.settled_downloads import SettledDownloads

        return SettledDownloads(self._caller, self._watches)

    @cached_property
    def _conversions(self) -> Conversions:
        from polybatch._operations.conversions import Conversions

        return Conversions(self._caller)

    @cached_property
    def _accounts(self) -> AccountRequests:
        from polybatch._operations.accounts import AccountRequests

        return AccountRequests(self._caller)

    @cached_property
    def _webhooks(self) -> WebhookRequests:
        from polybatch._operations.webhooks import WebhookRequests

        return WebhookRequests(self._caller)
