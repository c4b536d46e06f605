"""What both clients are made of: a connection, and the operations over its transport."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from polybatch._operations import (
    BackObserver,
    Caller,
    Conversions,
    Downloads,
    Requests,
    RetryObserver,
    SettledDownloads,
    Uploads,
    Watches,
    log_back,
    log_retry,
)
from polybatch._transport import AioTransport, BlockingTransport
from polybatch.connection import Connection
from polybatch.retry import RetryPolicy

if TYPE_CHECKING:
    from polybatch._operations.accounts import AccountRequests
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
        self._caller = caller = Caller(self._transport, self.retry, on_retry, on_back)
        self._requests = Requests(caller)
        self._uploads = Uploads(caller)
        self._watches = Watches(caller)
        self._downloads = Downloads(caller)
        self._settled = SettledDownloads(caller, self._watches)
        self._conversions = Conversions(caller)

    # Few programs manage keys, accounts or webhooks: what that takes is imported with them.

    @cached_property
    def _accounts(self) -> AccountRequests:
        from polybatch._operations.accounts import AccountRequests

        return AccountRequests(self._caller)

    @cached_property
    def _webhooks(self) -> WebhookRequests:
        from polybatch._operations.webhooks import WebhookRequests

        return WebhookRequests(self._caller)
